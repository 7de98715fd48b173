"""The job that predicts elastic moduli."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, List

from aiida_cgcnn_elastic.calculations.base import write_json
from aiida_cgcnn_elastic.calculations.network import NetworkCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

__all__ = ('PredictCalculation',)


class PredictCalculation(NetworkCalculation):
    """Predict the bulk and shear moduli of the crystals of a set, or of a slice of it."""

    SUBCOMMAND = 'predict'
    OUTPUTS = PredictionSetData.FILENAMES
    FILE_CRITERIA = 'criteria.json'
    DIRECTORY_CHECKPOINT = f'{PredictionSetData.FILE_PREDICTIONS}.parts'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.input(
            'rows',
            valid_type=List,
            required=False,
            validator=validate_rows,
            help='[start, stop]: predict only these rows of the set, the first counted as 0, the last not included.',
        )
        spec.input(
            'criteria',
            valid_type=Dict,
            required=False,
            validator=validate_criteria,
            help='Criteria of a screening; crystals that their filters exclude are not predicted.',
        )
        base_validator = spec.inputs.validator
        spec.inputs.validator = lambda inputs, port: base_validator(inputs, port) or validate_inputs(inputs)
        spec.output('predictions', valid_type=PredictionSetData, help='The predictions, exclusions and rejections.')

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the crystals, models and criteria into the folder."""
        crystals: CrystalSetData = self.inputs.crystals
        filename = CrystalSetData.FILE_CRYSTALS
        if 'rows' in self.inputs:
            # Only the slice travels; what the job was given is in the set and in `rows` already.
            crystals.get_table(tuple(self.inputs.rows.get_list())).write(Path(folder.abspath) / filename)
            calc_info.provenance_exclude_list.append(filename)
        else:
            calc_info.local_copy_list.append((crystals.uuid, filename, filename))
        predictions, exclusions, rejections = self.OUTPUTS
        arguments = [filename, *self.stage_models(calc_info)]
        if 'criteria' in self.inputs:
            write_json(folder, self.FILE_CRITERIA, filters_of(self.inputs.criteria))
            arguments += ['--criteria', self.FILE_CRITERIA]
        return [
            *arguments,
            *('--output', predictions, '--exclusions', exclusions, '--rejections', rejections),
            *self.network_arguments(),
        ]


def filters_of(criteria: Dict) -> dict[str, Any]:
    """Return what criteria say of crystals before they are predicted, every key written out.

    Raises
    ------
    ValueError
        If the criteria are not valid.
    """
    from aiida_cgcnn_elastic.screening import Criteria

    return Criteria.from_dict(criteria.get_dict()).filters().to_dict()


def validate_rows(rows: List | None, _: Any) -> str | None:
    """Return what is wrong with the rows, None where nothing is."""
    if rows is None:
        return None
    limits = rows.get_list()
    if len(limits) != 2 or not all(isinstance(limit, int) for limit in limits) or not 0 <= limits[0] < limits[1]:
        return f'rows must be [start, stop] with 0 <= start < stop, not {limits}'
    return None


def validate_criteria(criteria: Dict | None, _: Any) -> str | None:
    """Return what is wrong with the criteria, None where nothing is."""
    if criteria is None:
        return None
    try:
        filters_of(criteria)
    except ValueError as exception:
        return str(exception)
    return None


def validate_inputs(inputs: dict[str, Any]) -> str | None:
    """Return in what the inputs do not fit each other, None where they do."""
    if 'rows' in inputs and 'crystals' in inputs:
        start, stop = inputs['rows'].get_list()
        if stop > inputs['crystals'].n_crystals:
            return f'rows {start} to {stop} are not within a set of {inputs["crystals"].n_crystals} crystals'
    return None
