"""Files of one crystal each, in folders and zip archives: listed once, read anywhere."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple

from aiida_cgcnn_elastic.crystals.sources.base import SourceError, describe_file

MAX_MEMBER_BYTES = 16 * 1024 * 1024
"""No file of one crystal is larger; a zip member that says it is, or grows to be, is not unpacked."""

MAX_ARCHIVE_BYTES = 8 * 1024**3
"""No archive within an archive is unpacked that is larger; GNoME's have less than a tenth of that."""

# Folders with more files than this are described by one checksum over all of them.
_MAX_FILES_LISTED = 100

_UNPACKED_AT_ONCE = 1 << 20

_LOCAL_HEADER = struct.Struct('<4s5H3L2H')
_LOCAL_SIGNATURE = b'PK\x03\x04'
_ENCRYPTED = 0x1
_UTF8 = 0x800
# Folders and files that operating systems add, and hidden ones.
_NOT_DATA = ('__MACOSX', '.')
# What Python's zipfile raises on files that are no zip archives, or made to look like one.
_NO_ZIP = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError, struct.error)


class MemberError(ValueError):
    """One member cannot be read; the others can."""


class Member(NamedTuple):
    """A file in a folder or a zip archive.

    Parameters
    ----------
    container : str
        The archive's path; for a file of its own, that file's path.
    name : str
        The path inside the archive or folder, with slashes.
    offset : int
        Where its header begins in the archive; -1 for a file of its own.
    packed, size, crc, method, flags : int
        What the archive says of it.
    fault : str
        Why it is not read at all; empty where it is.
    """

    container: str
    name: str
    offset: int = -1
    packed: int = 0
    size: int = 0
    crc: int = 0
    method: int = 0
    flags: int = 0
    fault: str = ''

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.name.rsplit('/', 1)[-1]

    @property
    def stem(self) -> str:
        """The file's name without its last suffix."""
        return PurePosixPath(self.name).stem


def list_zip(path: Path, file: IO[bytes] | None = None, begin: int = 0) -> list[Member]:
    """List the files in a zip archive, in the archive's order.

    A member whose name leads out of the archive, or whose bytes are also another's, is listed with that fault.

    Parameters
    ----------
    path : Path
        The archive, or the file that holds it.
    file : binary file, optional
        The archive, where it is not all of `path`.
    begin : int
        Where the archive begins in `path`.

    Raises
    ------
    SourceError
        If it is no zip archive.
    """
    try:
        with zipfile.ZipFile(path if file is None else file) as archive:
            infos = archive.infolist()
            end = archive.start_dir
    except _NO_ZIP as error:
        raise SourceError(f'{path} is not a readable zip archive: {error}') from error
    faults = _faults(infos, end)
    return [
        Member(
            str(path),
            _with_slashes(info.filename),
            begin + info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type,
            info.flag_bits,
            faults.get(place, ''),
        )
        for place, info in enumerate(infos)
        if not info.is_dir() and _is_data(info.filename)
    ]


def _with_slashes(name: str) -> str:
    """Return a member's name with slashes, also where it was written under Windows by a program that used none.

    What is behind a null character is not part of it.
    """
    return name.partition('\0')[0].replace('\\', '/')


def _faults(infos: list[zipfile.ZipInfo], end: int) -> dict[int, str]:
    """Return what is wrong with members before they are read, by their places in the archive."""
    faults = {}
    order = sorted(range(len(infos)), key=lambda place: infos[place].header_offset)
    for place, after in itertools.zip_longest(order, order[1:]):
        info = infos[place]
        limit = end if after is None else infos[after].header_offset
        # A small archive grows large when many members share their bytes.
        if info.header_offset < 0 or info.header_offset + _LOCAL_HEADER.size + info.compress_size > limit:
            faults[place] = 'the archive is damaged: the member reaches into the next'
        parts = _with_slashes(info.filename).split('/')
        if '..' in parts or not parts[0] or parts[0].endswith(':'):
            faults[place] = f'the name {info.filename!r} leads out of the archive'
    return faults


def list_folder(path: Path) -> list[Member]:
    """List the files in a folder and the folders below it, in alphabetical order of their paths."""
    members = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(_NOT_DATA))
        for file in sorted(files):
            if not file.startswith(_NOT_DATA):
                whole = Path(folder, file)
                members.append(Member(str(whole), whole.relative_to(path).as_posix()))
    return sorted(members, key=lambda member: member.name)


def why_refused(member: Member) -> str | None:
    """Return why a packed member is not unpacked whatever its bytes are, None where it is."""
    if member.fault:
        return member.fault
    if member.flags & _ENCRYPTED:
        return 'the member is encrypted'
    if max(member.size, member.packed) > MAX_MEMBER_BYTES:
        return f'{max(member.size, member.packed)} bytes are too many for the file of one crystal'
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f'the member is packed by method {member.method}; stored and deflated ones are read'
    return None


def _is_data(name: str) -> bool:
    return not any(part.startswith(_NOT_DATA) and part not in ('.', '..') for part in name.split('/'))


def read_members(members: list[Member]) -> Iterator[bytes | MemberError]:
    """Yield the content of every member, or what is wrong with it; nothing is ever written to disk.

    Neighbouring members of one archive share an open file. Headers are not looked up in the archive's directory again,
    which for a release of half a million files takes seconds in every process.
    """
    for container, group in itertools.groupby(members, key=lambda member: member.container):
        unread = list(group)
        try:
            if not os.path.isfile(container) and os.path.exists(container):
                # Opening a pipe would wait for somebody to write into it.
                raise OSError(f'{container} is no ordinary file')
            with open(container, 'rb') as handle:
                while unread:
                    yield _content_or_error(handle, unread.pop(0))
        except OSError as error:
            # The archive or file itself cannot be opened, and so none of its members.
            for _ in unread:
                yield MemberError(str(error))


