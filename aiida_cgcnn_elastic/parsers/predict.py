"""The parser of ``cgcnn-elastic predict``."""

from __future__ import annotations

from aiida_cgcnn_elastic.parsers.base import RunnerParser

__all__ = ('PredictParser',)


class PredictParser(RunnerParser):
    """Parse a predict job."""
