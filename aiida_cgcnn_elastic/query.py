"""From QueryBuilder to pandas: predictions, candidates and where they come from, sweeps.

Numbers are always compared as floats: on SQLite a filter with an integer on a float attribute loses rows silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiida.common.links import LinkType
from aiida.orm import (
    CalcFunctionNode,
    CalcJobNode,
    Data,
    Group,
    Node,
    ProcessNode,
    QueryBuilder,
    StructureData,
    WorkChainNode,
    load_node,
)

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.groups import CandidatesGroup, FirstStageGroup, PredictionsGroup

if TYPE_CHECKING:
    import pandas as pd

__all__ = (
    'candidates',
    'iter_predictions',
    'learning_curves',
    'n_predictions',
    'predictions',
    'provenance',
    'recorded',
    'screenings',
    'sweep',
    'sweeps',
)

TEXT_COLUMNS = frozenset(
    ('material_id', 'formula', 'model', 'model_content', 'source', 'novelty_reason', 'duplicate_of', 'source_uuid')
)
"""Columns that are compared and sorted as text."""

OPERATORS = ('==', '!=', '<', '<=', '>', '>=', 'in')
EXTRA = 'cgcnn_elastic'
SWEEP = 'aiida.workflows:cgcnn_elastic.sweep'
SWEEP_METRICS = ('mae', 'rmse', 'r2')
_IDS_AT_ONCE = 5000

Where = Mapping[str, tuple[str, Any]] | Sequence[tuple[str, tuple[str, Any]]]
"""Conditions by the name of the column: an operator of :data:`OPERATORS` and a value; pairs, for two on one."""


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
    column, order = _order(order_by)
    if column not in (None, 'pk', 'uuid'):
        _check_columns([column])
    if offset and (limit is None or order_by is None):
        raise ValueError('`offset` needs a limit and a column to sort by')
    is_top = limit is not None and column is not None
    if is_top and column not in ('pk', 'uuid'):
        filters.append({f'attributes.{column}': {'of_type': 'number' if _cast(str(column)) == 'f' else 'string'}})
    query, join = _in_screening(screening, first_stage=first_stage)
    names = None if columns is None else list(columns)
    # What is sorted by is fetched too, and left out at the end.
    fetched = None if names is None else list(dict.fromkeys(names if column is None else [*names, column]))
    project = ['attributes', 'uuid', 'id'] if fetched is None else _projections(fetched)
    query.append(
        ElasticPredictionData,
        filters={'and': filters} if filters else {},
        # The database sorts keys alone: whole rows would fill its memory.
        project='id' if is_top else project,
        tag='prediction',
        **join,
    )
    if is_top:
        query.order_by({'prediction': _sorting(str(column), order)})
    if limit is not None:
        query.limit(limit)
    if offset:
        query.offset(offset)
    rows = _rows_of(query.all(flat=True), project) if is_top else query.all()
    if not rows:
        _check_columns(_columns_of(where))
    frame = _frame(rows, fetched, column, ascending=order == 'asc')
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


def _filters(
    model: str | None, elements: Sequence[str] | None, not_elements: Sequence[str] | None, where: Where | None
) -> list[dict[str, Any]]:
    filters = _conditions('attributes', elements, not_elements, where)
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
    filters = _conditions('attributes', elements, not_elements, where)
    group = None if screening is None else find_group(PredictionsGroup, screening).pk
    names = None if columns is None else list(columns)
    project = ['attributes', 'uuid', 'id'] if names is None else _projections(names)
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
        yield _frame([row[: len(project)] for row in rows], names, None, ascending=True)
    if not n_pages:
        _check_columns(_columns_of(where))


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

    filters = [{'extras': {'has_key': EXTRA}}, *_conditions(f'extras.{EXTRA}', elements, not_elements, where)]
    if screening is None:
        groups = QueryBuilder().append(CandidatesGroup).all(flat=True)
    else:
        groups = [find_group(CandidatesGroup, screening)]
    rows = []
    for group in groups:
        # Members first, then what they are: for both at once PostgreSQL takes a time that grows with their square.
        pks = members(CandidatesGroup, group.label)
        for start in range(0, len(pks), _IDS_AT_ONCE):
            query = QueryBuilder()
            query.append(
                StructureData,
                filters={'and': [{'id': {'in': pks[start : start + _IDS_AT_ONCE]}}, *filters]},
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
        _check_columns(set(_columns_of(where)) - {'rank', 'screening', 'prediction_uuid'})
    first = ['screening', 'rank', 'material_id', 'formula']
    last = ['prediction_uuid', 'structure_uuid', 'structure_pk']
    names = dict.fromkeys(name for row in rows for name in row if name not in (*first, *last))
    frame = pd.DataFrame(rows, columns=[*first, *names, *last])
    frame = frame.sort_values(['screening', 'rank'], ignore_index=True)
    if columns is not None:
        frame = frame.reindex(columns=list(columns))
    return frame if limit is None else frame.head(limit)


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


def sweeps() -> pd.DataFrame:
    """Return the sweeps of hyperparameters, the newest first: ``pk``, ``uuid``, ``time``, ``state`` and counts."""
    import pandas as pd

    counts = ['n_members', 'n_finished', 'n_failed', 'n_reused']
    query = QueryBuilder()
    query.append(WorkChainNode, filters={'process_type': SWEEP}, project='*')
    rows = []
    for node in query.order_by({WorkChainNode: {'id': 'desc'}}).all(flat=True):
        table = node.outputs.table if 'table' in node.outputs else {}
        row = {'pk': node.pk, 'uuid': node.uuid, 'time': node.ctime, 'state': node.process_state.value}
        rows.append({**row, **{name: table[name] if table else None for name in counts}})
    frame = pd.DataFrame(rows, columns=['pk', 'uuid', 'time', 'state', *counts])
    return frame.astype(dict.fromkeys(counts, 'Int64'))


def sweep(process: WorkChainNode | int | str) -> pd.DataFrame:
    """Return the members of a sweep that were started, one row each; also while it runs, or where it was killed.

    Parameters
    ----------
    process : WorkChainNode, int or str
        The sweep, its PK or its UUID.

    Returns
    -------
    pandas.DataFrame
        With ``member``, a column for each hyperparameter, ``state``, ``exit_status``, ``message`` (why it failed),
        ``reused`` (its training was one of before), ``<target>_<part>_<metric>``, such as ``log10_g_vrh_test_mae``
        (metrics: ``mae`` and ``rmse`` in log10(GPa), ``r2``), and the ``uuid`` and ``pk`` of the member.

    Raises
    ------
    ValueError
        If the process is no sweep.
    """
    import pandas as pd

    node = _sweep(process)
    names = swept_parameters(node)
    rows = []
    for member, child in _members(node).items():
        row = {
            'member': member,
            **hyperparameters(child, names),
            'state': child.process_state.value,
            **how_it_ended(child),
        }
        if child.is_finished_ok:
            row |= flat_metrics(child.outputs.metrics.get_dict())
        rows.append({**row, 'pk': child.pk})
    first = ['member', *names, 'state', 'exit_status', 'message', 'reused']
    metrics = dict.fromkeys(name for row in rows for name in row if name not in (*first, 'uuid', 'pk'))
    frame = pd.DataFrame(rows, columns=[*first, *metrics, 'uuid', 'pk'])
    return frame.astype({'exit_status': 'Int64'})


def learning_curves(process: ProcessNode | int | str) -> pd.DataFrame:
    """Return the errors of a training, or of each member of a sweep, after every epoch.

    Parameters
    ----------
    process : ProcessNode, int or str
        A sweep or a training, its PK or its UUID.

    Returns
    -------
    pandas.DataFrame
        A row for each member, target, epoch and part (``train``, ``validation``, ``test``), with ``mae`` and ``rmse``
        in log10(GPa), ``r2`` and ``is_kept`` (the best epoch so far, or the last, as the protocol says). Of a sweep
        also ``member`` and a column for each hyperparameter. The errors of the training part are those of the
        predictions made while training.
    """
    import pandas as pd

    node = process if isinstance(process, ProcessNode) else load_node(process)
    is_sweep = node.process_type == SWEEP
    names = swept_parameters(node) if is_sweep else []
    trainings = _members(node) if is_sweep else {'': node}
    rows = [
        {
            **({'member': member, **hyperparameters(training, names)} if is_sweep else {}),
            'target': target,
            'epoch': entry['epoch'],
            'part': part,
            **{metric: entry[part][target][metric] for metric in SWEEP_METRICS},
            'is_kept': entry['is_kept'],
        }
        for member, training in trainings.items()
        if training.is_finished_ok
        for entry in training.outputs.history['epochs']
        for part in ('train', 'validation', 'test')
        if part in entry
        for target in entry['targets']
    ]
    first = ['member', *names] if is_sweep else []
    return pd.DataFrame(rows, columns=[*first, 'target', 'epoch', 'part', *SWEEP_METRICS, 'is_kept'])


def swept_parameters(node: WorkChainNode) -> list[str]:
    """Return the names of the hyperparameters that a sweep tries."""
    if 'grid' in node.inputs:
        return sorted(node.inputs.grid.get_dict())
    return list(dict.fromkeys(name for point in node.inputs.points.get_list() for name in point))


def hyperparameters(member: WorkChainNode, names: Sequence[str]) -> dict[str, Any]:
    """Return those hyperparameters of a member of a sweep; None where its inputs do not say."""
    parameters = member.inputs.train.parameters.get_dict()
    protocol = parameters.pop('protocol', None)
    settings = protocol if isinstance(protocol, dict) else {'base': protocol}
    values = {**settings, 'protocol': settings.get('base'), **parameters}
    return {name: values.get(name) for name in names}


def how_it_ended(training: WorkChainNode) -> dict[str, Any]:
    """Return ``exit_status``, ``message`` (None where all is well), ``reused`` and ``uuid`` of a member of a sweep."""
    jobs = sorted((node for node in training.called if isinstance(node, CalcJobNode)), key=lambda job: job.pk)
    message = None
    if training.is_terminated and not training.is_finished_ok:
        # The last job knows most of what went wrong.
        message = (
            (jobs[-1].exit_message if jobs else None)
            or training.exit_message
            or training.exception
            or training.process_status
            or training.process_state.value
        )
    return {
        'exit_status': training.exit_status,
        'message': message,
        'reused': bool(jobs) and all(job.base.caching.is_created_from_cache for job in jobs),
        'uuid': training.uuid,
    }


def flat_metrics(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the metrics of a training under names such as ``log10_g_vrh_test_mae``."""
    return {
        f'{target}_{part}_{metric}': values[metric]
        for target, parts in metrics.items()
        for part, values in parts.items()
        for metric in SWEEP_METRICS
    }


