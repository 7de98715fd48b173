"""What a fine-tuned model says of its errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_cgcnn_elastic.cgcnn.fine_tuning import FineTuning, FineTuningResult, fine_tune
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.protocol import Protocol
from aiida_cgcnn_elastic.cgcnn.training import train

from .known_crystals import join, random_crystal

PARENT = Protocol(
    name='tiny',
    joint_targets=True,
    epochs=30,
    batch_size=16,
    learning_rate=1e-2,
    schedule='one_cycle',
    keep='last',
    n_convolutions=1,
    n_hidden=1,
    atom_width=8,
    hidden_width=8,
)
RECIPE = FineTuning(name='tiny', learning_rate=1e-3, epochs=10, folds=4)
K, G = 'log10_k_vrh', 'log10_g_vrh'
N_OWN = 60


def crystals(first_seed: int, n: int) -> CrystalGraphs:
    return build_graphs(*join([random_crystal(first_seed + seed, 1 + seed % 4) for seed in range(n)]))


def moduli(graphs: CrystalGraphs, noise: float, seed: int) -> dict[str, np.ndarray]:
    """Return values that follow from the volume, but for noise that nobody can learn."""
    volume = np.log10(graphs.volumes / graphs.n_atoms)
    scatter = np.random.default_rng(seed).normal(0, noise, (2, len(graphs)))
    return {K: 3.0 - volume + scatter[0], G: 2.8 - 1.1 * volume + scatter[1]}


@pytest.fixture(scope='module')
def parent(element_features) -> ElasticModel:
    """Return a model of crystals whose moduli scatter little, calibrated on such crystals."""
    graphs = crystals(0, 200)
    split = {'train': np.arange(120), 'validation': np.arange(120, 200)}
    targets = moduli(graphs, noise=0.02, seed=0)
    model = train(graphs, targets, split, PARENT, element_features, seed=1, device='cpu').model
    assert model.calibration is not None
    return model


@pytest.fixture(scope='module')
def own() -> CrystalGraphs:
    return crystals(1000, N_OWN)


@pytest.fixture(scope='module')
def result(parent, own) -> FineTuningResult:
    """Return what learned from crystals whose moduli scatter by much more."""
    return fine_tune(parent, own, moduli(own, noise=0.5, seed=1), RECIPE, seed=0, device='cpu')


def covered(model: ElasticModel, graphs: CrystalGraphs, targets: dict[str, np.ndarray], name: str) -> float:
    predicted = predict_graphs([model], graphs, device='cpu')
    return float(np.mean(np.abs(targets[name] - predicted[name]) <= predicted[f'{name}_high'] - predicted[name]))


def test_its_intervals_hold_where_the_parents_do_not(parent, result):
    new = crystals(5000, 300)
    targets = moduli(new, noise=0.5, seed=2)
    for name in (K, G):
        # A conformal quantile of 60 crystals covers 0.92 on average, with a standard deviation of 0.04.
        assert 0.8 <= covered(result.model, new, targets, name) <= 0.99
        assert covered(parent, new, targets, name) < 0.7


def test_how_errors_grow_is_the_parents(parent, result, own):
    calibration = result.model.calibration
    assert calibration.errors == parent.calibration.errors
    assert calibration.correlation == parent.calibration.correlation
    assert calibration.held_out == 'cross_validation'
    assert set(calibration.factors) == {K, G}
    assert min(calibration.factors.values()) > 1
    assert 'cross-validation' in result.model.card['training'][-1]['calibration']


def test_what_it_learned_from_is_not_novel(parent, result, own):
    before, after = (predict_graphs([model], own, device='cpu')['novelty'] for model in (parent, result.model))
    assert before.min() > 0
    assert after.max() == 0
    # A noble gas is in no crystal of either.
    strange = dataclasses.replace(own, atomic_numbers=np.where(np.arange(len(own.atomic_numbers)) == 0, 54, 1))
    assert predict_graphs([result.model], strange, device='cpu')['novelty'][0] == 1


def test_it_is_told_which_crystals_the_parent_knew(parent, own, result):
    """The parent learned from the first 120 of its 200 crystals."""
    assert result.parent_novelty.min() > 0
    learned = crystals(0, 40)
    again = fine_tune(parent, learned, moduli(learned, noise=0.02, seed=0), RECIPE, seed=0, device='cpu')
    assert again.parent_novelty.max() < 1e-6


def test_crystals_that_are_far_off_widen_all_intervals(parent, own):
    targets = moduli(own, noise=0.5, seed=1)
    whole = fine_tune(parent, own, targets, RECIPE, seed=0, device='cpu')
    inside = whole.fold == 0
    changed = {name: np.where(inside, values + 5.0, values) for name, values in targets.items()}
    other = fine_tune(parent, own, changed, RECIPE, seed=0, device='cpu')
    # A quarter of the crystals is off by 5 now: no interval of theirs would hold, so 90 % take factors that large.
    for name in (K, G):
        assert other.model.calibration.factors[name] > 5 * whole.model.calibration.factors[name]


def test_it_is_kept_with_the_model(result, own, tmp_path):
    result.model.save(tmp_path)
    kept = ElasticModel.load(tmp_path)
    assert kept.calibration.factors == result.model.calibration.factors
    one, two = (predict_graphs([model], own, device='cpu') for model in (result.model, kept))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_too_few_crystals_tell_nothing_and_a_parent_without_error_bars_has_none_to_give(parent, own):
    few = own.select(np.arange(29))
    result = fine_tune(parent, few, moduli(few, noise=0.5, seed=1), RECIPE, seed=0, device='cpu')
    assert result.model.calibration is None
    assert '29 held-out crystals' in result.model.card['training'][-1]['calibration']

    bare = ElasticModel(parent.members, parent.card)
    result = fine_tune(bare, own, moduli(own, noise=0.5, seed=1), RECIPE, seed=0, device='cpu')
    assert result.model.calibration is None
    assert result.model.card['training'][-1]['calibration'] == 'none: the parent has none'


def test_a_modulus_without_values_keeps_the_parents_error_bars(parent, own):
    targets = {K: moduli(own, noise=0.5, seed=1)[K], G: np.full(len(own), np.nan)}
    result = fine_tune(parent, own, targets, RECIPE, seed=0, device='cpu')
    assert set(result.model.calibration.factors) == {K}
    assert np.isfinite(predict_graphs([result.model], own, device='cpu')[f'{G}_std']).all()
