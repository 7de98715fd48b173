"""Flag the predictions of a screening again, under other criteria: nothing is predicted or recorded twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.groups import CandidatesGroup, PredictionsGroup
from aiida_cgcnn_elastic.workflows.label import FINGERPRINT, LabelTakenError

__all__ = ('FLAGGED_BY', 'excluded_before', 'find_flagging', 'flag_again')

FLAGGED_BY = 'flagged_by'
"""The extra of a screening's group that holds the uuid of the process that flagged its candidates."""


def flag_again(screening: str, criteria: Mapping[str, Any], label: str) -> orm.CalcFunctionNode:
    """Flag and rank all predictions of a screening under other criteria, as a set of candidates of its own.

    It reads the prediction sets of the screening and takes seconds. The candidates join the `CandidatesGroup` of the
    new label; their provenance leads through the same records to the same jobs. Done already, it is not done again.

    Parameters
    ----------
    screening
        The label of a screening whose candidates were flagged, or of such a set of candidates.
    criteria
        As `screening.Criteria.from_dict` takes them. Crystals that the screening's filters had excluded were never
        predicted and cannot be flagged: see `excluded_before`.
    label
        The label of the new set of candidates.

    Returns
    -------
    CalcFunctionNode
        The process of `flag_candidates`, whose output `ranking` has counts and candidates.

    Raises
    ------
    CriteriaError
        If the criteria are invalid.
    ValueError
        If there is no such screening, or it was not flagged yet.
    LabelTakenError
        If the new label belongs to something else.
    """
    from aiida_cgcnn_elastic.screening import Criteria

    checked = Criteria.from_dict(criteria).to_dict()
    inputs = _inputs_of(find_flagging(screening))
    content = {
        'flagged': sorted(node.uuid for nodes in inputs.values() if isinstance(nodes, dict) for node in nodes.values()),
        'criteria': checked,
    }
    content_sha256 = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    group = _claim(label, content_sha256)
    uuid = group.base.extras.get(FLAGGED_BY, None)
    if uuid is not None:
        return orm.load_node(uuid)
    # What a process that was killed has left there is flagged anew.
    group.clear()
    _, process = flag_candidates.run_get_node(criteria=orm.Dict(dict(criteria)), label=orm.Str(label), **inputs)
    if process.is_finished_ok:
        group.base.extras.set(FLAGGED_BY, process.uuid)
    return process


def find_flagging(screening: str) -> orm.CalcFunctionNode:
    """Return the process that flagged the candidates of a screening.

    Raises
    ------
    ValueError
        If there is no such screening, or it was not flagged yet.
    """
    groups = [
        group
        for group_class in (PredictionsGroup, CandidatesGroup)
        for group in orm.QueryBuilder().append(group_class, filters={'label': screening}).all(flat=True)
    ]
    if not groups:
        raise ValueError(f'there is no screening {screening!r}')
    for group in groups:
        uuid = group.base.extras.get(FLAGGED_BY, None)
        found = uuid and orm.QueryBuilder().append(orm.CalcFunctionNode, filters={'uuid': uuid}).first(flat=True)
        if found:
            return found
    raise ValueError(f'the candidates of the screening {screening!r} were not flagged yet: run it to its end first')


def excluded_before(process: orm.CalcFunctionNode) -> dict[str, int]:
    """Return how many crystals filters had excluded, by reason, before those were predicted that a process flagged."""
    counts: dict[str, int] = {}
    for node in _inputs_of(process).get('predictions', {}).values():
        for reason, count in node.base.attributes.get('excluded_by_reason').items():
            counts[reason] = counts.get(reason, 0) + count
    return dict(sorted(counts.items()))


def _inputs_of(process: orm.CalcFunctionNode) -> dict[str, Any]:
    """Return the sets that a process flagged, by namespace and key, without its thousands of records."""
    query = orm.QueryBuilder().append(orm.CalcFunctionNode, filters={'id': process.pk}, tag='process')
    query.append(
        orm.Data,
        with_outgoing='process',
        project='*',
        edge_filters={
            'type': LinkType.INPUT_CALC.value,
            'or': [{'label': {'like': r'%\_\_%'}}, {'label': 'choice'}],
        },
        edge_project='label',
    )
    inputs: dict[str, Any] = {}
    for node, label in query.iterall():
        namespace, separator, key = label.partition('__')
        if separator:
            inputs.setdefault(namespace, {})[key] = node
        else:
            inputs[namespace] = node
    return inputs


def _claim(label: str, content: str) -> CandidatesGroup:
    """Return the group of candidates of a label, bound to what is flagged and by which criteria."""
    taken = orm.QueryBuilder().append(PredictionsGroup, filters={'label': label}).first(flat=True)
    if taken is not None:
        raise LabelTakenError(f'the label {label!r} belongs to a screening (group {taken.pk}): choose another label')
    group, is_new = CandidatesGroup.collection.get_or_create(label=label)
    known = group.base.extras.get(FINGERPRINT, None)
    if not is_new and known != content and not (known is None and group.is_empty):
        raise LabelTakenError(
            f'the label {label!r} belongs to candidates of another screening or other criteria (group {group.pk}): '
            'choose another label'
        )
    group.base.extras.set(FINGERPRINT, content)
    return group
