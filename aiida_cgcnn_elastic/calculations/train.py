"""The job that trains a model."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, RemoteData, SinglefileData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('TrainCalculation',)


class TrainCalculation(RunnerCalculation):
    """Train a crystal graph convolutional network on the crystals of a set that have the target columns."""

    SUBCOMMAND = 'train'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define the ports."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalSetData, help='The crystals, with the target columns.')
        spec.input(
            'parameters',
            valid_type=Dict,
            help='`protocol` (a name, or a dictionary of settings), `split` (how to part the crystals), `seed`, and optionally `device`.',
        )
        spec.input(
            'parent_folder',
            valid_type=RemoteData,
            required=False,
            help='The remote folder of a stopped job with the same inputs, to continue from.',
        )
        spec.output('model', valid_type=ElasticModelData, help='The trained model.')
        spec.output('metrics', valid_type=Dict, help='The errors on the training, validation and test parts.')
        spec.output('history', valid_type=Dict, help='The course of the training, epoch by epoch.')
        spec.output(
            'predictions', valid_type=SinglefileData, help='True and predicted values of each crystal (Parquet).'
        )
