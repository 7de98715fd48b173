"""Find out which processes created nodes, for many nodes at once.

A query that joins nodes to their processes and names thousands of them is one that PostgreSQL plans badly: a few
processes created nearly all nodes, which its statistics do not tell, and it may compare each of hundreds of thousands
of nodes with each of those named. Links are asked for alone here, by the node that they lead to.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiida.common.links import LinkType
from aiida.orm import Node, ProcessNode, QueryBuilder
from aiida.orm.implementation import StorageBackend

from aiida_cgcnn_elastic.storage.rows import KEYS_A_STATEMENT

__all__ = ('creators',)


def creators(backend: StorageBackend, pks: Sequence[int]) -> dict[int, int]:
    """Return the pk of the process that created each node, by the node's; nodes that none created are left out."""
    from aiida.storage.psql_dos.backend import PsqlDosBackend

    found: dict[int, int] = {}
    for start in range(0, len(pks), KEYS_A_STATEMENT):
        some = list(pks[start : start + KEYS_A_STATEMENT])
        found.update(_by_links(backend, some) if isinstance(backend, PsqlDosBackend) else _by_query(backend, some))
    return found


def _by_links(backend: StorageBackend, pks: list[int]) -> dict[int, int]:
    """Ask the table of links, of PostgreSQL or SQLite."""
    from aiida.storage.psql_dos.models.node import DbLink
    from sqlalchemy import select

    columns = DbLink.__table__.c
    query = select(columns.output_id, columns.input_id)
    query = query.where(columns.output_id.in_(pks), columns.type == LinkType.CREATE.value)
    return dict(backend.get_session().execute(query).all())


def _by_query(backend: StorageBackend, pks: list[int]) -> dict[int, int]:
    """Ask any storage."""
    query = QueryBuilder(backend=backend).append(ProcessNode, tag='process', project='id')
    query.append(
        Node,
        with_incoming='process',
        edge_filters={'type': LinkType.CREATE.value},
        filters={'id': {'in': pks}},
        project='id',
    )
    return {node: process for process, node in query.all()}
