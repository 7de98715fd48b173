"""`setup` on profiles that differ, and the shipped models."""

from __future__ import annotations

import subprocess
import sys

import pytest
from aiida import orm
from aiida.manage.caching import get_use_cache
from aiida.manage.configuration import get_config

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.cli.setup import CACHED_PROCESSES, find_executable, setup_localhost


@pytest.fixture(autouse=True)
def empty_profile(aiida_profile):
    """Empty the profile and undo what `setup` has changed in its options."""
    aiida_profile.reset_storage()
    yield
    config = get_config()
    for option in ('caching.enabled_for', 'caching.disabled_for'):
        config.unset_option(option, scope=aiida_profile.name)
    config.store()


def test_setup_makes_what_is_missing_and_then_changes_nothing():
    first = setup_localhost()
    assert len(first.changes) >= 3
    assert first.code.full_label == 'cgcnn-elastic@localhost'
    assert first.code.filepath_executable == find_executable()
    assert first.code.computer.is_configured
    assert all(get_use_cache(identifier=name) for name in CACHED_PROCESSES)

    again = setup_localhost()
    assert again.changes == []
    assert again.code.pk == first.code.pk


def test_existing_localhost_keeps_its_settings():
    computer = orm.Computer('localhost', 'localhost', '', 'core.local', 'core.slurm', '/tmp').store()
    computer.set_minimum_job_poll_interval(7)
    result = setup_localhost()
    assert result.code.computer.pk == computer.pk
    assert computer.is_configured
    assert computer.get_minimum_job_poll_interval() == 7
    assert computer.scheduler_type == 'core.slurm'


def test_localhost_that_is_reached_by_ssh_is_left_alone():
    orm.Computer('localhost', 'localhost', '', 'core.ssh', 'core.direct', '/tmp').store()
    result = setup_localhost()
    assert result.code.computer.transport_type == 'core.local'
    assert result.code.computer.label != 'localhost'


def test_code_of_another_environment_is_kept_beside_this_one():
    computer = setup_localhost().code.computer
    orm.QueryBuilder().append(orm.InstalledCode).one()[0].label = 'cgcnn-elastic-3'
    other = orm.InstalledCode('localhost', '/elsewhere/cgcnn-elastic', label='cgcnn-elastic').store()
    result = setup_localhost()
    assert result.code.label == 'cgcnn-elastic-2'
    assert result.code.filepath_executable == find_executable()
    assert orm.load_code('cgcnn-elastic@localhost').uuid == other.uuid
    assert result.code.computer.pk == computer.pk


def test_caching_that_the_profile_forbids_stays_off(aiida_profile):
    config = get_config()
    config.set_option('caching.disabled_for', [CACHED_PROCESSES[1]], scope=aiida_profile.name)
    config.set_option('caching.enabled_for', ['aiida.calculations:core.arithmetic.add'], scope=aiida_profile.name)
    result = setup_localhost()
    assert any(CACHED_PROCESSES[1] in note for note in result.notes)
    assert not get_use_cache(identifier=CACHED_PROCESSES[1])
    assert get_use_cache(identifier=CACHED_PROCESSES[0])
    assert get_use_cache(identifier='aiida.calculations:core.arithmetic.add')


def test_models_lists_the_shipped_ones_with_their_errors_best_first(cli):
    result = cli('models')
    assert result.exit_code == 0, result.output
    table = result.output.split('\n\n')[0]
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == ['refined', 'accurate', 'fast', 'paper']
    assert sorted(row[0] for row in rows) == pretrained.available()
    # The paper protocol's errors on Matbench's fold 4, beside the study's 0.0790 and 0.0981.
    assert rows[-1][1:3] == ['0.0722', '0.0960']


def test_command_line_is_quick_to_start():
    code = (
        'import sys, aiida_cgcnn_elastic.cli.main; '
        'print([name for name in ("torch", "pymatgen", "pandas", "pyarrow", "sklearn") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
