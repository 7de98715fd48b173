"""Crystal tables in Parquet files, this project's own or another's with the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
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
    lattices, numbers, coords = (rows.column(name) for name in GEOMETRY_SCHEMA.names[1:])
    keep = np.ones(rows.num_rows, dtype=bool)
    rejections = []
    for row, material_id in enumerate(ids):
        fault = _fault(material_id, _values(lattices[row]), _values(numbers[row]), _values(coords[row]))
        if fault is not None:
            keep[row] = False
            rejections.append(Rejection(material_id or f'{path.name}#{first + row}', *fault))
    kept = rows if keep.all() else rows.filter(pa.array(keep))
    return Batch(CrystalTable.from_arrow(kept, allow_duplicate_ids=True), rejections)


def _values(scalar: pa.Scalar) -> npt.NDArray[np.float64]:
    """Return a list's numbers, NaN for a null among them; nothing for a null list."""
    if scalar.values is None:
        return np.empty(0)
    return scalar.values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def _fault(
    material_id: str | None,
    lattice: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.float64],
    coords: npt.NDArray[np.float64],
) -> tuple[Reason, str] | None:
    if not material_id:
        return Reason.NO_ID, 'the row has no material_id'
    if len(lattice) != 9:
        return Reason.BAD_LATTICE, f'the lattice has {len(lattice)} numbers, not 9'
    if len(coords) != 3 * len(numbers):
        return Reason.BAD_COORDINATES, f'{len(coords)} coordinates for {len(numbers)} atoms'
    if not ((numbers >= 1) & (numbers <= 118) & (numbers % 1 == 0)).all():
        return Reason.UNKNOWN_SPECIES, 'an atomic number is not a whole number between 1 and 118'
    return why_unusable(lattice.reshape(3, 3), numbers.astype(np.uint8), coords.reshape(-1, 3))
