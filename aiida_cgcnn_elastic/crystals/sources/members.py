"""Files of one crystal each, in folders and zip archives: listed once, read anywhere."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from aiida_cgcnn_elastic.crystals.sources.base import SourceError, describe_file

MAX_MEMBER_BYTES = 16 * 1024 * 1024
"""No file of one crystal is larger; a zip member that says it is, or grows to be, is not unpacked."""

# Folders with more files than this are described by one checksum over all of them.
_MAX_FILES_LISTED = 100

_LOCAL_HEADER = struct.Struct('<4s5H3L2H')
_LOCAL_SIGNATURE = b'PK\x03\x04'
_ENCRYPTED = 0x1
# Folders and files that operating systems add, and hidden ones.
_NOT_DATA = ('__MACOSX', '.')


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
    """

    container: str
    name: str
    offset: int = -1
    packed: int = 0
    size: int = 0
    crc: int = 0
    method: int = 0
    flags: int = 0

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.name.rsplit('/', 1)[-1]

    @property
    def stem(self) -> str:
        """The file's name without its last suffix."""
        return PurePosixPath(self.name).stem


def list_zip(path: Path) -> list[Member]:
    """List the files in a zip archive, in the archive's order.

    Raises
    ------
    SourceError
        If it is no zip archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f'{path} is not a readable zip archive: {error}') from error
    return [
        Member(
            str(path),
            info.filename,
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type,
            info.flag_bits,
        )
        for info in infos
        if not info.is_dir() and _is_data(info.filename)
    ]


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
            with open(container, 'rb') as handle:
                while unread:
                    yield _content_or_error(handle, unread.pop(0))
        except OSError as error:
            # The archive or file itself cannot be opened, and so none of its members.
            for _ in unread:
                yield MemberError(str(error))


def _content_or_error(handle: BinaryIO, member: Member) -> bytes | MemberError:
    try:
        return _read_file(handle) if member.offset < 0 else _read_packed(handle, member)
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


def _read_packed(handle: BinaryIO, member: Member) -> bytes:
    if member.flags & _ENCRYPTED:
        raise MemberError('the member is encrypted')
    if max(member.size, member.packed) > MAX_MEMBER_BYTES:
        raise MemberError(f'{max(member.size, member.packed)} bytes are too many for the file of one crystal')
    handle.seek(member.offset)
    header = handle.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise MemberError('the archive is damaged: no member begins where its directory says')
    name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
    handle.seek(name_length + extra_length, os.SEEK_CUR)
    packed = handle.read(member.packed)
    content = _unpack(packed, member)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise MemberError('the archive is damaged: the member has another checksum than its directory says')
    return content


def _unpack(packed: bytes, member: Member) -> bytes:
    if member.method == zipfile.ZIP_STORED:
        return packed
    if member.method != zipfile.ZIP_DEFLATED:
        raise MemberError(f'the member is packed by method {member.method}; stored and deflated ones are read')
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # Never unpack more than was announced: that is how a small archive would fill the memory.
        return stream.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise MemberError(f'the archive is damaged: {error}') from error


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
