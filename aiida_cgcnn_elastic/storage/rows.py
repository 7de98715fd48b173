"""Insert rows of nodes, links and members of groups, many in one statement, in the transaction that is open.

AiiDA's own :meth:`~aiida.orm.implementation.StorageBackend.bulk_insert` reads back every row that it has written, all
of its JSON included, makes an object of it, and on PostgreSQL sends each value of each row as a parameter of its own:
most of the time of recording went there. The statements here write the same values into the same columns, through the
session in which the storage has its transaction, and read nothing back but keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import uuid4

from aiida.common import timezone
from aiida.orm import Node, QueryBuilder
from aiida.orm.entities import EntityTypes
from aiida.orm.implementation import StorageBackend

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ('KEYS_A_STATEMENT', 'DataRow', 'Link', 'Rows', 'rows_of')

# Each value is a parameter then, and what SQLAlchemy keeps for each row should stay in the processor's cache.
_ROWS_A_STATEMENT = 200
KEYS_A_STATEMENT = 900
"""What every SQLite allows as parameters of one statement."""


class DataRow(NamedTuple):
    """A data node without files, but for what all nodes that are written together share."""

    label: str
    description: str
    attributes: str
    """As JSON, ASCII without line breaks."""
    extras: str
    """As JSON, ASCII without line breaks."""


class Link(NamedTuple):
    """A link between two nodes."""

    source: int
    """The pk of the node that the link comes from."""
    target: int
    label: str


class Rows(Protocol):
    """Inserts rows into the tables of a storage that has a transaction open."""

    def insert_data(self, rows: Sequence[DataRow], *, node_type: str) -> list[int]:
        """Insert new data nodes of the storage's user and return their pks, which rise in the order of the rows."""

    def insert_links(self, links: Sequence[Link], *, link_type: str) -> None:
        """Insert links of one type."""

    def insert_members(self, group: int, pks: Sequence[int]) -> None:
        """Insert nodes as members of a group that has none of them, all by their pks."""


def rows_of(backend: StorageBackend) -> Rows:
    """Return what inserts rows into a storage: made for PostgreSQL or SQLite, or for any storage."""
    from aiida.storage.psql_dos.backend import PsqlDosBackend

    if isinstance(backend, PsqlDosBackend):
        dialect = backend.get_session().get_bind().dialect.name
        if dialect in _BY_DIALECT:
            return _BY_DIALECT[dialect](backend)
    return AnyRows(backend)


class _SqlRows:
    """What PostgreSQL and SQLite have in common."""

    def __init__(self, backend: Any) -> None:
        self._session: Session = backend.get_session()
        self._user = backend.default_user.pk


class PostgresqlRows(_SqlRows):
    """One statement for all rows, each column as one parameter."""

    def insert_data(self, rows: Sequence[DataRow], *, node_type: str) -> list[int]:
        """Insert new data nodes; see :class:`Rows`."""
        if not rows:
            return []
        labels, descriptions, attributes, extras = zip(*rows, strict=True)
        uuids = [str(uuid4()) for _ in rows]
        inserted = self._execute(
            'INSERT INTO db_dbnode (uuid, node_type, label, description, ctime, mtime, attributes, extras, '
            'repository_metadata, user_id) '
            'SELECT uuid, :node_type, label, description, :time, :time, attributes, extras, CAST(:none AS jsonb), '
            ':user FROM unnest(CAST(:uuids AS uuid[]), CAST(:labels AS text[]), CAST(:descriptions AS text[]), '
            'CAST(string_to_array(:attributes, :line_break) AS jsonb[]), '
            'CAST(string_to_array(:extras, :line_break) AS jsonb[])) '
            'WITH ORDINALITY AS row (uuid, label, description, attributes, extras, place) ORDER BY place '
            'RETURNING uuid, id',
            node_type=node_type,
            time=timezone.now(),
            none='{}',
            user=self._user,
            uuids=uuids,
            labels=list(labels),
            descriptions=list(descriptions),
            # One text is sent as it is, while every quotation mark would be escaped in a list of them.
            attributes='\n'.join(attributes),
            extras='\n'.join(extras),
            line_break='\n',
        )
        # The database may hand back the new keys in any order.
        pk_of = {str(uuid): pk for uuid, pk in inserted}
        return [pk_of[uuid] for uuid in uuids]

    def insert_links(self, links: Sequence[Link], *, link_type: str) -> None:
        """Insert links; see :class:`Rows`."""
        if not links:
            return
        sources, targets, labels = (list(column) for column in zip(*links, strict=True))
        self._execute(
            'INSERT INTO db_dblink (input_id, output_id, label, type) SELECT source, target, label, :link_type '
            'FROM unnest(CAST(:sources AS integer[]), CAST(:targets AS integer[]), CAST(:labels AS text[])) '
            'AS row (source, target, label)',
            link_type=link_type,
            sources=sources,
            targets=targets,
            labels=labels,
        )

    def insert_members(self, group: int, pks: Sequence[int]) -> None:
        """Insert members of a group; see :class:`Rows`."""
        if not pks:
            return
        self._execute(
            'INSERT INTO db_dbgroup_dbnodes (dbgroup_id, dbnode_id) '
            'SELECT :group_pk, pk FROM unnest(CAST(:pks AS integer[])) AS row (pk)',
            group_pk=group,
            pks=list(pks),
        )

    def _execute(self, statement: str, **values: Any) -> Any:
        from sqlalchemy import text

        return self._session.execute(text(statement), values)


