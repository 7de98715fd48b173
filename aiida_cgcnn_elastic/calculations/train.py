"""The job that trains a model."""

from __future__ import annotations

from typing import Any

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, SinglefileData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation, check_keys, write_json
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('TrainCalculation',)


class TrainCalculation(RunnerCalculation):
    """Train a crystal graph convolutional network on the crystals of a set whose moduli are known."""

    SUBCOMMAND = 'train'
    FILE_HISTORY = 'history.json'
    FILE_PREDICTIONS = 'predictions.parquet'
    DIRECTORY_OUTPUT = 'output'
    DIRECTORY_CHECKPOINT = 'checkpoint'
    # Each is left in the output folder, and retrieved without it.
    OUTPUTS = (*ElasticModelData.FILENAMES, FILE_HISTORY, FILE_PREDICTIONS)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalSetData, help='The crystals, with the target columns.')
        spec.input(
            'parameters',
            valid_type=Dict,
            required=False,
            validator=validate_parameters,
            help='`protocol` (a name, or a dictionary of its settings), `split` (a dictionary: how to part the '
            'crystals), `seed` and `device`; what is absent is as `cgcnn-elastic train --help` says.',
        )
        spec.output('model', valid_type=ElasticModelData, help='The trained model.')
        spec.output('metrics', valid_type=Dict, help='By target and part (train, validation, test): the errors.')
        spec.output('history', valid_type=Dict, help='`epochs`: the course of the training, a record an epoch.')
        spec.output(
            'predictions',
            valid_type=SinglefileData,
            help='Parquet: `material_id`, `part`, `target`, `true` and `predicted` (log10 of GPa).',
        )

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the crystals and settings into the folder."""
        filename = CrystalSetData.FILE_CRYSTALS
        calc_info.local_copy_list.append((self.inputs.crystals.uuid, filename, filename))
        directory = self.DIRECTORY_OUTPUT
        calc_info.retrieve_list = [
            (f'{directory}/{name}', '.', 0) if name in self.OUTPUTS else name for name in calc_info.retrieve_list
        ]
        parameters = self.parameters()
        arguments = [filename, '--output', directory, '--checkpoint', self.DIRECTORY_CHECKPOINT]
        if 'protocol' in parameters:
            protocol = parameters['protocol']
            if isinstance(protocol, dict):
                write_json(folder, 'protocol.json', protocol)
                protocol = 'protocol.json'
            arguments += ['--protocol', protocol]
        if 'split' in parameters:
            write_json(folder, 'split.json', parameters['split'])
            arguments += ['--split', 'split.json']
        for key in ('seed', 'device'):
            if key in parameters:
                arguments += [f'--{key}', str(parameters[key])]
        return arguments


def validate_parameters(value: Dict | None, _: Any) -> str | None:
    """Return what is wrong with the parameters, None where nothing is.

    What a protocol or split may hold is known to the executable alone; it says so with exit code 214.
    """
    if value is None:
        return None
    parameters = value.get_dict()
    if message := check_keys(parameters, ('protocol', 'split', 'seed', 'device')):
        return message
    if not isinstance(parameters.get('protocol', ''), (str, dict)):
        return f'`protocol` must be a name or a dictionary, not {parameters["protocol"]!r}'
    if not isinstance(parameters.get('split', {}), dict):
        return f'`split` must be a dictionary, not {parameters["split"]!r}'
    seed = parameters.get('seed', 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        return f'`seed` must be an integer of at least 0, not {seed!r}'
    return None
