"""Predict chosen crystals again with a model that needs a universal potential, whatever stops the job on the way."""

from __future__ import annotations

from aiida_cgcnn_elastic.calculations.refine import RefineCalculation
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain

__all__ = ('RefineWorkChain',)


class RefineWorkChain(PredictWorkChain):
    """Run a `RefineCalculation` and restart it where that helps.

    As the job is a prediction, its inputs are in the namespace `predict`, as those of `PredictWorkChain`.
    """

    _process_class = RefineCalculation
    _protocol_file = 'refine.yaml'
