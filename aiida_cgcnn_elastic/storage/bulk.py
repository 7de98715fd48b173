"""Write many nodes, their links and their group memberships in one transaction.

A node stored through the ORM costs milliseconds, because each one is its own transaction and its own flush. Here many
rows go in one statement (:mod:`~aiida_cgcnn_elastic.storage.rows`). What is written is equal to what ``store()`` would
have written, the hash included.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiida.common.hashing import make_hash
from aiida.common.links import LinkType, validate_link_label
from aiida.engine import ProcessState
from aiida.orm import Data, Group, Node, ProcessNode, QueryBuilder, load_node
from aiida.orm.nodes.caching import NodeCaching
from aiida.repository import Repository

from aiida_cgcnn_elastic.storage.rows import DataRow, Link, rows_of

__all__ = ('NewNode', 'add_to_group', 'finish_interrupted', 'replace_members', 'store_outputs')

_ROWS_AT_ONCE = 2000
_LONGEST_LABEL = 255


@dataclass(frozen=True, slots=True)
class NewNode:
    """A data node without files that is to be stored as an output.

    Parameters
    ----------
    attributes : dict
        The attributes, as ``aiida.orm.implementation.utils.clean_value`` would leave them: plain JSON values, floats of
        14 significant digits, no NaN.
    link_label : str
        The label of the link from the process that creates the node.
    label, description : str
        Those of the node.
    extras : dict
        The extras, beside the hash that AiiDA adds.
    hash : str, optional
        What ``node.base.caching.compute_hash()`` will give; needed where its class has a way of its own.
    """

    attributes: dict[str, Any]
    link_label: str
    label: str = ''
    description: str = ''
    extras: dict[str, Any] = field(default_factory=dict)
    hash: str | None = None


def store_outputs(
    node_class: type[Data],
    nodes: Iterable[NewNode],
    *,
    creator: ProcessNode,
    group: Group | None = None,
    inputs: Mapping[str, int] | None = None,
) -> list[int]:
    """Store data nodes as outputs of a process that is running, all of them or none.

    Parameters
    ----------
    node_class : type of Data
        The class of the nodes; it must keep everything in its attributes.
    nodes : iterable of NewNode
        The nodes; consumed piece by piece, so that a generator keeps the memory low.
    creator : ProcessNode
        The stored and not yet sealed calculation that creates the nodes.
    group : Group, optional
        A stored group that the nodes join.
    inputs : mapping of str to int, optional
        Further inputs of the creator: the pk of each stored data node by the label of its link.

    Returns
    -------
    list of int
        The pks of the nodes, in their order.

    Raises
    ------
    ValueError
        If the creator is not a stored, unsealed calculation, the group is not stored, a link label is invalid or occurs
        twice, a node's label is longer than the database allows, or its hash is neither given nor AiiDA's ordinary one.
        Nothing is stored then.
    """
    _check_creator(creator)
    if group is not None and not group.is_stored:
        raise ValueError(f'the group {group.label!r} is not stored')
    backend = creator.backend
    rows = rows_of(backend)
    seen: set[str] = set()
    pks: list[int] = []
    with _no_garbage_collection(), backend.transaction():
        for piece in _pieces(nodes):
            for node in piece:
                _check_node(node, seen)
            new_pks = rows.insert_data([_row(node_class, node) for node in piece], node_type=node_class.class_node_type)
            links = [Link(creator.pk, pk, node.link_label) for pk, node in zip(new_pks, piece, strict=True)]
            rows.insert_links(links, link_type=LinkType.CREATE.value)
            if group is not None:
                rows.insert_members(group.pk, new_pks)
            pks.extend(new_pks)
        if inputs:
            for label in inputs:
                validate_link_label(label)
            links = [Link(pk, creator.pk, label) for label, pk in inputs.items()]
            rows.insert_links(links, link_type=LinkType.INPUT_CALC.value)
        # What `verdi run --auto-group` collects.
        if pks and backend.autogroup.is_to_be_grouped(load_node(pks[0])):
            rows.insert_members(backend.autogroup.get_or_create_group().pk, pks)
    return pks


def add_to_group(group: Group, pks: Iterable[int]) -> int:
    """Add stored nodes to a stored group in one transaction and return how many were not in it before."""
    new = _absent(group, pks)
    with group.backend.transaction():
        rows_of(group.backend).insert_members(group.pk, new)
    return len(new)


def replace_members(group: Group, new: Iterable[int], old: Iterable[int], place: Group) -> None:
    """Put stored nodes into a stored group in place of others, which move to another group, in one transaction."""
    removed = list(old)
    old_nodes = []
    if removed:
        old_nodes = QueryBuilder(backend=group.backend).append(Node, filters={'id': {'in': removed}}).all(flat=True)
    joining, moving = _absent(group, new), _absent(place, removed)
    with group.backend.transaction():
        rows_of(group.backend).insert_members(place.pk, moving)
        rows_of(group.backend).insert_members(group.pk, joining)
        group.remove_nodes(old_nodes)


def finish_interrupted(process: ProcessNode) -> bool:
    """Finish a process that was killed after it had stored its outputs and before it could say so.

    AiiDA neither continues such a process nor exports what it made. Call this only where the process cannot be running,
    such as in the work chain that called it and is now run again.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    if process.is_sealed:
        return False
    with process.backend.transaction():
        process.set_process_state(ProcessState.FINISHED)
        process.set_exit_status(0)
        process.seal()
    return True


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python from searching the new rows for garbage, again and again: a fifth of the time goes there."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _absent(group: Group, pks: Iterable[int]) -> list[int]:
    """Return those of some nodes that are not in a group, each once."""
    wanted = list(dict.fromkeys(pks))
    present = _present(group, wanted)
    return [pk for pk in wanted if pk not in present]


