"""Databases of ASE (``ase.db``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.atoms import ID_KEY, NumericProperties, crystal_of_atoms
from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError, describe_file, usable_batch

ROWS_AT_ONCE = 512

_MAGIC = b'SQLite format 3\x00'
_UNIQUE_ID = 'unique_id'


class AseDatabaseSource(Source):
    """Databases of ASE in SQLite (``.db``): every row that is periodic in three directions is a crystal.

    Key-value pairs that are numbers become columns of their names. A crystal's id is the pair ``material_id`` where a
    row has it, else the file's stem and the row's id, ``mine-17``.

    Parameters
    ----------
    paths : sequence of Path
        Files.
    properties : mapping of str to str, optional
        Keys whose columns have other names, by column: ``{'band_gap': 'gap'}``. No units are converted.
    id_key : str
        The key-value pair that is the crystal's id, or ``unique_id`` for the random text that ASE gives every row.

    Raises
    ------
    SourceError
        If a path is no database of ASE, or `properties` is no mapping.
    """

    name: ClassVar[str] = 'ase_db'

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        properties: Mapping[str, str] | None = None,
        id_key: str = ID_KEY,
    ) -> None:
        super().__init__(paths)
        self._id_key = str(id_key)
        self._properties = NumericProperties(properties)
        self._options: dict[str, Any] = {} if properties is None else {'properties': dict(properties)}
        if self._id_key != ID_KEY:
            self._options['id_key'] = self._id_key
        self._rows = [(path, _row_ids(path)) for path in self.paths]

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether every path is an SQLite file that ends in ``.db``."""
        return all(path.is_file() and path.suffix.lower() == '.db' and _is_sqlite(path) for path in paths)

    @property
    def n_expected(self) -> int:
        """The number of rows."""
        return sum(len(row_ids) for _, row_ids in self._rows)

    def batches(self) -> Iterator[Batch]:
        """Read the rows in the order of their ids."""
        found = (item for path, row_ids in self._rows for item in self._crystals(path, row_ids))
        while piece := list(islice(found, ROWS_AT_ONCE)):
            yield usable_batch(piece)

    def _crystals(self, path: Path, row_ids: list[int]) -> Iterator[Crystal | Rejection]:
        from ase.db import connect

        # Only read, so nothing is locked: the file may lie where nobody may write.
        with connect(path, type='db', use_lock_file=False) as database:
            for row_id in row_ids:
                yield self._crystal(database, row_id, f'{path.stem}-{row_id}')

    def _crystal(self, database: Any, row_id: int, name: str) -> Crystal | Rejection:
        material_id = name
        try:
            # One by one: a row that cannot be read would end a selection of all.
            row = database.get(id=row_id)
            pairs = row.key_value_pairs
            given = row.unique_id if self._id_key == _UNIQUE_ID else pairs.get(self._id_key)
            material_id = name if given is None or not str(given).strip() else str(given)
            atoms = row.toatoms()
        except Exception as error:  # ASE raises whatever its reading stumbles on
            return Rejection(material_id, Reason.UNREADABLE, f'{type(error).__name__}: {error}')
        known = {key: value for key, value in pairs.items() if key != self._id_key}
        return crystal_of_atoms(atoms, material_id, self._properties.of(known))

    def origin(self) -> Origin:
        """Return the checksums of the files."""
        return Origin(
            self.name,
            files=[describe_file(path) for path in self.paths],
            options=self._options,
            messages=self._properties.messages(),
        )


def _is_sqlite(path: Path) -> bool:
    with path.open('rb') as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def _row_ids(path: Path) -> list[int]:
    """Return the ids of the rows of a database, in ascending order."""
    if not path.is_file() or not _is_sqlite(path):
        raise SourceError(f'{path} is no database of ASE in SQLite')
    try:
        with closing(sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True)) as connection:
            return [row_id for (row_id,) in connection.execute('SELECT id FROM systems ORDER BY id')]
    except sqlite3.Error as error:
        raise SourceError(f'{path} is no readable database of ASE: {error}') from error