def _sweep(process: WorkChainNode | int | str) -> WorkChainNode:
    """Return the node of a sweep."""
    node = process if isinstance(process, ProcessNode) else load_node(process)
    if node.process_type != SWEEP:
        raise ValueError(f'{node} is no sweep of hyperparameters')
    return node


def _members(node: WorkChainNode) -> dict[str, WorkChainNode]:
    """Return the members of a sweep that were started, by name; of one that was started anew, the last."""
    links = node.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all()
    members = {link.link_label: link.node for link in sorted(links, key=lambda link: link.node.pk)}
    return dict(sorted(members.items()))


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


def members(group_class: type[Group], label: str) -> list[int]:
    """Return the pks of the members of a screening's group of that class, none where there is no such group."""
    query = QueryBuilder().append(group_class, filters={'label': label}, tag='group')
    return query.append(Node, with_group='group', project='id').all(flat=True)


def other_predictions_of_the_same(pks: Sequence[int], group: PredictionsGroup) -> list[int]:
    """Return the pks of the predictions in a group that are of the same crystals as some others, by material id."""
    others: list[int] = []
    for start in range(0, len(pks), _IDS_AT_ONCE):
        some = list(pks[start : start + _IDS_AT_ONCE])
        ids = QueryBuilder().append(ElasticPredictionData, filters={'id': {'in': some}}, project='label').all(flat=True)
        query = QueryBuilder().append(PredictionsGroup, filters={'id': group.pk}, tag='group')
        query.append(ElasticPredictionData, with_group='group', filters={'label': {'in': ids}}, project='id')
        others += query.all(flat=True)
    return sorted(set(others) - set(pks))


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


def _conditions(
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


def _columns_of(where: Where | None) -> list[str]:
    return [column for column, _ in (where.items() if isinstance(where, Mapping) else where or ())]


def _check_columns(columns: Iterable[str]) -> None:
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


def _sorting(column: str, order: str) -> list[dict[str, Any]]:
    """Return by what a database sorts predictions; ties by key."""
    by_key = {'id': {'order': order if column == 'pk' else 'asc'}}
    if column == 'pk':
        return [by_key]
    own = {'uuid': {'order': order}}
    return [own if column == 'uuid' else {f'attributes.{column}': {'order': order, 'cast': _cast(column)}}, by_key]


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


def _order(order_by: str | None) -> tuple[str | None, str]:
    if order_by is None:
        return None, 'asc'
    return order_by.removeprefix('-'), 'desc' if order_by.startswith('-') else 'asc'


def _cast(column: str) -> str:
    return 't' if column in TEXT_COLUMNS else 'f'


def _projections(names: list[str]) -> list[str]:
    own = {'uuid': 'uuid', 'pk': 'id'}
    return [own.get(name, f'attributes.{name}') for name in names]


def _frame(rows: list[list[Any]], names: list[str] | None, column: str | None, *, ascending: bool) -> pd.DataFrame:
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
