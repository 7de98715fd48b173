"""Perceptrons on statistics of structure and composition."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.cgcnn.cycle import Diverged
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
    taught, alone = (
        fit_perceptron(statistics, few, ROWS, RECIPE, seed=0, responses=responses, taught=weight)
        for weight in (1.0, None)
    )
    assert mae(taught, statistics, true) < 0.7 * mae(alone, statistics, true)


@pytest.fixture(scope='module')
def told(statistics, true) -> tuple[np.ndarray, np.ndarray]:
    """Responses, and a target that they tell half of."""
    responses = np.random.default_rng(1).normal(2.0, 0.5, size=(400, 2)).astype(np.float32)
    return responses, (true + (responses[:, :1] - 2.0) / 0.5) / np.sqrt(2)


def test_what_only_the_response_tells_is_learned_and_crystals_without_one_are_predicted(statistics, told):
    responses, true = told
    network = fit_perceptron(statistics, true, ROWS, RECIPE, seed=0, responses=responses, withheld=0.25)
    blind = fit_perceptron(statistics, true, ROWS, RECIPE, seed=0)
    seen = np.abs(network.predict(statistics, responses)[TEST] - true[TEST]).mean()
    assert seen < 0.5 * mae(blind, statistics, true)
    lost = responses.copy()
    lost[TEST[:50]] = np.nan
    found = network.predict(statistics, lost)
    assert np.array_equal(found[TEST[50:]], network.predict(statistics, responses)[TEST[50:]])
    # As good as one that has never seen any: half of the target is not to be known.
    assert np.abs(found[TEST[:50]] - true[TEST[:50]]).mean() < 1.2 * mae(blind, statistics, true)


def test_withholding_responses_teaches_to_do_without_them(statistics, told):
    responses, true = told
    lost = np.full_like(responses, np.nan)
    errors = [
        np.abs(
            fit_perceptron(statistics, true, ROWS, RECIPE, seed=0, responses=responses, withheld=withheld).predict(
                statistics, lost
            )[TEST]
            - true[TEST]
        ).mean()
        for withheld in (0.0, 0.25)
    ]
    assert errors[1] < errors[0]


def test_a_perceptron_goes_on_from_another_which_stays_as_it_is(statistics, true):
    start = fit_perceptron(statistics, true, ROWS, RECIPE, seed=0)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    recipe = dataclasses.replace(RECIPE, epochs=20, learning_rate=1e-3)
    # Another mean of the inputs is not taken over: what was learned holds for numbers as they were.
    tuned = fit_perceptron(statistics, true + 0.5, ROWS[:50], recipe, seed=0, start=start)
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())
    assert torch.equal(tuned.mean, start.mean)
    assert torch.equal(tuned.scale, start.scale)
    assert mae(tuned, statistics, true + 0.5) < 0.6 * mae(start, statistics, true + 0.5)


def test_a_loss_that_is_no_number_ends_the_training(statistics, true):
    with pytest.raises(Diverged, match='smaller learning rate'):
        fit_perceptron(statistics, true, ROWS, dataclasses.replace(RECIPE, learning_rate=1e30), seed=0)


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
