"""The error of a prediction, learned from errors on crystals that took no part in fitting.

Two steps. A scale, a smooth function of what makes a crystal difficult, is fitted by the likelihood of Laplace's
distribution. Conformal prediction then corrects it: within bins of the predicted modulus (Mondrian conformal
prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005), it is multiplied by the quantile
of the scaled errors, with the correction for a finite number of them, so that intervals of new crystals drawn like
the held-out ones cover at least 90 % in every bin, whether the scale is a good one or not (Lei et al., J. Am. Stat.
Assoc. 113, 1094 (2018)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ['COVERAGE', 'LEAST_CRYSTALS', 'ErrorModel', 'Z']

Values = NDArray[np.float64]

COVERAGE = 0.9
"""What part of the crystals an interval is to cover."""

Z = 1.6448536269514722
"""Half the width of the interval of that coverage in standard deviations of a normal distribution."""

LEAST_CRYSTALS = 30
"""Fewer say nothing of a 90 % interval."""

CRYSTALS_A_BIN = 200
MOST_BINS = 10
CENTER = 1.7
"""A typical log10 of a modulus in GPa, for the numbers' sake."""
LEAST_DISAGREEMENT = 0.03
LARGEST_NOVELTY = 1.02
"""Offsets that keep logarithms finite, in log10(GPa) and 1: what is smaller tells nothing."""
LEAST_ERROR = 1e-4


@dataclass(frozen=True)
class ErrorModel:
    """The standard deviation of the error of a predicted log10 modulus.

    It is that of the normal distribution whose central 90 % interval has the width of the conformal one. The logarithm
    of the scale is linear in ``coefficients``: of 1, the modulus and its square, novelty (``-log(1.02 - n)``) and,
    where there are teams of models, their disagreement (``log(d + 0.03)``).

    Attributes
    ----------
    coefficients : (4,) or (5,) float64
        Four where there is no disagreement to look at.
    edges : (b - 1,) float64
        Between the bins of the predicted modulus, log10(GPa).
    quantiles : (b,) float64
        Of the error over the scale, by bin.
    limits : (float, float)
        Least and largest modulus predicted among the held-out crystals; beyond, the scale is as at the limit.
    n_crystals : int
        Held-out crystals that it was learned from.
    """

    coefficients: Values
    edges: Values
    quantiles: Values
    limits: tuple[float, float]
    n_crystals: int

    def __post_init__(self) -> None:
        if self.coefficients.shape not in ((4,), (5,)) or len(self.quantiles) != len(self.edges) + 1:
            raise ValueError(
                f'{self.coefficients.shape} coefficients, {len(self.edges)} edges and {len(self.quantiles)} quantiles '
                'are no model of errors'
            )
        numbers = np.concatenate([self.coefficients, self.edges, self.quantiles, self.limits])
        if not np.isfinite(numbers).all() or (self.quantiles <= 0).any() or (np.diff(self.edges) < 0).any():
            raise ValueError('the numbers of a model of errors must be finite, its edges in order, quantiles positive')

    @classmethod
    def fit(cls, errors: Values, predicted: Values, novelty: Values, disagreement: Values | None = None) -> ErrorModel:
        """Learn from ``n`` held-out crystals.

        Parameters
        ----------
        errors, predicted : (n,) float64
            True less predicted, and predicted log10 of the modulus in GPa.
        novelty : (n,) float64
            From 0 to 1.
        disagreement : (n,) float64, optional
            Between the models that make the prediction together, log10(GPa).

        Raises
        ------
        ValueError
            If there are fewer than `LEAST_CRYSTALS`.
        """
        if len(errors) < LEAST_CRYSTALS:
            raise ValueError(f'{len(errors)} held-out crystals are too few; at least {LEAST_CRYSTALS} are needed')
        limits = (float(predicted.min()), float(predicted.max()))
        design = _design(predicted, novelty, disagreement)
        coefficients = _fit_scale(design, np.abs(errors))
        scaled = np.abs(errors) / np.exp(design @ coefficients)
        n_bins = min(max(len(errors) // CRYSTALS_A_BIN, 1), MOST_BINS)
        edges = np.quantile(predicted, np.linspace(0, 1, n_bins + 1)[1:-1])
        place = np.searchsorted(edges, predicted, side='right')
        # Equal predictions can leave a bin without crystals; it takes what holds for all.
        whole = conformal_quantile(scaled)
        quantiles = [conformal_quantile(scaled[place == index]) for index in range(n_bins)]
        finite = np.array([value if math.isfinite(value) else whole for value in quantiles])
        return cls(coefficients, edges, np.maximum(finite, LEAST_ERROR), limits, len(errors))

    def std(self, predicted: Values, novelty: Values, disagreements: Values | None = None) -> Values:
        """Return the standard deviation of ``m`` predictions, shape (m,), log10(GPa).

        Parameters
        ----------
        predicted, novelty : (m,) float64
        disagreements : (p, m) float64
            Of ``p`` teams of models; the scale is the mean over them. Needed if and only if the model was fitted with.
        """
        if (disagreements is None) != (len(self.coefficients) == 4):
            raise ValueError('disagreements are needed if and only if the model of errors was fitted with them')
        modulus = np.clip(predicted, *self.limits)
        designs = [
            _design(modulus, novelty, values) for values in (disagreements if disagreements is not None else [None])
        ]
        scale = np.mean([np.exp(design @ self.coefficients) for design in designs], axis=0)
        return self.quantiles[np.searchsorted(self.edges, modulus, side='right')] * scale / Z

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            'coefficients': self.coefficients.tolist(),
            'edges': self.edges.tolist(),
            'quantiles': self.quantiles.tolist(),
            'limits': list(self.limits),
            'n_crystals': self.n_crystals,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ErrorModel:
        """Return what `to_dict` wrote."""
        arrays = {name: np.array(values[name], dtype=float) for name in ('coefficients', 'edges', 'quantiles')}
        low, high = values['limits']
        return cls(**arrays, limits=(low, high), n_crystals=values['n_crystals'])


def conformal_quantile(scores: Values) -> float:
    """Return the score that a new one exceeds with a probability of at most 10 %; infinite where there are too few."""
    rank = math.ceil(COVERAGE * (len(scores) + 1))
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])


