"""Which child of a work chain has begun, after the daemon was killed."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_cgcnn_elastic.workflows.children import INTERRUPTED, find_started, seal_interrupted

LABEL = 'shard_salts_0000'


@pytest.fixture
def parent(profile) -> orm.WorkChainNode:
    return orm.WorkChainNode().store()


@pytest.fixture
def add_child(parent):
    """Return a factory of children as AiiDA leaves them in the database; without state just after they are stored."""

    def factory(state: ProcessState | None, label: str = LABEL) -> orm.WorkChainNode:
        node = orm.WorkChainNode()
        node.set_process_state(state)
        node.base.links.add_incoming(parent, LinkType.CALL_WORK, label)
        return node.store()

    return factory


def test_first_time_there_is_none(parent):
    assert find_started(parent, LABEL) is None


@pytest.mark.parametrize('state', [None, ProcessState.CREATED])
def test_child_that_was_made_but_not_begun_is_given_up(parent, add_child, state):
    child = add_child(state)
    other = add_child(state, 'shard_salts_0001')
    assert find_started(parent, LABEL) is None
    assert child.is_killed
    assert child.is_sealed
    assert other.process_state is state
    assert not other.is_sealed


@pytest.mark.parametrize(
    'state', [ProcessState.RUNNING, ProcessState.WAITING, ProcessState.FINISHED, ProcessState.KILLED]
)
def test_child_that_has_begun_is_found(parent, add_child, state):
    child = add_child(state)
    assert find_started(parent, LABEL) == child
    assert child.process_state is state


@pytest.mark.parametrize('label', ['shard_Salts_0000', 'shard_salts00000'])
def test_child_of_a_similar_label_is_another(parent, add_child, label):
    add_child(ProcessState.FINISHED, label)
    assert find_started(parent, LABEL) is None


def test_daemon_killed_twice_in_the_same_step(parent, add_child):
    add_child(ProcessState.CREATED)
    assert find_started(parent, LABEL) is None
    child = add_child(None)
    assert find_started(parent, LABEL) is None
    assert child.is_killed
    child = add_child(ProcessState.RUNNING)
    assert find_started(parent, LABEL) == child


def test_calcfunctions_that_a_killed_daemon_left_running_are_ended(parent):
    left, done = (orm.CalcFunctionNode() for _ in range(2))
    for number, node in enumerate((left, done)):
        node.set_process_state(ProcessState.RUNNING)
        node.base.links.add_incoming(parent, LinkType.CALL_CALC, f'choose_{number}')
        node.store()
    done.set_process_state(ProcessState.FINISHED)
    done.seal()
    seal_interrupted(parent)
    assert (left.is_sealed, left.is_killed, left.process_status) == (True, True, INTERRUPTED)
    assert (done.process_state, done.process_status) == (ProcessState.FINISHED, None)
