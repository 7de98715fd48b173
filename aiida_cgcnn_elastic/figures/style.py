"""What the figures have in common: colors that the color-blind can tell apart, labels with units."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = [
    'METRICS',
    'PARTS',
    'PART_COLORS',
    'PART_MARKERS',
    'TARGETS',
    'parameter_label',
    'present_targets',
    'robust_limits',
    'value_label',
]

PARTS = ('train', 'validation', 'test')
# Okabe and Ito (2008).
PART_COLORS = {'train': '#0072B2', 'validation': '#E69F00', 'test': '#009E73'}
PART_MARKERS = {'train': 'o', 'validation': 's', 'test': '^'}

TARGETS = {'log10_g_vrh': 'shear modulus G', 'log10_k_vrh': 'bulk modulus K'}
"""Target and what a title calls it, in the order of the study."""

METRICS = {'mae': 'MAE / log$_{10}$(GPa)', 'r2': '$R^2$'}
"""Metric and the label of its axis; the first is the better the smaller, the second the larger."""

_PARAMETERS = {
    'n_convolutions': 'convolutional layers',
    'n_hidden': 'hidden layers',
    'learning_rate': 'learning rate',
    'epochs': 'epochs',
    'batch_size': 'batch size',
    'atom_width': 'width of an atom',
    'hidden_width': 'width of a hidden layer',
    'n_neighbors': 'neighbors',
    'weight_decay': 'weight decay',
}


def parameter_label(name: str) -> str:
    """Return what an axis calls a hyperparameter."""
    return _PARAMETERS.get(name, name.replace('_', ' '))


def value_label(value: object) -> str:
    """Return a value of a hyperparameter as text."""
    return f'{value:g}' if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def present_targets(columns: Iterable[str]) -> list[str]:
    """Return the targets that names of columns, or targets, begin with.

    Raises
    ------
    ValueError
        If there is none.
    """
    names = list(columns)
    found = [target for target in TARGETS if any(name.startswith(target) for name in names)]
    if not found:
        raise ValueError(f'there are no errors of {" or ".join(TARGETS)} to draw: did any training finish?')
    return found


def robust_limits(metric: str, values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return limits of an axis that a few failed fits do not stretch: what is better is always inside.

    Parameters
    ----------
    metric : str
        ``'mae'`` or ``'r2'``.
    values : (n,) array
        NaN is left out.
    """
    badness = values[np.isfinite(values)] * (1 if metric == 'mae' else -1)
    if not len(badness):
        return (0.0, 1.0)
    quarter, three_quarters = np.quantile(badness, (0.25, 0.75))
    # Tukey's fence for what lies far out.
    best, edge = badness.min(), badness[badness <= three_quarters + 3 * (three_quarters - quarter)].max()
    margin = 0.08 * (edge - best) or 0.1 * abs(best) or 0.1
    lower, upper = best - margin, edge + margin
    return (float(lower), float(upper)) if metric == 'mae' else (float(-upper), float(-lower))
