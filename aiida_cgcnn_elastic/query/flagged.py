"""Flagged candidates: structures that say of themselves, in an extra, what is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiida.orm import Group, QueryBuilder, StructureData

from aiida_cgcnn_elastic.groups import EXTRA, CandidatesGroup
from aiida_cgcnn_elastic.query.conditions import Where, check_columns, columns_in, filters_of
from aiida_cgcnn_elastic.query.groups import IDS_AT_ONCE, find_group, members

if TYPE_CHECKING:
    import pandas as pd

__all__ = ('candidates',)


def candidates(
    screening: str | Group | None = None,
    *,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Where | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return flagged candidates, one row each, by screening and rank.

    Parameters
    ----------
    screening : str or Group, optional
        Only those of the screening of this label.
    elements, not_elements, where, columns
        As those of :func:`predictions`.
    limit : int, optional
        Only so many rows.

    Returns
    -------
    pandas.DataFrame
        With ``screening``, ``rank``, ``material_id``, all that is predicted and known, ``prediction_uuid``,
        ``structure_uuid`` and ``structure_pk``.

    Raises
    ------
    ValueError
        If there is no such screening, an operator is unknown, or no prediction has a column asked for.
    """
    import pandas as pd

    filters = [{'extras': {'has_key': EXTRA}}, *filters_of(f'extras.{EXTRA}', elements, not_elements, where)]
    if screening is None:
        groups = QueryBuilder().append(CandidatesGroup).all(flat=True)
    else:
        groups = [find_group(CandidatesGroup, screening)]
    rows = []
    for group in groups:
        # Members first, then what they are: for both at once PostgreSQL takes a time that grows with their square.
        pks = members(CandidatesGroup, group.label)
        for start in range(0, len(pks), IDS_AT_ONCE):
            query = QueryBuilder()
            query.append(
                StructureData,
                filters={'and': [{'id': {'in': pks[start : start + IDS_AT_ONCE]}}, *filters]},
                project=[f'extras.{EXTRA}', 'uuid', 'id'],
                tag='candidate',
            )
            if limit is not None:
                query.order_by({'candidate': [{f'extras.{EXTRA}.rank': {'order': 'asc', 'cast': 'f'}}]}).limit(limit)
            rows += [
                {**extra, 'screening': group.label, 'structure_uuid': uuid, 'structure_pk': pk}
                for extra, uuid, pk in query.all()
            ]
    if not rows:
        check_columns(set(columns_in(where)) - {'rank', 'screening', 'prediction_uuid'})
    first = ['screening', 'rank', 'material_id', 'formula']
    last = ['prediction_uuid', 'structure_uuid', 'structure_pk']
    names = dict.fromkeys(name for row in rows for name in row if name not in (*first, *last))
    frame = pd.DataFrame(rows, columns=[*first, *names, *last])
    frame = frame.sort_values(['screening', 'rank'], ignore_index=True)
    if columns is not None:
        frame = frame.reindex(columns=list(columns))
    return frame if limit is None else frame.head(limit)
