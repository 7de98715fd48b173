"""Intervals hold as often as they say, whatever the noise is."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.uncertainty import LEAST_CRYSTALS, ErrorModel, Z
from aiida_cgcnn_elastic.uncertainty.errors import conformal_quantile

N = 4000


def sample(seed: int, noise: str) -> tuple[np.ndarray, ...]:
    """Return errors, predicted moduli, novelty and disagreement of crystals whose noise is known."""
    rng = np.random.default_rng(seed)
    predicted, novelty = rng.uniform(0.5, 2.7, N), rng.uniform(0, 1, N)
    disagreement = np.abs(rng.normal(0, 0.05, N))
    size = {
        'constant': np.full(N, 0.1),
        'growing': 0.02 + 0.2 * novelty**4 + 0.5 * disagreement,
        'stepped': np.where(predicted > 2.4, 0.3, 0.05),
        'heavy': 0.1 * np.sqrt(1 / rng.chisquare(2, N)),
    }[noise]
    return size * rng.normal(size=N), predicted, novelty, disagreement


@pytest.mark.parametrize('noise', ['constant', 'growing', 'stepped', 'heavy'])
@pytest.mark.parametrize('with_pairs', [True, False])
def test_nine_in_ten_are_covered_in_every_part(noise, with_pairs):
    """Five standard errors of a binomial count with N new and N held-out crystals; fewer in the parts."""
    held_out, new = sample(1, noise), sample(2, noise)
    model = ErrorModel.fit(*held_out[: 4 if with_pairs else 3])
    errors, predicted, novelty, disagreement = new
    std = model.std(predicted, novelty, disagreement[None] if with_pairs else None)
    covered = np.abs(errors) <= Z * std
    assert abs(covered.mean() - 0.9) < 5 * np.sqrt(2 * 0.09 / N)
    for decile in np.array_split(np.argsort(predicted), 10):
        assert abs(covered[decile].mean() - 0.9) < 5 * np.sqrt(2 * 0.09 / len(decile))


def test_the_difficult_have_wider_intervals():
    errors, predicted, novelty, disagreement = sample(3, 'growing')
    model = ErrorModel.fit(errors, predicted, novelty, disagreement)
    same = np.full(3, 1.5)
    by_novelty = model.std(same, np.array([0.1, 0.6, 1.0]), np.full((1, 3), 0.02))
    by_disagreement = model.std(same, np.full(3, 0.5), np.array([[0.0, 0.05, 0.2]]))
    assert (np.diff(by_novelty) > 0).all()
    assert (np.diff(by_disagreement) > 0).all()
    wide = np.abs(errors) <= Z * model.std(predicted, novelty, disagreement[None])
    assert wide[novelty > 0.9].mean() == pytest.approx(0.9, abs=0.06)


def test_several_pairs_have_the_mean_of_their_scales():
    errors, predicted, novelty, disagreement = sample(4, 'growing')
    model = ErrorModel.fit(errors, predicted, novelty, disagreement)
    two = np.stack([disagreement, disagreement[::-1]])
    each = [model.std(predicted, novelty, row[None]) for row in two]
    np.testing.assert_allclose(model.std(predicted, novelty, two), np.mean(each, axis=0))


def test_the_unit_is_that_of_the_errors():
    errors, predicted, novelty, disagreement = sample(5, 'heavy')
    ones = ErrorModel.fit(errors, predicted, novelty, disagreement).std(predicted, novelty, disagreement[None])
    tens = ErrorModel.fit(10 * errors, predicted, novelty, disagreement).std(predicted, novelty, disagreement[None])
    np.testing.assert_allclose(tens, 10 * ones, rtol=0.02)


def test_beyond_what_was_seen_the_scale_stays():
    errors, predicted, novelty, _ = sample(6, 'stepped')
    model = ErrorModel.fit(errors, predicted, novelty)
    far = model.std(np.array([predicted.max(), 9.0, -9.0, predicted.min()]), np.zeros(4))
    assert far[0] == far[1]
    assert far[2] == far[3]


def test_finite_samples_are_corrected():
    """With 9 scores the largest bounds a tenth with a probability of 90 %; with 8 nothing does."""
    assert conformal_quantile(np.arange(9.0)) == 8.0
    assert conformal_quantile(np.arange(8.0)) == np.inf
    assert conformal_quantile(np.arange(19.0)) == 17.0


def test_too_few_crystals_are_refused():
    errors, predicted, novelty, _ = (values[: LEAST_CRYSTALS - 1] for values in sample(7, 'constant'))
    with pytest.raises(ValueError, match='too few'):
        ErrorModel.fit(errors, predicted, novelty)


def test_equal_predictions_are_no_trouble():
    errors, _, novelty, _ = sample(8, 'constant')
    model = ErrorModel.fit(errors, np.full(N, 1.5), novelty)
    assert np.mean(np.abs(errors) <= Z * model.std(np.full(N, 1.5), novelty)) == pytest.approx(0.9, abs=0.02)


def test_plain_values_and_back():
    errors, predicted, novelty, disagreement = sample(9, 'growing')
    model = ErrorModel.fit(errors, predicted, novelty, disagreement)
    again = ErrorModel.from_dict(model.to_dict())
    arguments = (predicted, novelty, disagreement[None])
    assert np.array_equal(again.std(*arguments), model.std(*arguments))
    broken = {**model.to_dict(), 'quantiles': [1.0]}
    with pytest.raises(ValueError, match='no model of errors'):
        ErrorModel.from_dict(broken)
