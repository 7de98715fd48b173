"""What the parsers of ``cgcnn-elastic`` jobs have in common."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode
from aiida.parsers import Parser

__all__ = ('RunnerParser',)


class RunnerParser(Parser):
    """Turn the report into an exit code and, where the job succeeded, the files into nodes."""

    def parse(self, **kwargs: Any) -> ExitCode | None:  # noqa: ARG002
        """Parse the retrieved files."""
        raise NotImplementedError
