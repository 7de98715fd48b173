"""The job that predicts elastic moduli."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, List, RemoteData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

__all__ = ('PredictCalculation',)


class PredictCalculation(RunnerCalculation):
    """Predict the bulk and shear moduli of the crystals of a set, or of a slice of it."""

    SUBCOMMAND = 'predict'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define the ports."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalSetData, help='The crystals.')
        spec.input_namespace(
            'models',
            valid_type=ElasticModelData,
            dynamic=True,
            required=True,
            help='The models, each under a key of choice; together they predict both moduli. Those of one target are averaged.',
        )
        spec.input('rows', valid_type=List, required=False, help='[start, stop]: predict only these rows of the set.')
        spec.input(
            'criteria', valid_type=Dict, required=False, help='Crystals that these filters exclude are not predicted.'
        )
        spec.input('parameters', valid_type=Dict, required=False, help='`dtype`, `batch_edges` and `device`.')
        spec.input(
            'parent_folder',
            valid_type=RemoteData,
            required=False,
            help='The remote folder of a stopped job with the same inputs, to continue from.',
        )
        spec.output('predictions', valid_type=PredictionSetData, help='The predictions, exclusions and rejections.')
