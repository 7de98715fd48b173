"""The parser of ``cgcnn-elastic evaluate``."""

from __future__ import annotations

from aiida_cgcnn_elastic.parsers.base import RunnerParser

__all__ = ('EvaluateParser',)


class EvaluateParser(RunnerParser):
    """Parse a evaluate job."""
