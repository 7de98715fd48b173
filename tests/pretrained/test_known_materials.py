"""The shipped models on materials that everybody knows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.cgcnn.inference import predict
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.elasticity.hardness import chen
from aiida_cgcnn_elastic.potentials import FeatureMaker
from aiida_cgcnn_elastic.screening import DEFAULT, exclusions, flag


@pytest.fixture(scope='module')
def controls():
    table = sources.read(sources.open_source(name='prototypes', n_crystals=1)).table
    return table.select([value is not None for value in table.column('control')])


@pytest.mark.parametrize('name', pretrained.available())
def test_hard_controls_are_flagged_and_soft_ones_are_not(name, controls):
    arrays = controls.arrays()
    model = ElasticModel.load(pretrained.path(name))
    features = None if model.potential is None else FeatureMaker()(*arrays)
    predicted = predict([model], *arrays, features=features)
    table = controls.describe()
    for column in ('log10_k_vrh', 'log10_g_vrh'):
        table = table.append_column(column, pa.array(predicted[column]))
    assert not any(exclusions(table, DEFAULT))
    flagged = {controls.material_ids[row] for row in flag(table, DEFAULT).order}
    classes = dict(zip(controls.material_ids, controls.column('control'), strict=True))
    assert {'control-diamond', 'control-c-bn', 'control-wc'} <= flagged
    assert not {name for name in flagged if classes[name] == 'soft'}


def test_graphite_is_hard_by_the_averages_of_its_measured_tensor():
    """Why layered crystals are a class of their own: Voigt, Reuss and Hill on Bosak et al., PRB 75, 153408 (2007)."""
    c11, c12, c13, c33, c44 = 1109.0, 139.0, 0.0, 38.7, 5.0
    c66 = (c11 - c12) / 2
    stiffness = np.diag([c11, c11, c33, c44, c44, c66])
    stiffness[0, 1] = stiffness[1, 0] = c12
    stiffness[[0, 1, 2, 2], [2, 2, 0, 1]] = c13
    compliance = np.linalg.inv(stiffness)
    k_voigt = stiffness[:3, :3].sum() / 9
    k_reuss = 1 / compliance[:3, :3].sum()
    shear = [1, 1, 1, 3, 3, 3]
    g_voigt = (np.diag(stiffness) @ shear - stiffness[0, 1] - stiffness[0, 2] - stiffness[1, 2]) / 15
    g_reuss = 15 / (
        4 * np.trace(compliance[:3, :3])
        - 4 * (compliance[0, 1] + compliance[0, 2] + compliance[1, 2])
        + 3 * np.trace(compliance[3:, 3:])
    )
    k, g = (k_voigt + k_reuss) / 2, (g_voigt + g_reuss) / 2
    assert (k, g) == (pytest.approx(159, abs=1), pytest.approx(126, abs=1))
    assert chen(k, g) > DEFAULT.min_hardness


@pytest.mark.parametrize('name', ['fast', 'accurate'])
def test_what_is_nearly_a_vacuum_is_novel(name, controls):
    """Its atoms have neighbors farther than in any training crystal, where all that a network sees is nothing."""
    arrays = controls.arrays()
    model = ElasticModel.load(pretrained.path(name))
    before = predict([model], *arrays)
    assert not any('sparse' in reason for reason in before['novelty_reason'])
    for scale in (20, 50):
        blown = arrays._replace(lattices=arrays.lattices * scale ** (1 / 3))
        after = predict([model], *blown)
        assert (after['novelty'] == 1).all()
        assert all('sparse' in reason for reason in after['novelty_reason'])
