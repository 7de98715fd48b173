"""A screening by a daemon with the ZeroMQ broker, killed halfway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiida_cgcnn_elastic.calculations.refine import RefineCalculation

DRIVER = Path(__file__).with_name('kill_daemon_halfway.py')


def verdi(environment: dict[str, str], *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(Path(sys.executable).parent / 'verdi'), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )


@pytest.fixture
def environment(tmp_path):
    """Return the environment of a fresh profile as `verdi presto` makes it; its daemon is stopped in the end."""
    # The daemon starts `verdi`, which it looks for on the path.
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'OMP_NUM_THREADS': '1', 'PATH': path}
    made = verdi(environment, 'presto', '--use-zeromq')
    assert made.returncode == 0, made.stdout + made.stderr
    yield environment
    verdi(environment, 'daemon', 'stop', '--all', '--timeout', '60')


def test_screening_survives_a_killed_daemon_and_job_in_both_stages(environment):
    done = verdi(environment, 'run', str(DRIVER), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome['shards_recorded_when_killed'] < outcome['n_shards'], 'the screening was over before the kill'
    assert outcome['exit_status'] == 0
    # Every crystal once, in the group and in the database; one finished work chain a shard, and none left hanging.
    assert outcome['ids'] == sorted(set(outcome['ids']))
    assert len(outcome['ids']) == outcome['n_crystals'] == outcome['n_predictions'] - outcome['n_refined']
    assert outcome['work_chain_states'].count('finished') == outcome['n_shards']
    assert set(outcome['work_chain_states']) <= {'finished', 'killed'}
    assert outcome['not_ended'] == []
    assert outcome['summary']['n_predicted'] == outcome['n_crystals']
    # The second stage went on from what its killed job had saved, and says what it says undisturbed.
    assert 0 < outcome['refined_when_killed'] < outcome['n_refined'], 'the job was over before it was killed'
    assert outcome['exit_statuses_of_refining'] == [RefineCalculation.exit_codes.ERROR_REPORT_MISSING.status, 0]
    assert outcome['resumed']
    assert outcome['refined'] == outcome['first_stage']
    assert len(outcome['refined']) == outcome['n_refined'] == outcome['summary']['n_refined']
    assert outcome['largest_difference'] < 1e-5


def test_screening_is_paused_played_killed_and_continued(environment):
    done = verdi(environment, 'run', str(DRIVER.with_name('pause_and_kill.py')), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    # What runs goes on while the screening is paused, and nothing else is started.
    assert outcome['n_shards_while_paused'] == 2
    assert outcome['first_state'] == 'killed'
    assert outcome['states_of_its_shards'] == ['finished', 'finished', 'killed', 'killed']
    assert outcome['exit_status'] == 0
    assert outcome['ids'] == sorted(set(outcome['ids']))
    assert len(outcome['ids']) == outcome['n_crystals'] == outcome['n_predictions']
    assert outcome['most_side_by_side'] == 2
