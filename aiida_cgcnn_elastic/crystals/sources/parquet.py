"""Crystal tables in Parquet files, this project's own or another's with the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiida_cgcnn_elastic.crystals.checks import Fault, find_faults
from aiida_cgcnn_elastic.crystals.crystal import Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError, describe_file
from aiida_cgcnn_elastic.crystals.table import GEOMETRY_SCHEMA, ROW_GROUP_SIZE, CrystalTable


class ParquetSource(Source):
    """Parquet files with the columns ``material_id``, ``lattice``, ``atomic_numbers`` and ``frac_coords``.

    Further columns are kept as properties under their names. A row that is no usable crystal is rejected, not the file.

    Parameters
    ----------
    paths : sequence of Path
        Parquet files.

    Raises
    ------
    SourceError
        If a file is no Parquet file or lacks one of these columns; the message names those missing.
    """

    name: ClassVar[str] = 'parquet'

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        super().__init__(paths)
        self._n_rows = 0
        for path in self.paths:
            try:
                with pq.ParquetFile(path) as file:
                    schema, n_rows = file.schema_arrow, file.metadata.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise SourceError(f'{path} is not a readable Parquet file: {error}') from error
            missing = [name for name in GEOMETRY_SCHEMA.names if name not in schema.names]
            if missing:
                raise SourceError(f'{path} is no table of crystals: it lacks the columns {", ".join(missing)}')
            for name in GEOMETRY_SCHEMA.names[1:]:
                if not _is_list_of_numbers(schema.field(name).type):
                    raise SourceError(f'{path} is no table of crystals: column {name!r} is {schema.field(name).type}')
            self._n_rows += n_rows

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether every path is a file that ends in ``.parquet``."""
        return all(path.is_file() and path.suffix.lower() in ('.parquet', '.pq') for path in paths)

    @property
    def n_expected(self) -> int:
        """The number of rows in all files."""
        return self._n_rows

    def batches(self) -> Iterator[Batch]:
        """Read the rows in their order."""
        for path in self.paths:
            first = 0
            with pq.ParquetFile(path) as file:
                try:
                    for rows in file.iter_batches(ROW_GROUP_SIZE):
                        yield _checked(pa.Table.from_batches([rows]), path, first)
                        first += rows.num_rows
                except (pa.ArrowInvalid, OSError, ValueError) as error:
                    raise SourceError(f'{path} cannot be read after {first} rows: {error}') from error

    def origin(self) -> Origin:
        """Return the checksums of the files."""
        return Origin(self.name, files=[describe_file(path) for path in self.paths])


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    return pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)


def _checked(rows: pa.Table, path: Path, first: int) -> Batch:
    """Keep the rows that are usable crystals; reject the others one by one."""
    ids = rows.column('material_id').cast(pa.string()).to_pylist()
    lattices, numbers, coords = (_numbers_of(rows.column(name)) for name in GEOMETRY_SCHEMA.names[1:])
    faults: dict[int, Fault] = {}
    for row in np.flatnonzero(coords.lengths != 3 * numbers.lengths).tolist():
        detail = f'{coords.lengths[row]} coordinates for {numbers.lengths[row]} atoms'
        faults[row] = Reason.BAD_COORDINATES, detail
    for row in np.flatnonzero(lattices.lengths != 9).tolist():
        faults[row] = Reason.BAD_LATTICE, f'the lattice has {lattices.lengths[row]} numbers, not 9'
    sound = np.array([row for row in range(rows.num_rows) if row not in faults], dtype=np.int64)
    values, offsets = coords.of(sound)
    cells = lattices.of(sound)[0].reshape(-1, 3, 3)
    for place, fault in find_faults(cells, values.reshape(-1, 3), offsets // 3).items():
        faults[int(sound[place])] = fault
    is_element = (numbers.values >= 1) & (numbers.values <= 118) & (numbers.values % 1 == 0)
    for row in set(np.repeat(np.arange(rows.num_rows), numbers.lengths)[~is_element].tolist()):
        faults[row] = Reason.UNKNOWN_SPECIES, 'an atomic number is not a whole number between 1 and 118'
    for row, material_id in enumerate(ids):
        if not material_id:
            faults[row] = Reason.NO_ID, 'the row has no material_id'
    rejections = [Rejection(ids[row] or f'{path.name}#{first + row}', *faults[row]) for row in sorted(faults)]
    kept = rows.filter(pa.array([row not in faults for row in range(rows.num_rows)])) if faults else rows
    return Batch(CrystalTable.from_arrow(kept, allow_duplicate_ids=True), rejections)


class _Lists(NamedTuple):
    """A column of lists of numbers: all their values, shape (v,), and how many each row has, shape (m,)."""

    values: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    def of(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return the values of some rows, and where those of each begin and end."""
        chosen = np.zeros(len(self.lengths), dtype=bool)
        chosen[rows] = True
        return self.values[np.repeat(chosen, self.lengths)], np.concatenate([[0], np.cumsum(self.lengths[rows])])


def _numbers_of(column: pa.ChunkedArray) -> _Lists:
    """Return a column's lists: NaN for a null among their numbers, nothing for a null list."""
    lists = column.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    # Unlike flatten(), this leaves out what lies beneath a null list of fixed size.
    values = pc.list_flatten(lists).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return _Lists(values, lengths)
