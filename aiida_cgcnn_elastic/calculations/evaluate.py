"""The job that compares a model's predictions with known moduli."""

from __future__ import annotations

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.network import NetworkCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('EvaluateCalculation',)


class EvaluateCalculation(NetworkCalculation):
    """Measure the errors of models on crystals whose moduli are known."""

    SUBCOMMAND = 'evaluate'
    FILE_METRICS = 'metrics.json'
    OUTPUTS = (FILE_METRICS,)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports."""
        super().define(spec)
        spec.inputs['crystals'].help = 'The crystals, with the target columns.'
        spec.output('metrics', valid_type=Dict, help='`targets`: by target, the errors in log10 of GPa.')

    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:  # noqa: ARG002
        """Put the crystals and models into the folder."""
        filename = CrystalSetData.FILE_CRYSTALS
        calc_info.local_copy_list.append((self.inputs.crystals.uuid, filename, filename))
        return [
            filename,
            *self.stage_models(calc_info),
            *('--output', self.FILE_METRICS),
            *self.network_arguments(),
        ]