def _design(predicted: Values, novelty: Values, disagreement: Values | None) -> Values:
    modulus = predicted - CENTER
    columns = [np.ones_like(modulus), modulus, modulus**2, -np.log(LARGEST_NOVELTY - novelty)]
    if disagreement is not None:
        columns.append(np.log(disagreement + LEAST_DISAGREEMENT))
    return np.stack(columns, axis=1)


def _fit_scale(design: Values, errors: Values) -> Values:
    """Return the coefficients of ``log s`` that minimise the sum of ``log s + |error| / s``, which is convex."""
    errors = errors + LEAST_ERROR
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = math.log(errors.mean())
    # A feature that hardly varies leaves the sum flat in a direction; this keeps the fit there at its start.
    ridge = 1e-3 * len(errors) * np.diag([0.0, *[1.0] * (design.shape[1] - 1)])

    def total(at: Values) -> float:
        logs = design @ at
        return float((logs + errors / np.exp(logs)).sum() + at @ ridge @ at / 2)

    for _ in range(100):
        ratio = errors / np.exp(design @ coefficients)
        gradient = design.T @ (1 - ratio) + ridge @ coefficients
        step = np.linalg.solve((design * ratio[:, None]).T @ design + ridge + 1e-9 * np.eye(len(ridge)), gradient)
        fraction = 1.0
        while total(coefficients - fraction * step) > total(coefficients) and fraction > 1e-6:
            fraction /= 2
        coefficients = coefficients - fraction * step
        if np.abs(fraction * step).max() < 1e-10:
            break
    return coefficients
