"""Models whose networks a universal potential taught: trained by the executable, and used without the potential."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import CrystalTable
from tests.labelled import TINY_PROTOCOL, rock_salt

from .conftest import EXECUTABLE

TAUGHT = {**TINY_PROTOCOL, 'keep': 'last', 'epochs': 2, 'responses_taught': 1.0}


@pytest.fixture(scope='module')
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('protocol') / 'taught.json'
    path.write_text(json.dumps(TAUGHT))
    return path


@pytest.fixture(scope='module')
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('split') / 'split.json'
    path.write_text(json.dumps({'method': 'fraction', 'validation': 0, 'test': 0.25}))
    return path


@pytest.fixture(scope='module')
def taught(tmp_path_factory: pytest.TempPathFactory, protocol: Path, split: Path) -> tuple[Path, dict]:
    """Return the folder of a small model, and the report: eight crystals with moduli, of which the potential does not
    know one, and two files of crystals without."""
    folder = tmp_path_factory.mktemp('taught')
    edges = {'Mg': 4.2, 'Ca': 4.8, 'Ti': 4.2, 'Sr': 5.2, 'Ni': 4.2, 'V': 4.1, 'Mn': 4.4}
    moduli = {'log10_k_vrh': 2.0, 'log10_g_vrh': 1.8}
    labelled = [rock_salt(f'{cation}O', cation, 'O', edge, **moduli) for cation, edge in edges.items()]
    labelled.append(rock_salt('PoO', 'Po', 'O', 5.0, **moduli))
    others = {'sulfides': [rock_salt('MgS', 'Mg', 'S', 5.2)], 'more': [rock_salt('CaS', 'Ca', 'S', 5.7)]}
    paths = []
    for name, crystals in {'labelled': labelled, **others}.items():
        paths.append(folder / f'{name}.parquet')
        CrystalTable.from_crystals(crystals).write(paths[-1])
    settings = ['--protocol', protocol, '--split', split, '--output', folder / 'model', '--report', folder / 'r.json']
    subprocess.run([str(EXECUTABLE), 'train', *map(str, (*paths, *settings))], check=True, capture_output=True)
    return folder / 'model', json.loads((folder / 'r.json').read_text())


def test_crystals_without_moduli_teach_and_are_counted_apart(taught: tuple[Path, dict]) -> None:
    folder, report = taught
    assert (report['n_read'], report['n_rejected']) == (10, 0)
    assert (report['n_crystals'], report['n_without_label'], report['n_without_response']) == (8, 2, 1)
    assert report['n_by_part'] == {'train': 6, 'validation': 0, 'test': 2}
    (record,) = json.loads((folder / 'model.json').read_text())['training']
    assert record['n_crystals'] == report['n_by_part']
    predictions = pq.read_table(folder / 'predictions.parquet').to_pylist()
    assert len(predictions) == 2 * 8  # those with moduli, of both
    is_tested = any(row['material_id'] == 'PoO' and row['part'] == 'test' for row in predictions)
    learned = {'n_crystals': 8 if is_tested else 7, 'n_without_target': 2}
    assert record['responses_taught'] == learned  # all but that which the potential does not know, and the tested
    left = ['history.json', 'model.json', 'model.safetensors', 'predictions.parquet']
    assert sorted(path.name for path in folder.iterdir()) == left


def test_the_model_needs_no_potential(taught: tuple[Path, dict], tmp_path: Path, crystals_file: Path) -> None:
    folder, _ = taught
    assert ElasticModel.load(folder).potential is None
    hidden = tmp_path / 'hidden' / 'sevenn'
    hidden.mkdir(parents=True)
    (hidden / '__init__.py').write_text("raise ImportError('hidden by this test')")
    environment = {**os.environ, 'PYTHONPATH': str(hidden.parent)}
    paths = [crystals_file, '--model', folder, '--output', tmp_path / 'p.parquet']
    subprocess.run([str(EXECUTABLE), 'predict', *map(str, paths)], check=True, capture_output=True, env=environment)
    assert not pq.read_table(tmp_path / 'p.parquet').column('log10_g_vrh').null_count


def test_without_the_potential_there_is_no_training_and_the_extra_is_named(
    tmp_path: Path, crystals_file: Path, protocol: Path, split: Path
) -> None:
    hidden = tmp_path / 'hidden' / 'sevenn'
    hidden.mkdir(parents=True)
    (hidden / '__init__.py').write_text("raise ImportError('hidden by this test')")
    environment = {**os.environ, 'PYTHONPATH': str(hidden.parent)}
    paths = [crystals_file, '--protocol', protocol, '--split', split, '--output', tmp_path / 'model']
    done = subprocess.run([str(EXECUTABLE), 'train', *map(str, paths)], capture_output=True, text=True, env=environment)
    assert done.returncode == 15
    assert '.[refine]' in done.stderr


def test_where_the_potential_knows_no_crystal_the_labels_are_learned(
    invoke: Callable, tmp_path: Path, protocol: Path
) -> None:
    crystals = [rock_salt(str(edge), 'Po', 'O', edge, log10_k_vrh=7 - edge) for edge in (5.0, 5.1, 5.2, 5.3)]
    CrystalTable.from_crystals(crystals).write(tmp_path / 'c.parquet')
    nothing_held_out = tmp_path / 'split.json'
    nothing_held_out.write_text(json.dumps({'method': 'fraction', 'validation': 0, 'test': 0}))
    paths = ['--protocol', protocol, '--split', nothing_held_out, '--output', tmp_path / 'model']
    done = invoke('train', tmp_path / 'c.parquet', *paths)
    assert done.status == 0, done.output
    assert (done.report['n_crystals'], done.report['n_without_response']) == (4, 4)
