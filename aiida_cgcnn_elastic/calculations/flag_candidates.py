"""From predictions to ranked candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from aiida.engine import ExitCode, Process, calcfunction
from aiida.orm import CalcFunctionNode, Dict, Node, QueryBuilder, Str, StructureData

from aiida_cgcnn_elastic.crystals.symmetry import space_group_number
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.data.structures import structure_attributes
from aiida_cgcnn_elastic.groups import EXTRA, CandidatesGroup
from aiida_cgcnn_elastic.storage import NewNode, creators, store_outputs

if TYPE_CHECKING:
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals import Crystal
    from aiida_cgcnn_elastic.screening import Criteria, FlagResult

__all__ = ('flag_candidates',)

EXIT_CODE_CRITERIA = ExitCode(214, 'The criteria are invalid: {message}')
EXIT_CODE_NOT_RECORDED = ExitCode(310, 'Run `record_predictions` first: {message}')
EXIT_CODE_STAGES_DIFFER = ExitCode(312, 'The stages do not fit each other: {message}')
EXIT_CODE_NO_CRYSTAL = ExitCode(311, 'Give the crystal sets that were predicted: {message}')


class Record(NamedTuple):
    """What is needed of an `ElasticPredictionData`."""

    pk: int
    uuid: str
    label: str
    attributes: dict[str, Any]


@calcfunction
def flag_candidates(
    criteria: Dict, label: Str | None = None, choice: Dict | None = None, **sets: Any
) -> dict[str, Dict] | ExitCode:
    """Flag and rank the predictions that meet the criteria; write a ``StructureData`` for each, all or none.

    The candidates are outputs ``candidate_1``, ``candidate_2``, ... by rank, and the records of their predictions
    become inputs ``prediction_1``, ... of this process. The label of a candidate is the material id, its description
    the formula, and its extra ``cgcnn_elastic`` holds ``rank``, ``prediction_uuid``, ``screening`` and all that is
    predicted and known.

    After a second stage, the refined predictions decide. Crystals that it was to predict and could not keep the first
    prediction, those that it was not to predict are no candidates. A refined candidate has what the first stage said in
    its extra too, and the record of that as input ``first_stage_<rank>`` of this process.

    :param criteria: The criteria, see :class:`aiida_cgcnn_elastic.screening.Criteria`.
    :param label: The screening's label: the candidates join the group ``cgcnn_elastic.candidates`` of that label.
    :param choice: What :func:`~aiida_cgcnn_elastic.workflows.refinement.choose_for_refinement` chose, if there is a
        second stage.
    :param sets: The namespaces ``crystals`` (of CrystalSetData) and ``predictions`` (of recorded PredictionSetData),
        and of a second stage ``chosen`` and ``refined``.
    """
    import pyarrow as pa

    from aiida_cgcnn_elastic.screening import FLAG_COLUMNS, Criteria, flag, reasons

    process = Process.current().node
    # A clone would lack the links from the records and the group.
    process.base.caching.is_valid_cache = False
    first = [node for _, node in sorted(sets['predictions'].items())]
    refined = [node for _, node in sorted(sets.get('refined', {}).items())]
    prediction_sets = [*first, *refined]
    try:
        checked = Criteria.from_dict(criteria.get_dict())
    except ValueError as exception:
        return EXIT_CODE_CRITERIA.format(message=str(exception))

    tables = [node.get_table(FLAG_COLUMNS) for node in prediction_sets]
    set_of_row = np.repeat(np.arange(len(tables)), [part.num_rows for part in tables])
    table = pa.concat_tables(tables, promote_options='permissive')
    n_predictions = n_first = sum(part.num_rows for part in tables[: len(first)])
    earlier = table.slice(0, n_first)
    if choice is not None:
        try:
            is_judged = _judged_rows(table.column('material_id'), n_first, refined, choice['n_chosen'])
        except ValueError as exception:
            return EXIT_CODE_STAGES_DIFFER.format(message=str(exception))
        table, set_of_row = table.filter(is_judged), set_of_row[is_judged]
    result = flag(table, checked)
    failed = dict(result.failed)
    if table.num_rows < n_predictions:
        failed[reasons.BELOW_FIRST_CUT] = n_predictions - table.num_rows
    chosen = table.take(result.order).to_pylist()
    set_of_chosen = [int(set_of_row[row]) for row in result.order]
    try:
        records = _find_records(prediction_sets, chosen, set_of_chosen)
        first_records = _find_first_records(first, earlier, chosen, set_of_chosen)
    except LookupError as exception:
        return EXIT_CODE_NOT_RECORDED.format(message=str(exception))
    try:
        crystal_sets = {**sets['crystals'], **{f'chosen_{key}': node for key, node in sets.get('chosen', {}).items()}}
        crystals = _find_crystals(prediction_sets, crystal_sets, chosen, set_of_chosen)
    except LookupError as exception:
        return EXIT_CODE_NO_CRYSTAL.format(message=str(exception))

    hardness = [float(result.hardness[row]) for row in result.order]
    screening = None if label is None else label.value
    probabilities = [_known(result.p_candidate[row]) for row in result.order]
    extras = [
        {
            **_extra(rank, record, screening, crystal, checked.hardness_law, value, probability),
            **_first_stage(first_records.get(rank), checked.hardness_law),
        }
        for rank, (record, crystal, value, probability) in enumerate(
            zip(records, crystals, hardness, probabilities, strict=True), start=1
        )
    ]
    pks = store_outputs(
        StructureData,
        _new_structures(crystals, extras),
        creator=process,
        group=None if label is None else CandidatesGroup.collection.get_or_create(label.value)[0],
        inputs={
            **{f'prediction_{rank}': record.pk for rank, record in enumerate(records, start=1)},
            **{f'first_stage_{rank}': record.pk for rank, record in first_records.items()},
        },
    )
    return {'ranking': _ranking(n_predictions, result, failed, checked, extras, pks)}


def _judged_rows(ids: pa.ChunkedArray, n_first: int, refined: list[PredictionSetData], n_chosen: int) -> Any:
    """Return which rows of both stages' predictions decide: all refined ones, and the first where there can be none.

    Raises
    ------
    ValueError
        If the refined predictions are not those of all chosen crystals.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    without = pa.array(
        [row for node in refined for row in node.get_rejections().column('material_id').to_pylist()], 'string'
    )
    n_refined = len(ids) - n_first
    is_judged = np.ones(len(ids), dtype=bool)
    is_judged[:n_first] = pc.is_in(ids.slice(0, n_first), value_set=without).to_numpy()
    n_known = pc.is_in(ids.slice(0, n_first), value_set=ids.slice(n_first).combine_chunks()).to_numpy().sum()
    if (n_refined + len(without), n_known, is_judged[:n_first].sum()) != (n_chosen, n_refined, len(without)):
        raise ValueError(
            f'{n_chosen} crystals were chosen, but {n_refined} refined and {len(without)} rejected, of which '
            f'{n_known} and {is_judged[:n_first].sum()} are among the first predictions'
        )
    return is_judged


