"""Run or submit a process, and show how far its jobs are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder
    from aiida.orm import CalcJobNode, ProcessNode

SECONDS_BETWEEN_LOOKS = 0.5
PROGRESS_FILE = 'progress.json'
LOGGERS = ('aiida', 'aio_pika', 'kiwipy', 'plumpy')


class DaemonNotRunningError(RuntimeError):
    """A process is to be submitted and nothing is there that would run it."""


def launch(builder: ProcessBuilder, *, daemon: bool = False) -> ProcessNode:
    """Run a process to its end, here or by the daemon, with a progress bar for each of its jobs.

    Parameters
    ----------
    builder
        The process and its inputs.
    daemon
        Submit to the daemon and wait, instead of running in this interpreter.

    Raises
    ------
    DaemonNotRunningError
        If `daemon` is asked for and the profile has no broker or its daemon is not running.
    """
    return _submit_and_wait(builder) if daemon else _run(builder)


def check_daemon() -> None:
    """Raise where the loaded profile cannot run a submitted process.

    Raises
    ------
    DaemonNotRunningError
        Saying what to do.
    """
    from aiida.manage import get_manager

    manager = get_manager()
    profile = manager.get_profile()
    if profile.process_control_backend is None:
        raise DaemonNotRunningError(
            f'the profile {profile.name} has no broker, so it has no daemon: leave --daemon away, or make a profile '
            'that has one with `verdi presto`'
        )
    if not manager.get_daemon_client().is_daemon_running:
        raise DaemonNotRunningError(f'the daemon of the profile {profile.name} is not running: `verdi daemon start`')


def _run(builder: ProcessBuilder) -> ProcessNode:
    from aiida.manage import get_manager

    # Without a communicator, the end of a child is noticed by polling: a minute apart unless told otherwise.
    runner = get_manager().create_runner(communicator=None, poll_interval=SECONDS_BETWEEN_LOOKS)
    process = runner.instantiate_process(builder)

    with quiet_logging(), contextlib.closing(JobBars(process.node)) as bars:

        async def look() -> None:
            while True:
                bars.look()
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

        # In the event loop that runs the process, not in a thread: AiiDA's database session belongs to this thread.
        looking = runner.loop.create_task(look())
        try:
            runner.run(process)
        finally:
            looking.cancel()
            bars.look()
    return process.node


def _submit_and_wait(builder: ProcessBuilder) -> ProcessNode:
    from aiida.engine import submit

    check_daemon()
    node = submit(builder)
    with contextlib.closing(JobBars(node)) as bars:
        while not node.is_terminated:
            bars.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return node


class JobBars:
    """A progress bar for each running job of a process that takes longer than a second.

    A job on this machine is followed by the file in its work folder that it rewrites as it goes; of a job elsewhere one
    sees only its state.

    Parameters
    ----------
    process
        The process whose jobs are shown: itself, if it is a job, or all that it calls.
    stream
        Where the bars are drawn; standard error if not given.
    """

    def __init__(self, process: ProcessNode, stream: TextIO | None = None) -> None:
        self._process = process
        self._stream = stream or sys.stderr
        self._bars: dict[int, Any] = {}
        self._stages: dict[int, str] = {}

    def look(self) -> None:
        """Read how far the jobs are and draw it."""
        running = {node.pk: node for node in self._jobs() if not node.is_terminated}
        for pk in [pk for pk in self._bars if pk not in running]:
            self._finish(pk)
        for pk, node in running.items():
            state = read_progress(node)
            if state is not None:
                self._draw(pk, node, state)

    def close(self) -> None:
        """End all bars."""
        for pk in list(self._bars):
            self._finish(pk)

    def _jobs(self) -> list[CalcJobNode]:
        """Return the jobs that have not ended; processes that have are not descended into, for a sweep has many."""
        from aiida import orm

        jobs, processes = [], [self._process]
        while processes:
            node = processes.pop()
            if isinstance(node, orm.CalcJobNode):
                jobs.append(node)
            else:
                processes += _running_children(node)
        return jobs

    def _draw(self, pk: int, node: CalcJobNode, state: dict[str, Any]) -> None:
        if self._stages.get(pk) != state['stage']:
            self._finish(pk)
            self._stages[pk] = state['stage']
            self._bars[pk] = tqdm(
                desc=f'{node.process_label.removesuffix("Calculation")} {pk}: {state["stage"]}',
                total=state['total'],
                bar_format=None if state['total'] else '{desc} [{elapsed}]',
                file=self._stream,
                delay=1,
                unit_scale=True,
                dynamic_ncols=True,
            )
        bar = self._bars[pk]
        if state['total']:
            bar.total = state['total']
            bar.bar_format = None
        bar.update(state['done'] - bar.n)

    def _finish(self, pk: int) -> None:
        bar = self._bars.pop(pk, None)
        self._stages.pop(pk, None)
        if bar is not None:
            # The job may have ended its stage between two looks.
            if bar.total is not None:
                bar.update(bar.total - bar.n)
            bar.close()


def _running_children(process: ProcessNode) -> list[ProcessNode]:
    """Return the processes that a process has called and that have not ended."""
    from aiida import orm
    from aiida.engine import ProcessState

    ended = [ProcessState.FINISHED.value, ProcessState.EXCEPTED.value, ProcessState.KILLED.value]
    query = orm.QueryBuilder()
    query.append(orm.ProcessNode, filters={'id': process.pk}, tag='process')
    query.append(
        orm.ProcessNode, with_incoming='process', filters={'attributes.process_state': {'!in': ended}}, project='*'
    )
    return query.all(flat=True)


def read_progress(node: CalcJobNode) -> dict[str, Any] | None:
    """Return what a job on this machine last wrote of its progress: `stage`, `done` and `total`; None where unknown."""
    folder = node.get_remote_workdir()
    if folder is None or node.computer.transport_type != 'core.local':
        return None
    try:
        state = json.loads((Path(folder) / PROGRESS_FILE).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    return state or None


@contextlib.contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep AiiDA's reports off the terminal; warnings still come, and the database keeps everything."""
    from aiida.cmdline.utils.log import CliHandler

    handlers = [
        handler
        for name in LOGGERS
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, (logging.StreamHandler, CliHandler))
    ]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(max(handler.level, logging.WARNING))
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