def _present(group: Group, pks: Iterable[int]) -> set[int]:
    """Return the members of a group, at least those that are among some nodes; a large group is not read whole."""
    wanted = list(pks)
    if not wanted:
        return set()
    # Nodes that were stored together have neighbouring keys.
    between = {'and': [{'id': {'>=': min(wanted)}}, {'id': {'<=': max(wanted)}}]}
    query = QueryBuilder(backend=group.backend)
    query.append(Group, filters={'id': group.pk}, tag='group')
    query.append(Node, with_group='group', filters=between, project='id')
    return set(query.all(flat=True))


def _check_creator(creator: ProcessNode) -> None:
    if not creator.is_stored or creator.is_sealed:
        state = 'sealed already' if creator.is_stored else 'not stored'
        raise ValueError(f'{creator} cannot create nodes: it is {state}')
    if not creator.node_type.startswith('process.calculation.'):
        raise ValueError(f'{creator} cannot create nodes: it is no calculation')


def _check_node(node: NewNode, seen: set[str]) -> None:
    validate_link_label(node.link_label)
    if node.link_label in seen:
        raise ValueError(f'two nodes have the link label {node.link_label!r}')
    seen.add(node.link_label)
    if len(node.label) > _LONGEST_LABEL:
        raise ValueError(
            f'the label {node.label[:40]!r}... has {len(node.label)} characters; {_LONGEST_LABEL} are allowed'
        )


def _pieces(nodes: Iterable[NewNode]) -> Iterator[list[NewNode]]:
    iterator = iter(nodes)
    while piece := list(islice(iterator, _ROWS_AT_ONCE)):
        yield piece


def _row(node_class: type[Data], node: NewNode) -> DataRow:
    """Return a node as row of the database."""
    extras = {**node.extras, NodeCaching._HASH_EXTRA_KEY: node.hash or _hash(node_class, node.attributes)}
    return DataRow(node.label, node.description, json.dumps(node.attributes), json.dumps(extras))


def _hash(node_class: type[Data], attributes: dict[str, Any]) -> str:
    """Return the hash of a node without files, as :class:`aiida.orm.nodes.caching.NodeCaching` computes it."""
    if node_class._CLS_NODE_CACHING is not NodeCaching:
        raise ValueError(f'{node_class.__name__} has its own way to compute hashes, so the nodes must come with theirs')
    ignored = node_class._hash_ignored_attributes
    return make_hash(
        {
            'class': str(node_class),
            'attributes': {key: value for key, value in attributes.items() if key not in ignored},
            'repository_hash': Repository().hash(),
            'computer_uuid': None,
        }
    )
