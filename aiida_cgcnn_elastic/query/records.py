"""Recorded predictions: as one frame, page by page, counted, and of one prediction set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aiida.orm import CalcFunctionNode, Group, QueryBuilder

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.groups import FirstStageGroup, PredictionsGroup
from aiida_cgcnn_elastic.query.columns import frame_of, parse_order, projections, sort_keys, type_of
from aiida_cgcnn_elastic.query.conditions import Where, check_columns, columns_in, filters_of
from aiida_cgcnn_elastic.query.groups import find_group

if TYPE_CHECKING:
    import pandas as pd

__all__ = ('iter_predictions', 'n_predictions', 'predictions', 'recorded')


def predictions(
    *,
    screening: str | Group | None = None,
    first_stage: bool = False,
    model: str | None = None,
    material_ids: Sequence[str] | None = None,
    formula: str | None = None,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Where | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | None = '-log10_g_vrh',
    limit: int | None = None,
    offset: int = 0,
) -> pd.DataFrame:
    """Return recorded predictions, one row each.

    Parameters
    ----------
    screening : str or Group, optional
        Only those of the screening of this label: one for each crystal, the refined one where there is one.
    first_stage : bool
        Instead of these, what the first stage of that screening said of the crystals that its second stage refined.
    model : str, optional
        Only those by the model of this name or checksum; several names, in alphabetical order, are joined by ``+``.
    material_ids : sequence of str, optional
        Only those of these crystals.
    formula : str, optional
        Only those of this reduced formula, spelled as pymatgen does.
    elements, not_elements : sequence of str, optional
        Only those that contain all, and none, of these elements.
    where : mapping of str to (operator, value), or pairs, optional
        Conditions on any column, such as ``{'log10_g_vrh': ('>=', 2), 'space_group_number': ('in', [225, 227])}``, or
        pairs of column and condition. A row whose value is missing fulfils none.
    columns : sequence of str, optional
        The columns wanted; by default all, and ``uuid`` and ``pk``.
    order_by : str, optional
        The column to sort by, largest first with a leading ``-``; missing values come last.
    limit : int, optional
        Only so many rows. Those without a value to sort by do not count then.
    offset : int
        Pass over so many rows first: the next page. To go through all, :func:`iter_predictions` is faster.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        If there is no such screening, or none with a second stage, an operator is unknown, or no prediction has a
        column asked for.
    """
    filters = _filters(model, elements, not_elements, where)
    if material_ids is not None:
        filters.append({'label': {'in': list(material_ids)}})
    if formula is not None:
        filters.append({'attributes.formula': formula})
    column, order = parse_order(order_by)
    if column not in (None, 'pk', 'uuid'):
        check_columns([column])
    if offset and (limit is None or order_by is None):
        raise ValueError('`offset` needs a limit and a column to sort by')
    is_top = limit is not None and column is not None
    if is_top and column not in ('pk', 'uuid'):
        filters.append({f'attributes.{column}': {'of_type': 'number' if type_of(str(column)) == 'f' else 'string'}})
    query, join = _in_screening(screening, first_stage=first_stage)
    names = None if columns is None else list(columns)
    # What is sorted by is fetched too, and left out at the end.
    fetched = None if names is None else list(dict.fromkeys(names if column is None else [*names, column]))
    project = ['attributes', 'uuid', 'id'] if fetched is None else projections(fetched)
    query.append(
        ElasticPredictionData,
        filters={'and': filters} if filters else {},
        # The database sorts keys alone: whole rows would fill its memory.
        project='id' if is_top else project,
        tag='prediction',
        **join,
    )
    if is_top:
        query.order_by({'prediction': sort_keys(str(column), order)})
    if limit is not None:
        query.limit(limit)
    if offset:
        query.offset(offset)
    rows = _rows_of(query.all(flat=True), project) if is_top else query.all()
    if not rows:
        check_columns(columns_in(where))
    frame = frame_of(rows, fetched, column, ascending=order == 'asc')
    return frame if names is None else frame[names]


def n_predictions(
    *,
    screening: str | Group | None = None,
    first_stage: bool = False,
    model: str | None = None,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Where | None = None,
) -> int:
    """Return how many recorded predictions there are; the parameters are those of :func:`predictions`.

    Raises
    ------
    ValueError
        As :func:`predictions`.
    """
    filters = _filters(model, elements, not_elements, where)
    query, join = _in_screening(screening, first_stage=first_stage)
    query.append(ElasticPredictionData, filters={'and': filters} if filters else {}, project='id', **join)
    return query.count()


def iter_predictions(
    *,
    screening: str | Group | None = None,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Where | None = None,
    columns: Sequence[str] | None = None,
    page_size: int = 10_000,
) -> Iterator[pd.DataFrame]:
    """Yield recorded predictions page by page, so that a million of them need no more memory than a page.

    They come in the order in which they were recorded. A prediction recorded meanwhile comes in a later page.

    Parameters
    ----------
    screening, elements, not_elements, where, columns
        As those of :func:`predictions`.
    page_size : int
        Rows in a page at most.

    Raises
    ------
    ValueError
        As :func:`predictions`.
    """
    filters = filters_of('attributes', elements, not_elements, where)
    group = None if screening is None else find_group(PredictionsGroup, screening).pk
    names = None if columns is None else list(columns)
    project = ['attributes', 'uuid', 'id'] if names is None else projections(names)
    with_key = list(dict.fromkeys([*project, 'id']))
    last, n_pages = -1, 0
    while True:
        query = QueryBuilder()
        if group is not None:
            query.append(PredictionsGroup, filters={'id': group}, tag='group')
        query.append(
            ElasticPredictionData,
            # By key, not by offset: a database finds the place in its index, and need not count up to it.
            filters={'and': [*filters, {'id': {'>': last}}]},
            project=with_key,
            tag='prediction',
            **({} if group is None else {'with_group': 'group'}),
        )
        rows = query.order_by({'prediction': {'id': 'asc'}}).limit(page_size).all()
        if not rows:
            break
        last = rows[-1][with_key.index('id')]
        n_pages += 1
        yield frame_of([row[: len(project)] for row in rows], names, None, ascending=True)
    if not n_pages:
        check_columns(columns_in(where))


def recorded(prediction_set: PredictionSetData) -> list[int]:
    """Return the pks of the records of a prediction set, or of one of equal content, in the order of its rows.

    Those of predictions that were taken as they were from an earlier set are that set's.

    Empty where it was not recorded. Recording is all or nothing, so what is found is complete.
    """
    query = QueryBuilder()
    query.append(PredictionSetData, filters={'id': {'in': prediction_set.find_equal()}}, tag='set')
    query.append(CalcFunctionNode, with_incoming='set', tag='process', project='id')
    query.append(ElasticPredictionData, with_incoming='process', project='id')
    by_process: dict[int, list[int]] = {}
    for process, record in query.iterall():
        by_process.setdefault(process, []).append(record)
    complete = [records for _, records in sorted(by_process.items()) if len(records) == prediction_set.n_predicted]
    if complete:
        return sorted(complete[0])
    earlier = prediction_set.taken_from()
    pks = [] if earlier is None else recorded(earlier)
    if earlier is None or not pks:
        return []
    pk_of = dict(zip(earlier.get_table(['material_id']).column('material_id').to_pylist(), pks, strict=True))
    return [pk_of[name] for name in prediction_set.get_table(['material_id']).column('material_id').to_pylist()]


def _filters(
    model: str | None, elements: Sequence[str] | None, not_elements: Sequence[str] | None, where: Where | None
) -> list[dict[str, Any]]:
    filters = filters_of('attributes', elements, not_elements, where)
    if model is not None:
        filters.append({'or': [{'attributes.model': model}, {'attributes.model_content': model}]})
    return filters


def _in_screening(screening: str | Group | None, *, first_stage: bool) -> tuple[QueryBuilder, dict[str, str]]:
    """Return a query of a screening's group, if one is named, and how to join its predictions to it."""
    query = QueryBuilder()
    if screening is None:
        if first_stage:
            raise ValueError('`first_stage` is one of a screening: name it')
        return query, {}
    group_class = FirstStageGroup if first_stage else PredictionsGroup
    query.append(group_class, filters={'id': find_group(group_class, screening).pk}, tag='group')
    return query, {'with_group': 'group'}


def _rows_of(pks: Sequence[int], project: list[str]) -> list[list[Any]]:
    """Return what is wanted of predictions, in the order of their keys here."""
    if not pks:
        return []
    query = QueryBuilder()
    with_key = list(dict.fromkeys([*project, 'id']))
    query.append(ElasticPredictionData, filters={'id': {'in': list(pks)}}, project=with_key)
    place = with_key.index('id')
    # Not by a cursor, for which PostgreSQL chooses plans that give the first row soon and the others late.
    rows = {row[place]: row[: len(project)] for row in query.all()}
    return [rows[pk] for pk in pks]
