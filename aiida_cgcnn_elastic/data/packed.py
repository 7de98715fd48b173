"""What the data types that pack many rows in files have in common."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ('ContentCaching', 'PackedData', 'count_by', 'parse_parquet', 'to_parquet')


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

    def _put_files(self, contents: dict[str, bytes]) -> None:
        """Copy files into the node and note their checksums."""
        for filename, content in contents.items():
            self.base.repository.put_object_from_bytes(content, filename)
        checksums = {filename: hashlib.sha256(content).hexdigest() for filename, content in contents.items()}
        self.base.attributes.set('file_sha256', checksums)

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
        checksums = self.base.attributes.get('file_sha256', {})
        for filename in self.FILENAMES:
            if checksums.get(filename) != hashlib.sha256(self.read_bytes(filename)).hexdigest():
                raise ValidationError(f'{name}: the checksum of `{filename}` is not the one in its attributes')
        try:
            summary = self._summarize()
        except ValueError as exception:
            raise ValidationError(f'{name}: {exception}') from exception
        for key, value in summary.items():
            noted = self.base.attributes.get(key, None)
            # The database keeps fewer digits of a number than the files, so a node from the cache has fewer too.
            if clean_value(noted) != clean_value(value):
                raise ValidationError(f'{name}: the attribute `{key}` is {noted!r}, but its files say {value!r}')


def parse_parquet(content: bytes, filename: str, required: tuple[str, ...] = ()) -> pa.Table:
    """Return the table in the bytes of a Parquet file.

    Raises
    ------
    ValueError
        If they are no Parquet file, or one without a required column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as exception:
        raise ValueError(f'`{filename}` is not a Parquet file: {exception}') from exception
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f'`{filename}` lacks the columns {missing}; it has {table.column_names}')
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


def content_of(file: bytes | Path | str) -> bytes:
    """Return the content of a file that is given as its path or as its content."""
    return file if isinstance(file, bytes) else Path(file).read_bytes()
