"""One queryable node for each prediction."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict

from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

__all__ = ('record_predictions',)


@calcfunction
def record_predictions(predictions: PredictionSetData) -> dict[str, Dict]:
    """Write one ``ElasticPredictionData`` for each row of a prediction set, in bulk.

    The records are linked to this process as its outputs.

    :param predictions: The prediction set.
    """
    raise NotImplementedError
