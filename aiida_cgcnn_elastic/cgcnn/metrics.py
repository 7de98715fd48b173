"""How well predicted values agree with true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ['all_metrics', 'mae', 'r2', 'rmse', 'spearman']

Values = npt.NDArray[np.float64]


def mae(true: Values, predicted: Values) -> float:
    """Return the mean absolute error of (n,) values, in their unit."""
    return float(np.mean(np.abs(predicted - true)))


def rmse(true: Values, predicted: Values) -> float:
    """Return the root of the mean squared error of (n,) values, in their unit."""
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def r2(true: Values, predicted: Values) -> float | None:
    """Return the coefficient of determination; None where the true values do not vary."""
    total = np.sum((true - np.mean(true)) ** 2)
    return float(1 - np.sum((predicted - true) ** 2) / total) if total > 0 else None


def spearman(true: Values, predicted: Values) -> float | None:
    """Return Spearman's rank correlation, tied values sharing their mean rank; None where either side does not vary."""
    first, second = _ranks(true), _ranks(predicted)
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt(np.sum(first**2) * np.sum(second**2))
    return float(np.sum(first * second) / norm) if norm > 0 else None


def all_metrics(true: Values, predicted: Values) -> dict[str, float | int | None]:
    """Return ``n``, ``mae``, ``rmse``, ``r2`` and ``spearman`` of (n,) values.

    Raises
    ------
    ValueError
        If there are no values, or the two sides differ in length or are not finite.
    """
    true, predicted = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if true.shape != predicted.shape or true.ndim != 1:
        raise ValueError(f'{true.shape} true but {predicted.shape} predicted values')
    if not len(true):
        raise ValueError('there are no values to compare')
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise ValueError('true and predicted values must be finite')
    return {
        'n': len(true),
        'mae': mae(true, predicted),
        'rmse': rmse(true, predicted),
        'r2': r2(true, predicted),
        'spearman': spearman(true, predicted),
    }


def _ranks(values: Values) -> Values:
    """Return the ranks of values, the mean rank where values tie."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
