"""Hardness and passing under uncertain moduli, beside sampling and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.elasticity.hardness import POWER_LAWS
from aiida_cgcnn_elastic.uncertainty import hardness_interval, pass_probability, rank_correlation

CRYSTALS = tuple(
    np.array(values)
    for values in zip(
        (2.6, 2.7, 0.02, 0.03, 0.4),
        (2.3, 2.1, 0.08, 0.12, 0.3),
        (2.0, 2.0, 0.05, 0.05, -0.2),
        (1.2, 0.9, 0.10, 0.10, 0.5),
        strict=True,
    )
)
NOTHING = {'min_log10_k': None, 'min_log10_g': None, 'min_hardness': None, 'law': 'chen'}


def draw(n: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 K and log10 G drawn for each crystal, (m, n)."""
    k, g, std_k, std_g, r = (values[:, None] for values in CRYSTALS)
    first, second = np.random.default_rng(0).normal(size=(2, n))
    return k + std_k * first, g + std_g * (r * first + np.sqrt(1 - r**2) * second)


@pytest.mark.parametrize('law', list(LAWS))
def test_probabilities_are_those_of_sampling(law):
    thresholds = {'min_log10_k': 2.0, 'min_log10_g': 2.0, 'min_hardness': 15.0, 'law': law}
    k, g = draw()
    passes = (k >= 2) & (g >= 2) & (LAWS[law](10**k, 10**g) >= 15)
    np.testing.assert_allclose(pass_probability(*CRYSTALS, **thresholds), passes.mean(axis=1), atol=4e-3)


@pytest.mark.parametrize('law', list(POWER_LAWS))
def test_hardness_intervals_are_those_of_sampling(law):
    k, g = draw()
    expected = np.quantile(LAWS[law](10**k, 10**g), [0.05, 0.95], axis=1)
    np.testing.assert_allclose(hardness_interval(*CRYSTALS, law=law), expected, rtol=0.01, atol=0.02)


@pytest.mark.parametrize('law', list(LAWS))
def test_hardness_grows_with_g(law):
    """The probability relies on it."""
    k, g = 10.0 ** np.linspace(-1, 3.5, 60)[:, None], 10.0 ** np.linspace(-2, 4, 400)
    hardness = LAWS[law](k, g)
    assert (np.diff(hardness, axis=1) >= 0).all()


def test_one_threshold_is_a_normal_tail():
    k, g, std_k, std_g, _ = CRYSTALS
    only_k = pass_probability(*CRYSTALS, **{**NOTHING, 'min_log10_k': 2.1})
    only_g = pass_probability(*CRYSTALS, **{**NOTHING, 'min_log10_g': 2.1})
    np.testing.assert_allclose(only_k, norm.cdf((k - 2.1) / std_k), atol=1e-12)
    np.testing.assert_allclose(only_g, norm.cdf((g - 2.1) / std_g), atol=2e-3)
    np.testing.assert_allclose(pass_probability(*CRYSTALS, **NOTHING), 1.0)


def test_stiffer_is_never_less_probable_and_far_is_sure():
    shift = np.linspace(-1.0, 1.0, 401)
    ones = np.ones_like(shift)
    thresholds = {'min_log10_k': 2.0, 'min_log10_g': 2.0, 'min_hardness': 20.0, 'law': 'chen'}
    p = pass_probability(2.3 + shift, 2.25 + shift, 0.05 * ones, 0.07 * ones, 0.4 * ones, **thresholds)
    assert (np.diff(p) >= -1e-12).all()
    assert p[0] < 1e-9
    assert p[-1] > 0.999


def test_unknown_stays_unknown():
    nan = np.full(2, np.nan)
    known = np.array([2.0, 2.0])
    assert np.isnan(pass_probability(known, known, nan, known, known, **NOTHING)).all()
    assert np.isnan(hardness_interval(known, nan, known, known, known, law='chen')).all()


def test_a_sure_modulus_has_no_interval():
    point = (np.array([2.5]), np.array([2.4]), np.zeros(1), np.zeros(1), np.zeros(1))
    low, high = hardness_interval(*point, law='chen')
    assert low == high == pytest.approx(LAWS['chen'](10**2.5, 10**2.4))


def test_correlation_ignores_wild_errors():
    rng = np.random.default_rng(1)
    first, noise = rng.normal(size=(2, 4000))
    second = 0.6 * first + 0.8 * noise
    second[0] = 1e6
    assert rank_correlation(first, second) == pytest.approx(0.6, abs=0.04)
