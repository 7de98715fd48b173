"""What uncertain K and G mean for hardness and for passing thresholds.

The errors of log10 K and log10 G are taken as jointly normal, with the standard deviations of the predictions and one
correlation. In these logarithms the power laws of hardness are linear, so their intervals are exact; the probability
to pass is an integral over one variable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.elasticity.hardness import POWER_LAWS
from aiida_cgcnn_elastic.uncertainty.errors import Z

__all__ = ['hardness_interval', 'pass_probability', 'rank_correlation']

Values = NDArray[np.float64]

NODES = 32
"""Points of the integral over K."""

ROWS_AT_ONCE = 16_384

LEAST_LOG, LARGEST_LOG = -4.0, 6.0
"""Log10 of moduli in GPa between which a hardness is looked for."""


def rank_correlation(first: Values, second: Values) -> float:
    """Return the correlation of the normal distribution with the rank correlation of two samples.

    By ``2 sin(pi r / 6)`` from Spearman's r, which a few wild errors do not change.
    """

    def ranks(values: Values) -> Values:
        return values.argsort(kind='stable').argsort(kind='stable').astype(float)

    spearman = np.corrcoef(ranks(first), ranks(second))[0, 1]
    return float(np.clip(2 * math.sin(math.pi / 6 * spearman), -0.99, 0.99))


def hardness_interval(
    log10_k: Values, log10_g: Values, std_k: Values, std_g: Values, correlation: Values, *, law: str
) -> tuple[Values, Values]:
    """Return the ends of the central 90 % interval of the hardness of ``m`` crystals, GPa, each of shape (m,).

    Parameters
    ----------
    log10_k, log10_g, std_k, std_g : (m,) float64
        Predicted log10 of K and G in GPa and their standard deviations; NaN where unknown.
    correlation : (m,) float64
        Of the two errors.
    law : str
        A key of `elasticity.hardness.POWER_LAWS`.
    """
    slope_k, slope_g = POWER_LAWS[law]
    along_k = slope_k * std_k**2 + slope_g * correlation * std_k * std_g
    along_g = slope_g * std_g**2 + slope_k * correlation * std_k * std_g
    std = np.sqrt(np.maximum(slope_k * along_k + slope_g * along_g, 0))
    # The most probable moduli with that hardness; any others on the same straight line would do.
    with np.errstate(invalid='ignore', divide='ignore'):
        shift_k, shift_g = (np.where(std > 0, Z * along / std, 0.0) for along in (along_k, along_g))
    unknown = np.isnan(std)
    ends = []
    for sign in (-1, 1):
        with np.errstate(over='ignore'):
            value = LAWS[law](10.0 ** (log10_k + sign * shift_k), 10.0 ** (log10_g + sign * shift_g))
        ends.append(np.where(unknown, np.nan, value))
    return ends[0], ends[1]


def pass_probability(
    log10_k: Values,
    log10_g: Values,
    std_k: Values,
    std_g: Values,
    correlation: Values,
    *,
    min_log10_k: float | None,
    min_log10_g: float | None,
    min_hardness: float | None,
    law: str,
) -> Values:
    """Return the probability that K, G and hardness of ``m`` crystals are all at least as large as thresholds, (m,).

    Parameters
    ----------
    log10_k, log10_g, std_k, std_g, correlation : (m,) float64
        As in `hardness_interval`; where one is NaN, so is the probability.
    min_log10_k, min_log10_g : float, optional
        Log10 of moduli in GPa.
    min_hardness : float, optional
        GPa.
    law : str
        A key of `elasticity.LAWS`; each of them grows with G.
    """
    grid = np.linspace(LEAST_LOG, LARGEST_LOG, 2001)
    needed = np.full_like(grid, -np.inf) if min_hardness is None else _least_log10_g(grid, min_hardness, law)
    needed = np.maximum(needed, -1e3 if min_log10_g is None else min_log10_g)
    columns = (log10_k, log10_g, std_k, std_g, correlation)
    result = np.full(len(log10_k), np.nan)
    known = np.flatnonzero(np.all(np.isfinite(columns), axis=0))
    places = (np.arange(NODES) + 0.5) / NODES
    for start in range(0, len(known), ROWS_AT_ONCE):
        rows = known[start : start + ROWS_AT_ONCE]
        k, g, s_k, s_g, r = (np.asarray(column)[rows, None] for column in columns)
        is_enough = 1.0 if min_log10_k is None else ndtr((k - min_log10_k) / s_k)
        # K given that it is large enough: the same share of its probability at each point.
        z = -ndtri(np.maximum(is_enough * places, 1e-300))
        margin = g + r * s_g * z - np.interp(k + s_k * z, grid, needed)
        of_g = ndtr(margin / (s_g * np.sqrt(1 - r**2)))
        result[rows] = (is_enough * of_g.mean(axis=1, keepdims=True))[:, 0]
    return result


def _least_log10_g(log10_k: Values, hardness: float, law: str) -> Values:
    """Return for each log10 K the least log10 G with that hardness, by bisection."""
    low, high = np.full_like(log10_k, LEAST_LOG), np.full_like(log10_k, LARGEST_LOG)
    for _ in range(50):
        middle = (low + high) / 2
        is_hard = LAWS[law](10.0**log10_k, 10.0**middle) >= hardness
        low, high = np.where(is_hard, low, middle), np.where(is_hard, middle, high)
    return high
