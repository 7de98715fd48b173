"""Screenings and sets of candidates: the groups that hold what they found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiida.orm import Group, Node, QueryBuilder

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import CandidatesGroup, FirstStageGroup, PredictionsGroup

if TYPE_CHECKING:
    import pandas as pd

__all__ = ('IDS_AT_ONCE', 'find_group', 'members', 'other_predictions_of_the_same', 'screenings')

IDS_AT_ONCE = 5000
"""Keys in one filter: databases limit how many values a statement has."""


def screenings() -> pd.DataFrame:
    """Return the screenings, the newest first.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``n_predictions`` (one a crystal), ``n_refined`` (how many of these are of a second stage),
        ``n_candidates`` and ``time``.
    """
    import pandas as pd

    rows: dict[str, dict[str, Any]] = {}
    counted = {'n_predictions': PredictionsGroup, 'n_refined': FirstStageGroup, 'n_candidates': CandidatesGroup}
    for key, group_class in counted.items():
        for group in QueryBuilder().append(group_class).all(flat=True):
            row = rows.setdefault(group.label, {'label': group.label, 'time': group.time})
            row[key] = group.count()
            row['time'] = min(row['time'], group.time)
    counts = list(counted)
    frame = pd.DataFrame(list(rows.values()), columns=['label', *counts, 'time'])
    frame[counts] = frame[counts].fillna(0).astype(int)
    return frame.sort_values('time', ascending=False, ignore_index=True)


def find_group(group_class: type[Group], screening: str | Group) -> Group:
    """Return a screening's group of that class.

    Raises
    ------
    ValueError
        If there is none; the message lists those there are.
    """
    label = screening if isinstance(screening, str) else screening.label
    groups = {group.label: group for group in QueryBuilder().append(group_class).all(flat=True)}
    if label in groups:
        return groups[label]
    # A screening has two groups of one label. AiiDA's import of an archive wants every label once, so it renames one.
    renamed = [name for name in groups if re.fullmatch(re.escape(label) + r' \(Imported #\d+\)', name)]
    if len(renamed) == 1:
        return groups[renamed[0]]
    if group_class is PredictionsGroup and QueryBuilder().append(CandidatesGroup, filters={'label': label}).count():
        raise ValueError(f'{label!r} is a set of candidates, flagged anew: the predictions are those of its screening')
    kind = 'screening with a second stage' if group_class is FirstStageGroup else 'screening'
    raise ValueError(f'there is no {kind} {label!r}; there are {sorted(groups)}')


def members(group_class: type[Group], label: str) -> list[int]:
    """Return the pks of the members of a screening's group of that class, none where there is no such group."""
    query = QueryBuilder().append(group_class, filters={'label': label}, tag='group')
    return query.append(Node, with_group='group', project='id').all(flat=True)


def other_predictions_of_the_same(pks: Sequence[int], group: PredictionsGroup) -> list[int]:
    """Return the pks of the predictions in a group that are of the same crystals as some others, by material id."""
    same: set[int] = set()
    for start in range(0, len(pks), IDS_AT_ONCE):
        some = list(pks[start : start + IDS_AT_ONCE])
        ids = QueryBuilder().append(ElasticPredictionData, filters={'id': {'in': some}}, project='label').all(flat=True)
        query = QueryBuilder().append(ElasticPredictionData, filters={'label': {'in': ids}}, project='id')
        same.update(query.all(flat=True))
    # In one query, PostgreSQL might compare every member with every id.
    of_group = QueryBuilder().append(PredictionsGroup, filters={'id': group.pk}, tag='group')
    of_group.append(ElasticPredictionData, with_group='group', project='id')
    return sorted((same & set(of_group.all(flat=True))) - set(pks))
