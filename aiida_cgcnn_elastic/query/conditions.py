"""Conditions on predictions and candidates: filters of the database from columns, operators and values.

Numbers are always compared as floats: on SQLite a filter with an integer on a float attribute loses rows silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiida.orm import QueryBuilder

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData

__all__ = ('OPERATORS', 'Where', 'check_columns', 'columns_in', 'filters_of')

OPERATORS = ('==', '!=', '<', '<=', '>', '>=', 'in')

Where = Mapping[str, tuple[str, Any]] | Sequence[tuple[str, tuple[str, Any]]]
"""Conditions by the name of the column: an operator of :data:`OPERATORS` and a value; pairs, for two on one."""


def filters_of(
    prefix: str, elements: Sequence[str] | None, not_elements: Sequence[str] | None, where: Where | None
) -> list[dict[str, Any]]:
    """Return filters for attributes or extras below a prefix."""
    filters: list[dict[str, Any]] = []
    if elements:
        filters.append({f'{prefix}.elements': {'contains': list(elements)}})
    filters.extend({f'{prefix}.elements': {'!contains': [element]}} for element in not_elements or ())
    for column, (operator, value) in where.items() if isinstance(where, Mapping) else where or ():
        if operator not in OPERATORS:
            raise ValueError(f'unknown operator {operator!r} for {column!r}; allowed are {OPERATORS}')
        key = f'{prefix}.{column}'
        if operator == '!=':
            filters.append({'and': [_has_value(key), {key: {'!==': _comparable(value)}}]})
        else:
            filters.append({key: {operator: _comparable(value)}})
    return filters


def columns_in(where: Where | None) -> list[str]:
    """Return the columns that conditions are on."""
    return [column for column, _ in (where.items() if isinstance(where, Mapping) else where or ())]


def check_columns(columns: Iterable[str]) -> None:
    """Raise if no prediction at all has one of the columns: a misspelled name would look like an empty result."""
    example = QueryBuilder().append(ElasticPredictionData, project='attributes').first(flat=True)
    if example is None:
        return
    for column in columns:
        query = QueryBuilder().append(ElasticPredictionData, filters={'attributes': {'has_key': column}})
        if query.first() is None:
            raise ValueError(
                f'no prediction has a column {column!r}; there are, for example, {", ".join(sorted(example))}'
            )


def _comparable(value: Any) -> Any:
    """Return a value as the database must get it: every number as a float."""
    if isinstance(value, (list, tuple, set)):
        return [_comparable(item) for item in value]
    is_number = hasattr(value, '__float__') and not isinstance(value, bool)
    return float(value) if is_number else value


def _has_value(key: str) -> dict[str, Any]:
    return {'or': [{key: {'of_type': kind}} for kind in ('number', 'string', 'boolean')]}
