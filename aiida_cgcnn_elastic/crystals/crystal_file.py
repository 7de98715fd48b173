"""Crystals in a Parquet file, written and read piece by piece: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiida_cgcnn_elastic.crystals.crystal import Crystal
from aiida_cgcnn_elastic.crystals.table import (
    GEOMETRY_SCHEMA,
    ROW_GROUP_ATOMS,
    ROW_GROUP_SIZE,
    SYMBOLS,
    CrystalTable,
    RowsDigest,
    common_types,
    digested_columns,
    property_types,
    row_groups,
    with_property_types,
)

__all__ = ['CrystalFile', 'CrystalWriter']


class CrystalFile:
    """A Parquet file of crystals, open for reading; of its row groups only those that are asked for are read.

    Parameters
    ----------
    source : path or binary file object
        A file that :class:`CrystalWriter` or :meth:`CrystalTable.write` wrote, or one with the same columns.

    Raises
    ------
    ValueError
        If it is no Parquet file, or lacks columns of geometry.
    """

    def __init__(self, source: str | PathLike[str] | IO[bytes]) -> None:
        name = str(source) if isinstance(source, (str, PathLike)) else 'the file'
        try:
            self._file = pq.ParquetFile(source)
        except pa.ArrowInvalid as error:
            raise ValueError(f'{name} is not a Parquet file: {error}') from error
        missing = [column for column in GEOMETRY_SCHEMA.names if column not in self._file.schema_arrow.names]
        if missing:
            raise ValueError(f'{name} is not a table of crystals: it lacks the columns {", ".join(missing)}')
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._last: tuple[int, CrystalTable] | None = None

    def __enter__(self) -> CrystalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def column_names(self) -> list[str]:
        """Names of all columns."""
        return list(self._file.schema_arrow.names)

    def n_atoms(self) -> npt.NDArray[np.int64]:
        """Return the numbers of atoms in the cells, shape (m,); of the geometry only the atomic numbers are read."""
        parts = [np.zeros(0, dtype=np.int64)]
        for group in range(len(self._starts) - 1):
            numbers = self._file.read_row_group(group, columns=['atomic_numbers']).column(0)
            parts.append(pc.list_value_length(numbers).to_numpy().astype(np.int64))
        return np.concatenate(parts)

    def tables(self) -> Iterator[CrystalTable]:
        """Yield the crystals, a row group at a time."""
        for group in range(len(self._starts) - 1):
            yield self._table(group)

    def rows(self, start: int, stop: int) -> CrystalTable:
        """Return the rows ``start`` to ``stop``, not included.

        Raises
        ------
        ValueError
            If there are no such rows.
        """
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f'rows {start} to {stop} are not within a set of {len(self)} crystals')
        first = int(np.searchsorted(self._starts, start, side='right')) - 1
        last = int(np.searchsorted(self._starts, stop, side='left'))
        if start == stop:
            return CrystalTable.from_arrow(self._file.schema_arrow.empty_table())
        tables = [self._table(group) for group in range(first, last)]
        found = tables[0] if len(tables) == 1 else CrystalTable.concatenate(tables)
        return found.slice(start - int(self._starts[first]), stop - int(self._starts[first]))

    def find(self, material_ids: Sequence[str]) -> list[Crystal]:
        """Return crystals by their ids, in the order of these; only the row groups that hold them are read whole.

        Raises
        ------
        KeyError
            If one is not there; the message names it.
        """
        wanted = pa.array(material_ids, pa.string())
        found: dict[str, Crystal] = {}
        for group in range(len(self._starts) - 1):
            ids = self._file.read_row_group(group, columns=['material_id']).column(0)
            rows = pc.indices_nonzero(pc.is_in(ids, value_set=wanted))
            if len(rows):
                table = CrystalTable.from_arrow(self._file.read_row_group(group).take(rows))
                found |= {crystal.material_id: crystal for crystal in table}
            if len(found) == len(wanted):
                break
        missing = [material_id for material_id in material_ids if material_id not in found]
        if missing:
            raise KeyError(f'no crystal {missing[0]!r} in a set of {len(self)}')
        return [found[material_id] for material_id in material_ids]

    def summary(self) -> dict[str, Any]:
        """Read all crystals once and say what they are.

        Returns
        -------
        dict
            ``n_crystals``, ``elements`` (symbols, in alphabetical order), ``columns``, and ``sha256``, the checksum of
            the content, which is that of `CrystalTable.sha256`.

        Raises
        ------
        ValueError
            If an id occurs twice, or what is read cannot be crystals.
        """
        present = np.zeros(len(SYMBOLS), dtype=bool)
        digest: RowsDigest | None = None
        for table in self.tables() if len(self) else [self.rows(0, 0)]:
            present[table.arrays().atomic_numbers] = True
            if digest is None:
                digest = RowsDigest(table.arrow.schema, digested_columns(table.column_names))
            digest.update(table.arrow)
        ids = self._file.read(columns=['material_id']).column(0)
        if pc.count_distinct(ids).as_py() != len(ids):
            twice = next(entry['values'] for entry in pc.value_counts(ids).to_pylist() if entry['counts'] > 1)
            raise ValueError(f'ids occur more than once, such as {twice!r}')
        return {
            'n_crystals': len(self),
            'elements': sorted(SYMBOLS[number] for number in np.flatnonzero(present)),
            'columns': self.column_names,
            'sha256': digest.hexdigest() if digest is not None else '',
        }

    def _table(self, group: int) -> CrystalTable:
        # Whoever reads slices one after the other asks for the same row group again.
        if self._last is None or self._last[0] != group:
            self._last = group, CrystalTable.from_arrow(self._file.read_row_group(group))
        return self._last[1]


class CrystalWriter:
    """Writes crystals that come table by table into one Parquet file, with the bytes that the whole table would have.

    A property that only later tables have is null in the earlier ones: what was written is then written once more,
    row group by row group, when the file is closed. Use it as context manager; where that ends by an exception, no file
    is left.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._waiting: list[CrystalTable] = []
        self._n_waiting = self._atoms_waiting = 0
        self._segments: list[_Segment] = []
        self.n_crystals = 0

    def __enter__(self) -> CrystalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            for segment in self._segments:
                segment.close()
                segment.path.unlink(missing_ok=True)

    def write(self, table: CrystalTable) -> None:
        """Add crystals; their ids must not have occurred before.

        Raises
        ------
        ValueError
            If a property has a type that does not go together with that of earlier ones.
        """
        if not len(table):
            return
        self.n_crystals += len(table)
        self._waiting.append(table)
        self._n_waiting += len(table)
        self._atoms_waiting += int(table.n_atoms.sum())
        if self._n_waiting > ROW_GROUP_SIZE or self._atoms_waiting > ROW_GROUP_ATOMS:
            self._write_row_groups(all_of_them=False)

    def close(self) -> None:
        """Write what is left and put the file in its place."""
        self._write_row_groups(all_of_them=True)
        for segment in self._segments:
            segment.close()
        if len(self._segments) == 1:
            self._segments[0].path.replace(self._path)
        elif self._segments:
            self._merge()
        else:
            CrystalTable.empty().write(self._path)

    def _write_row_groups(self, *, all_of_them: bool) -> None:
        """Write the row groups that nothing more can be added to."""
        waiting = CrystalTable.concatenate(self._waiting, allow_duplicate_ids=True)
        groups = list(row_groups(waiting.n_atoms)) if self._waiting else []
        complete = groups if all_of_them else groups[:-1]
        for start, stop in complete:
            table = waiting.slice(start, stop)
            if not self._segments or not self._segments[-1].takes(table):
                self._segments.append(_Segment(self._segment_path(len(self._segments)), table.arrow.schema))
            self._segments[-1].write(table)
        rest = waiting.slice(complete[-1][1] if complete else 0)
        self._waiting = [rest] if len(rest) else []
        self._n_waiting = len(rest)
        self._atoms_waiting = int(rest.n_atoms.sum()) if len(rest) else 0

    def _segment_path(self, number: int) -> Path:
        return self._path.with_name(f'{self._path.name}.{number}')

    def _merge(self) -> None:
        types = common_types([segment.properties for segment in self._segments])
        merged = _Segment(self._segment_path(len(self._segments)), with_property_types(_EMPTY, types).schema)
        self._segments.append(merged)
        for segment in self._segments[:-1]:
            with CrystalFile(segment.path) as file:
                for table in file.tables():
                    merged.write(CrystalTable(with_property_types(table.arrow, types)))
            segment.path.unlink()
        merged.close()
        merged.path.replace(self._path)


_EMPTY = CrystalTable.empty().arrow


class _Segment:
    """A file of crystals whose tables all have the same columns."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.properties: dict[str, tuple[pa.DataType, bool]] = {}
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression='zstd')

    def takes(self, table: CrystalTable) -> bool:
        return table.arrow.schema.equals(self._schema)

    def write(self, table: CrystalTable) -> None:
        for name, (kind, is_known) in property_types(table.arrow).items():
            self.properties[name] = kind, is_known or self.properties.get(name, (kind, False))[1]
        self._writer.write_table(table.arrow.combine_chunks())

    def close(self) -> None:
        self._writer.close()
