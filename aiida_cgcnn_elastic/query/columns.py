"""Columns of predictions: how the database fetches and sorts them, and the data frame that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ('TEXT_COLUMNS', 'frame_of', 'parse_order', 'projections', 'sort_keys', 'type_of')

TEXT_COLUMNS = frozenset(
    ('material_id', 'formula', 'model', 'model_content', 'source', 'novelty_reason', 'duplicate_of', 'source_uuid')
)
"""Columns that are compared and sorted as text."""


def parse_order(order_by: str | None) -> tuple[str | None, str]:
    """Return the column to sort by, None for none, and ``asc`` or, with a leading ``-``, ``desc``."""
    if order_by is None:
        return None, 'asc'
    return order_by.removeprefix('-'), 'desc' if order_by.startswith('-') else 'asc'


def type_of(column: str) -> str:
    """Return the type as which a database compares a column: ``t`` for text, ``f`` for float."""
    return 't' if column in TEXT_COLUMNS else 'f'


def sort_keys(column: str, order: str) -> list[dict[str, Any]]:
    """Return by what a database sorts predictions; ties by key."""
    by_key = {'id': {'order': order if column == 'pk' else 'asc'}}
    if column == 'pk':
        return [by_key]
    own = {'uuid': {'order': order}}
    return [own if column == 'uuid' else {f'attributes.{column}': {'order': order, 'cast': type_of(column)}}, by_key]


def projections(names: list[str]) -> list[str]:
    """Return what to ask the database for, to get columns of predictions."""
    own = {'uuid': 'uuid', 'pk': 'id'}
    return [own.get(name, f'attributes.{name}') for name in names]


def frame_of(rows: list[list[Any]], names: list[str] | None, column: str | None, *, ascending: bool) -> pd.DataFrame:
    """Return a frame of those columns, or of all, from what :func:`projections` asks for, sorted by one of them."""
    import pandas as pd

    if names is None:
        frame = pd.DataFrame([{**attributes, 'uuid': uuid, 'pk': pk} for attributes, uuid, pk in rows])
        if frame.empty:
            frame = pd.DataFrame(columns=['material_id', 'log10_k_vrh', 'log10_g_vrh', 'uuid', 'pk'])
        # Rows of other sources may have more columns; these go before the identifiers.
        frame = frame[[name for name in frame.columns if name not in ('uuid', 'pk')] + ['uuid', 'pk']]
    else:
        frame = pd.DataFrame(rows, columns=names)
    if column is not None and column in frame.columns:
        frame = frame.sort_values(column, ascending=ascending, ignore_index=True, kind='stable')
    return frame
