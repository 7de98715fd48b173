"""Sweeps of hyperparameters, their members and the learning curves of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, ProcessNode, QueryBuilder, WorkChainNode, load_node

if TYPE_CHECKING:
    import pandas as pd

__all__ = (
    'SWEEP',
    'SWEEP_METRICS',
    'flat_metrics',
    'how_it_ended',
    'hyperparameters',
    'learning_curves',
    'sweep',
    'sweeps',
    'swept_parameters',
)

SWEEP = 'aiida.workflows:cgcnn_elastic.sweep'
SWEEP_METRICS = ('mae', 'rmse', 'r2')


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
