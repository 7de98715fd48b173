"""The job that trains a model."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Train a crystal graph convolutional network on the crystals of a set whose moduli are known.

    With a parent model, fine-tune that on all of them instead; cross-validation tells whether it helped.
    """

    SUBCOMMAND = 'train'
    FILE_HISTORY = 'history.json'
    FILE_PREDICTIONS = 'predictions.parquet'
    FILE_OUT_OF_FOLD = 'out_of_fold.parquet'
    DIRECTORY_OUTPUT = 'output'
    DIRECTORY_CHECKPOINT = 'checkpoint'
    DIRECTORY_PARENT = 'parent'
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
            'crystals; none with `parent_model`), `seed` and `device`; what is absent is as '
            '`cgcnn-elastic train --help` says.',
        )
        spec.input(
            'parent_model',
            valid_type=ElasticModelData,
            required=False,
            help='Fine-tune this model on the crystals, some tens, instead of training one from nothing.',
        )
        base_validator = spec.inputs.validator
        spec.inputs.validator = lambda inputs, port: base_validator(inputs, port) or validate_inputs(inputs)
        spec.output('model', valid_type=ElasticModelData, help='The trained model.')
        spec.output(
            'metrics',
            valid_type=Dict,
            help='By target and part (train, validation, test): the errors. Of a fine-tuning those of the crystals '
            'learned from (train), those of held-out crystals by the parent (parent) and after fine-tuning '
            '(out_of_fold), and the verdict (fine_tuning).',
        )
        spec.output('history', valid_type=Dict, help='`epochs`: the course of the training, a record an epoch.')
        spec.output(
            'predictions',
            valid_type=SinglefileData,
            help='Parquet: `material_id`, `part`, `target`, `true` and `predicted` (log10 of GPa).',
        )
        spec.output(
            'out_of_fold',
            valid_type=SinglefileData,
            required=False,
            help='Parquet, of a blend or a fine-tuning: `material_id`, `fold`, `target`, `true` and what was predicted '
            'by models that did not see the crystal (log10 of GPa). The intervals of a blend follow from it.',
        )

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the crystals and settings into the folder."""
        filename = CrystalSetData.FILE_CRYSTALS
        calc_info.local_copy_list.append((self.inputs.crystals.uuid, filename, filename))
        directory = self.DIRECTORY_OUTPUT
        calc_info.retrieve_list = [
            (f'{directory}/{name}', '.', 0) if name in self.OUTPUTS else name for name in calc_info.retrieve_list
        ]
        # There only where the protocol, which the executable knows, is one of a blend, or of a fine-tuning.
        calc_info.retrieve_list.append((f'{directory}/{self.FILE_OUT_OF_FOLD}', '.', 0))
        parameters = self.parameters()
        arguments = [filename, '--output', directory, '--checkpoint', self.DIRECTORY_CHECKPOINT]
        if 'protocol' in parameters:
            protocol = parameters['protocol']
            if isinstance(protocol, dict):
                write_json(folder, 'protocol.json', protocol)
                protocol = 'protocol.json'
            arguments += ['--protocol', protocol]
        if 'parent_model' in self.inputs:
            parent = self.inputs.parent_model
            for name in ElasticModelData.FILENAMES:
                calc_info.local_copy_list.append((parent.uuid, name, f'{self.DIRECTORY_PARENT}/{name}'))
            arguments += ['--from', self.DIRECTORY_PARENT]
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


def validate_inputs(inputs: Mapping[str, Any]) -> str | None:
    """Return in what the inputs do not fit each other, None where they do."""
    if 'parent_model' in inputs and 'parameters' in inputs and 'split' in inputs['parameters'].get_dict():
        return '`parent_model` is fine-tuned on all crystals and judged by cross-validation, so there is no `split`'
    return None
