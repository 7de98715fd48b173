"""Sweeps with the real executable: side by side within the limit, failures recorded, finished trainings reused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.main import main
from aiida_cgcnn_elastic.cli.setup import find_executable
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.points import expand_grid, member_parameters
from aiida_cgcnn_elastic.workflows.sweep import SweepWorkChain
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain

DRIVER = Path(__file__).with_name('sweep_tiny.py')
TINY = {'atom_width': 8, 'hidden_width': 8, 'epochs': 2}
OVERRIDES = {'max_concurrent': 2, 'member': {'train': {'parameters': {'protocol': TINY}}}}
# The first member cannot end before the last has begun.
POINTS = ({'epochs': 4}, {'learning_rate': 1e9}, {'n_hidden': 0}, {'epochs': 3})


@pytest.fixture(scope='module')
def salts(profile) -> CrystalSetData:
    """Return made-up rocksalt crystals whose moduli follow from their lattice constants."""
    cell = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystals = [
        Crystal(
            f'salt-{number:02d}',
            cell * (4.0 + 0.05 * number),
            np.array([12, 8], np.uint8),
            np.array([[0.0] * 3, [0.5] * 3]),
            {'log10_k_vrh': 2.2 - 0.02 * number, 'log10_g_vrh': 2.0 - 0.03 * number},
        )
        for number in range(24)
    ]
    return CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store()


@pytest.fixture(scope='module')
def log(tmp_path_factory) -> Path:
    """Return the file in which the jobs of `logging_code` write when they begin and end."""
    return tmp_path_factory.mktemp('sweep') / 'log'


@pytest.fixture(scope='module')
def logging_code(code, log) -> orm.InstalledCode:
    """Return a code that writes a log; a training of four epochs waits until one of three has begun."""
    script = log.with_name('cgcnn-elastic')
    script.write_text(f"""#!/bin/sh
echo begin >> {log}
grep -q '"epochs": 3' protocol.json && touch {log}.last
if grep -q '"epochs": 4' protocol.json; then
    for _ in $(seq 600); do [ -e {log}.last ] && break; sleep 0.2; done
    [ -e {log}.last ] || exit 1