def _find_records(
    prediction_sets: list[PredictionSetData], chosen: list[dict[str, Any]], set_of_chosen: list[int]
) -> list[Record]:
    """Return the record of each chosen row.

    Raises
    ------
    LookupError
        If a prediction was not recorded.
    """
    # By their ids alone, and their processes afterwards: see `storage.links`.
    ids = sorted({row['material_id'] for row in chosen})
    query = QueryBuilder().append(ElasticPredictionData, filters={'label': {'in': ids}}, project=['id', 'label'])
    label_of = dict(query.all()) if ids else {}
    process_of = creators(prediction_sets[0].backend, list(label_of))
    sets_of: dict[int, list[int]] = defaultdict(list)
    for index in set(set_of_chosen):
        for process in _recording_processes(prediction_sets[index]):
            sets_of[process].append(index)
    pks: dict[tuple[int, str], int] = {}
    # A set may have been recorded twice; the first record counts.
    for pk in sorted(process_of, reverse=True):
        for index in sets_of[process_of[pk]]:
            pks[index, label_of[pk]] = pk
    # Nodes would be read again, one by one, whenever something is stored.
    query = QueryBuilder().append(
        ElasticPredictionData,
        filters={'id': {'in': sorted(set(pks.values()))}},
        project=['id', 'uuid', 'label', 'attributes'],
    )
    records = {pk: Record(pk, *values) for pk, *values in query.iterall()} if pks else {}
    found = []
    for row, index in zip(chosen, set_of_chosen, strict=True):
        if (index, row['material_id']) not in pks:
            raise LookupError(f'no record of the prediction of {row["material_id"]} in {prediction_sets[index]}')
        found.append(records[pks[index, row['material_id']]])
    return found


def _recording_processes(prediction_set: PredictionSetData) -> list[int]:
    """Return the pks of the processes that have recorded a prediction set, one of equal content, or its origin."""
    earlier = prediction_set.taken_from()
    sets = prediction_set.find_equal() + ([] if earlier is None else earlier.find_equal())
    query = QueryBuilder().append(PredictionSetData, filters={'id': {'in': sets}}, tag='set')
    return query.append(CalcFunctionNode, with_incoming='set', project='id').distinct().all(flat=True)


def _find_first_records(
    first: list[PredictionSetData], earlier: pa.Table, chosen: list[dict[str, Any]], set_of_chosen: list[int]
) -> dict[int, Record]:
    """Return the records of the first stage's predictions of refined candidates, by rank.

    Raises
    ------
    LookupError
        If a prediction was not recorded.
    """
    ranks = {
        row['material_id']: rank
        for rank, (row, of) in enumerate(zip(chosen, set_of_chosen, strict=True), start=1)
        if of >= len(first)
    }
    if not ranks:
        return {}
    set_of_row = np.repeat(np.arange(len(first)), [node.n_predicted for node in first])
    ids = np.array(earlier.column('material_id').to_pylist(), dtype=object)
    rows = np.flatnonzero(np.isin(ids, list(ranks)))
    found = _find_records(first, [{'material_id': ids[row]} for row in rows], set_of_row[rows].tolist())
    return {ranks[record.label]: record for record in found}


