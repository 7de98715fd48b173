"""The files of GNoME's release: an archive of CIFs and a summary of their properties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError
from aiida_cgcnn_elastic.crystals.sources.members import describe_path, list_folder, list_zip
from aiida_cgcnn_elastic.crystals.sources.parsing import is_cif, n_processes, parse
from aiida_cgcnn_elastic.crystals.table import PROPERTY_TYPES, CrystalTable

ARCHIVE = 'by_id.zip'
FOLDER = 'by_id'
SUMMARY = 'stable_materials_summary.csv'
ID_COLUMN = 'MaterialId'

# The release is downloaded under these folders by its own scripts.
_NESTINGS = ('', 'gnome_data', 'data/gnome_data', 'data', 'gdm_materials_discovery/gnome_data')
_OTHER_ARCHIVES = ('by_composition.zip', 'by_reduced_formula.zip')
_ENERGY_ALL = 'Decomposition Energy Per Atom All'
_ENERGY = 'Decomposition Energy Per Atom'
_COLUMNS = {
    'Space Group Number': 'space_group_number',
    'Bandgap': 'band_gap',
    'Formation Energy Per Atom': 'formation_energy',
    _ENERGY: 'decomposition_energy',
    _ENERGY_ALL: 'decomposition_energy_all',
}
_RELEASES = {384_871: '2023-11', 529_320: '2024-08'}


class GnomeSource(Source):
    """A release of GNoME (Merchant et al. 2023): ``by_id.zip`` and, where present, ``stable_materials_summary.csv``.

    A crystal's id is the stem of its CIF, always a string. Columns of the summary are found by name:

    - ``Space Group Number`` is ``space_group_number``, ``Bandgap`` is ``band_gap`` (eV), ``Formation Energy Per Atom``
      is ``formation_energy`` (eV/atom).
    - ``Decomposition Energy Per Atom`` is kept as ``decomposition_energy`` (eV/atom): the release describes it as
      relative to the convex hull of the Materials Project; below zero means below that hull.
    - ``energy_above_hull`` (eV/atom) is ``Decomposition Energy Per Atom All``, the distance to the hull of all the
      release's entries; where that is blank, ``decomposition_energy`` is taken for it, since a crystal below the hull
      that it is compared with lies on the one that it makes itself. Both are cut off at zero: a hull has nothing
      under it.

    Volume and density are not taken from the summary, whose description contradicts itself about the density's unit:
    they follow from the crystal. A blank is null, as are all properties of a CIF that the summary does not have.

    Parameters
    ----------
    paths : sequence of Path
        One path: a folder that holds the archive or its unpacked CIFs, also under ``gnome_data``; or the archive. The
        summary beside it may be named too.
    processes : int, optional
        How many processes parse; by default all processors.
    summary : bool
        Whether to read the summary where there is one.

    Raises
    ------
    SourceError
        If there is not exactly one path, it holds no CIFs, or the summary has no column ``MaterialId``.
    """

    name: ClassVar[str] = 'gnome'
    licence: ClassVar[str | None] = 'CC BY-NC 4.0'
    citation: ClassVar[str | None] = (
        'A. Merchant, S. Batzner, S. S. Schoenholz, M. Aykol, G. Cheon, E. D. Cubuk, Scaling deep learning for '
        'materials discovery, Nature 624, 80-85 (2023), doi:10.1038/s41586-023-06735-9'
    )

    def __init__(self, paths: Sequence[Path] = (), *, processes: int | None = None, summary: bool = True) -> None:
        super().__init__(_without_summary(paths))
        if len(self.paths) != 1:
            raise SourceError(f'the source gnome reads one release at a time, not {len(self.paths)} paths')
        self.processes = n_processes(processes)
        self._crystals = _find_crystals(self.paths[0])
        listed = list_folder(self._crystals) if self._crystals.is_dir() else list_zip(self._crystals)
        self._jobs = [(member, member.stem) for member in listed if is_cif(member.file_name)]
        if not self._jobs:
            raise SourceError(f'{self._crystals} holds no CIF')
        self._summary_path = _find_summary(self.paths[0], self._crystals) if summary else None
        self._summary = _read_summary(self._summary_path) if self._summary_path is not None else None

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether one path beside the summary is or holds GNoME's archive, or CIFs with GNoME's summary."""
        paths = _without_summary(paths)
        if len(paths) != 1:
            return False
        path = paths[0]
        if path.is_file():
            if path.suffix.lower() != '.zip':
                return False
            return path.name in (ARCHIVE, *_OTHER_ARCHIVES) or (path.parent / SUMMARY).is_file()
        if path.name == FOLDER and (path.parent / SUMMARY).is_file():
            return True
        return any((path / nesting / name).exists() for nesting in _NESTINGS for name in (ARCHIVE, FOLDER, SUMMARY))

    @property
    def n_expected(self) -> int:
        """The number of CIFs."""
        return len(self._jobs)

    def batches(self) -> Iterator[Batch]:
        """Parse the CIFs in the order of the archive, and add what the summary knows of them."""
        rows = {} if self._summary is None else _rows_by_id(self._summary)
        for batch in parse(self._jobs, self.processes):
            table = batch.table if self._summary is None else _joined(batch.table, self._summary, rows)
            yield Batch(table, batch.rejections)

    def origin(self) -> Origin:
        """Return the checksums of the archive and the summary, and how well the two fit."""
        files = describe_path(self._crystals)
        options: dict[str, Any] = {'summary': self._summary is not None}
        messages = []
        version = None
        if self._summary_path is None or self._summary is None:
            messages.append('no summary was read: space groups, band gaps and energies are unknown')
        else:
            files += describe_path(self._summary_path)
            counts = Counter(self._summary.column(ID_COLUMN).to_pylist())
            ids = {material_id for _, material_id in self._jobs}
            n_rows = self._summary.num_rows
            n_without_cif = sum(1 for material_id in counts if material_id not in ids)
            n_without_row = sum(1 for material_id in ids if material_id not in counts)
            n_repeated = n_rows - len(counts)
            version = _RELEASES.get(n_rows)
            options |= {
                'n_summary_rows': n_rows,
                'n_summary_rows_without_cif': n_without_cif,
                'n_cifs_without_summary_row': n_without_row,
            }
            if n_without_cif:
                messages.append(f'{n_without_cif} materials of the summary have no CIF here and were not read')
            if n_without_row:
                messages.append(f'{n_without_row} CIFs have no row in the summary; their properties are unknown')
            if n_repeated:
                messages.append(f'{n_repeated} rows of the summary repeat an id; the first row of each was taken')
        return Origin(self.name, version, self.licence, self.citation, files, options, messages)


