"""From ``StructureData`` and ``CifData``, of the profile or of an archive, to one set of crystals.

A function that takes a group of 100,000 structures as its inputs through AiiDA's engine would take the better part of
an hour. So the function is given a file with their UUIDs, and adds them as its inputs itself, in one transaction: from
the set one walks back to every structure, as AiiDA's provenance has it, and the column ``source_uuid`` tells which of
them a row is made of.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida.engine import ExitCode, Process, calcfunction
from aiida.orm import CifData, Data, Dict, Group, Node, QueryBuilder, SinglefileData, StructureData
from aiida.orm.implementation import StorageBackend

from aiida_cgcnn_elastic.calculations.base import check_keys
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.storage import store_outputs

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable, Rejection
    from aiida_cgcnn_elastic.crystals.sources import Origin

__all__ = ('ingest_archive', 'ingest_group', 'ingest_query', 'read_archive', 'read_nodes')

UUID_COLUMN = 'source_uuid'
"""The column with the UUID of the node that a crystal is made of."""

IDS = ('label', 'uuid')
NODES_AT_ONCE = 500

EXIT_CODE_UNREADABLE = ExitCode(210, 'The input cannot be read: {message}')
EXIT_CODE_NO_CRYSTAL = ExitCode(211, 'None of the {n_read} nodes is a crystal that can be used{reasons}')
EXIT_CODE_PARAMETERS = ExitCode(214, 'The parameters are invalid: {message}')


def ingest_group(
    group: Group | str, *, properties: Mapping[str, str] | None = None, ids: str = 'label'
) -> CrystalSetData:
    """Return the ``StructureData`` and ``CifData`` of a group as a stored set of crystals.

    Parameters
    ----------
    group : Group or str
        A stored group or its label. Nodes of other kinds in it are passed over; the set's origin says how many.
    properties : mapping of str to str, optional
        Columns to make of the nodes' extras: the extra's name by the column's, ``{'band_gap': 'gap'}``; dots lead into
        dictionaries. Numbers are taken as they are, in the unit of the column.
    ids : {'label', 'uuid'}
        What a crystal's id is. A label that is empty or that several nodes have is replaced by the UUID.

    Raises
    ------
    ValueError
        If there is nothing to read, or a parameter is wrong.
    """
    if isinstance(group, str):
        group = Group.collection.get(label=group)
    query = QueryBuilder(backend=group.backend)
    query.append(Group, filters={'id': group.pk}, tag='group')
    query.append(Node, with_group='group', project=['uuid', 'id', 'node_type'])
    found = sorted(query.all(), key=lambda row: row[1])
    uuids = [uuid for uuid, _, node_type in found if _is_structure(node_type)]
    return _ingested(
        uuids,
        {
            'group': group.label,
            'group_uuid': group.uuid,
            'n_other': len(found) - len(uuids),
            'properties': dict(properties or {}),
            'ids': ids,
        },
    )


def ingest_query(
    query: QueryBuilder, *, properties: Mapping[str, str] | None = None, ids: str = 'label'
) -> CrystalSetData:
    """Return the ``StructureData`` and ``CifData`` that a query finds as a stored set of crystals, in its order.

    Parameters
    ----------
    query : QueryBuilder
        It must project one thing: the nodes (``*``), their ``uuid`` or their ``id``.
    properties, ids
        As in :func:`ingest_group`.

    Raises
    ------
    ValueError
        If there is nothing to read, the query projects something else, or a parameter is wrong.
    """
    rows = query.all()
    if any(len(row) != 1 for row in rows):
        raise ValueError('the query must project one thing: the nodes, their uuid or their id')
    values = [row[0].pk if isinstance(row[0], Node) else row[0] for row in rows]
    key = 'id' if all(isinstance(value, int) for value in values) else 'uuid'
    if not all(isinstance(value, (int, str)) for value in values):
        raise ValueError('the query must project the nodes, their uuid or their id')
    known: dict[Any, tuple[str, str]] = {}
    for piece in _pieces(values):
        found = QueryBuilder().append(Node, filters={key: {'in': piece}}, project=['id', 'uuid', 'node_type'])
        known.update({pk if key == 'id' else uuid: (uuid, node_type) for pk, uuid, node_type in found.all()})
    chosen = [known[value] for value in dict.fromkeys(values) if value in known]
    uuids = [uuid for uuid, node_type in chosen if _is_structure(node_type)]
    n_other = len(dict.fromkeys(values)) - len(uuids)
    return _ingested(uuids, {'n_other': n_other, 'properties': dict(properties or {}), 'ids': ids})


def ingest_archive(
    archive: SinglefileData | Path | str,
    *,
    group: str | None = None,
    properties: Mapping[str, str] | None = None,
    ids: str = 'label',
) -> CrystalSetData:
    """Return the ``StructureData`` and ``CifData`` in an AiiDA archive as a stored set of crystals.

    Nothing else of the archive gets into the profile than the archive itself, as a file: the set's origin holds its
    checksum, and `source_uuid` the UUIDs that the nodes have in it.

    Parameters
    ----------
    archive : SinglefileData or path
        The archive (``.aiida``).
    group : str, optional
        Only the nodes in the group of this label.
    properties, ids
        As in :func:`ingest_group`.

    Raises
    ------
    ValueError
        If there is nothing to read, or a parameter is wrong.
    """
    node = archive if isinstance(archive, SinglefileData) else SinglefileData(Path(archive).absolute())
    parameters = {'group': group, 'properties': dict(properties or {}), 'ids': ids}
    return _result_of(read_archive, node, Dict(parameters))


def _ingested(uuids: list[str], parameters: dict[str, Any]) -> CrystalSetData:
    if not uuids:
        raise ValueError(f'there is no StructureData or CifData to read ({parameters["n_other"]} other nodes)')
    nodes = SinglefileData.from_bytes(('\n'.join(uuids) + '\n').encode(), filename='uuids.txt')
    return _result_of(read_nodes, nodes, Dict(parameters))


def _result_of(function: Any, *arguments: Any) -> CrystalSetData:
    results, process = function.run_get_node(*arguments)
    if not process.is_finished_ok:
        raise ValueError(process.exit_message)
    return results['crystals']


@calcfunction
def read_nodes(nodes: SinglefileData, parameters: Dict) -> dict[str, CrystalSetData] | ExitCode:
    """Return the crystals of nodes, which become inputs ``node_0``, ``node_1``, ... of this process.

    :param nodes: A file with the UUIDs of ``StructureData`` and ``CifData``, one a line.
    :param parameters: ``properties`` and ``ids`` as in :func:`ingest_group`; ``group``, ``group_uuid`` and ``n_other``
        (nodes passed over) for the record.
    """
    process = Process.current().node
    # A clone would lack the links from the nodes, and extras may have changed.
    process.base.caching.is_valid_cache = False
    settings = parameters.get_dict()
    if message := check_parameters(settings, ('group', 'group_uuid', 'n_other', 'properties', 'ids')):
        return EXIT_CODE_PARAMETERS.format(message=message)
    uuids = nodes.get_content().split()
    pks = _pks(process.backend, uuids)
    missing = [uuid for uuid in uuids if uuid not in pks]
    if missing:
        return EXIT_CODE_UNREADABLE.format(message=f'{len(missing)} nodes do not exist, such as {missing[0]}')
    table, rejections, origin = _read(process.backend, uuids, 'aiida', settings)
    store_outputs(Data, (), creator=process, inputs={f'node_{number}': pks[uuid] for number, uuid in enumerate(uuids)})
    return _set_of(table, rejections, origin)


@calcfunction
def read_archive(archive: SinglefileData, parameters: Dict) -> dict[str, CrystalSetData] | ExitCode:
    """Return the crystals of the ``StructureData`` and ``CifData`` in an archive.

    :param archive: The archive.
    :param parameters: ``properties`` and ``ids`` as in :func:`ingest_group`; ``group``: the label of a group in the
        archive, or null for all.
    """
    from aiida_cgcnn_elastic.crystals.sources import describe_file

    settings = parameters.get_dict()
    if message := check_parameters(settings, ('group', 'properties', 'ids')):
        return EXIT_CODE_PARAMETERS.format(message=message)
    with archive.as_path() as path:
        try:
            with _opened(path) as backend:
                uuids, n_other = _uuids_in(backend, settings.get('group'))
                table, rejections, origin = _read(backend, uuids, 'aiida_archive', {**settings, 'n_other': n_other})
        except ValueError as exception:
            return EXIT_CODE_UNREADABLE.format(message=str(exception))
        origin.files.append(describe_file(path, archive.filename))
    return _set_of(table, rejections, origin)


def check_parameters(settings: Mapping[str, Any], allowed: tuple[str, ...]) -> str | None:
    """Return what is wrong with parameters, None where nothing is."""
    from aiida_cgcnn_elastic.crystals.sources import SourceError
    from aiida_cgcnn_elastic.crystals.sources.atoms import NumericProperties

    if message := check_keys(settings, allowed):
        return message
    if settings.get('ids', 'label') not in IDS:
        return f'`ids` must be one of {", ".join(IDS)}, not {settings["ids"]!r}'
    try:
        NumericProperties(settings.get('properties'))
    except SourceError as error:
        return str(error)
    return None


def _set_of(table: CrystalTable, rejections: list[Rejection], origin: Origin) -> dict[str, CrystalSetData] | ExitCode:
    if not len(table):
        counts = Counter(str(rejection.reason) for rejection in rejections)
        reasons = ', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))
        return EXIT_CODE_NO_CRYSTAL.format(n_read=len(rejections), reasons=f': {reasons}' if reasons else '')
    return {'crystals': CrystalSetData.from_table(table, origin, rejections)}


@contextmanager
def _opened(path: Path) -> Iterator[StorageBackend]:
    """Open an archive for reading.

    Raises
    ------
    ValueError
        If it is none, or one that must be migrated first.
    """
    from aiida.common.exceptions import CorruptStorage, IncompatibleStorageSchema, UnreachableStorage
    from aiida.storage.sqlite_zip.backend import SqliteZipBackend

    try:
        backend = SqliteZipBackend(SqliteZipBackend.create_profile(path))
    except IncompatibleStorageSchema as error:
        raise ValueError(f'{error}; `verdi archive migrate` makes a newer archive of it') from error
    except (CorruptStorage, UnreachableStorage, OSError) as error:
        raise ValueError(f'this is no archive of AiiDA that can be read: {error}') from error
    try:
        yield backend
    finally:
        backend.close()


def _uuids_in(backend: StorageBackend, group: str | None) -> tuple[list[str], int]:
    """Return the structures of an archive, or of a group in it, and how many other data nodes there are."""
    query = QueryBuilder(backend=backend)
    if group is None:
        query.append(Data, project=['uuid', 'id', 'node_type'])
    else:
        labels = QueryBuilder(backend=backend).append(Group, project='label').all(flat=True)
        if group not in labels:
            raise ValueError(f'the archive holds no group {group!r}; its groups are: {", ".join(labels) or "none"}')
        query.append(Group, filters={'label': group}, tag='group')
        query.append(Data, with_group='group', project=['uuid', 'id', 'node_type'])
    found = sorted(query.all(), key=lambda row: row[1])
    uuids = list(dict.fromkeys(uuid for uuid, _, node_type in found if _is_structure(node_type)))
    return uuids, len({uuid for uuid, _, _ in found}) - len(uuids)


@functools.cache
def _is_structure(node_type: str) -> bool:
    """Say whether nodes of a type are read: also those whose class another plugin derives from one of AiiDA's."""
    from aiida.common.exceptions import EntryPointError
    from aiida.orm.utils.node import load_node_class

    try:
        return issubclass(load_node_class(node_type), (StructureData, CifData))
    except EntryPointError:
        return False


