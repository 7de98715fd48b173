"""What the data types that pack many rows in files have in common."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.nodes.caching import NodeCaching

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ('ContentCaching', 'PackedData')


class ContentCaching(NodeCaching):
    """Hash a node by what its files mean, not by their bytes.

    The attributes hold ``content_sha256``, the checksum of the rows. The bytes of a Parquet file change with the version of the
    library that wrote it; two sets of equal rows must nevertheless be equal to AiiDA's caching.
    """

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return what enters the hash: the class and the attributes, without the files."""
        objects = super().get_objects_to_hash()
        objects.pop('repository_hash')
        return objects


class PackedData(Data):
    """A node whose rows are in files and whose summary is in its attributes.

    The attribute ``file_sha256`` holds the checksum of each file and is verified when the node is stored.
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

    def _put_file(self, filename: str, content: bytes | Path) -> None:
        """Copy a file's content into the node and note its checksum."""
        content = content if isinstance(content, bytes) else Path(content).read_bytes()
        self.base.repository.put_object_from_bytes(content, filename)
        checksums = dict(self.base.attributes.get('file_sha256', {}))
        checksums[filename] = hashlib.sha256(content).hexdigest()
        self.base.attributes.set('file_sha256', checksums)

    def _read_parquet(self, filename: str) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self.read_bytes(filename)))

    def _validate(self) -> None:
        """Raise unless the node has its files, all of them, with the bytes that were noted."""
        super()._validate()
        present = set(self.base.repository.list_object_names())
        if present != set(self.FILENAMES):
            raise ValidationError(
                f'{self.__class__.__name__} must hold the files {sorted(self.FILENAMES)} but holds {sorted(present)}; '
                'make it with one of its `from_...` methods'
            )
        checksums = self.base.attributes.get('file_sha256', {})
        for filename in self.FILENAMES:
            if checksums.get(filename) != hashlib.sha256(self.read_bytes(filename)).hexdigest():
                raise ValidationError(f'the checksum of `{filename}` is not the one in the attribute `file_sha256`')