def _without_summary(paths: Sequence[Path]) -> list[Path]:
    """Leave out a summary that is named beside its crystals, where it is found anyway."""
    crystals = [Path(path) for path in paths if Path(path).name != SUMMARY]
    found = {folder / SUMMARY for path in crystals for folder in (path, path.parent)}
    return [path for path in map(Path, paths) if path not in found]


def _find_crystals(path: Path) -> Path:
    if path.is_file():
        return path
    for nesting in _NESTINGS:
        for name in (ARCHIVE, FOLDER, *_OTHER_ARCHIVES):
            if (path / nesting / name).exists():
                return path / nesting / name
    return path


def _find_summary(path: Path, crystals: Path) -> Path | None:
    folders = [crystals.parent] if path.is_file() else [crystals.parent, *(path / nesting for nesting in _NESTINGS)]
    return next((folder / SUMMARY for folder in folders if (folder / SUMMARY).is_file()), None)


def _read_summary(path: Path) -> pa.Table:
    """Read the summary's columns that have a meaning here, under their names here."""
    # Every column as strings first: a guess would make numbers of ids such as 12e4567890.
    try:
        header = pa.csv.open_csv(path).schema.names
        wanted = [ID_COLUMN, *(name for name in _COLUMNS if name in header)]
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
    for name in wanted[1:]:
        kind = PROPERTY_TYPES.get(_COLUMNS[name], pa.float64())
        try:
            # Integers pass through floats: pandas writes 225.0 where the column has blanks.
            numbers = raw.column(name).cast(pa.float64())
            columns[_COLUMNS[name]] = pc.if_else(pc.is_nan(numbers), None, numbers).cast(kind)
        except pa.ArrowInvalid as error:
            raise SourceError(f'{path}: column {name!r} holds something that is no number: {error}') from error
    return _with_energy_above_hull(pa.table(columns))


def _with_energy_above_hull(summary: pa.Table) -> pa.Table:
    missing = pa.nulls(summary.num_rows, pa.float64())
    names = summary.column_names
    over_all = summary.column('decomposition_energy_all') if 'decomposition_energy_all' in names else missing
    over_mp = summary.column('decomposition_energy') if 'decomposition_energy' in names else missing
    energy = pc.max_element_wise(pc.coalesce(over_all, over_mp), pa.scalar(0.0), skip_nulls=False)
    summary = summary.append_column('energy_above_hull', energy)
    return summary.drop_columns(['decomposition_energy_all']) if 'decomposition_energy_all' in names else summary


def _rows_by_id(summary: pa.Table) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, material_id in enumerate(summary.column(ID_COLUMN).to_pylist()):
        rows.setdefault(material_id, row)
    return rows


def _joined(table: CrystalTable, summary: pa.Table, rows: dict[str, int]) -> CrystalTable:
    places = [rows.get(material_id) for material_id in table.material_ids]
    taken = summary.take(pa.array(places, pa.int64()))
    return table.with_columns({name: taken.column(name) for name in summary.column_names if name != ID_COLUMN})
