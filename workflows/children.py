"""Children of a work chain, started once however often a step is done."""

from __future__ import annotations

from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

__all__ = ('find_started', 'seal_interrupted')

GIVEN_UP = 'given up before it began, because the daemon was killed'
INTERRUPTED = 'interrupted, because the daemon was killed, and done again by another'


def find_started(parent: orm.WorkChainNode, link_label: str) -> orm.ProcessNode | None:
    """Return the child, work chain or job, with that label if it has begun, None if it is to be started.

    A daemon that is killed in the middle of a step does the step again: it must find what it had started. What it had
    made but not begun may have no place in the queue, so it is given up, and what the queue may still hold of it is
    ignored by AiiDA. So this is for the step that starts the child, and for no later one.
    """
    for link in parent.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all():
        # AiiDA's filter of labels takes an underscore for any letter.
        if link.link_label != link_label or link.node.process_status == GIVEN_UP:
            continue
        node = link.node
        # AiiDA stores a process, and its link, some time before it gives it a state: it will never begin without one.
        if node.process_state not in (None, ProcessState.CREATED):
            return node
        _end(node, GIVEN_UP)
    return None


def seal_interrupted(parent: orm.WorkChainNode) -> None:
    """End the calcfunctions of a work chain that a killed daemon has left behind as running; AiiDA never does.

    It would neither export nor show them as ended. A work chain runs its calcfunctions itself, one after the other, so
    call this in one of its steps: none of them is running then.
    """
    for link in parent.base.links.get_outgoing(orm.CalcFunctionNode, link_type=LinkType.CALL_CALC).all():
        if not link.node.is_sealed:
            _end(link.node, INTERRUPTED)


def _end(node: orm.ProcessNode, status: str) -> None:
    with node.backend.transaction():
        node.set_process_status(status)
        node.set_process_state(ProcessState.KILLED)
        node.seal()
