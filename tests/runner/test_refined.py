"""Models that need a universal potential: trained and used by the real executable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import CrystalTable
from tests.labelled import TINY_PROTOCOL, labelled_crystals, rock_salt

from .conftest import EXECUTABLE

REFINED = {
    **TINY_PROTOCOL,
    'keep': 'last',
    'responses_withheld': 0.25,
    'folds': 2,
    'readout': {'width': 8, 'epochs': 3, 'batch_size': 16},
}


@pytest.fixture(scope='module')
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('protocol') / 'refined.json'
    path.write_text(json.dumps(REFINED))
    return path


@pytest.fixture(scope='module')
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('split') / 'split.json'
    path.write_text(json.dumps({'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0}))
    return path


def command(crystals: Path, protocol: Path, split: Path, output: Path) -> list[str]:
    paths = ['train', crystals, '--protocol', protocol, '--split', split, '--output', output]
    return [str(EXECUTABLE), *map(str, paths)]


@pytest.fixture(scope='module')
def refined(tmp_path_factory: pytest.TempPathFactory, crystals_file: Path, protocol: Path, split: Path) -> Path:
    """Return the folder of a small model with readouts."""
    folder = tmp_path_factory.mktemp('refined') / 'model'
    subprocess.run(command(crystals_file, protocol, split, folder), check=True, capture_output=True)
    return folder


def test_a_training_leaves_a_model_and_no_features(refined: Path) -> None:
    left = ['history.json', 'model.json', 'model.safetensors', 'out_of_fold.parquet', 'predictions.parquet']
    assert sorted(path.name for path in refined.iterdir()) == left
    assert {'network', 'readout', 'blend'} <= set(pq.read_schema(refined / 'out_of_fold.parquet').names)
    assert ElasticModel.load(refined).potential == '7net-0+7net-l3i5+response:7net-l3i5'


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_training_stopped_while_it_makes_features_continues_to_the_same_model(
    how: signal.Signals, refined: Path, tmp_path: Path, crystals_file: Path, protocol: Path, split: Path
) -> None:
    folder = tmp_path / 'model'
    once = command(crystals_file, protocol, split, folder)
    process = subprocess.Popen(once, stderr=subprocess.PIPE)
    features = folder / 'checkpoint' / 'features'
    end = time.monotonic() + 120
    while not list(features.glob('*.safetensors')) and process.poll() is None:
        assert time.monotonic() < end, 'no features were made'
        time.sleep(0.02)
    os.kill(process.pid, how)
    _, said = process.communicate()
    if how == signal.SIGTERM:
        assert process.returncode == 20, said
        assert b'crystals are saved; continue with --resume' in said
    min(features.glob('*.safetensors')).write_bytes(b'damaged')
    subprocess.run([*once, '--resume'], check=True, capture_output=True)
    assert (folder / 'model.safetensors').read_bytes() == (refined / 'model.safetensors').read_bytes()


def test_it_is_fine_tuned_on_crystals_that_the_potential_knows(invoke: Callable, refined: Path, tmp_path: Path) -> None:
    stiffer = [
        replace(crystal, properties={key: crystal.properties[key] + 0.8 for key in ('log10_k_vrh', 'log10_g_vrh')})
        for crystal in labelled_crystals()[::5]
    ]
    polonium = replace(rock_salt('polonium', 'Po', 'O', 5.0), properties=stiffer[0].properties)
    path, recipe = tmp_path / 'stiffer.parquet', tmp_path / 'recipe.json'
    CrystalTable.from_crystals([*stiffer, polonium]).write(path)
    recipe.write_text(json.dumps({'name': 'tiny', 'epochs': 20, 'learning_rate': 0.03, 'folds': 3}))
    command = ['train', path, '--from', refined, '--protocol', recipe, '--output', tmp_path / 'child']
    stopped = invoke(*command, '--max-seconds', 1e-3)
    assert stopped.status == 20, stopped.output
    done = invoke(*command, '--resume')
    assert done.status == 0, done.output
    assert done.report['n_rejected'] == 1
    assert done.report['n_crystals'] == len(stiffer)
    assert done.report['n_without_response'] < len(stiffer)
    assert {comparison['verdict'] for comparison in done.report['fine_tuning'].values()} == {'helped'}
    left = ['history.json', 'model.json', 'model.safetensors', 'out_of_fold.parquet', 'predictions.parquet']
    assert sorted(file.name for file in (tmp_path / 'child').iterdir()) == left
    child = ElasticModel.load(tmp_path / 'child')
    assert child.potential == ElasticModel.load(refined).potential
    again = invoke('predict', path, '--model', tmp_path / 'child', '--output', tmp_path / 'p.parquet')
    assert again.status == 0, again.output
    written = pq.read_table(tmp_path / 'child' / 'predictions.parquet').to_pandas()
    own = written[written['target'] == 'log10_g_vrh'].set_index('material_id')['predicted']
    told = pq.read_table(tmp_path / 'p.parquet').to_pandas().set_index('material_id')['log10_g_vrh']
    assert told[own.index].to_numpy() == pytest.approx(own.to_numpy(), abs=1e-3)  # features are computed anew


def test_calibrating_anew_changes_nothing(invoke: Callable, refined: Path, tmp_path: Path, crystals_file: Path) -> None:
    """Its networks see responses, so their novelty needs them: they are made again, and leave nothing behind."""
    arguments = ['--model', refined, '--out-of-fold', refined / 'out_of_fold.parquet', '--output', tmp_path / 'again']
    done = invoke('calibrate', crystals_file, *arguments)
    assert done.status == 0, done.output
    assert sorted(path.name for path in (tmp_path / 'again').iterdir()) == ['model.json', 'model.safetensors']
    for name in ('model.json', 'model.safetensors'):
        assert (tmp_path / 'again' / name).read_bytes() == (refined / name).read_bytes()


def test_crystals_that_the_potential_does_not_know_are_rejected_beside_good_ones(
    invoke: Callable, refined: Path, tmp_path: Path
) -> None:
    crystals = [*labelled_crystals()[:4], rock_salt('polonium', 'Po', 'O', 5.0), rock_salt('good', 'Mg', 'O', 4.2)]
    path = tmp_path / 'crystals.parquet'
    CrystalTable.from_crystals(crystals).write(path)
    files = ['--output', tmp_path / 'p.parquet', '--rejections', tmp_path / 'r.parquet']
    done = invoke('predict', path, '--model', refined, *files)
    assert done.status == 0, done.output
    assert (done.report['n_crystals'], done.report['n_predicted'], done.report['n_rejected']) == (6, 5, 1)
    rejected = pq.read_table(tmp_path / 'r.parquet').to_pylist()
    assert [(row['material_id'], row['reason']) for row in rejected] == [('polonium', 'unknown_species')]
    assert 'does not know Po' in rejected[0]['detail']
    table = pq.read_table(tmp_path / 'p.parquet')
    assert table.column('material_id').to_pylist()[-1] == 'good'
    assert not table.column('log10_k_vrh').null_count


def test_a_crystal_far_from_its_equilibrium_is_predicted_and_its_stress_said(
    invoke: Callable, refined: Path, tmp_path: Path
) -> None:
    lattices = {'squeezed': 4.0, 'usual': 4.21, 'stretched': 4.6}  # Angstrom
    path = tmp_path / 'crystals.parquet'
    CrystalTable.from_crystals([rock_salt(name, 'Mg', 'O', a) for name, a in lattices.items()]).write(path)
    found = {}
    for model in (refined, 'fast'):
        done = invoke('predict', path, '--model', model, '--output', tmp_path / 'p.parquet')
        assert done.status == 0, done.output
        found[model] = pq.read_table(tmp_path / 'p.parquet').column('residual_stress').to_pylist()
    squeezed, usual, stretched = found[refined]
    assert usual < 5
    assert squeezed > 10  # K is 160 GPa, and the volume 14 % too small
    assert stretched > 10
    assert found['fast'] == [None] * 3


@pytest.mark.parametrize('package', ['sevenn', 'phonopy'])
def test_without_the_potential_the_extra_to_install_is_named(
    package: str, refined: Path, tmp_path: Path, crystals_file: Path, protocol: Path, split: Path
) -> None:
    hidden = tmp_path / 'hidden' / package
    hidden.mkdir(parents=True)
    (hidden / '__init__.py').write_text("raise ImportError('hidden by this test')")
    environment = {**os.environ, 'PYTHONPATH': str(hidden.parent)}
    predict = [str(EXECUTABLE), 'predict', str(crystals_file), '--model', str(refined), '--output', str(tmp_path / 'p')]
    calibrate = [
        str(EXECUTABLE),
        'calibrate',
        str(crystals_file),
        '--model',
        str(refined),
        '--output',
        str(tmp_path / 'c'),
    ]
    calibrate += ['--out-of-fold', str(refined / 'out_of_fold.parquet')]
    for arguments in (predict, calibrate, command(crystals_file, protocol, split, tmp_path / 'm')):
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 15, done.stderr
        assert "pip install -c constraints.txt -e '.[refine]'" in done.stderr
