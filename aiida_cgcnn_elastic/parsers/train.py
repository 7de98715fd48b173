"""The parser of ``cgcnn-elastic train``."""

from __future__ import annotations

from aiida_cgcnn_elastic.parsers.base import RunnerParser

__all__ = ('TrainParser',)


class TrainParser(RunnerParser):
    """Parse a train job."""
