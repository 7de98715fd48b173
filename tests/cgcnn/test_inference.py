"""Predictions of many crystals: order, averages, options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict, predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel

from .known_crystals import crystal, diamond, join, random_crystal, rock_salt, supercell, tungsten
from .test_model import make_model


@pytest.fixture(scope='module')
def crystals():
    return [random_crystal(seed, 1 + seed % 6) for seed in range(30)]


@pytest.fixture(scope='module')
def paper() -> ElasticModel:
    return ElasticModel.load(pretrained.path('paper'))


def test_predictions_do_not_depend_on_batches_or_neighbors_in_them(crystals, paper):
    arrays = join(crystals)
    expected = predict([paper], *arrays, dtype='float64')
    for batch_edges in (1, 100, 10_000_000):
        found = predict([paper], *arrays, dtype='float64', batch_edges=batch_edges)
        for target in paper.targets:
            assert found[target] == pytest.approx(expected[target], abs=1e-9)
    backwards = predict([paper], *join(crystals[::-1]), dtype='float64')
    for target in paper.targets:
        assert backwards[target][::-1] == pytest.approx(expected[target], abs=1e-9)


def test_single_precision_is_precise_enough(crystals, paper):
    single, double = (predict([paper], *join(crystals), dtype=dtype) for dtype in ('float32', 'float64'))
    for target in paper.targets:
        assert single[target] == pytest.approx(double[target], abs=2e-5)


def test_graphs_made_before_give_the_same(crystals, paper):
    arrays = join(crystals)
    first, second = predict([paper], *arrays), predict_graphs([paper], build_graphs(*arrays))
    for target in paper.targets:
        assert first[target] == pytest.approx(second[target], abs=1e-6)


def test_members_with_one_target_are_averaged(element_features, toy_graphs):
    models = [make_model(element_features, seed) for seed in range(3)]
    alone = np.stack([predict_graphs([model], toy_graphs)['log10_k_vrh'] for model in models])
    together = predict_graphs(models, toy_graphs)
    assert together['log10_k_vrh'] == pytest.approx(alone.mean(axis=0))
    assert together['log10_k_vrh_spread'] == pytest.approx(alone.std(axis=0, ddof=1))
    assert np.isnan(predict_graphs(models[:1], toy_graphs)['log10_k_vrh_spread']).all()


def test_supercells_have_the_moduli_of_their_crystal(paper):
    for cell in (diamond(), rock_salt(), random_crystal(2)):
        one = predict([paper], *cell)
        many = predict([paper], *supercell(cell, (1, 3, 2)))
        for target in paper.targets:
            assert many[target] == pytest.approx(one[target], abs=1e-5)


def test_shipped_pair_tells_hard_from_soft(paper):
    """Diamond and WC are stiff, NaCl and Pb are not; true values 443 and 439, 25 and 45 GPa for K."""
    tungsten_carbide = crystal(
        [[2.906, 0, 0], [-1.453, 2.5167, 0], [0, 0, 2.837]], [74, 6], [[0, 0, 0], [1 / 3, 2 / 3, 0.5]]
    )
    lead = crystal(4.95 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), [82], [[0, 0, 0]])
    found = predict([paper], *join([diamond(), tungsten_carbide, rock_salt(), lead]))
    assert paper.targets == ('log10_g_vrh', 'log10_k_vrh')
    assert (found['log10_k_vrh'][:2] > 2.4).all()
    assert (found['log10_g_vrh'][:2] > 2.2).all()
    assert (found['log10_k_vrh'][2:] < 1.9).all()
    assert (found['log10_g_vrh'][2:] < 1.5).all()


def test_every_element_has_a_finite_prediction(paper):
    elements = [crystal(3.5 * np.eye(3), [z], [[0, 0, 0]]) for z in range(1, 119)]
    found = predict([paper], *join(elements))
    for target in paper.targets:
        assert np.isfinite(found[target]).all()
        assert (np.abs(found[target]) < 6).all()


def test_progress_ends_at_the_number_of_crystals(crystals, paper):
    seen = []
    predict([paper], *join(crystals * 40), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1200, 1200)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_no_crystals_have_no_predictions(paper):
    found = predict([paper], np.zeros((0, 3, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(1))
    assert all(len(values) == 0 for values in found.values())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dtype': 'float16'}, "unknown dtype 'float16'; known are"),
        ({'device': 'abacus'}, "the device 'abacus' cannot be used here"),
        ({'batch_edges': 0}, 'batch_edges is 0'),
    ],
)
def test_unknown_options_are_refused(options, message, paper):
    with pytest.raises(ValueError, match=message):
        predict([paper], *tungsten(), **options)


def test_no_model_is_refused():
    with pytest.raises(ValueError, match='no model'):
        predict([], *tungsten())


def test_models_must_take_the_graphs(element_features, toy_graphs):
    model, other = make_model(element_features), make_model(element_features)
    architecture = other.members[0].network.architecture
    other.members[0].network.architecture = dataclasses.replace(architecture, n_neighbors=8)
    with pytest.raises(ValueError, match=r'different numbers of neighbors: \[8, 12\]'):
        predict_graphs([model, other], toy_graphs)
    with pytest.raises(ValueError, match='the graphs have 12 neighbors, the models were trained on 8'):
        predict_graphs([other], toy_graphs)


def test_threads_do_not_change_a_bit(crystals, paper):
    arrays = join(crystals * 10)
    one, four = (predict([paper], *arrays, threads=threads, batch_edges=500) for threads in (1, 4))
    for target in paper.targets:
        assert np.array_equal(one[target], four[target])