def _pks(backend: StorageBackend, uuids: Sequence[str]) -> dict[str, int]:
    pks: dict[str, int] = {}
    for piece in _pieces(uuids):
        pks.update(
            QueryBuilder(backend=backend).append(Data, filters={'uuid': {'in': piece}}, project=['uuid', 'id']).all()
        )
    return pks


def _pieces(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), NODES_AT_ONCE):
        yield list(values[start : start + NODES_AT_ONCE])


def _read(
    backend: StorageBackend, uuids: Sequence[str], source: str, settings: Mapping[str, Any]
) -> tuple[CrystalTable, list[Rejection], Origin]:
    """Read nodes into a table, those that are no crystals turned away and counted."""
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.crystals.sources import Origin
    from aiida_cgcnn_elastic.crystals.sources.atoms import NumericProperties
    from aiida_cgcnn_elastic.crystals.sources.base import usable_batch

    names = settings.get('properties') or {}
    properties = NumericProperties(names)
    ids = _ids(backend, uuids, settings.get('ids', 'label'))
    tables: list[CrystalTable] = []
    rejections: list[Rejection] = []
    for piece in _pieces(uuids):
        batch = usable_batch(list(_crystals(backend, piece, ids, list(names.values()), properties)))
        tables.append(batch.table)
        rejections += batch.rejections
    table = CrystalTable.concatenate(tables)
    if len(table) + len(rejections) != len(uuids):
        raise RuntimeError(f'{len(uuids)} nodes, but {len(table)} crystals and {len(rejections)} rejected')
    messages = properties.messages()
    if settings.get('n_other'):
        messages.append(f'{settings["n_other"]} other nodes are no StructureData or CifData and were passed over')
    options = {key: value for key, value in settings.items() if value and key != 'n_other'}
    return table, rejections, Origin(source, options=options, messages=messages)


