"""One queryable node for each prediction."""

from __future__ import annotations

from aiida.engine import Process, calcfunction

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.storage import NewNode, store_outputs

__all__ = ('record_predictions',)


@calcfunction
def record_predictions(predictions: PredictionSetData) -> None:
    """Write one ``ElasticPredictionData`` for each row of a prediction set, all of them or none.

    They are written in bulk and linked to this process as its outputs ``p_0``, ``p_1``, ... in the order of the rows.

    :param predictions: The predictions to record.
    """
    process = Process.current().node
    # A clone of this process would clone its outputs one by one; `query.recorded` finds those of an equal set instead.
    process.base.caching.is_valid_cache = False
    rows = ElasticPredictionData.attributes_of(predictions.get_table(), predictions.common_attributes())
    records = (
        NewNode(
            attributes,
            link_label=f'p_{index}',
            label=attributes['material_id'],
            description=attributes.get('formula') or '',
            hash=ElasticPredictionData.hash_of(attributes),
        )
        for index, attributes in enumerate(rows)
    )
    store_outputs(ElasticPredictionData, records, creator=process)


def _outputs_are_stored(_: Process) -> None:
    """Attach no outputs: the function has stored them all.

    AiiDA would load every output to see whether one is still to be attached, which takes longer than writing them.
    """


record_predictions.process_class.update_outputs = _outputs_are_stored
