"""The job that compares a model's predictions with known moduli."""

from __future__ import annotations

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.base import write_json
from aiida_cgcnn_elastic.calculations.network import NetworkCalculation
from aiida_cgcnn_elastic.calculations.predict import validate_criteria
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('EvaluateCalculation',)


class EvaluateCalculation(NetworkCalculation):
    """Measure the errors of models on crystals whose moduli are known."""

    SUBCOMMAND = 'evaluate'
    FILE_METRICS = 'metrics.json'
    FILE_CRITERIA = 'criteria.json'
    OUTPUTS = (FILE_METRICS,)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.inputs['crystals'].help = 'The crystals, with the target columns.'
        spec.input(
            'criteria',
            valid_type=Dict,
            required=False,
            validator=validate_criteria,
            help='Criteria of a screening, to be measured; the default thresholds where not given.',
        )
        spec.output(
            'metrics',
            valid_type=Dict,
            help='`targets`: by target, the errors in log10 of GPa, and coverage and mean width of the 90 % intervals; '
            '`screening`: precision and recall of the candidates, and what rankings find; `by_crystal_system` and '
            '`by_element_family`: the same for parts of the crystals; `n_without_symmetry`: how many are in no crystal '
            'system; `n_seen_in_training`: how many the model was trained on, where it is calibrated.',
        )

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the crystals, models and criteria into the folder."""
        filename = CrystalSetData.FILE_CRYSTALS
        calc_info.local_copy_list.append((self.inputs.crystals.uuid, filename, filename))
        criteria = []
        if 'criteria' in self.inputs:
            write_json(folder, self.FILE_CRITERIA, self.inputs.criteria.get_dict())
            criteria = ['--criteria', self.FILE_CRITERIA]
        return [
            filename,
            *self.stage_models(calc_info),
            *criteria,
            *('--output', self.FILE_METRICS),
            *self.network_arguments(),
        ]