fi
{find_executable()} "$@"
status=$?
echo end >> {log}
exit $status
""")
    script.chmod(0o755)
    return orm.InstalledCode(label='logging', computer=code.computer, filepath_executable=str(script)).store()


@pytest.fixture(scope='module')
def sweep(logging_code, salts) -> orm.WorkChainNode:
    """Return a finished sweep of which two members failed."""
    builder = SweepWorkChain.get_builder_from_protocol(logging_code, salts, overrides=OVERRIDES, points=POINTS)
    return launch(builder)


def test_failed_members_are_recorded_and_stop_no_other(sweep):
    assert sweep.exit_status == 0, sweep.exit_message
    table = sweep.outputs.table.get_dict()
    counts = {name: value for name, value in table.items() if name.startswith('n_')}
    assert counts == {'n_members': 4, 'n_finished': 2, 'n_failed': 2, 'n_reused': 0}
    rows = [table['members'][f'member_{number:03d}'] for number in range(4)]
    assert [row['exit_status'] for row in rows] == [
        0,
        TrainWorkChain.exit_codes.ERROR_DIVERGED.status,
        TrainWorkChain.exit_codes.ERROR_INPUTS_UNUSABLE.status,
        0,
    ]
    assert 'learning rate' in rows[1]['message']
    assert 'after epoch 1' in rows[1]['message']
    assert 'n_hidden of the architecture is 0' in rows[2]['message']
    assert 'log10_k_vrh_test_mae' not in rows[1]


def test_next_member_starts_as_soon_as_one_ends_and_the_limit_holds(sweep, log):
    """The first member ended, so the last had begun before: a window that slides, not a wave after a wave."""
    running, most = 0, 0
    for word in log.read_text().split():
        running += 1 if word == 'begin' else -1
        most = max(most, running)
    assert most == 2
    assert log.read_text().split().count('begin') == 4


def test_table_has_the_parameters_and_errors_of_each_member(sweep):
    table = sweep.outputs.table.get_dict()
    assert table['parameters'] == ['epochs', 'learning_rate', 'n_hidden']
    for name, epochs in (('member_000', 4), ('member_003', 3)):
        row = table['members'][name]
        member = orm.load_node(row['uuid'])
        assert member.inputs.train.parameters['protocol'] == {**TINY, 'epochs': epochs}
        assert row['epochs'] == epochs
        for target in ('log10_k_vrh', 'log10_g_vrh'):
            for part in ('train', 'validation', 'test'):
                for metric in ('mae', 'rmse', 'r2'):
                    expected = member.outputs.metrics[target][part][metric]
                    assert row[f'{target}_{part}_{metric}'] == expected


def test_query_gives_the_table_as_a_frame(sweep):
    frame = query.sweep(sweep.pk).set_index('member')
    table = sweep.outputs.table.get_dict()['members']
    assert list(frame.index) == sorted(table)
    for name, row in table.items():
        found = frame.loc[name].dropna().to_dict()
        assert {key: value for key, value in row.items() if value is not None} == {
            key: value for key, value in found.items() if key not in ('state', 'pk')
        }
    with pytest.raises(ValueError, match='no sweep'):
        query.sweep(next(node for node in sweep.called if node.process_label == 'TrainWorkChain'))
    assert query.sweeps().set_index('pk').loc[sweep.pk, 'n_failed'] == 2


def test_members_are_found_by_their_errors(sweep):
    builder = orm.QueryBuilder()
    builder.append(orm.WorkChainNode, filters={'id': sweep.pk}, tag='sweep')
    builder.append(TrainWorkChain, with_incoming='sweep', tag='member', project='uuid')
    builder.append(orm.Dict, with_incoming='member', filters={'attributes.log10_g_vrh.test.mae': {'<': 1000.0}})
    members = sweep.outputs.table['members']
    assert set(builder.all(flat=True)) == {members[name]['uuid'] for name in ('member_000', 'member_003')}


def test_learning_curves_of_members_that_finished(sweep):
    curves = query.learning_curves(sweep)
    assert curves.groupby('member')['epoch'].max().to_dict() == {'member_000': 4, 'member_003': 3}
    assert len(curves) == (4 + 3) * 2 * 3
    assert set(curves['part']) == {'train', 'validation', 'test'}
    of_one = query.learning_curves(sweep.outputs.table['members']['member_003']['uuid'])
    assert of_one['mae'].tolist() == curves.loc[curves['member'] == 'member_003', 'mae'].tolist()


def test_command_lists_sweeps_and_members(sweep):
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, ['sweep', *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    assert str(sweep.pk) in run()
    table = run(sweep.pk)
    assert 'failed (420)' in table
    assert 'n_hidden of the architecture is 0' in table
    rows = json.loads(run(sweep.pk, '--sort-by', 'log10_k_vrh_test_mae', '--format', 'json'))
    errors = [row['log10_k_vrh_test_mae'] for row in rows]
    assert errors == [*sorted(errors[:2]), None, None]


def test_larger_sweep_reuses_the_trainings_of_a_smaller_one(logging_code, salts, sweep, log):
    n_begun = log.read_text().split().count('begin')
    grid = {'epochs': [3, 4]}
    again = launch(SweepWorkChain.get_builder_from_protocol(logging_code, salts, overrides=OVERRIDES, grid=grid))
    assert again.outputs.table['n_reused'] == 2
    assert log.read_text().split().count('begin') == n_begun
    assert query.sweep(again)['reused'].tolist() == [True, True]


def test_sweep_without_a_finished_member_fails_with_the_first_reason(logging_code, salts):
    builder = SweepWorkChain.get_builder_from_protocol(logging_code, salts, overrides=OVERRIDES, grid={'n_hiden': [2]})
    node = launch(builder)
    assert node.exit_status == SweepWorkChain.exit_codes.ERROR_ALL_MEMBERS_FAILED.status
    assert "unknown keys of the protocol: ['n_hiden']" in node.exit_message
    assert node.outputs.table['n_failed'] == 1


def test_killed_sweep_goes_on_with_what_had_finished(tmp_path):
    """The executable kills its sweep when the second of two trainings begins."""
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'OMP_NUM_THREADS': '1'}

    def verdi(*arguments: str) -> subprocess.CompletedProcess:
        command = [str(Path(sys.executable).parent / 'verdi'), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert verdi('presto', '--no-broker').returncode == 0
    killed = verdi('run', str(DRIVER), str(tmp_path), 'kill')
    assert killed.returncode != 0
    done = verdi('run', str(DRIVER), str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome['exit_status'] == 0
    assert outcome['n_members'] == outcome['n_finished'] == 2
    assert outcome['n_reused'] == 1
    assert '1 of them reused' in outcome['reports']
    # The killed sweep can still be looked at.
    assert outcome['members_of_killed_sweep'] == ['member_000', 'member_001']
    assert outcome['states_of_killed_sweep'][0] == 'finished'
    assert outcome['states_of_killed_sweep'][1] != 'finished'


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ({'grid': {}}, 'must map hyperparameters to values'),
        ({'grid': {'epochs': 3}}, 'must have a list of values'),
        ({'grid': {'epochs': [3, 3]}}, 'points 0 and 1 are the same'),
        ({'points': []}, 'has no point'),
        ({'points': [{'epochs': 1}, {}]}, 'point 1 must map hyperparameters'),
        ({'grid': {'seed': [0, -1]}}, "member_001, {'seed': -1}: `seed` must be an integer"),
    ],
)
def test_senseless_sweeps_are_refused_before_anything_runs(code, salts, inputs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        launch(SweepWorkChain.get_builder_from_protocol(code, salts, **inputs))


def test_grid_and_points_exclude_each_other(code, salts):
    with pytest.raises(ValueError, match='either'):
        SweepWorkChain.get_builder_from_protocol(code, salts, grid={'epochs': [1]}, points=[{'epochs': 1}])


def test_study_protocol_is_the_grid_of_its_figures():
    inputs = SweepWorkChain.get_protocol_inputs('study')
    points = expand_grid(inputs['grid'])
    assert len(points) == 75
    # What the study names: its choice, the best of each modulus, the rate at which some fail.
    for layers, hidden, rate in ((3, 2, 1e-3), (5, 1, 1e-3), (3, 2, 1e-2)):
        assert {'n_convolutions': layers, 'n_hidden': hidden, 'learning_rate': rate} in points
    assert inputs['member']['train']['parameters']['protocol'] == 'paper'


def test_point_is_put_over_the_shared_parameters():
    shared = {'protocol': 'fast', 'seed': 0, 'split': {'method': 'fraction'}}
    assert member_parameters(shared, {'learning_rate': 0.1, 'seed': 2}) == {
        **shared,
        'seed': 2,
        'protocol': {'base': 'fast', 'learning_rate': 0.1},
    }
    assert member_parameters(shared, {'protocol': 'paper', 'epochs': 3})['protocol'] == {'base': 'paper', 'epochs': 3}
    assert member_parameters({'protocol': {'epochs': 1}}, {'n_hidden': 1})['protocol'] == {'epochs': 1, 'n_hidden': 1}
    assert member_parameters(shared, {'protocol': 'paper'})['protocol'] == 'paper'
    assert shared['seed'] == 0
