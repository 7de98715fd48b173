"""What the data types that pack many rows in files have in common."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ('Content', 'ContentCaching', 'PackedData', 'count_by', 'parse_parquet', 'to_parquet')

Content = bytes | Path | str | IO[bytes]
"""A file: its bytes, its path, or itself opened in binary mode."""

_BYTES_AT_ONCE = 1 << 20


class ContentCaching(NodeCaching):
    """Hash a node by what its files mean, not by their bytes.

    The attributes hold ``content_sha256``, the checksum of the rows. The bytes of a Parquet file change with the
    version of the library that wrote it; two sets of equal rows must nevertheless be equal to AiiDA's caching.
    """

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return what enters the hash: the class and the attributes, without the files."""
        objects = super().get_objects_to_hash()
        objects.pop('repository_hash')
        return objects


class PackedData(Data):
    """A node whose content is in files and whose summary is in its attributes.

    The attribute ``file_sha256`` holds the checksum of each file, verified when the node is stored, and
    ``content_sha256`` that of what the files hold, however they are encoded.
    """

    _CLS_NODE_CACHING = ContentCaching
    _hash_ignored_attributes = ('file_sha256',)

    FILENAMES: ClassVar[tuple[str, ...]] = ()

    @property
    def content_sha256(self) -> str:
        """Return the checksum of the content, independent of the encoding of the files."""
        return self.base.attributes.get('content_sha256')

    def read_bytes(self, filename: str) -> bytes:
        """Return the bytes of one of the node's files."""
        return self.base.repository.get_object_content(filename, mode='rb')

    @contextmanager
    def open_file(self, filename: str) -> Iterator[IO[bytes]]:
        """Open one of the node's files, to read parts of it."""
        with self.base.repository.open(filename, 'rb') as handle:
            yield handle

    def _put_files(self, contents: Mapping[str, Content]) -> None:
        """Copy files into the node, piece by piece, and note their checksums."""
        for filename, content in contents.items():
            if isinstance(content, bytes):
                self.base.repository.put_object_from_bytes(content, filename)
            elif isinstance(content, (str, Path)):
                with Path(content).open('rb') as handle:
                    self.base.repository.put_object_from_filelike(handle, filename)
            else:
                self.base.repository.put_object_from_filelike(content, filename)
        self.base.attributes.set('file_sha256', self._checksums())

    def _checksums(self) -> dict[str, str]:
        """Return the checksum of each file."""
        checksums = {}
        for filename in self.FILENAMES:
            digest = hashlib.sha256()
            with self.open_file(filename) as handle:
                while block := handle.read(_BYTES_AT_ONCE):
                    digest.update(block)
            checksums[filename] = digest.hexdigest()
        return checksums

    def _note_summary(self) -> dict[str, Any]:
        """Return what `_summarize` does, and remember of which files: a validation need not read them again."""
        summary = self._summarize()
        self._summarized = self.base.attributes.get('file_sha256'), summary
        return summary

    def _summarize(self) -> dict[str, Any]:
        """Return the attributes that follow from the files.

        Raises
        ------
        ValueError
            If the files cannot be read or do not agree with each other.
        """
        raise NotImplementedError

    def _validate(self) -> None:
        """Raise unless the node has its files, unchanged, and attributes that agree with them."""
        super()._validate()
        name = self.__class__.__name__
        present = set(self.base.repository.list_object_names())
        if present != set(self.FILENAMES):
            raise ValidationError(
                f'{name} must hold the files {sorted(self.FILENAMES)} but holds {sorted(present)}; '
                'make it with one of its `from_...` methods'
            )
        noted = self.base.attributes.get('file_sha256', {})
        checksums = self._checksums()
        for filename in self.FILENAMES:
            if noted.get(filename) != checksums[filename]:
                raise ValidationError(f'{name}: the checksum of `{filename}` is not the one in its attributes')
        summarized, summary = getattr(self, '_summarized', (None, {}))
        if summarized != checksums:
            try:
                summary = self._summarize()
            except ValueError as exception:
                raise ValidationError(f'{name}: {exception}') from exception
        for key, value in summary.items():
            attribute = self.base.attributes.get(key, None)
            # The database keeps fewer digits of a number than the files, so a node from the cache has fewer too.
            if clean_value(attribute) != clean_value(value):
                raise ValidationError(f'{name}: the attribute `{key}` is {attribute!r}, but its files say {value!r}')


def parse_parquet(
    file: bytes | IO[bytes], filename: str, required: tuple[str, ...] = (), columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the table in a Parquet file.

    Parameters
    ----------
    file : bytes or binary file object
    filename : str
        What to call it in an error.
    required : tuple of str
        Columns that it must have.
    columns : sequence of str, optional
        Read these alone, those of them that there are; by default all.

    Raises
    ------
    ValueError
        If it is no Parquet file, or one without a required column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(io.BytesIO(file) if isinstance(file, bytes) else file)
        present = opened.schema_arrow.names
        table = opened.read(columns=None if columns is None else [name for name in present if name in columns])
    except (pa.ArrowInvalid, OSError) as exception:
        raise ValueError(f'`{filename}` is not a Parquet file: {exception}') from exception
    missing = [name for name in required if name not in present]
    if missing:
        raise ValueError(f'`{filename}` lacks the columns {missing}; it has {present}')
    return table


def to_parquet(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file (zstd)."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression='zstd')
    return buffer.getvalue()


def count_by(table: pa.Table, column: str) -> dict[str, int]:
    """Return how often each value occurs in a column of strings, in alphabetical order of the values."""
    counts = table.column(column).value_counts().to_pylist()
    return {entry['values']: entry['counts'] for entry in sorted(counts, key=lambda entry: entry['values'])}
