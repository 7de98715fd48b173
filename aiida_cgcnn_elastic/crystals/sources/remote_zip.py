"""A zip archive on a web server, of which only the members that are wanted are fetched."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from aiida_cgcnn_elastic.crystals.sources.base import SourceError
from aiida_cgcnn_elastic.crystals.sources.members import Member, MemberError, list_zip, read_packed, why_refused
from aiida_cgcnn_elastic.crystals.sources.parsing import FILES_AT_ONCE, Job
from aiida_cgcnn_elastic.crystals.sources.remote import LARGEST_REQUEST, RemoteFile, in_pieces

MAX_GAP = 16 * 1024
"""Bytes not wanted between two members that are, up to so many, are fetched with them: a request costs more."""

_MOST_FILES = 8192
_KEPT_WITHIN = 1.0  # seconds
_TAIL = 1 << 16  # the end of an archive: all of a small directory, and a large one's place
# A member's header ends with its name and extra fields, each at most 64 KiB; a descriptor may follow its content.
_MOST_AROUND = 30 + 2 * 0xFFFF + 24


class RemoteZip:
    """A zip archive on a web server.

    Python's `zipfile` reads the directory through range requests, zip64 and all. Members are fetched many at a time,
    compared with the checksums in the directory, and kept in the file's copy here at their own places: what reads
    members of a zip archive reads them in the copy.

    Parameters
    ----------
    file : RemoteFile
        The archive.

    Attributes
    ----------
    members : list of Member
        All files in it, once it has been opened.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self.members: list[Member] = []
        self._stops: dict[int, int] = {}

    def open(self) -> Iterator[None]:
        """Fetch the directory (of half a million members: 40 MB); yields at least once a second.

        Raises
        ------
        SourceError
            If it is no zip archive.
        """
        size = self.file.size
        yield from self.file.fetch(max(0, size - _TAIL))
        while True:
            try:
                with self.file.path.open('rb') as copy:
                    self.members = list_zip(self.file.path, io.BufferedReader(_Copy(copy, self.file)))
                break
            except _NotHere as gap:
                missing = gap.start, gap.stop
            except SourceError as error:
                # Nothing guards the directory but its own form; what is kept of it may be what is broken.
                self.file.forget()
                raise SourceError(f'{self.file.url} is not a readable zip archive: {error}') from error
            yield from self.file.fetch(*missing)
        offsets = sorted(member.offset for member in self.members)
        self._stops = dict(itertools.pairwise([*offsets, size]))

    def span(self, member: Member) -> tuple[int, int]:
        """Return where a member begins and ends at the latest, its header included."""
        return member.offset, min(member.offset + member.packed + _MOST_AROUND, self._stops[member.offset])

    def fetch(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """Have the copy hold the members of jobs, and yield these in their order, some hundred at a time.

        An empty sequence is yielded at least once a second while there is nothing else. A member that arrives damaged
        is fetched once more; where that does not help, whoever reads it finds it damaged.
        """
        if not self.file.gives_parts:
            for _ in self.file.fetch():
                yield ()
        for group in _groups(jobs):
            if self.file.gives_parts:
                missing = self._unsound([member for member, _ in group if why_refused(member) is None], only_here=True)
                for _ in range(2):
                    damaged: list[Member] = []
                    for found in self._fetch(missing):
                        damaged += found
                        yield ()
                    missing = damaged
            for start in range(0, len(group), FILES_AT_ONCE):
                yield group[start : start + FILES_AT_ONCE]

    def _fetch(self, members: Sequence[Member]) -> Iterator[list[Member]]:
        """Put members into the copy, and yield those that arrived damaged."""
        wanted = sorted(members, key=lambda member: member.offset)
        ranges = in_pieces(joined([self.span(member) for member in wanted], MAX_GAP))
        pieces: list[tuple[int, bytes]] = []
        n_got = n_checked = 0
        kept_at = time.monotonic()
        for start, stop, content in self.file.download(ranges):
            if content is None:
                yield []
                continue
            n_got += 1
            pieces.append((start, content))
            n_bytes = sum(len(piece) for _, piece in pieces)
            # What a killed process loses is what it has not kept: some megabytes, or what came within a second.
            if n_got < len(ranges) and n_bytes < LARGEST_REQUEST and time.monotonic() - kept_at < _KEPT_WITHIN:
                continue
            kept_at = time.monotonic()
            self.file.keep(pieces, [])
            pieces = []
            complete = list(
                itertools.takewhile(lambda member: self.span(member)[1] <= stop, wanted[n_checked:])  # noqa: B023
            )
            n_checked += len(complete)
            damaged = self._unsound(complete)
            bad = {member.offset for member in damaged}
            self.file.keep([], [self.span(member) for member in complete if member.offset not in bad])
            yield damaged

    def _unsound(self, members: Sequence[Member], *, only_here: bool = False) -> list[Member]:
        """Return the members that cannot be read in the copy; with `only_here`, also those not noted to be there."""
        unsound = []
        with self.file.path.open('rb') as copy:
            for member in members:
                start, stop = self.span(member)
                if only_here and not self.file.here.cover(start, stop):
                    unsound.append(member)
                    continue
                copy.seek(start)
                try:
                    read_packed(io.BytesIO(copy.read(stop - start)), member._replace(offset=0))
                except MemberError:
                    unsound.append(member)
        return unsound


def joined(ranges: Sequence[tuple[int, int]], max_gap: int) -> list[tuple[int, int]]:
    """Join ranges, in the order of their starts, that overlap or have at most `max_gap` bytes between them."""
    together: list[tuple[int, int]] = []
    for start, stop in ranges:
        if together and start - together[-1][1] <= max_gap:
            together[-1] = (together[-1][0], max(stop, together[-1][1]))
        else:
            together.append((start, stop))
    return together


def _groups(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Cut jobs into groups that are fetched before any of theirs is parsed."""
    first, n_bytes = 0, 0
    for place, (member, _) in enumerate(jobs):
        n_bytes += member.packed
        if n_bytes >= 4 * LARGEST_REQUEST or place + 1 - first >= _MOST_FILES or place + 1 == len(jobs):
            yield jobs[first : place + 1]
            first, n_bytes = place + 1, 0


class _NotHere(Exception):  # noqa: N818 - not an error
    """The copy lacks some bytes."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(start, stop)
        self.start = start
        self.stop = stop


class _Copy(io.RawIOBase):
    """A copy with holes, read as a file: reading into a hole raises `_NotHere`."""

    def __init__(self, copy: BinaryIO, file: RemoteFile) -> None:
        self._copy = copy
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._copy.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        start = self._copy.tell()
        stop = min(start + len(buffer), self._file.size)
        if not self._file.here.cover(start, stop):
            raise _NotHere(start, stop)
        content = self._copy.read(stop - start)
        buffer[: len(content)] = content
        return len(content)
