"""Crystal tables in Parquet files, this project's own or another's with the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiida_cgcnn_elastic.crystals.checks import why_unusable
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
                    names, n_rows = file.schema_arrow.names, file.metadata.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise SourceError(f'{path} is not a readable Parquet file: {error}') from error
            missing = [name for name in GEOMETRY_SCHEMA.names if name not in names]
            if missing:
                raise SourceError(f'{path} is no table of crystals: it lacks the columns {", ".join(missing)}')
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


def _checked(rows: pa.Table, path: Path, first: int) -> Batch:
    """Keep the rows that are usable crystals; reject the others one by one."""
    for name in ('material_id',):
        if not pa.types.is_string(rows.schema.field(name).type):
            rows = rows.set_column(rows.column_names.index(name), name, rows.column(name).cast(pa.string()))
    keep = np.ones(rows.num_rows, dtype=bool)
    rejections = []
    for row, fault in _faults(rows):
        keep[row] = False
        material_id = rows.column('material_id')[row].as_py() or f'{path.name}#{first + row}'
        rejections.append(Rejection(material_id, *fault))
    table = CrystalTable.from_arrow(rows.filter(pa.array(keep)), allow_duplicate_ids=True)
    arrays = table.arrays()
    usable = np.ones(len(table), dtype=bool)
    for row in range(len(table)):
        atoms = slice(arrays.offsets[row], arrays.offsets[row + 1])
        found = why_unusable(arrays.lattices[row], arrays.atomic_numbers[atoms], arrays.frac_coords[atoms])
        if found is not None:
            usable[row] = False
            rejections.append(Rejection(table.arrow.column('material_id')[row].as_py(), *found))
    return Batch(table if usable.all() else table.select(usable), rejections)


def _faults(rows: pa.Table) -> Iterator[tuple[int, tuple[Reason, str]]]:
    """Yield the rows that cannot even be part of a table of crystals, and why."""
    ids = rows.column('material_id').to_pylist()
    lattices, numbers, coords = (rows.column(name) for name in GEOMETRY_SCHEMA.names[1:])
    n_atoms = pc.fill_null(pc.list_value_length(numbers), -1).to_numpy()
    n_coords = pc.fill_null(pc.list_value_length(coords), -1).to_numpy()
    n_lattice = pc.fill_null(pc.list_value_length(lattices), -1).to_numpy()
    for row, material_id in enumerate(ids):
        if not material_id:
            yield row, (Reason.NO_ID, 'the row has no material_id')
        elif n_lattice[row] != 9:
            yield row, (Reason.BAD_LATTICE, 'the lattice has not 9 numbers')
        elif n_atoms[row] < 1:
            yield row, (Reason.NO_ATOMS, 'no atoms')
        elif n_coords[row] != 3 * n_atoms[row]:
            yield row, (Reason.BAD_COORDINATES, f'{n_coords[row]} coordinates for {n_atoms[row]} atoms')
        else:
            fault = _fault_of_values(
                lattices[row].values.to_numpy(zero_copy_only=False),
                numbers[row].values.to_numpy(zero_copy_only=False),
                coords[row].values.to_numpy(zero_copy_only=False),
            )
            if fault is not None:
                yield row, fault


def _fault_of_values(lattice: np.ndarray, numbers: np.ndarray, coords: np.ndarray) -> tuple[Reason, str] | None:
    if not np.isfinite(lattice.astype(float)).all() or np.linalg.det(lattice.reshape(3, 3)) == 0:
        return Reason.BAD_LATTICE, 'the lattice is not finite or spans no volume'
    if not np.isfinite(coords.astype(float)).all():
        return Reason.BAD_COORDINATES, 'a coordinate is missing or not finite'
    if not ((numbers >= 1) & (numbers <= 118)).all():
        return Reason.UNKNOWN_SPECIES, 'an atomic number does not lie between 1 and 118'
    return None