def _content_or_error(handle: BinaryIO, member: Member) -> bytes | MemberError:
    try:
        return _read_file(handle) if member.offset < 0 else read_packed(handle, member)
    except MemberError as error:
        return error
    except OSError as error:
        return MemberError(str(error))


def _read_file(handle: BinaryIO) -> bytes:
    handle.seek(0)
    content = handle.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise MemberError(f'more than {MAX_MEMBER_BYTES} bytes are too many for the file of one crystal')
    return content


def read_packed(handle: BinaryIO, member: Member) -> bytes:
    """Return the content of a member of an archive.

    Raises
    ------
    MemberError
        If it is refused or damaged.
    """
    if refused := why_refused(member):
        raise MemberError(refused)
    _seek_content(handle, member)
    content = _unpack(handle.read(member.packed), member)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise MemberError('the archive is damaged: the member has another checksum than its directory says')
    return content


def _seek_content(handle: BinaryIO, member: Member) -> None:
    """Move to where the content of a member begins, behind its own header."""
    handle.seek(member.offset)
    header = handle.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise MemberError('the archive is damaged: no member begins where its directory says')
    flags, name_length, extra_length = (_LOCAL_HEADER.unpack(header)[place] for place in (2, -2, -1))
    name = handle.read(name_length).decode('utf-8' if flags & _UTF8 else 'cp437', errors='replace')
    # No checksum guards the directory, and so none the name that becomes an id.
    if _with_slashes(name) != member.name:
        raise MemberError(f'the archive is damaged: its directory calls {name!r} {member.name!r}')
    handle.seek(extra_length, os.SEEK_CUR)


def _unpack(packed: bytes, member: Member) -> bytes:
    if member.method == zipfile.ZIP_STORED:
        return packed
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # Never unpack more than was announced: that is how a small archive would fill the memory.
        return stream.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise MemberError(f'the archive is damaged: {error}') from error


def list_inner_zip(archive: Member, folder: Path) -> list[Member]:
    """List the files in a zip archive that is itself a member of one.

    Where it is only stored in the outer one, it is read in its place; else it is unpacked into `folder`.

    Raises
    ------
    SourceError
        If it is refused, damaged or no zip archive.
    """
    if archive.method != zipfile.ZIP_STORED or _why_no_archive(archive):
        return list_zip(unpack_to(folder / 'inner.zip', archive))
    with open(archive.container, 'rb') as handle:
        try:
            _seek_content(handle, archive)
        except MemberError as error:
            raise SourceError(f'{archive.container}: {archive.name}: {error}') from error
        begin = handle.tell()
        part = _Part(handle, begin, archive.packed)
        return list_zip(Path(archive.container), io.BufferedReader(part), begin)


def unpack_to(target: Path, member: Member) -> Path:
    """Unpack a large member into a file and return that.

    Raises
    ------
    SourceError
        If it is refused, larger than announced, or damaged.
    """
    name = f'{member.container}: {member.name}'
    if refused := _why_no_archive(member):
        raise SourceError(f'{name}: {refused}')
    checksum = size = 0
    unread = member.packed
    with open(member.container, 'rb') as source, target.open('wb') as handle:
        try:
            _seek_content(source, member)
            stream = zlib.decompressobj(-zlib.MAX_WBITS)
            while size <= member.size:
                if member.method == zipfile.ZIP_STORED:
                    content = source.read(min(_UNPACKED_AT_ONCE, unread))
                    unread -= len(content)
                else:
                    packed = stream.unconsumed_tail or source.read(min(_UNPACKED_AT_ONCE, unread))
                    unread -= 0 if stream.unconsumed_tail else len(packed)
                    content = stream.decompress(packed, _UNPACKED_AT_ONCE)
                    if not content and packed and not stream.eof:
                        continue
                if not content:
                    break
                size += len(content)
                checksum = zlib.crc32(content, checksum)
                handle.write(content)
        except (MemberError, zlib.error) as error:
            raise SourceError(f'{name}: the archive is damaged: {error}') from error
    if size != member.size or checksum != member.crc:
        raise SourceError(f'{name}: the archive is damaged: the member is another than its directory says')
    return target


def _why_no_archive(member: Member) -> str | None:
    """Return why a large member is not unpacked, None where it is."""
    if member.size > MAX_ARCHIVE_BYTES or member.packed > MAX_ARCHIVE_BYTES:
        return f'{max(member.size, member.packed)} bytes are too many'
    return why_refused(member._replace(size=0, packed=0))


class _Part(io.RawIOBase):
    """A part of a file, read as a file of its own."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self._file = file
        self._begin = begin
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._begin + self._at)
        content = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def describe_path(path: Path) -> list[dict[str, Any]]:
    """Return name, SHA-256 and size of a file, or of the files of a folder.

    A folder with more than 100 files gets one entry, whose checksum is that of the lines ``<sha256>  <path>`` of its
    files in alphabetical order (as ``sha256sum`` writes them).
    """
    if path.is_file():
        return [describe_file(path)]
    files = [describe_file(Path(member.container), member.name) for member in list_folder(path)]
    if len(files) <= _MAX_FILES_LISTED:
        return [{**entry, 'name': f'{path.name}/{entry["name"]}'} for entry in files]
    lines = ''.join(f'{entry["sha256"]}  {entry["name"]}\n' for entry in files)
    return [
        {
            'name': f'{path.name}/',
            'sha256': hashlib.sha256(lines.encode()).hexdigest(),
            'bytes': sum(entry['bytes'] for entry in files),
            'files': len(files),
        }
    ]