def _ids(backend: StorageBackend, uuids: Sequence[str], kind: str) -> dict[str, str]:
    """Return the crystals' ids by UUID: labels where they are asked for and tell nodes apart."""
    if kind == 'uuid':
        return {uuid: uuid for uuid in uuids}
    labels: dict[str, str] = {}
    for piece in _pieces(uuids):
        query = QueryBuilder(backend=backend)
        labels.update(query.append(Data, filters={'uuid': {'in': piece}}, project=['uuid', 'label']).all())
    counts = Counter(labels.values())
    return {uuid: label if label.strip() and counts[label] == 1 else uuid for uuid, label in labels.items()}


def _crystals(
    backend: StorageBackend, uuids: list[str], ids: Mapping[str, str], keys: list[str], properties: Any
) -> Iterator[Crystal | Rejection]:
    """Yield the crystals of some nodes, in the order of their UUIDs."""
    query = QueryBuilder(backend=backend)
    query.append(Data, filters={'uuid': {'in': uuids}}, project=['uuid', 'node_type', 'attributes', 'extras'])
    rows = {uuid: (node_type, attributes, extras) for uuid, node_type, attributes, extras in query.all()}
    cifs = _cif_contents(backend, [uuid for uuid in uuids if 'sites' not in rows[uuid][1]])
    for uuid in uuids:
        _, attributes, extras = rows[uuid]
        known = {**properties.of({key: _at(extras, key) for key in keys}), UUID_COLUMN: uuid}
        if uuid in cifs:
            yield _crystal_of_cif(cifs[uuid], ids[uuid], known)
        else:
            yield crystal_of_structure(attributes, ids[uuid], known)


