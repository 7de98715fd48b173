"""The summary of a GNoME release: what is known of its crystals before any is parsed."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from aiida_cgcnn_elastic.crystals.sources.base import Filters, SourceError
from aiida_cgcnn_elastic.crystals.table import PROPERTY_TYPES, CrystalTable

ID_COLUMN = 'MaterialId'

_ENERGY_ALL = 'Decomposition Energy Per Atom All'
_ENERGY = 'Decomposition Energy Per Atom'
_COLUMNS = {
    'Space Group Number': 'space_group_number',
    'Bandgap': 'band_gap',
    'Formation Energy Per Atom': 'formation_energy',
    _ENERGY: 'decomposition_energy',
    _ENERGY_ALL: 'decomposition_energy_all',
}
_SITES = 'NSites'
# A list as Python writes it, or where there is none, a formula: in both, symbols stand out by their capitals.
_ELEMENTS = ('Elements', 'Composition', 'Reduced Formula')
_SYMBOL = re.compile('[A-Z][a-z]?')
# Known from the crystal itself once it is parsed, and so taken from the summary for filters only.
_FOR_FILTERS = ('n_atoms', 'elements')


class Summary:
    """The columns of a summary that have a meaning here, under their names here.

    Parameters
    ----------
    path : Path
        The CSV file.

    Attributes
    ----------
    table : pyarrow.Table
        ``MaterialId`` and the columns that :class:`~aiida_cgcnn_elastic.crystals.sources.gnome.GnomeSource` describes;
        ``n_atoms`` and ``elements``, null where the summary does not tell them.
    rows : dict of str to int
        The first row of each material.

    Raises
    ------
    SourceError
        If it is no CSV file with the column ``MaterialId``, or a column of numbers holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = _read(path)
        self.rows: dict[str, int] = {}
        for row, material_id in enumerate(self.table.column(ID_COLUMN).to_pylist()):
            self.rows.setdefault(material_id, row)

    @property
    def n_repeated(self) -> int:
        """How many rows are of a material that an earlier row is of."""
        return self.table.num_rows - len(self.rows)

    def join(self, table: CrystalTable) -> CrystalTable:
        """Return crystals with what the summary knows of them; null where it has no row or a blank."""
        places = [self.rows.get(material_id) for material_id in table.material_ids]
        taken = self.table.take(pa.array(places, pa.int64()))
        names = [name for name in taken.column_names if name not in (ID_COLUMN, *_FOR_FILTERS)]
        return table.with_columns({name: taken.column(name) for name in names})

    def unwanted(self, filters: Filters) -> dict[str, str]:
        """Return why materials are not wanted, by id, of those whose sites and elements the summary tells."""
        table = self.table.take(pa.array(list(self.rows.values()), pa.int64()))
        table = table.filter(pc.and_(pc.is_valid(table.column('n_atoms')), pc.is_valid(table.column('elements'))))
        reasons = filters.why_unwanted(table)
        ids = table.column(ID_COLUMN).to_pylist()
        return {name: reason for name, reason in zip(ids, reasons, strict=True) if reason is not None}


def _read(path: Path) -> pa.Table:
    """Read the summary's columns that have a meaning here, under their names here."""
    # Every column as strings first: a guess would make numbers of ids such as 12e4567890.
    try:
        header = pa.csv.open_csv(path).schema.names
        elements = next((name for name in _ELEMENTS if name in header), None)
        numbers_wanted = [name for name in (*_COLUMNS, _SITES) if name in header]
        wanted = [ID_COLUMN, *numbers_wanted, *([elements] if elements else [])]
        if ID_COLUMN not in header:
            raise SourceError(f'{path} has no column {ID_COLUMN}; it has {", ".join(header)}')
        raw = pa.csv.read_csv(
            path,
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f'{path} is not a readable CSV file: {error}') from error
    columns = {ID_COLUMN: raw.column(ID_COLUMN).fill_null('')}
    for name in numbers_wanted:
        column = _COLUMNS.get(name, 'n_atoms')
        kind = pa.int32() if name == _SITES else PROPERTY_TYPES.get(column, pa.float64())
        try:
            # Integers pass through floats: pandas writes 225.0 where the column has blanks.
            numbers = raw.column(name).cast(pa.float64())
            columns[column] = pc.if_else(pc.is_nan(numbers), None, numbers).cast(kind)
        except pa.ArrowInvalid as error:
            raise SourceError(f'{path}: column {name!r} holds something that is no number: {error}') from error
    columns.setdefault('n_atoms', pa.nulls(raw.num_rows, pa.int32()))
    symbols = pa.nulls(raw.num_rows, pa.string()) if elements is None else raw.column(elements)
    columns['elements'] = pa.array(map(_symbols, symbols.to_pylist()), pa.list_(pa.string()))
    return _with_energy_above_hull(pa.table(columns))


def _symbols(text: str | None) -> list[str] | None:
    """Return the elements in a list or formula, None where it names none."""
    return (sorted(set(_SYMBOL.findall(text))) or None) if text else None


def _with_energy_above_hull(summary: pa.Table) -> pa.Table:
    missing = pa.nulls(summary.num_rows, pa.float64())
    names = summary.column_names
    over_all = summary.column('decomposition_energy_all') if 'decomposition_energy_all' in names else missing
    over_mp = summary.column('decomposition_energy') if 'decomposition_energy' in names else missing
    energy = pc.max_element_wise(pc.coalesce(over_all, over_mp), pa.scalar(0.0), skip_nulls=False)
    summary = summary.append_column('energy_above_hull', energy)
    return summary.drop_columns(['decomposition_energy_all']) if 'decomposition_energy_all' in names else summary
