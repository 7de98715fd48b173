"""`cgcnn-elastic train --from`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import CrystalTable
from tests.labelled import labelled_crystals, rock_salt

RECIPE = {'name': 'tiny', 'epochs': 20, 'learning_rate': 0.03, 'folds': 3}


@pytest.fixture
def shifted_file(tmp_path: Path) -> Path:
    """Return 20 of the crystals that the parent knows, all stiffer than it was taught, and one without labels."""
    crystals = [
        replace(crystal, properties={key: crystal.properties[key] + 0.8 for key in ('log10_k_vrh', 'log10_g_vrh')})
        for crystal in labelled_crystals()[::3]
    ]
    path = tmp_path / 'shifted.parquet'
    CrystalTable.from_crystals([*crystals, rock_salt('unlabelled', 'Mg', 'O', 4.2)]).write(path)
    return path


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / 'recipe.json'
    path.write_text(json.dumps(RECIPE))
    return path


def test_what_a_fine_tuning_leaves(
    invoke: Callable, tmp_path: Path, shifted_file: Path, recipe_file: Path, model: Path
) -> None:
    before = (model / 'model.safetensors').read_bytes()
    options = ['--from', model, '--protocol', recipe_file, '--seed', 5, '--output', tmp_path / 'child']
    done = invoke('train', shifted_file, *options)
    assert done.status == 0, done.output
    left = ['history.json', 'model.json', 'model.safetensors', 'out_of_fold.parquet', 'predictions.parquet']
    assert sorted(path.name for path in (tmp_path / 'child').iterdir()) == left
    assert (model / 'model.safetensors').read_bytes() == before

    assert done.report['n_without_label'] == 1
    assert done.report['n_by_part'] == {'train': 20}
    for target, comparison in done.report['fine_tuning'].items():
        assert comparison['verdict'] == 'helped'
        assert done.report['metrics'][target]['fine_tuning'] == comparison
        assert any(target in message and 'helped' in message for message in done.report['messages'])
    frame = pq.read_table(tmp_path / 'child' / 'out_of_fold.parquet').to_pandas()
    assert list(frame.columns) == ['material_id', 'fold', 'target', 'true', 'parent', 'fine_tuned']
    assert len(frame) == 2 * 20
    kept = frame[frame['target'] == 'log10_k_vrh']
    for column, key in (('parent', 'mae_before'), ('fine_tuned', 'mae_after')):
        error = np.abs(kept[column] - kept['true']).mean()
        assert error == pytest.approx(done.report['fine_tuning']['log10_k_vrh'][key])
    predictions = pq.read_table(tmp_path / 'child' / 'predictions.parquet').to_pandas()
    assert set(predictions['part']) == {'train'}
    assert len(predictions) == 2 * 20

    card = ElasticModel.load(tmp_path / 'child').card
    assert card['parent']['sha256'] == done.report['models'][0]['sha256']
    parent_record, record = card['training']
    assert parent_record == ElasticModel.load(model).card['training'][0]
    assert record['data']['content_sha256'] == CrystalTable.read(shifted_file).sha256()
    assert record['protocol']['epochs'] == RECIPE['epochs']
    assert record['seed'] == 5


def test_stopped_and_resumed(
    invoke: Callable, tmp_path: Path, shifted_file: Path, recipe_file: Path, model: Path
) -> None:
    options = [shifted_file, '--from', model, '--protocol', recipe_file]
    stopped = invoke('train', *options, '--output', tmp_path / 'a', '--max-seconds', 1e-3)
    assert stopped.status == 20, stopped.output
    done = invoke('train', *options, '--output', tmp_path / 'a', '--resume')
    whole = invoke('train', *options, '--output', tmp_path / 'b')
    assert done.status == whole.status == 0, done.output + whole.output
    for name in ('model.safetensors', 'model.json', 'out_of_fold.parquet'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
    assert not (tmp_path / 'a' / 'checkpoint').exists()


def test_what_cannot_be(
    invoke: Callable, tmp_path: Path, shifted_file: Path, many_file: Path, recipe_file: Path, model: Path
) -> None:
    split = tmp_path / 'split.json'
    split.write_text('{"method": "fraction"}')
    few = tmp_path / 'few.parquet'
    CrystalTable.read(shifted_file).select([0, 1, 2, 3, 4]).write(few)
    recipe_file.with_name('bad.json').write_text('{"joint_targets": true}')
    for crystals, options, status, named in (
        (shifted_file, ['--split', split], 2, 'cross-validation'),
        (shifted_file, ['--protocol', 'accurate'], 14, 'fine_tune'),
        (shifted_file, ['--protocol', recipe_file.with_name('bad.json')], 14, 'learning_rate'),
        (many_file, [], 13, 'log10_k_vrh'),
        (few, ['--protocol', recipe_file], 13, '6 are needed'),
    ):
        done = invoke('train', crystals, '--from', model, *options, '--output', tmp_path / 'child')
        assert done.status == status, done.output
        assert named in done.report['message']
    done = invoke('train', shifted_file, '--protocol', 'fine_tune', '--output', tmp_path / 'child')
    assert done.status == 14
    assert '--from' in done.report['message']
    done = invoke('train', shifted_file, '--from', tmp_path / 'nowhere', '--output', tmp_path / 'child')
    assert done.status == 12
    assert 'nowhere' in done.report['message']
