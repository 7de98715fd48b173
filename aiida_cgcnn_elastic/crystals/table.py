"""Many crystals as the columns of one Arrow table, in memory and in Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiida_cgcnn_elastic.crystals.composition import (
    GRAMS_PER_CM3_FROM_DALTON_PER_A3,
    SYMBOLS,
    atomic_masses,
    formula_of_counts,
)
from aiida_cgcnn_elastic.crystals.crystal import Crystal

GEOMETRY_SCHEMA = pa.schema(
    [
        pa.field('material_id', pa.string(), nullable=False),
        pa.field('lattice', pa.list_(pa.float64(), 9), nullable=False),
        pa.field('atomic_numbers', pa.list_(pa.uint8()), nullable=False),
        pa.field('frac_coords', pa.list_(pa.float64()), nullable=False),
    ]
)
"""The columns that every table of crystals has; lattice vectors are rows, in Angstrom."""

PROPERTY_TYPES: dict[str, pa.DataType] = {
    'formula': pa.string(),
    'elements': pa.list_(pa.string()),
    'n_atoms': pa.int32(),
    'space_group_number': pa.int16(),
    'band_gap': pa.float64(),
    'energy_above_hull': pa.float64(),
    'formation_energy': pa.float64(),
    'density': pa.float64(),
    'volume_per_atom': pa.float64(),
    'log10_k_vrh': pa.float64(),
    'log10_g_vrh': pa.float64(),
    'matbench_fold': pa.int8(),
    'elasticity_warnings': pa.list_(pa.string()),
    'elasticity_fault': pa.string(),
}
"""Properties with an agreed name. Units: eV, eV/atom (energies), g/cm^3, Angstrom^3, log10 of GPa."""

ROW_GROUP_SIZE = 4096
ROW_GROUP_ATOMS = 2**19
"""Crystals and atoms in a row group of a Parquet file at most; one crystal may have more atoms."""

_ROWS_DIGESTED_AT_ONCE = 4096
_FORMAT = {b'cgcnn_elastic.crystals': b'1'}
# Rows whose compositions are counted at once: bounds the memory that the counting takes to some 15 MB.
_ROWS_COUNTED_AT_ONCE = 16384


class CrystalArrays(NamedTuple):
    """The geometry of m crystals with a atoms in all; atoms of crystal i are ``offsets[i]:offsets[i + 1]``."""

    lattices: npt.NDArray[np.float64]
    """Shape (m, 3, 3), rows are lattice vectors, in Angstrom."""
    atomic_numbers: npt.NDArray[np.uint8]
    """Shape (a,)."""
    frac_coords: npt.NDArray[np.float64]
    """Shape (a, 3)."""
    offsets: npt.NDArray[np.int64]
    """Shape (m + 1,)."""


class CrystalTable:
    """Crystals as columns: ids, geometry, and whatever properties are known. Immutable.

    Missing properties are null. Columns with a name in :data:`PROPERTY_TYPES` have that type; any other property may be
    a boolean, an integer, a float, a string or a list of strings.

    Use :meth:`from_crystals`, :meth:`from_arrow` or :meth:`read`.
    """

    def __init__(self, table: pa.Table) -> None:
        # Only for tables that are valid already; from_arrow() is the public way in.
        self._table = table

    @classmethod
    def from_crystals(cls, crystals: Iterable[Crystal], *, allow_duplicate_ids: bool = False) -> CrystalTable:
        """Make a table of crystals; a property that only some of them have is null for the others.

        Raises
        ------
        ValueError
            If ids are empty or occur twice, or a property's values are of mixed or unsupported types.
        """
        items = list(crystals)
        names = list(dict.fromkeys(name for crystal in items for name in crystal.properties))
        offsets = np.zeros(len(items) + 1, dtype=np.int32)
        offsets[1:] = np.cumsum([crystal.n_atoms for crystal in items])
        lattices = np.concatenate([crystal.lattice.ravel() for crystal in items]) if items else np.empty(0)
        numbers = np.concatenate([crystal.atomic_numbers for crystal in items]) if items else np.empty(0, np.uint8)
        coords = np.concatenate([crystal.frac_coords.ravel() for crystal in items]) if items else np.empty(0)
        columns = {
            'material_id': pa.array([crystal.material_id for crystal in items], pa.string()),
            'lattice': pa.FixedSizeListArray.from_arrays(pa.array(lattices, pa.float64()), 9),
            'atomic_numbers': pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers, pa.uint8())),
            'frac_coords': pa.ListArray.from_arrays(pa.array(offsets * 3), pa.array(coords, pa.float64())),
        }
        for name in names:
            columns[name] = _property_array(name, [crystal.properties.get(name) for crystal in items])
        return cls.from_arrow(pa.table(columns), allow_duplicate_ids=allow_duplicate_ids)

    @classmethod
    def from_arrow(cls, table: pa.Table, *, allow_duplicate_ids: bool = False) -> CrystalTable:
        """Make a table of an Arrow table with at least the columns of :data:`GEOMETRY_SCHEMA`.

        Columns are cast to their types where nothing is lost; NaN in a property becomes null.

        Raises
        ------
        ValueError
            If columns are missing or of another type, geometry is null or inconsistent, or ids are empty or occur
            twice.
        """
        return cls(_validated(table, allow_duplicate_ids=allow_duplicate_ids))

    @classmethod
    def empty(cls) -> CrystalTable:
        """Return a table without crystals."""
        return cls(GEOMETRY_SCHEMA.with_metadata(_FORMAT).empty_table())

    @classmethod
    def read(cls, path: str | PathLike[str]) -> CrystalTable:
        """Read a Parquet file.

        Raises
        ------
        ValueError
            If the file is no Parquet file, or one without crystals' columns; the message names those missing.
        """
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f'{path} is not a Parquet file: {error}') from error
        try:
            return cls.from_arrow(table)
        except ValueError as error:
            raise ValueError(f'{path} is not a table of crystals: {error}') from error

    def write(self, path: str | PathLike[str] | IO[bytes]) -> None:
        """Write a Parquet file (zstd, row groups of :func:`row_groups`); the same table gives the same bytes."""
        with pq.ParquetWriter(path, self._table.schema, compression='zstd') as writer:
            for start, stop in row_groups(self.n_atoms):
                writer.write_table(_one_chunk(self._table.slice(start, stop - start)))

    @classmethod
    def concatenate(cls, tables: Sequence[CrystalTable], *, allow_duplicate_ids: bool = False) -> CrystalTable:
        """Put tables one below another; a property that some tables lack is null there.

        Raises
        ------
        ValueError
            If an id occurs twice, or a property has types that do not go together.
        """
        filled = [table for table in tables if len(table)]
        if not filled:
            return tables[0] if tables else cls.empty()
        if len(filled) == 1:
            return filled[0]
        types = _common_property_types([table.arrow for table in filled])
        parts = [with_property_types(table.arrow, types) for table in filled]
        joined = pa.concat_tables(parts).combine_chunks()
        _check_ids(_whole(joined.column('material_id')), allow_duplicate_ids=allow_duplicate_ids)
        # The parts have been checked, and nothing else of them can fail together.
        return cls(joined)

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[Crystal]:
        for start in range(0, len(self), ROW_GROUP_SIZE):
            part = self.slice(start, start + ROW_GROUP_SIZE)
            arrays = part.arrays()
            ids = part.material_ids
            properties = self._table.slice(start, len(part)).select(self.property_names).to_pylist()
            for row in range(len(part)):
                atoms = slice(arrays.offsets[row], arrays.offsets[row + 1])
                yield Crystal(
                    ids[row],
                    arrays.lattices[row],
                    arrays.atomic_numbers[atoms],
                    arrays.frac_coords[atoms],
                    properties[row] if properties else {},
                )

    def __repr__(self) -> str:
        return f'<CrystalTable of {len(self)} crystals, properties: {", ".join(self.property_names) or "none"}>'

    @property
    def arrow(self) -> pa.Table:
        """The Arrow table."""
        return self._table

    @property
    def material_ids(self) -> list[str]:
        """Every crystal's id."""
        return self._table.column('material_id').to_pylist()

    @property
    def column_names(self) -> list[str]:
        """Names of all columns."""
        return list(self._table.column_names)

    @property
    def property_names(self) -> list[str]:
        """Names of the columns that are not id or geometry."""
        return [name for name in self._table.column_names if name not in GEOMETRY_SCHEMA.names]

    @property
    def n_atoms(self) -> npt.NDArray[np.int64]:
        """Numbers of atoms in the cells, shape (m,)."""
        return np.diff(self.arrays().offsets)

    @property
    def elements(self) -> list[str]:
        """Symbols of all elements present, in alphabetical order."""
        return sorted(SYMBOLS[number] for number in np.unique(self.arrays().atomic_numbers))

    def column(self, name: str) -> np.ndarray | None:
        """Return a column as an array, or None if there is no such column.

        A missing number is NaN (integers become floats then); a missing string, boolean or list is None.
        """
        if name not in self._table.column_names:
            return None
        return column_to_numpy(self._table.column(name))

    def crystal(self, index: int) -> Crystal:
        """Return one crystal by its row.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f'no row {index} in a table of {len(self)} crystals')
        return next(iter(self.slice(index % len(self), index % len(self) + 1)))

    def find(self, material_id: str) -> Crystal:
        """Return one crystal by its id.

        Raises
        ------
        KeyError
            If there is none; the message names the id.
        """
        row = pc.index(self._table.column('material_id'), pa.scalar(material_id, pa.string())).as_py()
        if row < 0:
            raise KeyError(f'no crystal {material_id!r} in a table of {len(self)}')
        return self.crystal(row)

    def select(self, rows: npt.ArrayLike) -> CrystalTable:
        """Return the rows of an array of indices (in its order) or where a boolean mask is true."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f'a mask of shape {chosen.shape} does not fit a table of {len(self)} crystals')
            chosen = np.flatnonzero(chosen)
        taken = self._table.take(pa.array(chosen.astype(np.int64)))
        return CrystalTable(_one_chunk(taken))

    def slice(self, start: int, stop: int | None = None) -> CrystalTable:
        """Return rows ``start`` to ``stop`` (not included) without copying; rules are those of a list."""
        first, last, _ = slice(start, stop).indices(len(self))
        return CrystalTable(self._table.slice(first, max(last - first, 0)))

    def with_columns(self, columns: Mapping[str, Any]) -> CrystalTable:
        """Return a table with property columns added or replaced.

        Raises
        ------
        ValueError
            If a name is one of the geometry's, or lengths or types do not fit.
        """
        table = self._table
        for name, values in columns.items():
            if name in GEOMETRY_SCHEMA.names:
                raise ValueError(f'{name!r} is no property and cannot be replaced')
            column = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else _property_array(name, values)
            if len(column) != len(self):
                raise ValueError(f'column {name!r} has {len(column)} values for {len(self)} crystals')
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, column)
            else:
                table = table.append_column(name, column)
        return CrystalTable.from_arrow(table, allow_duplicate_ids=True)

    def without_columns(self, names: Iterable[str]) -> CrystalTable:
        """Return a table without some property columns; names that do not occur are passed over."""
        dropped = set(names).intersection(self.property_names)
        return CrystalTable(self._table.drop_columns(sorted(dropped)) if dropped else self._table)

    def arrays(self) -> CrystalArrays:
        """Return the geometry as arrays that share the table's memory (read-only)."""
        lattices = _whole(self._table.column('lattice')).flatten().to_numpy(zero_copy_only=True)
        numbers = _whole(self._table.column('atomic_numbers'))
        coords = _whole(self._table.column('frac_coords')).flatten().to_numpy(zero_copy_only=True)
        offsets = numbers.offsets.to_numpy(zero_copy_only=True).astype(np.int64)
        return CrystalArrays(
            lattices.reshape(-1, 3, 3),
            numbers.flatten().to_numpy(zero_copy_only=True),
            coords.reshape(-1, 3),
            offsets - offsets[0],
        )

    def formulas(self) -> list[str]:
        """Return every crystal's reduced formula, spelled as pymatgen does."""
        return self._compositions()[0]

    def element_lists(self) -> list[list[str]]:
        """Return every crystal's element symbols, each list in alphabetical order."""
        return self._compositions()[1]

    def describe(self) -> pa.Table:
        """Return what is known of every crystal but its geometry.

        Returns
        -------
        pyarrow.Table
            Columns ``material_id``, ``formula``, ``elements``, ``n_atoms``, ``volume_per_atom`` (Angstrom^3),
            ``density`` (g/cm^3), then the table's properties. Where the table holds one of the former as a property,
            its values are kept and only nulls are filled from the geometry. To the last digit, what is said of a
            crystal does not depend on the others.
        """
        arrays = self.arrays()
        n_atoms = np.diff(arrays.offsets)
        volumes = np.abs(np.linalg.det(arrays.lattices))
        # Each cell is summed by itself: of one sum over all atoms, a crystal's last digits would depend on its row.
        masses = np.add.reduceat(atomic_masses()[arrays.atomic_numbers], arrays.offsets[:-1])
        formulas, elements = self._compositions()
        derived = {
            'formula': pa.array(formulas, pa.string()),
            'elements': pa.array(elements, pa.list_(pa.string())),
            'n_atoms': pa.array(n_atoms, pa.int32()),
            'volume_per_atom': pa.array(volumes / n_atoms, pa.float64()),
            'density': pa.array(masses / volumes * GRAMS_PER_CM3_FROM_DALTON_PER_A3, pa.float64()),
        }
        columns = {'material_id': self._table.column('material_id')}
        for name, values in derived.items():
            known = self._table.column(name) if name in self._table.column_names else None
            columns[name] = values if known is None else pc.coalesce(known, values)
        for name in self.property_names:
            columns.setdefault(name, self._table.column(name))
        return pa.table(columns)

    def _compositions(self) -> tuple[list[str], list[list[str]]]:
        """Formulas and elements; equal compositions are worked out once."""
        arrays = self.arrays()
        known: dict[bytes, tuple[str, list[str]]] = {}
        formulas: list[str] = []
        elements: list[list[str]] = []
        width = len(SYMBOLS)
        for start in range(0, len(self), _ROWS_COUNTED_AT_ONCE):
            offsets = arrays.offsets[start : start + _ROWS_COUNTED_AT_ONCE + 1]
            n_rows = len(offsets) - 1
            rows = np.repeat(np.arange(n_rows), np.diff(offsets))
            numbers = arrays.atomic_numbers[offsets[0] : offsets[-1]]
            counts = np.bincount(rows * width + numbers, minlength=n_rows * width).reshape(n_rows, width)
            divisors = np.gcd.reduce(counts, axis=1)
            counts //= divisors[:, None]
            counts = counts.astype(np.uint32)
            for row in counts:
                key = row.tobytes()
                if key not in known:
                    present = np.flatnonzero(row).tolist()
                    formula = formula_of_counts({number: int(row[number]) for number in present})
                    known[key] = formula, sorted(SYMBOLS[number] for number in present)
                formula, symbols = known[key]
                formulas.append(formula)
                elements.append(symbols)
        return formulas, elements

    def sha256(self) -> str:
        """Return a checksum of the content: ids, geometry and properties in the order of the rows.

        It does not depend on how the table is cut in pieces, compressed or written, nor on the order of the columns.
        """
        return rows_sha256(self._table, digested_columns(self._table.column_names))


