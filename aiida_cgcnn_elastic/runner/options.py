"""Command-line options that several subcommands have."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aiida_cgcnn_elastic.runner.run import RunOptions, execute

FILE = click.Path(path_type=Path)
"""A path that the subcommand itself opens, so that an absent one has the exit status that says what it is."""

_SHARED = (
    click.option(
        '--report', type=FILE, help='Write status, counts, timings and versions to this JSON file, whatever happens.'
    ),
    click.option('--progress-file', type=FILE, help='Keep {"stage", "done", "total"} in this JSON file.'),
    click.option(
        '--max-seconds',
        type=click.FloatRange(min=0, min_open=True),
        help='Stop after this wall time, as SIGTERM does: keep what is done and exit with status 20.',
    ),
    click.option('--resume', is_flag=True, help='Continue what an earlier, stopped run of the same command left.'),
    click.option(
        '--threads',
        type=click.IntRange(min=1),
        help='Threads of the network and processes that parse files.  [default: all usable cores; a training takes 1]',
    ),
)


def runs(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of a `Run` and its own options a subcommand's body: shared options, report and exit status.

    Put it below the subcommand's own `click.option`s.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def wrapper(
            report: Path | None,
            progress_file: Path | None,
            max_seconds: float | None,
            resume: bool,
            threads: int | None,
            **own: Any,
        ) -> None:
            options = RunOptions(report, progress_file, max_seconds, resume, threads)
            sys.exit(int(execute(command, options, lambda run: body(run, **own))))

        for option in reversed(_SHARED):
            wrapper = option(wrapper)
        return wrapper

    return decorate


source_options = [
    click.option(
        '--source', metavar='NAME', help='The source that reads the paths.  [default: the one that recognises them]'
    ),
    click.option(
        '--option',
        'source_options',
        multiple=True,
        metavar='KEY=VALUE',
        help='An option of the source; the value is JSON, or else text. May be given several times.',
    ),
]

device_option = click.option(
    '--device', default='auto', show_default=True, help='auto (a GPU where torch sees one), cpu, cuda, cuda:1, ...'
)

network_options = [
    device_option,
    click.option(
        '--dtype',
        type=click.Choice(['float32', 'float64']),
        default='float32',
        show_default=True,
        help='Floating-point numbers of the network.',
    ),
    click.option(
        '--batch-edges',
        type=click.IntRange(min=1),
        help='Edges that the network takes at once; fewer need less memory.  [default: what is fast on the device]',
    ),
    click.option(
        '--chunk-size',
        type=click.IntRange(min=1),
        help='Crystals predicted between two saves, which are also the moments when a run can stop.  '
        '[default: 2048 on a CPU, 16384 on a GPU]',
    ),
]


def with_options(options: list[Callable]) -> Callable[[Callable], Callable]:
    """Add a list of options to a command, in order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
