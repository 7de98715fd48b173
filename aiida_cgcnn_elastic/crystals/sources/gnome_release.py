"""Where the files of a GNoME release lie: on disk, in a folder or packed; or on a server."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aiida_cgcnn_elastic.crystals.sources.base import SourceError
from aiida_cgcnn_elastic.crystals.sources.gnome_summary import Summary
from aiida_cgcnn_elastic.crystals.sources.members import (
    Member,
    describe_path,
    list_folder,
    list_inner_zip,
    list_zip,
    unpack_to,
)
from aiida_cgcnn_elastic.crystals.sources.parsing import FILES_AT_ONCE, Job, is_cif
from aiida_cgcnn_elastic.crystals.sources.remote import RemoteFile
from aiida_cgcnn_elastic.crystals.sources.remote_zip import RemoteZip

ARCHIVE = 'by_id.zip'
FOLDER = 'by_id'
SUMMARY = 'stable_materials_summary.csv'
OTHER_ARCHIVES = ('by_composition.zip', 'by_reduced_formula.zip')
NESTINGS = ('', 'gnome_data', 'data/gnome_data', 'data', 'gdm_materials_discovery/gnome_data')
"""The release is downloaded under these folders by its own scripts."""


class LocalRelease:
    """A release on disk.

    Parameters
    ----------
    path : Path
        A folder or a zip archive.
    summary : bool
        Whether to look for the summary.

    Attributes
    ----------
    members : list of Member
        The files beside each other where the CIFs are.
    summary : Summary or None
    options : dict
        What to record of how it was read.

    Raises
    ------
    SourceError
        If an archive or the summary cannot be read.
    """

    def __init__(self, path: Path, *, summary: bool = True) -> None:
        self.options: dict[str, Any] = {}
        self._crystals = _find_crystals(path)
        self._summary_path = _find_summary(path, self._crystals) if summary else None
        self._described = [self._crystals]
        if self._summary_path is not None:
            self._described.append(self._summary_path)
        # Lives as long as this object: whoever parses reads what was unpacked into it.
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        if self._crystals.is_dir():
            self.members = list_folder(self._crystals)
        else:
            self.members = self._list_archive(summary)
        self.summary = None if self._summary_path is None else Summary(self._summary_path)

    def __str__(self) -> str:
        return str(self._crystals)

    def _list_archive(self, summary: bool) -> list[Member]:
        """List a zip archive of CIFs, or of the archive with the CIFs."""
        members = list_zip(self._crystals)
        packed_summary = next((member for member in members if member.file_name == SUMMARY), None)
        if summary and self._summary_path is None and packed_summary is not None:
            self._summary_path = unpack_to(self._folder() / SUMMARY, packed_summary)
        if any(is_cif(member.file_name) for member in members):
            return members
        inner = _best_archive(members)
        if inner is None:
            return members
        inner_members = list_inner_zip(inner, self._folder())
        if not any(is_cif(member.file_name) for member in inner_members) and _best_archive(inner_members):
            raise SourceError(f'{self._crystals}: an archive in an archive is read, but not one in that: {inner.name}')
        return inner_members

    def _folder(self) -> Path:
        if self._unpacked is None:
            self._unpacked = tempfile.TemporaryDirectory(prefix='cgcnn-elastic-')
        return Path(self._unpacked.name)

    def open(self) -> Iterator[None]:
        """Do nothing: what is on disk was listed at once."""
        yield from ()

    def fetch(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """Yield jobs some hundred at a time; nothing needs fetching."""
        for start in range(0, len(jobs), FILES_AT_ONCE):
            yield jobs[start : start + FILES_AT_ONCE]

    def notes(self) -> list[str]:
        """Say nothing: nothing is fetched."""
        return []

    def describe(self) -> list[dict[str, Any]]:
        """Return name, checksum and size of archive and summary."""
        return [entry for path in self._described for entry in describe_path(path)]


class OnlineRelease:
    """A release on a web server; nothing is asked of it before it is opened.

    Parameters
    ----------
    url : str
        The folder with ``by_id.zip`` and the summary.
    summary : bool
        Whether to read the summary.
    connections : int
        Requests under way at once.

    Attributes
    ----------
    members : list of Member
        The files in the archive, where the copy here will have them; empty before it is opened.
    summary : Summary or None
    options : dict
        What to record of how it was read.
    """

    def __init__(self, url: str, *, summary: bool = True, connections: int = 4) -> None:
        self._url = url.rstrip('/') + '/'
        self._with_summary = summary
        self._connections = connections
        self._files: list[RemoteFile] = []
        self._wanted: list[Member] = []
        self.members: list[Member] = []
        self.summary: Summary | None = None
        self.options: dict[str, Any] = {'url': self._url}

    def __str__(self) -> str:
        return self._url + ARCHIVE

    def open(self) -> Iterator[None]:
        """Fetch the summary and the archive's directory; yields at least once a second.

        Raises
        ------
        SourceError
            If that is not possible.
        """
        self._files = []
        if self._with_summary:
            file = self._remote(SUMMARY)
            yield from file.fetch()
            file.check_md5()
            self.summary = Summary(file.path)
        self._archive = RemoteZip(self._remote(ARCHIVE))
        yield from self._archive.open()
        self.members = self._archive.members

    def _remote(self, name: str) -> RemoteFile:
        self._files.append(RemoteFile(self._url + name, connections=self._connections))
        return self._files[-1]

    def fetch(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """Fetch the members of jobs and yield these, some hundred at a time, empty where there is nothing yet."""
        self._wanted = [member for member, _ in jobs]
        return self._archive.fetch(jobs)

    def notes(self) -> list[str]:
        """Say what was fetched of each file."""
        return [
            f'{file.url}: {file.n_bytes:,} of {file.size:,} bytes fetched in {file.n_requests} requests, '
            f'kept in {file.path.parent}'
            for file in self._files
        ]

    def describe(self) -> list[dict[str, Any]]:
        """Return name, address, version and size of both files, and the checksum of what was read.

        Of the archive, that are the members wanted, as they are packed, one after the other.
        """
        if not self._files:
            return []
        described = [file.describe_whole() for file in self._files[:-1]]
        digest = hashlib.sha256()
        with self._archive.file.path.open('rb') as copy:
            for member in self._wanted:
                start, stop = self._archive.span(member)
                copy.seek(start)
                digest.update(copy.read(stop - start))
        members = {'members': len(self.members), 'members_read': len(self._wanted)}
        return [{**self._archive.file.describe(), **members, 'sha256_of_members_read': digest.hexdigest()}, *described]


def is_zip_of_release(path: Path) -> bool:
    """Say whether a zip archive holds a release's archive or summary."""
    try:
        return any(member.file_name in (ARCHIVE, SUMMARY) for member in list_zip(path))
    except SourceError:
        return False


def _best_archive(members: Sequence[Member]) -> Member | None:
    """Return the member that is the archive of a release, by its name if possible."""
    archives = [member for member in members if member.file_name.lower().endswith('.zip')]
    by_name = {member.file_name: member for member in reversed(archives)}
    named = [by_name[name] for name in (ARCHIVE, *OTHER_ARCHIVES) if name in by_name]
    return next(iter(named + archives), None)


def _find_crystals(path: Path) -> Path:
    if path.is_file():
        return path
    for nesting in NESTINGS:
        for name in (ARCHIVE, FOLDER, *OTHER_ARCHIVES):
            if (path / nesting / name).exists():
                return path / nesting / name
    return path


def _find_summary(path: Path, crystals: Path) -> Path | None:
    folders = [crystals.parent] if path.is_file() else [crystals.parent, *(path / nesting for nesting in NESTINGS)]
    return next((folder / SUMMARY for folder in folders if (folder / SUMMARY).is_file()), None)