def row_groups(n_atoms: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield where the row groups of a file of crystals begin and end, as :func:`pieces` does."""
    return pieces(n_atoms, ROW_GROUP_SIZE, ROW_GROUP_ATOMS)


def pieces(n_atoms: npt.NDArray[np.int64], max_crystals: int, max_atoms: int) -> Iterator[tuple[int, int]]:
    """Yield where runs of crystals begin and end that are limited in crystals and, since cells may be large, in atoms.

    Each is as long as it can be, so that where it ends does not depend on what follows.

    Parameters
    ----------
    n_atoms : int array, shape (m,)
        Atoms of every crystal.
    max_crystals, max_atoms : int
        In a run at most; one crystal may have more atoms.
    """
    ends = np.concatenate([[0], np.cumsum(n_atoms)])
    start = 0
    while start < len(n_atoms):
        by_atoms = int(np.searchsorted(ends, ends[start] + max_atoms, side='right')) - 1
        stop = min(max(by_atoms, start + 1), start + max_crystals, len(n_atoms))
        yield start, stop
        start = stop


def digested_columns(names: Iterable[str]) -> list[str]:
    """Return the columns of a table of crystals in the order in which a checksum takes them."""
    return [*GEOMETRY_SCHEMA.names, *sorted(set(names).difference(GEOMETRY_SCHEMA.names))]


def column_to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return an Arrow column as an array: a missing number is NaN, anything else missing is None."""
    kind = column.type
    if pa.types.is_integer(kind) and column.null_count:
        column = column.cast(pa.float64())
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return _whole(column).to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(kind) and not column.null_count:
        return _whole(column).to_numpy(zero_copy_only=False)
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def rows_sha256(table: pa.Table, names: Sequence[str] | None = None) -> str:
    """Return a checksum of the values of an Arrow table's columns, whatever their chunks and buffers.

    Parameters
    ----------
    table : pyarrow.Table
        With columns of numbers, booleans, strings and lists of them.
    names : sequence of str, optional
        The columns and their order; by default all, in alphabetical order.
    """
    digest = RowsDigest(table.schema, names)
    digest.update(table)
    return digest.hexdigest()


class RowsDigest:
    """What :func:`rows_sha256` returns, of rows that come piece by piece, however they are cut into pieces.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every piece.
    names : sequence of str, optional
        As in :func:`rows_sha256`.
    """

    def __init__(self, schema: pa.Schema, names: Sequence[str] | None = None) -> None:
        self._names = sorted(schema.names) if names is None else list(names)
        self._waiting = schema.empty_table().select(self._names)
        self._digest = hashlib.sha256()
        for name in self._names:
            kind = schema.field(name).type
            # Arrow's own name of a list type holds the name of its inner field, which Parquet changes.
            kind = kind.value_type if pa.types.is_nested(kind) else kind
            self._digest.update(f'{name}:{kind};'.encode())

    def update(self, rows: pa.Table) -> None:
        """Add rows."""
        waiting = pa.concat_tables([self._waiting, rows.select(self._names).cast(self._waiting.schema)])
        n_whole = waiting.num_rows - waiting.num_rows % _ROWS_DIGESTED_AT_ONCE
        for start in range(0, n_whole, _ROWS_DIGESTED_AT_ONCE):
            self._add(waiting.slice(start, _ROWS_DIGESTED_AT_ONCE))
        self._waiting = waiting.slice(n_whole)

    def hexdigest(self) -> str:
        """Return the checksum of all rows; none can be added after that."""
        self._add(self._waiting)
        return self._digest.hexdigest()

    def _add(self, rows: pa.Table) -> None:
        self._digest.update(f'{rows.num_rows};'.encode())
        for column in rows.columns:
            _digest_array(self._digest, _whole(column))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _one_chunk(table: pa.Table) -> pa.Table:
    columns = [_whole(column) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _property_array(name: str, values: Any) -> pa.Array:
    """Make an Arrow array of a property's values; a column without any value is one of floats."""
    kind = PROPERTY_TYPES.get(name)
    is_number = kind is not None and not pa.types.is_nested(kind) and not pa.types.is_string(kind)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in 'fiub':
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    try:
        # NaN becomes null before the cast: an integer cannot be NaN, and integers with gaps come as floats.
        array = pa.array(values, type=None if is_number else kind, from_pandas=True)
        if is_number or pa.types.is_null(array.type):
            array = array.cast(kind or pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise ValueError(f'values of property {name!r} cannot be a column: {error}') from error
    return array


def _normal_type(name: str, kind: pa.DataType) -> pa.DataType:
    """Return the type that a property column has in a table of crystals."""
    if name in PROPERTY_TYPES:
        return PROPERTY_TYPES[name]
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        if pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner):
            return pa.list_(pa.string())
    raise ValueError(
        f'property {name!r} has type {kind}; allowed are booleans, integers, floats, strings and lists of strings'
    )


def _common_property_types(tables: Sequence[pa.Table]) -> dict[str, pa.DataType]:
    """Return the types of all properties of some tables, in order of appearance."""
    return common_types([property_types(table) for table in tables])


def property_types(table: pa.Table) -> dict[str, tuple[pa.DataType, bool]]:
    """Return the type of each property of a table, and whether any crystal has it."""
    return {
        field.name: (field.type, table.column(field.name).null_count < table.num_rows)
        for field in table.schema
        if field.name not in GEOMETRY_SCHEMA.names
    }


def with_property_types(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return a table of crystals with these properties and no others; one that it lacks is null."""
    columns = [_whole(table.column(name)) for name in GEOMETRY_SCHEMA.names]
    for name, kind in types.items():
        is_known = name in table.column_names and table.column(name).null_count < table.num_rows
        columns.append(_cast(name, table.column(name), kind) if is_known else pa.nulls(table.num_rows, kind))
    fields = [*GEOMETRY_SCHEMA, *(pa.field(name, kind) for name, kind in types.items())]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=_FORMAT))


def common_types(types_of: Sequence[Mapping[str, tuple[pa.DataType, bool]]]) -> dict[str, pa.DataType]:
    """Return the types that the properties of several tables have in one, in order of appearance.

    Raises
    ------
    ValueError
        If a property has types that do not go together.
    """
    types: dict[str, pa.DataType] = {}
    all_null: set[str] = set()
    for properties in types_of:
        for name, (kind, is_known) in properties.items():
            if name not in types or name in all_null:
                types[name] = kind
                all_null.discard(name)
                if not is_known:
                    all_null.add(name)
            elif is_known and types[name] != kind:
                numeric = all(pa.types.is_integer(item) or pa.types.is_floating(item) for item in (types[name], kind))
                if not numeric:
                    raise ValueError(f'property {name!r} is {types[name]} in one table and {kind} in another')
                types[name] = pa.float64()
    return types


def _validated(table: pa.Table, *, allow_duplicate_ids: bool) -> pa.Table:
    missing = [name for name in GEOMETRY_SCHEMA.names if name not in table.column_names]
    if missing:
        raise ValueError(
            f'it lacks the columns {", ".join(missing)} (it has {", ".join(table.column_names) or "none"})'
        )
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise ValueError(f'it has several columns named {", ".join(repeated)}')
    fields = list(GEOMETRY_SCHEMA)
    columns = [_cast(name, table.column(name), GEOMETRY_SCHEMA.field(name).type) for name in GEOMETRY_SCHEMA.names]
    for name in table.column_names:
        if name in GEOMETRY_SCHEMA.names:
            continue
        kind = _normal_type(name, table.schema.field(name).type)
        column = _cast(name, table.column(name), kind)
        if pa.types.is_floating(kind):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        fields.append(pa.field(name, kind))
        columns.append(column)
    _check_ids(columns[0], allow_duplicate_ids=allow_duplicate_ids)
    _check_geometry(*columns[:4])
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=_FORMAT))


def _cast(name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = _whole(column)
    if array.type == kind:
        return array
    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f'column {name!r} has type {array.type}, which cannot be made {kind}: {error}') from error


def _check_ids(ids: pa.Array, *, allow_duplicate_ids: bool) -> None:
    if ids.null_count or pc.any(pc.equal(ids, '')).as_py():
        raise ValueError('column material_id holds empty ids; every crystal needs one')
    if not allow_duplicate_ids and pc.count_distinct(ids).as_py() != len(ids):
        counts = pc.value_counts(ids)
        twice = [entry['values'] for entry in counts.to_pylist() if entry['counts'] > 1]
        raise ValueError(f'{len(twice)} ids occur more than once, such as {twice[0]!r}')


def _check_geometry(ids: pa.Array, lattices: pa.Array, numbers: pa.Array, coords: pa.Array) -> None:
    for name, array in (('lattice', lattices), ('atomic_numbers', numbers), ('frac_coords', coords)):
        if array.null_count or array.flatten().null_count:
            raise ValueError(f'column {name!r} holds nulls; crystals without geometry do not belong in a table')
    n_atoms = pc.list_value_length(numbers).to_numpy(zero_copy_only=False)
    n_coords = pc.list_value_length(coords).to_numpy(zero_copy_only=False)
    cells = lattices.flatten().to_numpy(zero_copy_only=False).reshape(-1, 3, 3)
    _refuse(ids, n_atoms == 0, 'has no atoms')
    _refuse(ids, n_coords != 3 * n_atoms, 'has another number of frac_coords than three an atom')
    _refuse(ids, ~np.isfinite(cells).all(axis=(1, 2)), 'has a lattice that is not finite')
    _refuse(ids, np.abs(np.linalg.det(cells)) == 0, 'has a lattice without a volume')
    flat = numbers.flatten().to_numpy(zero_copy_only=False)
    if flat.size and (flat.min() < 1 or flat.max() >= len(SYMBOLS)):
        row = np.searchsorted(np.cumsum(n_atoms), np.argmax((flat < 1) | (flat >= len(SYMBOLS))), side='right')
        raise ValueError(f'crystal {ids[int(row)].as_py()!r} has an atomic number that is not between 1 and 118')
    positions = coords.flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(positions).all():
        row = np.searchsorted(np.cumsum(n_coords), np.argmin(np.isfinite(positions)), side='right')
        raise ValueError(f'crystal {ids[int(row)].as_py()!r} has coordinates that are not finite')


def _refuse(ids: pa.Array, wrong: npt.NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        raise ValueError(f'crystal {ids[int(np.argmax(wrong))].as_py()!r} {what}')


def _digest_array(digest: Any, array: pa.Array) -> None:
    """Add an array's values to a digest: which are null, lengths where they vary, and the values themselves."""
    kind = array.type
    digest.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_string(kind):
        array = array.fill_null('')
        digest.update(pc.binary_length(array).to_numpy(zero_copy_only=False).astype('<i4').tobytes())
        if len(array):
            _, offsets, data = array.buffers()
            ends = np.frombuffer(offsets, np.int32)[[array.offset, array.offset + len(array)]]
            digest.update(memoryview(data)[slice(*ends)] if data is not None else b'')
    elif pa.types.is_list(kind):
        digest.update(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype('<i4').tobytes())
        _digest_array(digest, array.flatten())
    elif pa.types.is_fixed_size_list(kind):
        _digest_array(digest, array.flatten())
    elif pa.types.is_boolean(kind):
        digest.update(np.packbits(array.fill_null(False).to_numpy(zero_copy_only=False)).tobytes())
    else:
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(values.astype(values.dtype.newbyteorder('<')).tobytes())
