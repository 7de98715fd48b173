"""Predictions of equal crystals by the same models, which need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

if TYPE_CHECKING:
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals import CrystalTable

__all__ = ('find_known', 'take_known')

JOBS = tuple(f'aiida.calculations:cgcnn_elastic.{name}' for name in ('predict', 'refine'))
PAIRS_REMEMBERED = 32
"""Pairs of sets of which it is remembered which crystals they share, at a byte a crystal."""
DECISIVE = {'dtype': 'float32', 'device': 'auto'}
"""The parameters that change what is predicted, be it the last digit, and their defaults. The others cut the work."""


def find_known(
    crystals: CrystalSetData, models: Mapping[str, ElasticModelData], parameters: Mapping[str, Any]
) -> list[PredictionSetData]:
    """Return stored predictions of crystals of a set by the same models, the newest first, no more than are needed.

    Parameters
    ----------
    crystals
        The set.
    models
        By any keys: what counts is their content.
    parameters
        Those of the job.
    """
    wanted = sorted(model.content_sha256 for model in models.values())
    needs_potential = any(model.potential for model in models.values())
    table = None
    found: list[PredictionSetData] = []
    seen: set[str] = set()
    is_left = np.ones(crystals.n_crystals, dtype=bool)
    for process, predictions in _earlier():
        same_models = sorted(model['content_sha256'] for model in predictions.models) == wanted
        if not same_models or predictions.content_sha256 in seen or _decisive(process) != _of(parameters):
            continue
        if needs_potential and 'residual_stress' not in predictions.base.attributes.get('columns'):
            continue  # an earlier version did not say what the potential finds
        seen.add(predictions.content_sha256)
        table = crystals.get_table() if table is None else table
        is_known = is_left & _is_in(crystals, table, process.inputs.crystals)
        if is_known.any():
            is_known &= _position(table, _ids(predictions)) >= 0
        if is_known.any():
            found.append(predictions)
            is_left &= ~is_known
        if not is_left.any():
            break
    return found


@calcfunction
def take_known(crystals: CrystalSetData, criteria: orm.Dict, **sets: Any) -> dict[str, Any]:
    """Part a set of crystals into those that the same models have predicted before, and those that are new.

    The outputs are ``new``, the crystals to be predicted; ``known__<key>``, predictions that are in every respect those
    of ``predictions__<key>``, whose records are theirs; and ``updated``, predictions of crystals whose properties have
    changed since, with the properties of today, and the crystals that the filters exclude. What would be empty is
    absent.

    :param crystals: The crystals.
    :param criteria: Criteria, of which the filters are applied.
    :param sets: The namespaces ``models`` (of ElasticModelData), ``predictions`` (of earlier PredictionSetData by these
        models) and, under the same keys, ``earlier`` (the CrystalSetData that those are of).
    """
    import pyarrow as pa

    from aiida_cgcnn_elastic.screening import Criteria, exclusions

    table = crystals.get_table()
    today = table.describe()
    reasons = exclusions(today, Criteria.from_dict(criteria.get_dict()))
    is_left = np.array([reason is None for reason in reasons], dtype=bool)
    excluded = pa.table(
        {'material_id': today.column('material_id').filter(~is_left), 'reason': pa.array(reasons[~is_left], 'string')}
    )
    known: dict[str, PredictionSetData] = {}
    updated, rejected = [_with_properties(None, today.slice(0, 0))], []
    for key, predictions in sorted(sets['predictions'].items()):
        is_equal = _is_in(crystals, table, sets['earlier'][key])
        for part, collected in ((predictions.get_rejections(), rejected), (predictions.get_table(), None)):
            rows = _position(table, part.column('material_id'))
            is_taken = is_left & is_equal & (rows >= 0)
            is_left &= ~is_taken
            taken = part.take(pa.array(rows[is_taken]))
            if collected is not None:
                collected.append(taken)
                continue
            merged = _with_properties(taken, today.filter(is_taken))
            is_same = _equal_rows(merged, taken)
            updated.append(merged.filter(~is_same))
            if is_same.any():
                known[key] = _prediction_set(merged.filter(is_same), sets['models'], crystals.source)

    outputs: dict[str, Any] = {}
    if known:
        outputs['known'] = known
    rest = pa.concat_tables(updated, promote_options='permissive')
    rejections = pa.concat_tables(rejected, promote_options='permissive')
    if rest.num_rows or excluded.num_rows or rejections.num_rows:
        outputs['updated'] = _prediction_set(rest, sets['models'], crystals.source, excluded, rejections)
    if is_left.any():
        origin = {**crystals.origin, 'skipped_by_reason': {}}
        outputs['new'] = CrystalSetData.from_table(table.select(is_left), origin)
    return outputs


def _is_in(crystals: CrystalSetData, table: CrystalTable, earlier: CrystalSetData) -> np.ndarray:
    """Return which crystals of a set, whose table is given, an earlier set has, too.

    That is remembered for the last few pairs: what :func:`find_known` compares, :func:`take_known` needs right after.
    """
    from aiida_cgcnn_elastic.crystals.matching import find_equal

    key = (crystals.content_sha256, earlier.content_sha256)
    if key not in _remembered:
        while len(_remembered) >= PAIRS_REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered[key] = find_equal(table, earlier.get_table()) >= 0
    return _remembered[key]


_remembered: dict[tuple[str, str], np.ndarray] = {}


def _earlier() -> list[tuple[orm.ProcessNode, PredictionSetData]]:
    """Return the predictions that jobs have made, and those that were put together of them, the newest first."""
    found = []
    for node_class, filters, label in (
        (orm.CalcJobNode, {'process_type': {'in': JOBS}, 'attributes.exit_status': 0}, 'predictions'),
        (orm.CalcFunctionNode, {'attributes.process_label': take_known.__name__}, 'updated'),
    ):
        query = orm.QueryBuilder().append(node_class, filters=filters, project='*', tag='process')
        query.append(PredictionSetData, with_incoming='process', edge_filters={'label': label}, project='*')
        found += query.all()
    return sorted(found, key=lambda pair: pair[1].pk, reverse=True)


def _of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters.get(key, default) for key, default in DECISIVE.items()}


def _decisive(process: orm.ProcessNode) -> dict[str, Any]:
    """Return the decisive parameters of a job, or of the jobs whose predictions a process has taken."""
    while isinstance(process, orm.CalcFunctionNode):
        process = next(iter(process.inputs.predictions.values())).creator
    return _of(process.inputs.parameters.get_dict() if 'parameters' in process.inputs else {})


def _ids(predictions: PredictionSetData) -> pa.ChunkedArray:
    """Return the ids of the crystals that were predicted, or found to be none that can be."""
    import pyarrow as pa

    parts = (predictions.get_table(['material_id']), predictions.get_rejections())
    return pa.chunked_array([chunk for part in parts for chunk in part.column('material_id').chunks], 'string')


def _position(table: Any, ids: pa.ChunkedArray) -> np.ndarray:
    """Return for each crystal of a table where its id is among some, -1 where it is not."""
    import pyarrow.compute as pc

    found = pc.index_in(table.arrow.column('material_id'), value_set=ids.combine_chunks())
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def _with_properties(predictions: pa.Table | None, today: pa.Table) -> pa.Table:
    """Return predictions with what is known of their crystals today, as a job would put them together."""
    from aiida_cgcnn_elastic.runner.predictions import prediction_table

    merged = prediction_table({}, today)
    if predictions is None:
        return merged
    # What is known of nothing but ids is what is predicted.
    for name in prediction_table({}, today.select(['material_id']).slice(0, 0)).column_names:
        if name in predictions.column_names:
            merged = merged.set_column(merged.column_names.index(name), name, predictions.column(name))
    return merged


def _equal_rows(table: pa.Table, other: pa.Table) -> np.ndarray:
    """Return which rows of two tables are equal in all columns, to the last digit; what is absent is unknown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_equal = np.ones(table.num_rows, dtype=bool)
    for name in {*table.column_names, *other.column_names}:
        if name not in table.column_names or name not in other.column_names:
            only = (table if name in table.column_names else other).column(name)
            is_equal &= only.is_null().to_numpy()
            continue
        ours, theirs = table.column(name), other.column(name)
        if pa.types.is_floating(ours.type) and pa.types.is_floating(theirs.type):
            # A job cannot tell a missing number from NaN.
            values = [pc.fill_null(column, np.nan).to_numpy() for column in (ours, theirs)]
            is_equal &= (values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1]))
            continue
        if pa.types.is_list(ours.type):
            ours, theirs = (pc.binary_join(column.cast(pa.list_(pa.string())), ' ') for column in (ours, theirs))
        both_unknown = pc.and_(ours.is_null(), theirs.is_null())
        is_equal &= pc.or_(pc.fill_null(pc.equal(ours, theirs), False), both_unknown).to_numpy()
    return is_equal


def _prediction_set(
    predictions: pa.Table,
    models: Mapping[str, ElasticModelData],
    source: str,
    excluded: pa.Table | None = None,
    rejected: pa.Table | None = None,
) -> PredictionSetData:
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals.sources.reading import REJECTION_SCHEMA
    from aiida_cgcnn_elastic.data.packed import to_parquet

    none_excluded = pa.table({'material_id': pa.array([], 'string'), 'reason': pa.array([], 'string')})
    return PredictionSetData.from_files(
        to_parquet(predictions),
        to_parquet(none_excluded if excluded is None else excluded),
        to_parquet(REJECTION_SCHEMA.empty_table() if rejected is None else rejected),
        models=models,
        source=source,
    )
