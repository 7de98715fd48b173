"""GNoME's releases: an archive of CIFs and a summary of their properties, on disk or in their public bucket."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aiida_cgcnn_elastic.crystals.sources.base import Batch, Filters, Origin, Source, SourceError, usable_batch
from aiida_cgcnn_elastic.crystals.sources.gnome_release import (
    ARCHIVE,
    FOLDER,
    NESTINGS,
    OTHER_ARCHIVES,
    SUMMARY,
    LocalRelease,
    OnlineRelease,
    is_zip_of_release,
)
from aiida_cgcnn_elastic.crystals.sources.gnome_summary import Summary
from aiida_cgcnn_elastic.crystals.sources.parsing import Job, is_cif, n_processes, parse_pieces

URL = 'https://storage.googleapis.com/gdm_materials_discovery/gnome_data/'
"""The folder of the public bucket that holds the release."""

URL_VARIABLE = 'CGCNN_ELASTIC_GNOME_URL'
"""The environment variable that names another address, such as that of a mirror."""

_RELEASES = {384_871: '2023-11', 529_320: '2024-08'}


class GnomeSource(Source):
    """A release of GNoME (Merchant et al. 2023): ``by_id.zip`` and, where present, ``stable_materials_summary.csv``.

    Without a path, the release is read from its public bucket: the summary, the archive's directory, and of its members
    only those that filters leave. What was fetched is kept in the user's cache and not fetched again.

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

    Filters are applied to the summary, and what they do not want is neither fetched nor parsed. What the summary does
    not have a row of, with ``NSites`` and elements, is parsed and filtered then.

    Parameters
    ----------
    paths : sequence of Path
        None, or one: a folder that holds the archive or its unpacked CIFs, also under ``gnome_data``; or the archive,
        also within another zip archive. The summary beside it may be named too.
    processes : int, optional
        How many processes parse; by default all processors.
    summary : bool
        Whether to read the summary where there is one.
    url : str, optional
        Where to read a release from that is not on disk: the address of the folder with ``by_id.zip`` and the summary;
        by default that in the environment variable ``CGCNN_ELASTIC_GNOME_URL``, else of the public bucket.
    connections : int
        Requests to the server under way at once.

    Raises
    ------
    SourceError
        If there is more than one path, it holds no CIFs, or the summary has no column ``MaterialId``; when reading, if
        the server cannot be reached, or a file on it changes meanwhile.
    """

    name: ClassVar[str] = 'gnome'
    licence: ClassVar[str | None] = 'CC BY-NC 4.0'
    citation: ClassVar[str | None] = (
        'A. Merchant, S. Batzner, S. S. Schoenholz, M. Aykol, G. Cheon, E. D. Cubuk, Scaling deep learning for '
        'materials discovery, Nature 624, 80-85 (2023), doi:10.1038/s41586-023-06735-9'
    )
    needs_path: ClassVar[bool] = False

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        processes: int | None = None,
        summary: bool = True,
        url: str | None = None,
        connections: int = 4,
    ) -> None:
        super().__init__(_without_summary(paths))
        if len(self.paths) > 1:
            raise SourceError(f'the source gnome reads one release at a time, not {len(self.paths)} paths')
        if self.paths and url is not None:
            raise SourceError(f'give a path or a url, not both: {self.paths[0]} and {url}')
        if connections < 1:
            raise SourceError(f'connections must be at least 1, not {connections}')
        self.processes = n_processes(processes)
        self._filters: Filters | None = None
        self._jobs: list[Job] | None = None
        self._summary: Summary | None = None
        self._release: LocalRelease | OnlineRelease
        if self.paths:
            self._release = LocalRelease(self.paths[0], summary=summary)
            self._take_list()
        else:
            self._release = OnlineRelease(
                url or os.environ.get(URL_VARIABLE) or URL, summary=summary, connections=connections
            )

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
            known = path.name in (ARCHIVE, *OTHER_ARCHIVES) or (path.parent / SUMMARY).is_file()
            return known or is_zip_of_release(path)
        if path.name == FOLDER and (path.parent / SUMMARY).is_file():
            return True
        return any((path / nesting / name).exists() for nesting in NESTINGS for name in (ARCHIVE, FOLDER, SUMMARY))

    @property
    def is_online(self) -> bool:
        """Whether the release is read from a server."""
        return isinstance(self._release, OnlineRelease)

    @property
    def n_expected(self) -> int | None:
        """The number of CIFs; of a release on a server, once its list has been fetched."""
        return None if self._jobs is None else len(self._jobs)

    def skip_unwanted(self, filters: Filters) -> None:
        """Leave out, before anything is fetched or parsed, what the filters do not want according to the summary."""
        self._filters = filters

    def batches(self) -> Iterator[Batch]:
        """Parse the CIFs in the order of the archive, and add what the summary knows of them."""
        for _ in self._release.open():
            yield usable_batch([])
        self._take_list()
        wanted, skipped = self._wanted()
        yield Batch(usable_batch([]).table, skipped=skipped)
        for batch in parse_pieces(self._release.fetch(wanted), len(wanted), self.processes):
            table = batch.table if self._summary is None else self._summary.join(batch.table)
            yield Batch(table, batch.rejections)

    def _take_list(self) -> None:
        """Take over what the release lists, once that is known."""
        self._jobs = [(member, member.stem) for member in self._release.members if is_cif(member.file_name)]
        if not self._jobs:
            raise SourceError(f'{self._release} holds no CIF')
        self._summary = self._release.summary

    def _wanted(self) -> tuple[list[Job], Counter[str]]:
        """Return the CIFs to parse, and how many others there are, by the reason why they are not wanted."""
        jobs = self._jobs or []
        if self._filters is None or self._summary is None:
            return jobs, Counter()
        unwanted = self._summary.unwanted(self._filters)
        skipped = Counter(unwanted[name] for _, name in jobs if name in unwanted)
        return [job for job in jobs if job[1] not in unwanted], skipped

    def notes(self) -> list[str]:
        """Say what was fetched."""
        return self._release.notes()

    def origin(self) -> Origin:
        """Return the checksums of what was read of archive and summary, and how well the two fit."""
        options: dict[str, Any] = {'summary': self._summary is not None, **self._release.options}
        messages = []
        version = None
        if self._summary is None:
            messages.append('no summary was read: space groups, band gaps and energies are unknown')
        else:
            ids = {material_id for _, material_id in self._jobs or ()}
            rows = self._summary.rows
            n_without_cif = sum(1 for material_id in rows if material_id not in ids)
            n_without_row = sum(1 for material_id in ids if material_id not in rows)
            n_rows = self._summary.table.num_rows
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
            if self._summary.n_repeated:
                messages.append(
                    f'{self._summary.n_repeated} rows of the summary repeat an id; the first row of each was taken'
                )
        files = self._release.describe()
        return Origin(self.name, version, self.licence, self.citation, files, options, messages)


def _without_summary(paths: Sequence[Path]) -> list[Path]:
    """Leave out a summary that is named beside its crystals, where it is found anyway."""
    crystals = [Path(path) for path in paths if Path(path).name != SUMMARY]
    found = {folder / SUMMARY for path in crystals for folder in (path, path.parent)}
    return [path for path in map(Path, paths) if path not in found]