class SqliteRows(_SqlRows):
    """One prepared statement, executed for row after row."""

    def insert_data(self, rows: Sequence[DataRow], *, node_type: str) -> list[int]:
        """Insert new data nodes; see :class:`Rows`."""
        from aiida.storage.sqlite_zip.models import DbNode
        from sqlalchemy import Text, bindparam, insert, select

        if not rows:
            return []
        table = DbNode.__table__
        time = timezone.now()
        same = {'node_type': node_type, 'process_type': None, 'ctime': time, 'mtime': time, 'user_id': self._user}
        nothing: dict[str, Any] = {'repository_metadata': {}, 'dbcomputer_id': None}
        # They are JSON already.
        as_they_are = {name: bindparam(name, type_=Text()) for name in ('attributes', 'extras')}
        uuids = [str(uuid4()) for _ in rows]
        self._session.execute(
            insert(table).values(**same, **nothing, **as_they_are),
            [{'uuid': uuid, **row._asdict()} for uuid, row in zip(uuids, rows, strict=True)],
        )
        pk_of: dict[str, int] = {}
        for start in range(0, len(uuids), KEYS_A_STATEMENT):
            some = table.c.uuid.in_(uuids[start : start + KEYS_A_STATEMENT])
            pk_of.update(self._session.execute(select(table.c.uuid, table.c.id).where(some)).all())
        return [pk_of[uuid] for uuid in uuids]

    def insert_links(self, links: Sequence[Link], *, link_type: str) -> None:
        """Insert links; see :class:`Rows`."""
        from aiida.storage.sqlite_zip.models import DbLink

        self._insert(
            DbLink.__table__,
            {'type': link_type},
            [{'input_id': link.source, 'output_id': link.target, 'label': link.label} for link in links],
        )

    def insert_members(self, group: int, pks: Sequence[int]) -> None:
        """Insert members of a group; see :class:`Rows`."""
        from aiida.storage.sqlite_zip.models import DbGroupNodes

        self._insert(DbGroupNodes.__table__, {'dbgroup_id': group}, [{'dbnode_id': pk} for pk in pks])

    def _insert(self, table: Any, same: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        from sqlalchemy import insert

        if rows:
            self._session.execute(insert(table).values(**same), rows)


class AnyRows:
    """By ``bulk_insert``, which every storage has."""

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend

    def insert_data(self, rows: Sequence[DataRow], *, node_type: str) -> list[int]:
        """Insert new data nodes; see :class:`Rows`."""
        if not rows:
            return []
        time = timezone.now()
        uuids = [str(uuid4()) for _ in rows]
        new = [
            {
                'uuid': uuid,
                'node_type': node_type,
                'process_type': None,
                'label': row.label,
                'description': row.description,
                'ctime': time,
                'mtime': time,
                'attributes': json.loads(row.attributes),
                'extras': json.loads(row.extras),
                'repository_metadata': {},
                'dbcomputer_id': None,
                'user_id': self._backend.default_user.pk,
            }
            for uuid, row in zip(uuids, rows, strict=True)
        ]
        pks = self._insert(EntityTypes.NODE, new)
        query = QueryBuilder(backend=self._backend).append(Node, filters={'id': {'in': pks}}, project=['uuid', 'id'])
        pk_of = dict(query.all())
        return [pk_of[uuid] for uuid in uuids]

    def insert_links(self, links: Sequence[Link], *, link_type: str) -> None:
        """Insert links; see :class:`Rows`."""
        self._insert(
            EntityTypes.LINK,
            [
                {'input_id': link.source, 'output_id': link.target, 'label': link.label, 'type': link_type}
                for link in links
            ],
        )

    def insert_members(self, group: int, pks: Sequence[int]) -> None:
        """Insert members of a group; see :class:`Rows`."""
        self._insert(EntityTypes.GROUP_NODE, [{'dbgroup_id': group, 'dbnode_id': pk} for pk in pks])

    def _insert(self, entity_type: EntityTypes, rows: list[dict[str, Any]]) -> list[int]:
        pks: list[int] = []
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            pks.extend(self._backend.bulk_insert(entity_type, rows[start : start + _ROWS_A_STATEMENT]))
        return pks


_BY_DIALECT: dict[str, type[PostgresqlRows] | type[SqliteRows]] = {'postgresql': PostgresqlRows, 'sqlite': SqliteRows}
