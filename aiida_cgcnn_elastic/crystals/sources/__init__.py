"""Where crystals come from, one module a source.

A source is a class that derives from :class:`Source` and is registered under the entry-point group
``cgcnn_elastic.sources``, here or in any other installed package.
"""

from __future__ import annotations

from aiida_cgcnn_elastic.crystals.sources.base import (
    Batch,
    Filters,
    OptionError,
    Origin,
    Source,
    SourceError,
    describe_file,
)
from aiida_cgcnn_elastic.crystals.sources.filtering import FilteredSource
from aiida_cgcnn_elastic.crystals.sources.reading import (
    Reading,
    ReadResult,
    available,
    find_source,
    open_source,
    read,
    read_into,
    read_rejections,
    recognise,
    write_rejections,
)

__all__ = [
    'Batch',
    'FilteredSource',
    'Filters',
    'OptionError',
    'Origin',
    'ReadResult',
    'Reading',
    'Source',
    'SourceError',
    'available',
    'describe_file',
    'find_source',
    'open_source',
    'read',
    'read_into',
    'read_rejections',
    'recognise',
    'write_rejections',
]
