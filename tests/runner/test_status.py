"""The exit statuses, and what may be imported to know them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from aiida_cgcnn_elastic.runner.main import main
from aiida_cgcnn_elastic.runner.run import Run, RunFailed, RunOptions, execute
from aiida_cgcnn_elastic.runner.status import STATUSES, Status

from .conftest import kept_signal_handlers

HEAVY = {'torch', 'pymatgen', 'pyarrow', 'numpy', 'scipy', 'aiida'}


def test_numbers_are_those_that_parsers_expect() -> None:
    assert {status.key: int(status) for status in Status} == {
        'done': 0,
        'unexpected': 1,
        'usage': 2,
        'input_unreadable': 10,
        'no_usable_crystal': 11,
        'model_unusable': 12,
        'targets_missing': 13,
        'settings_invalid': 14,
        'potential_missing': 15,
        'stopped': 20,
        'diverged': 21,
        'out_of_memory': 22,
    }


def test_a_report_names_its_status() -> None:
    assert all(Status.from_key(status.key) is status for status in Status)
    with pytest.raises(ValueError, match=r"'finished'.*done, unexpected"):
        Status.from_key('finished')


def test_every_status_says_what_happened() -> None:
    assert all(status.meaning.endswith('.') for status in Status)


def test_every_subcommand_declares_how_it_ends_and_its_help_says_so() -> None:
    assert set(STATUSES) == set(main.commands)
    for name, command in main.commands.items():
        text = command.get_help(click.Context(command))
        assert {status for status in Status if f' {status.key}: ' in text} == STATUSES[name]


def test_a_subcommand_ends_in_no_other_way(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def diverge(run: Run) -> None:
        raise RunFailed(Status.DIVERGED, 'the loss is nan')

    with kept_signal_handlers():
        status = execute('ingest', RunOptions(report=tmp_path / 'report.json'), diverge)
    assert status is Status.UNEXPECTED
    assert json.loads((tmp_path / 'report.json').read_text())['exit_status'] == 1
    assert 'diverged, which is no way for ingest to end: the loss is nan' in capsys.readouterr().err


@pytest.mark.parametrize(
    'code',
    [
        'import aiida_cgcnn_elastic.runner.status',
        'from aiida_cgcnn_elastic.runner.main import main; main(["predict", "--help"], standalone_mode=False)',
    ],
)
def test_statuses_and_help_import_nothing_heavy(code: str) -> None:
    script = f'import sys\n{code}\nprint(sorted({HEAVY!r} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'
