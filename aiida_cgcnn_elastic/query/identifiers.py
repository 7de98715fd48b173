"""Which predictions and candidates an identifier means: the material id of a crystal, or the PK of a node."""

from __future__ import annotations

from typing import Any

from aiida.orm import Group, Node, QueryBuilder, StructureData

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import EXTRA, CandidatesGroup, PredictionsGroup
from aiida_cgcnn_elastic.query.groups import find_group

__all__ = ('predictions_of',)

Filters = dict[str, Any]
Candidate = dict[str, Any]
"""What a candidate says of itself, and its ``pk``."""


def predictions_of(
    identifier: str, screening: str | None = None
) -> list[tuple[ElasticPredictionData, list[dict[str, Any]]]]:
    """Return the predictions that an identifier means, and the candidates that each was flagged for.

    It is a material id where there is a prediction or a candidate of that id: one such as 1234567890 is no PK then.

    Parameters
    ----------
    identifier : str
        A material id, or the PK of a prediction or of a candidate.
    screening : str, optional
        Look only at the predictions and candidates of the screening, or set of candidates, of this label.

    Returns
    -------
    list of (ElasticPredictionData, list of dict)
        The predictions in the order in which they were recorded; none where the identifier means none. Each with what
        its candidates say of themselves (as in :func:`~aiida_cgcnn_elastic.query.candidates`) and their ``pk``: all
        those that there are, or only the one whose PK the identifier is.
    """
    nodes, flagged = _by_material_id(identifier, screening)
    if not nodes and not flagged and identifier.isdigit():
        nodes, flagged = _by_pk(int(identifier), screening)
    return [(node, [item for item in flagged if item['prediction_uuid'] == node.uuid]) for node in nodes]


def _by_material_id(material_id: str, screening: str | None) -> tuple[list[ElasticPredictionData], list[Candidate]]:
    flagged = _candidates({'label': material_id}, screening)
    found = {node.uuid: node for node in _predictions({'label': material_id}, screening)}
    if screening:
        # A set of candidates, flagged anew, has no predictions of its own; those of a screening may leave its group.
        found |= {node.uuid: node for node in _predictions_flagged_for(flagged)}
    return sorted(found.values(), key=lambda node: node.pk or 0), flagged


def _by_pk(pk: int, screening: str | None) -> tuple[list[ElasticPredictionData], list[Candidate]]:
    for node in _predictions({'id': pk}):
        flagged = _candidates({'label': node.label}, screening)
        is_flagged = any(item['prediction_uuid'] == node.uuid for item in flagged)
        if is_flagged or _predictions({'id': pk}, screening):
            return [node], flagged
    flagged = _candidates({'id': pk}, screening)
    return _predictions_flagged_for(flagged), flagged


def _predictions(filters: Filters, screening: str | None = None) -> list[ElasticPredictionData]:
    return [node for (node,) in _rows(ElasticPredictionData, filters, ['*'], PredictionsGroup, screening)]


def _predictions_flagged_for(candidates: list[Candidate]) -> list[ElasticPredictionData]:
    """Return the predictions that candidates were flagged for, as far as they are in this database."""
    uuids = [item['prediction_uuid'] for item in candidates]
    return _predictions({'uuid': {'in': uuids}}) if uuids else []


def _candidates(filters: Filters, screening: str | None) -> list[Candidate]:
    of_ours = {**filters, 'extras': {'has_key': EXTRA}}
    rows = _rows(StructureData, of_ours, ['id', f'extras.{EXTRA}'], CandidatesGroup, screening)
    return [{**extra, 'pk': pk} for pk, extra in rows]


def _rows(
    node_class: type[Node], filters: Filters, project: list[str], group_class: type[Group], screening: str | None
) -> list[list[Any]]:
    """Return what is wanted of nodes, by key; if a screening is named, only of those in its group of that class."""
    query = QueryBuilder().append(node_class, filters=filters, project=project, tag='node')
    if screening:
        group = _find_group(group_class, screening)
        if group is None:
            return []
        query.append(group_class, with_node='node', filters={'id': group.pk})
    return query.order_by({'node': {'id': 'asc'}}).all()


def _find_group(group_class: type[Group], screening: str) -> Group | None:
    try:
        return find_group(group_class, screening)
    except ValueError:
        return None
