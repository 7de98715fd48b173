"""Where a candidate, or a prediction, comes from: the walk back along the provenance."""

from __future__ import annotations

from typing import Any

from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, Data, ProcessNode, QueryBuilder, StructureData, load_node

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.groups import EXTRA

__all__ = ('provenance',)


def provenance(node: StructureData | ElasticPredictionData | str) -> dict[str, Any]:
    """Return where a candidate, or a prediction, comes from: back to the source's files and the models' training.

    Parameters
    ----------
    node : StructureData, ElasticPredictionData or str
        A candidate or a recorded prediction, or its uuid.

    Returns
    -------
    dict
        ``structure``, ``flagging`` (with the criteria), ``prediction``, ``recording``, ``prediction_set``,
        ``prediction_job``, ``models`` (with their training records and, where they were trained with AiiDA, their
        training job and training set) and ``crystal_set`` (with its origin: source, version, licence, citation and the
        checksum of each file). Each has the ``uuid`` of its node. A prediction's begins with ``prediction``.

    Raises
    ------
    ValueError
        If the node is neither a candidate nor a recorded prediction.
    """
    node = load_node(node) if isinstance(node, str) else node
    if isinstance(node, ElasticPredictionData) and _set_of(node) is not None:
        return _story_of_record(node)
    extra = node.base.extras.get(EXTRA, None)
    if not isinstance(node, StructureData) or extra is None or node.creator is None:
        raise ValueError(f'{node} is neither a candidate of a screening nor a recorded prediction')
    return {
        'structure': {'uuid': node.uuid, **{key: extra[key] for key in ('material_id', 'rank', 'screening')}},
        'flagging': {**_process(node.creator), 'criteria': node.creator.outputs.ranking['criteria']},
        **_story_of_record(load_node(extra['prediction_uuid'])),
    }


def _set_of(record: ElasticPredictionData) -> PredictionSetData | None:
    """Return the prediction set that a record is of.

    An archive of candidates has the records of these, but not their making, of which all others would be part. There
    the set is one that their flagging took.
    """
    if record.creator is not None:
        return record.creator.inputs.predictions
    for link in record.base.links.get_outgoing(link_type=LinkType.INPUT_CALC):
        query = QueryBuilder().append(CalcFunctionNode, filters={'id': link.node.pk}, tag='process')
        query.append(PredictionSetData, with_outgoing='process', project='*')
        for candidate in query.all(flat=True):
            is_same_model = candidate.common_attributes()['model_content'] == record.get_dict().get('model_content')
            if is_same_model and record.material_id in candidate.get_table(['material_id'])['material_id'].to_pylist():
                return candidate
    return None


def _story_of_record(record: ElasticPredictionData) -> dict[str, Any]:
    """Return where a recorded prediction comes from."""
    prediction_set = _set_of(record)
    if prediction_set is None:
        raise ValueError(f'{record} is not a recorded prediction')
    # A set that a screening took from an earlier one was made by that one's job.
    while (earlier := prediction_set.taken_from()) is not None:
        prediction_set = earlier
    job = prediction_set.creator
    story: dict[str, Any] = {
        'prediction': {'uuid': record.uuid, **record.get_dict()},
        'recording': None if record.creator is None else _process(record.creator),
        'prediction_set': _data(prediction_set, 'n_crystals', 'n_predicted', 'n_excluded', 'n_rejected'),
    }
    if job is None:
        models = prediction_set.models
        return {**story, 'prediction_job': None, 'models': models, 'crystal_set': None}
    models = [_model(job.inputs.models[key]) for key in job.inputs.models]
    return {**story, 'prediction_job': _process(job), 'models': models, 'crystal_set': _crystals(job.inputs.crystals)}


def _model(model: ElasticModelData) -> dict[str, Any]:
    """Return what is known of a model and its training."""
    described = {**_data(model, 'name', 'targets', 'training'), 'training_job': None, 'training_set': None}
    job = model.creator
    if job is not None:
        described['training_job'] = _process(job)
        described['training_set'] = _crystals(job.inputs.crystals)
    return described


def _crystals(crystals: CrystalSetData) -> dict[str, Any]:
    """Return what is known of a crystal set."""
    creator = crystals.creator
    return {
        **_data(crystals, 'n_crystals', 'n_read', 'n_rejected', 'origin'),
        'ingestion': None if creator is None else _process(creator),
    }


def _data(node: Data, *attributes: str) -> dict[str, Any]:
    names = (*attributes, 'content_sha256')
    return {'uuid': node.uuid, **{name: node.base.attributes.get(name) for name in names}}


def _process(process: ProcessNode) -> dict[str, Any]:
    return {'uuid': process.uuid, 'process_type': process.process_type, 'ctime': process.ctime.isoformat()}