def _cif_contents(backend: StorageBackend, uuids: list[str]) -> dict[str, bytes]:
    if not uuids:
        return {}
    found = QueryBuilder(backend=backend).append(CifData, filters={'uuid': {'in': uuids}}).all(flat=True)
    return {node.uuid: node.get_content(mode='rb') for node in found}


def _crystal_of_cif(content: bytes, material_id: str, properties: Mapping[str, Any]) -> Crystal | Rejection:
    from dataclasses import replace

    from aiida_cgcnn_elastic.crystals import Crystal
    from aiida_cgcnn_elastic.crystals.cif import parse_cif

    found = parse_cif(content, material_id)
    return replace(found, properties={**found.properties, **properties}) if isinstance(found, Crystal) else found


def crystal_of_structure(
    attributes: Mapping[str, Any], material_id: str, properties: Mapping[str, Any]
) -> Crystal | Rejection:
    """Return the crystal that the attributes of a ``StructureData`` describe, or why it is none."""
    import numpy as np

    from aiida_cgcnn_elastic.crystals import Crystal, Reason, Rejection
    from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS

    periodic = [name for name, key in (('a', 'pbc1'), ('b', 'pbc2'), ('c', 'pbc3')) if attributes.get(key)]
    if len(periodic) < 3:
        along = ', '.join(periodic) or 'none'
        return Rejection(
            material_id, Reason.NOT_PERIODIC, f'periodic along {along}; a crystal is along all three directions'
        )
    numbers: dict[str, int] = {}
    for kind in attributes.get('kinds', ()):
        if len(kind['symbols']) != 1 or abs(sum(kind['weights']) - 1.0) > 1e-6:
            what = ', '.join(
                f'{weight:g} {symbol}' for symbol, weight in zip(kind['symbols'], kind['weights'], strict=True)
            )
            return Rejection(material_id, Reason.DISORDERED, f'the kind {kind["name"]!r} is {what}')
        symbol = kind['symbols'][0]
        if symbol not in ATOMIC_NUMBERS:
            return Rejection(material_id, Reason.UNKNOWN_SPECIES, f'{symbol!r} names no element')
        numbers[kind['name']] = ATOMIC_NUMBERS[symbol]
    sites = attributes.get('sites', ())
    if not sites:
        return Rejection(material_id, Reason.NO_ATOMS, 'no atoms')
    lattice = np.array(attributes['cell'], dtype=float)
    if abs(np.linalg.det(lattice)) == 0:
        return Rejection(material_id, Reason.BAD_LATTICE, 'the cell spans no volume')
    positions = np.array([site['position'] for site in sites], dtype=float)
    atoms = np.array([numbers[site['kind_name']] for site in sites], dtype=np.uint8)
    return Crystal(material_id, lattice, atoms, positions @ np.linalg.inv(lattice), properties)


def _at(extras: Mapping[str, Any], path: str) -> Any:
    """Return a value in nested dictionaries, None where there is none."""
    value: Any = extras
    for key in path.split('.'):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
