"""Which process created a node, for many nodes at once."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import calcfunction
from aiida.manage import get_manager

from aiida_cgcnn_elastic.storage import creators
from aiida_cgcnn_elastic.storage.links import _by_links, _by_query


@calcfunction
def plus_and_minus(a: orm.Int, b: orm.Int) -> dict[str, orm.Int]:
    return {'plus': orm.Int(a.value + b.value), 'minus': orm.Int(a.value - b.value)}


@pytest.fixture
def made(aiida_profile_clean):
    """Return nodes that processes created, and one that was stored as it is."""
    nodes = [node for number in range(3) for node in plus_and_minus(orm.Int(number), orm.Int(2)).values()]
    return [*nodes, orm.Int(7).store()]


def test_creators_are_those_of_the_nodes_themselves(made):
    backend = get_manager().get_profile_storage()
    expected = {node.pk: node.creator.pk for node in made if node.creator is not None}
    assert len(expected) == 6
    assert creators(backend, [node.pk for node in made]) == expected
    assert creators(backend, []) == {}


@pytest.mark.parametrize('ask', [_by_links, _by_query])
def test_what_a_process_only_used_is_not_created_by_it(ask, made):
    """Every input and output has links to the process, but only those of creation count."""
    calculation = made[0].creator
    inputs = [node.pk for node in calculation.base.links.get_incoming().all_nodes()]
    found = ask(get_manager().get_profile_storage(), [*inputs, made[0].pk])
    assert found == {made[0].pk: calculation.pk}
