"""Crystals, a small model trained by the real executable's code, and two ways to run `cgcnn-elastic`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.runner.main import main
from tests.labelled import TINY_PROTOCOL, labelled_crystals, rock_salt

EXECUTABLE = Path(sys.executable).with_name('cgcnn-elastic')


@dataclass
class Finished:
    """What a run of the executable left."""

    status: int
    output: str
    report: dict[str, Any]


@pytest.fixture(scope='session')
def crystals_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file of `labelled_crystals`."""
    path = tmp_path_factory.mktemp('crystals') / 'crystals.parquet'
    CrystalTable.from_crystals(labelled_crystals()).write(path)
    return path


@pytest.fixture(scope='session')
def many_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file of 400 crystals without labels: enough to be killed in the middle of."""
    path = tmp_path_factory.mktemp('crystals') / 'many.parquet'
    cells = [rock_salt(f'm{i}', ('Li', 'Na', 'Ti', 'Zr')[i % 4], 'OSCN'[i // 4 % 4], 4 + 0.003 * i) for i in range(400)]
    CrystalTable.from_crystals(cells).write(path)
    return path


@pytest.fixture(scope='session')
def protocol_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a JSON file of a protocol that trains in a moment."""
    path = tmp_path_factory.mktemp('protocol') / 'tiny.json'
    path.write_text(json.dumps(TINY_PROTOCOL))
    return path


@pytest.fixture(scope='session')
def model(tmp_path_factory: pytest.TempPathFactory, crystals_file: Path, protocol_file: Path) -> Path:
    """Return the folder of a model of both moduli, trained on `labelled_crystals`."""
    folder = tmp_path_factory.mktemp('model')
    arguments = ['train', crystals_file, '--output', folder, '--protocol', protocol_file, '--threads', '1']
    with kept_signal_handlers():
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return folder


class kept_signal_handlers:  # noqa: N801 - a context manager
    """A run installs its own signal handlers, which tests in this process must not inherit."""

    def __enter__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Callable[..., Finished]]:
    """Return a function that runs a subcommand in this process: `invoke('predict', ...) -> Finished`."""

    def run(*arguments: Any) -> Finished:
        report = tmp_path / 'report.json'
        report.unlink(missing_ok=True)
        options = ['--threads', '1', '--report', report]
        result = CliRunner().invoke(main, [str(argument) for argument in (*arguments, *options)])
        return Finished(result.exit_code, result.output, json.loads(report.read_text()) if report.exists() else {})

    with kept_signal_handlers():
        yield run


@pytest.fixture
def execute(tmp_path: Path) -> Callable[..., Finished]:
    """Return a function that runs the real executable: `execute('predict', ...) -> Finished`."""

    def run(*arguments: Any) -> Finished:
        report = tmp_path / 'report.json'
        report.unlink(missing_ok=True)
        process = start(*arguments, '--report', report)
        output, _ = process.communicate(timeout=120)
        return Finished(process.returncode, output, json.loads(report.read_text()) if report.exists() else {})

    return run


def start(*arguments: Any) -> subprocess.Popen[str]:
    """Start the real executable on one thread."""
    command = [str(EXECUTABLE), *(str(argument) for argument in arguments), '--threads', '1']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
