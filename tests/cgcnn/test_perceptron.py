"""Perceptrons on statistics of structure and composition."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.cgcnn.perceptron import Perceptron, PerceptronRecipe, fit_perceptron

RECIPE = PerceptronRecipe(width=32, epochs=60, batch_size=32, learning_rate=1e-2, dropout=0.0)
ROWS, TEST = np.arange(300), np.arange(300, 400)


@pytest.fixture(scope='module')
def statistics() -> np.ndarray:
    """Numbers of very different sizes, as radii and melting points are."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 5)) * [1e-2, 1.0, 10.0, 1e3, 1.0] + [0, 1, -3, 4e3, 0]).astype(np.float32)


@pytest.fixture(scope='module')
def true(statistics) -> np.ndarray:
    """A product of two of them: no straight line."""
    product = (statistics[:, :1] / 1e-2) * (statistics[:, 3:4] - 4e3) / 1e3
    return (product / product.std()).astype(np.float64)


def mae(network: Perceptron, statistics: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(network.predict(statistics[TEST]) - true[TEST]).mean())


def test_a_curved_dependence_is_learned_and_holds_for_new_crystals(statistics, true):
    network = fit_perceptron(statistics, true, ROWS, RECIPE, seed=0)
    assert mae(network, statistics, true) < 0.3 * np.abs(true[TEST]).mean()


def test_only_the_rows_to_learn_from_decide_and_the_same_arguments_give_the_same_weights(statistics, true):
    others, values = true.copy(), statistics.copy()
    others[TEST] += 5
    values[TEST] *= 3
    one, two, other = (
        fit_perceptron(*given, ROWS, dataclasses.replace(RECIPE, epochs=2), seed=seed)
        for *given, seed in ((statistics, true, 0), (values, others, 0), (statistics, true, 1))
    )
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.first.weight, other.first.weight)


def test_responses_of_more_crystals_teach_what_few_targets_do_not(statistics, true):
    """The target of thirty crystals, and a response that follows it for ten times as many."""
    few = true.copy()
    few[30:] = np.nan
    responses = np.concatenate([true, 1 - true], axis=1).astype(np.float32)
    taught = fit_perceptron(statistics, few, ROWS, RECIPE, seed=0, responses=responses)
    alone = fit_perceptron(statistics, few, ROWS[:30], RECIPE, seed=0)
    assert mae(taught, statistics, true) < 0.7 * mae(alone, statistics, true)


def test_what_is_not_known_or_out_of_this_world_makes_no_nonsense(statistics, true):
    values = statistics.copy()
    values[:40, 2] = np.nan
    network = fit_perceptron(values, true, ROWS, RECIPE, seed=0)
    assert mae(network, statistics, true) < 0.3 * np.abs(true[TEST]).mean()
    far = statistics[TEST].copy()
    far[:, 3], far[0, 2] = 1e30, np.nan
    found = network.predict(far)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 2 * np.abs(true).max()


def test_a_statistic_that_never_varied_says_nothing_of_others(statistics, true):
    constant = statistics.copy()
    constant[:, 4] = 7.0
    network = fit_perceptron(constant, true, ROWS, dataclasses.replace(RECIPE, epochs=2), seed=0)
    other = constant.copy()
    other[:, 4] = 8.0
    assert np.array_equal(network.predict(constant), network.predict(other))


def test_a_training_can_be_stopped(statistics, true):
    asked = iter(range(1, 100))
    with pytest.raises(Stopped, match='after 3 of 600 batches'):
        fit_perceptron(statistics, true, ROWS, RECIPE, seed=0, stop=lambda: next(asked) >= 3)


@pytest.mark.parametrize(
    'values', [{'width': 0}, {'epochs': 0}, {'dropout': 1.0}, {'learning_rate': 0}, {'weight_decay': -1}]
)
def test_impossible_recipes_are_refused(values):
    (name,) = values
    with pytest.raises(ValueError, match=f'{name} of the perceptron is'):
        dataclasses.replace(RECIPE, **values)
