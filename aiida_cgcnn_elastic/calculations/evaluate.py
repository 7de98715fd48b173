"""The job that compares a model's predictions with known moduli."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('EvaluateCalculation',)


class EvaluateCalculation(RunnerCalculation):
    """Measure the errors of models on crystals whose moduli are known."""

    SUBCOMMAND = 'evaluate'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define the ports."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalSetData, help='The crystals, with the target columns.')
        spec.input_namespace('models', valid_type=ElasticModelData, dynamic=True, required=True, help='The models.')
        spec.input('parameters', valid_type=Dict, required=False, help='`dtype`, `batch_edges` and `device`.')
        spec.output('metrics', valid_type=Dict, help='The errors, for each target.')
