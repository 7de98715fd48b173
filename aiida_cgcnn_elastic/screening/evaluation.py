"""How well predictions, their intervals and the candidates found agree with known moduli: measures and groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    'FAMILIES',
    'SYSTEMS',
    'crystal_systems',
    'element_families',
    'enrichment',
    'interval_metrics',
    'n_seen_in_training',
    'precision_and_recall',
    'ranking_metrics',
    'recall_at_precision',
]

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

PRECISION = 0.8
"""At which recalls are compared: one in five DFT calculations is in vain."""

TOP = 0.01

SEEN = 1e-6
"""Novelty below which a crystal was in the training. Rounding moves some of those from 0, by less than this."""

_FIRST_SPACE_GROUPS = (1, 3, 16, 75, 143, 168, 195)
SYSTEMS = ('triclinic', 'monoclinic', 'orthorhombic', 'tetragonal', 'trigonal', 'hexagonal', 'cubic')

FAMILIES: dict[str, tuple[str, ...]] = {
    'halides': ('F', 'Cl', 'Br', 'I', 'At'),
    'oxides': ('O',),
    'chalcogenides': ('S', 'Se', 'Te', 'Po'),
    'nitrides': ('N',),
    'hydrides': ('H',),
    'carbides': ('C',),
    'pnictides': ('P', 'As', 'Sb', 'Bi'),
    'borides': ('B',),
    'silicides and germanides': ('Si', 'Ge'),
}
"""Families of compounds by an element that they contain, in the order in which they are looked for."""


def interval_metrics(true: Values, low: Values, high: Values) -> dict[str, float]:
    """Return what part of ``n`` intervals, ends included, hold the true value, and their mean width."""
    return {
        'coverage': float(np.mean((true >= low) & (true <= high))),
        'mean_width': float(np.mean(high - low)),
    }


def precision_and_recall(found: Mask, true: Mask) -> dict[str, Any]:
    """Return how many were found, are true, and both; what part of the found is true; what part of the true is found.

    None where nothing was found, or nothing is true.
    """
    n_found, n_true, n_both = int(found.sum()), int(true.sum()), int((found & true).sum())
    return {
        'n_candidates': n_found,
        'n_candidates_by_label': n_true,
        'n_true_positives': n_both,
        'precision': n_both / n_found if n_found else None,
        'recall': n_both / n_true if n_true else None,
    }


def recall_at_precision(scores: Values, true: Mask, precision: float = PRECISION) -> dict[str, Any]:
    """Return the largest recall of all thresholds on a score at which the precision is at least so large.

    Returns
    -------
    dict
        ``recall``, ``precision`` and ``threshold`` (scores at least as large are found); None where no threshold has
        the precision, or nothing is true.
    """
    order = np.argsort(-scores, kind='stable')
    n_both, n_found = np.cumsum(true[order]), np.arange(1, len(order) + 1)
    # A threshold takes all of equal scores.
    is_last = np.append(np.diff(scores[order]) != 0, True)[: len(order)]
    allowed = np.flatnonzero(is_last & (n_both >= precision * n_found) & (n_both > 0))
    if not len(allowed):
        return {'recall': None, 'precision': None, 'threshold': None}
    best = allowed[np.argmax(n_both[allowed])]
    return {
        'recall': float(n_both[best] / true.sum()),
        'precision': float(n_both[best] / n_found[best]),
        'threshold': float(scores[order][best]),
    }


def enrichment(scores: Values, true: Mask, top: float = TOP) -> float | None:
    """Return how many times more are true among the part with the largest scores than among all.

    The part is rounded up; equal scores at its end count by their mean. None where nothing is true.
    """
    if not true.any():
        return None
    n_top = math.ceil(top * len(scores))
    least = np.sort(scores)[-n_top]
    above, tied = scores > least, scores == least
    share = (true[above].sum() + true[tied].mean() * (n_top - above.sum())) / n_top
    return float(share / true.mean())


def ranking_metrics(scores: Values, true: Mask) -> dict[str, Any]:
    """Return what a ranking by a score finds; where a score is not known, it is the least."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    found = recall_at_precision(known, true)
    return {'at_precision': {'wanted': PRECISION, **found}, 'enrichment_in_top_1_percent': enrichment(known, true)}


def n_seen_in_training(novelty: Values) -> int | None:
    """Return how many crystals were in the training of the model by their (m,) novelty, None where it knows of none.

    Where a model was calibrated with n held-out crystals, a crystal that it has not seen is counted too with a
    probability of about 1 / (n + 1): that it is nearer to the training than all of those.
    """
    known = np.isfinite(novelty)
    return int((novelty[known] < SEEN).sum()) if known.any() else None


def crystal_systems(space_groups: Values) -> NDArray[np.object_]:
    """Return the crystal system of each space group number, None where it is not known (NaN)."""
    systems = np.full(len(space_groups), None, dtype=object)
    known = np.isfinite(space_groups) & (space_groups >= 1) & (space_groups <= 230)
    places = np.searchsorted(_FIRST_SPACE_GROUPS, space_groups[known], side='right') - 1
    systems[known] = [SYSTEMS[place] for place in places]
    return systems


def element_families(elements: Iterable[Sequence[str]]) -> NDArray[np.object_]:
    """Return the family of each crystal: of `FAMILIES` the first with an element in it, else by what is left.

    One element alone is ``elements``; two or more of no family are ``intermetallics``.
    """
    families = []
    for symbols in elements:
        if len(symbols) == 1:
            families.append('elements')
            continue
        found = (name for name, marks in FAMILIES.items() if not set(marks).isdisjoint(symbols))
        families.append(next(found, 'intermetallics'))
    result = np.empty(len(families), dtype=object)
    result[:] = families
    return result
