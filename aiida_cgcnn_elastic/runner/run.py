"""What all subcommands share: the report, timings, progress, stopping, and the way from an error to an exit status."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiida_cgcnn_elastic
from aiida_cgcnn_elastic.runner.files import write_json
from aiida_cgcnn_elastic.runner.progress import Progress
from aiida_cgcnn_elastic.runner.status import STATUSES, Status
from aiida_cgcnn_elastic.runner.stopping import StopSignal

PACKAGES = ('torch', 'numpy', 'scipy', 'pyarrow', 'pymatgen', 'gemmi', 'safetensors')
"""Packages that results may depend on, by their name on the package index."""


class RunFailed(Exception):  # noqa: N818 - the name of what happened; Status says whether it is an error
    """The run ends here, with this status and this message for a person."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RunOptions:
    """The options that every subcommand has."""

    report: Path | None = None
    progress_file: Path | None = None
    max_seconds: float | None = None
    resume: bool = False
    threads: int | None = None


class Run:
    """One run of a subcommand.

    Attributes
    ----------
    options : RunOptions
    report : dict
        Plain JSON values; what the subcommand adds is written whether it ends well or not.
    progress : Progress
    stop : StopSignal
    """

    def __init__(self, command: str, options: RunOptions) -> None:
        self.options = options
        self.progress = Progress(options.progress_file)
        self.stop = StopSignal(options.max_seconds)
        self._start = time.monotonic()
        self._timings: dict[str, float] = {}
        self.report: dict[str, Any] = {
            'command': command,
            'status': None,
            'exit_status': None,
            'message': '',
            'messages': [],
            'resumed': False,
        }

    @property
    def threads(self) -> int:
        """Return how many threads and processes may work: as told, else all that this process may use."""
        return self.options.threads or usable_cores()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """Show the progress of a stage and time it under its name."""
        with self.shown(name, total), self.timed(name):
            yield

    @contextmanager
    def shown(self, name: str, total: int | None = None) -> Iterator[None]:
        """Show the progress of a stage whose steps are timed one by one."""
        self.progress.start(name, total)
        try:
            yield
        finally:
            self.progress.finish()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to the timing of that name."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._timings[name] = self._timings.get(name, 0.0) + time.monotonic() - start

    def say(self, message: str) -> None:
        """Tell a person something: in the report and on the standard error stream."""
        self.report['messages'].append(message)
        print(message, file=sys.stderr)

    def stop_if_asked(self, kept: str) -> None:
        """Raise RunFailed with `Status.STOPPED` if the run should stop; `kept` says what it can continue from."""
        if self.stop.reason:
            raise RunFailed(Status.STOPPED, f'{self.stop.reason}; {kept}')

    def finish(self, status: Status, message: str) -> None:
        """Complete the report and write it."""
        self.progress.finish()
        self.report['status'] = status.key
        self.report['exit_status'] = int(status)
        self.report['message'] = message
        timings = {**self._timings, 'total': time.monotonic() - self._start}
        self.report['timings'] = {name: round(seconds, 4) for name, seconds in timings.items()}
        self.report['versions'] = versions()
        self.report['machine'] = {
            'platform': platform.platform(),
            'cores': os.cpu_count(),
            'usable_cores': usable_cores(),
            'threads': self.threads,
        } | self.report.get('machine', {})
        if self.options.report is not None:
            write_json(self.options.report, self.report)


def execute(command: str, options: RunOptions, body: Callable[[Run], None]) -> Status:
    """Run a subcommand's body and return its status, one of `STATUSES[command]`; the report is written in every case.

    Nothing that the body raises gets out: what it is becomes the status, and the traceback of what nobody expected goes
    to the standard error stream.
    """
    # Threads that wait for each other sleep instead of spinning: on a machine that does anything else besides, spinning
    # makes a training several times slower. torch's OpenMP reads this when torch is imported.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    run = Run(command, options)
    run.stop.listen()
    try:
        body(run)
        status, message = Status.DONE, Status.DONE.meaning
    except RunFailed as error:
        status, message = error.status, str(error)
    except BaseException as error:
        status, message = _unforeseen(run, error)
    if status not in STATUSES[command]:
        # Whoever reads the exit status has no plan for it.
        status, message = Status.UNEXPECTED, f'{status.key}, which is no way for {command} to end: {message}'
    if status is not Status.DONE:
        print(f'cgcnn-elastic {command}: {message}', file=sys.stderr)
    run.finish(status, message)
    return status


def _unforeseen(run: Run, error: BaseException) -> tuple[Status, str]:
    """Return status and message for an error that the subcommand did not give a status itself."""
    if isinstance(error, BrokenProcessPool) and run.stop():
        # Batch systems send SIGTERM to the worker processes too, and those end at once.
        return Status.STOPPED, f'{run.stop.reason}; {Status.STOPPED.meaning}'
    traceback.print_exception(error)
    if is_out_of_memory(error):
        return Status.OUT_OF_MEMORY, f'{Status.OUT_OF_MEMORY.meaning} ({_first_line(error)})'
    return Status.UNEXPECTED, f'{type(error).__name__}: {_first_line(error)}'


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on the host or on a GPU, without importing torch."""
    torch = sys.modules.get('torch')
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    # torch has no class of its own for the host's memory.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def versions() -> dict[str, str]:
    """Return the versions of what results may depend on."""
    found = {'python': platform.python_version(), 'aiida-cgcnn-elastic': aiida_cgcnn_elastic.__version__}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than the machine has under a batch system or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), '')
