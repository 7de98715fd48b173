"""How far a run is: a bar for a person at a terminal, a small file for a program."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from aiida_cgcnn_elastic.runner.files import write_json

SECONDS_BETWEEN_WRITES = 1.0
SECONDS_BEFORE_BAR = 1.0  # What is done sooner needs no bar.


class Progress:
    """The stage that a run is in, and how much of it is done.

    Parameters
    ----------
    path : Path, optional
        Rewritten with `{"stage", "done", "total"}` at the start and the end of a stage, and at most once a second
        between.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._bar: Any = None
        self._written = -float('inf')
        self._state: dict[str, Any] = {}

    def start(self, stage: str, total: int | None = None) -> None:
        """Enter a stage."""
        self.finish()
        self._state = {'stage': stage, 'done': 0, 'total': total}
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(desc=stage, total=total, dynamic_ncols=True, delay=SECONDS_BEFORE_BAR)
        self._write()

    def update(self, done: int, total: int | None = None) -> None:
        """Say how much of the stage is done."""
        self._state['done'] = done
        if total is not None:
            self._state['total'] = total
        if self._bar is not None:
            self._bar.total = self._state['total']
            self._bar.update(done - self._bar.n)
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write()

    def finish(self) -> None:
        """Leave the stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._state:
            self._write()
            self._state = {}

    def _write(self) -> None:
        if self._path is not None:
            write_json(self._path, self._state)
            self._written = time.monotonic()