def _first_stage(record: Record | None, hardness_law: str) -> dict[str, Any]:
    """Return what the first stage said of a candidate, for its extra; nothing where it is no refined one."""
    if record is None:
        return {}
    values = record.attributes
    names = ('log10_k_vrh', 'log10_g_vrh')
    return {
        **{f'{name}_first_stage': values[name] for name in names},
        'hardness_first_stage': values[f'hardness_{hardness_law}'],
        'first_stage_uuid': record.uuid,
    }


def _find_crystals(
    prediction_sets: list[PredictionSetData],
    crystal_sets: Mapping[str, CrystalSetData],
    chosen: list[dict[str, Any]],
    set_of_chosen: list[int],
) -> list[Crystal]:
    """Return the crystal of each chosen row.

    Raises
    ------
    LookupError
        If the set of its crystal is not given.
    """
    keys = {index: _key_of_crystals(prediction_sets[index], crystal_sets) for index in set(set_of_chosen)}
    wanted: dict[str, list[str]] = {key: [] for key in keys.values()}
    for row, index in zip(chosen, set_of_chosen, strict=True):
        wanted[keys[index]].append(row['material_id'])
    # One reading of each set, however many candidates it has; each is taken from it in its turn.
    found = {key: iter(crystal_sets[key].get_crystals(ids)) for key, ids in wanted.items()}
    return [next(found[keys[index]]) for index in set_of_chosen]


def _key_of_crystals(predictions: PredictionSetData, crystal_sets: Mapping[str, CrystalSetData]) -> str:
    """Return the key of the crystal set that predictions are of: that of their job, or else the only one given."""
    creator = predictions.creator
    if creator is None:
        if len(crystal_sets) == 1:
            return next(iter(crystal_sets))
        raise LookupError(f'{predictions} was not made by a job, so which of the crystal sets it is of is not known')
    content = creator.inputs.crystals.content_sha256
    for key, node in sorted(crystal_sets.items()):
        if node.content_sha256 == content:
            return key
    raise LookupError(f'{creator.inputs.crystals}, of which {predictions} is, is not among the crystal sets')


def _extra(
    rank: int,
    record: Record,
    screening: str | None,
    crystal: Crystal,
    hardness_law: str,
    hardness: float,
    p_candidate: float | None,
) -> dict[str, Any]:
    """Return what a candidate's extra holds: everything of the record, and its place in the screening.

    The record's `p_candidate` is about the default thresholds, the extra's about those of the screening.
    """
    values = dict(record.attributes)
    if values.get('space_group_number') is None:
        values['space_group_number'] = space_group_number(crystal.lattice, crystal.atomic_numbers, crystal.frac_coords)
    place = {
        'rank': rank,
        'screening': screening,
        'prediction_uuid': record.uuid,
        'hardness': float(f'{hardness:.14g}'),
        'hardness_law': hardness_law,
        'p_candidate': p_candidate,
    }
    return {**values, **place}


def _known(value: float) -> float | None:
    """Return a number as AiiDA stores it, None where it is not known."""
    return None if value != value else float(f'{value:.14g}')


def _new_structures(crystals: list[Crystal], extras: list[dict[str, Any]]) -> Iterator[NewNode]:
    for crystal, extra in zip(crystals, extras, strict=True):
        yield NewNode(
            structure_attributes(crystal),
            link_label=f'candidate_{extra["rank"]}',
            label=crystal.material_id,
            description=crystal.formula,
            extras={EXTRA: extra},
        )


def _ranking(
    n_predictions: int,
    result: FlagResult,
    failed: dict[str, int],
    criteria: Criteria,
    extras: list[dict[str, Any]],
    pks: list[int],
) -> Dict:
    """Return the counts, the criteria in full, and the candidates by rank."""
    uuid_of = (
        dict(QueryBuilder().append(Node, filters={'id': {'in': pks}}, project=['id', 'uuid']).all()) if pks else {}
    )
    shown = (
        *('rank', 'material_id', 'formula', 'log10_k_vrh', 'log10_g_vrh', 'log10_k_vrh_std', 'log10_g_vrh_std'),
        *('hardness', 'p_candidate', 'novelty', 'residual_stress', 'prediction_uuid'),
    )
    stages = ('log10_k_vrh_first_stage', 'log10_g_vrh_first_stage', 'hardness_first_stage', 'first_stage_uuid')
    return Dict(
        {
            'n_predictions': n_predictions,
            'n_candidates': len(pks),
            'failed': failed,
            'kept_unknown': result.kept_unknown,
            'criteria': criteria.to_dict(),
            'candidates': [
                {
                    **{key: extra.get(key) for key in shown},
                    **{key: extra[key] for key in stages if key in extra},
                    'structure_uuid': uuid_of[pk],
                }
                for extra, pk in zip(extras, pks, strict=True)
            ],
        }
    )
