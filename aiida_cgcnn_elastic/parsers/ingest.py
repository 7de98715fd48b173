"""The parser of ``cgcnn-elastic ingest``."""

from __future__ import annotations

from aiida_cgcnn_elastic.parsers.base import RunnerParser

__all__ = ('IngestParser',)


class IngestParser(RunnerParser):
    """Parse a ingest job."""
