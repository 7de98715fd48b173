"""How unlike the crystals of the training a crystal is, as a network sees it.

Where the network has made one vector of a crystal (its pooled features), principal components with their standard
deviation set to 1 measure distances. The distance to the nearest training crystal means nothing by itself; its rank
among those of crystals that the network did not see in training does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = [
    'Novelty',
    'Space',
    'anonymous_formulas',
    'crystals_with_unseen_elements',
    'elements_in',
    'nearest_distances',
    'rank_of',
]

DIMENSIONS = 16
LEAST_SPREAD = 1e-3
"""Of the largest: what varies less is lost in float32."""
N_QUANTILES = 201
FAR = 0.95
"""A novelty above this is worth a word."""

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


@dataclass(frozen=True)
class Space:
    """Coordinates in which distances between crystals are measured.

    Attributes
    ----------
    mean : (w,) float32
        Of the pooled features of training crystals.
    axes : (w, d) float32
        Principal components over their standard deviations.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def of(cls, latents: NDArray[np.float32]) -> Space:
        """Return the space of the (n, w) features of training crystals."""
        mean = latents.mean(axis=0, dtype=np.float64)
        _, values, vectors = np.linalg.svd(latents - mean, full_matrices=False)
        spreads = values / np.sqrt(len(latents))
        n_kept = min(DIMENSIONS, int((spreads > LEAST_SPREAD * max(spreads[0], 1e-12)).sum()) or 1)
        axes = vectors[:n_kept].T / np.maximum(spreads[:n_kept], 1e-12)
        # The sign of a component is a matter of the library.
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_kept)])
        return cls(mean.astype(np.float32), axes.astype(np.float32))

    def place(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (m, d) coordinates of (m, w) features."""
        return np.asarray((latents.astype(np.float32) - self.mean) @ self.axes, dtype=np.float32)


@dataclass(frozen=True)
class Novelty:
    """The training crystals as points, and how far from them unseen crystals are.

    Attributes
    ----------
    space : Space
    points : (n, d) float16
        The training crystals.
    quantiles : (q,) float32
        Of the distances of held-out crystals to the nearest training crystal: the least, ..., the largest.
    elements : (119,) bool
        Whether the element of that atomic number occurs in training.
    prototypes : frozenset of str
        Anonymous formulas in training.
    reach : float
        How far the farthest neighbor of an atom is in the graphs of training, Angstrom. Networks have never seen
        farther, and place a crystal that is nearly a vacuum among the ordinary ones.
    """

    space: Space
    points: NDArray[np.float16]
    quantiles: NDArray[np.float32]
    elements: NDArray[np.bool_]
    prototypes: frozenset[str]
    reach: float = math.inf
    _tree: cKDTree = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.points).all() or not len(self.points) or (np.diff(self.quantiles) < 0).any():
            raise ValueError('novelty needs training points that are finite, and quantiles in order')
        object.__setattr__(self, '_tree', cKDTree(self.points.astype(np.float64)))

    @classmethod
    def of(
        cls,
        space: Space,
        latents: NDArray[np.float32],
        distances: NDArray[np.float64],
        elements: NDArray[np.bool_],
        formulas: Sequence[str],
        reach: float = math.inf,
    ) -> Novelty:
        """Return the novelty against training crystals, from their features and held-out crystals' distances."""
        points = rounded(space.place(latents))
        quantiles = np.quantile(distances, np.linspace(0, 1, N_QUANTILES)).astype(np.float32)
        return cls(space, points, quantiles, elements, frozenset(formulas), reach)

    def distances(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of (m, d) points to the nearest training crystal, shape (m,)."""
        # Rounded as the training crystals are, so that one of them finds itself.
        return self._tree.query(rounded(points).astype(np.float64))[0]

    def values(self, points: NDArray[np.float32], is_strange: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return from 0, as near as a training crystal, to 1, farther than any unseen crystal, or strange.

        Parameters
        ----------
        points : (m, d) float32
        is_strange : (m,) bool
            Of an element that no training crystal has, or with neighbors beyond ``reach``.
        """
        return np.where(is_strange, 1.0, rank_of(self.distances(points), self.quantiles))

    def reasons(
        self,
        novelty: NDArray[np.float64],
        unseen: Mapping[int, Sequence[str]],
        formulas: Sequence[str],
        is_sparse: NDArray[np.bool_],
    ) -> list[str | None]:
        """Return what is new of each crystal, None where nothing is.

        Parameters
        ----------
        novelty : (m,) float64
        unseen : mapping of int to sequence of str
            Symbols of unseen elements by crystal.
        formulas : sequence of str
            The anonymous formula of each.
        is_sparse : (m,) bool
            Whether it has neighbors beyond ``reach``.
        """
        reasons: list[str | None] = []
        for row, (value, formula, sparse) in enumerate(zip(novelty, formulas, is_sparse.tolist(), strict=True)):
            parts = [f'elements {" ".join(unseen[row])}'] if row in unseen else []
            if formula not in self.prototypes:
                parts.append(f'prototype {formula}')
            if sparse:
                parts.append('sparse')
            if value > FAR and row not in unseen and not sparse:
                parts.append('far')
            reasons.append('; '.join(parts) or None)
        return reasons


def rounded(points: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return points as they are kept; what float16 cannot hold is at its limit."""
    largest = float(np.finfo(np.float16).max)
    return np.clip(np.nan_to_num(points, nan=largest), -largest, largest).astype(np.float16)


def nearest_distances(points: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance of each of the others to the nearest of the points."""
    return cKDTree(rounded(points).astype(np.float64)).query(rounded(others).astype(np.float64))[0]


def rank_of(distances: NDArray[np.float64], quantiles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return where distances lie among the quantiles, from 0 to 1."""
    ranks = np.linspace(0, 1, len(quantiles))
    return np.where(distances <= 0, 0.0, np.interp(distances, quantiles.astype(np.float64), ranks))


def elements_in(atomic_numbers: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which elements occur, by atomic number, shape (119,)."""
    return np.bincount(atomic_numbers, minlength=119)[:119] > 0


def crystals_with_unseen_elements(
    atomic_numbers: NDArray[np.integer], offsets: NDArray[np.integer], seen: NDArray[np.bool_], symbols: Sequence[str]
) -> dict[int, tuple[str, ...]]:
    """Return the symbols of the elements of each crystal that are not among the seen, for crystals that have such."""
    places = np.flatnonzero(~seen[atomic_numbers])
    crystals = np.searchsorted(offsets, places, side='right') - 1
    found: dict[int, set[int]] = {}
    for crystal, number in zip(crystals.tolist(), atomic_numbers[places].tolist(), strict=True):
        found.setdefault(crystal, set()).add(number)
    return {crystal: tuple(symbols[number] for number in sorted(numbers)) for crystal, numbers in found.items()}


def anonymous_formulas(
    atomic_numbers: NDArray[np.integer], counts: NDArray[np.integer], offsets: NDArray[np.integer]
) -> list[str]:
    """Return the reduced formula of each crystal with letters for the elements, the rarest first: AB2C4.

    Parameters
    ----------
    atomic_numbers, counts : (a,) int
        Of the atoms of ``m`` crystals, and how often each occurs in the cell.
    offsets : (m + 1,) int
    """
    n_crystals = len(offsets) - 1
    crystal = np.repeat(np.arange(n_crystals), np.diff(offsets))
    keys, kind = np.unique(crystal * 119 + atomic_numbers, return_inverse=True)
    amounts = np.rint(np.bincount(kind, counts, len(keys))).astype(np.int64)
    owner = keys // 119
    first = np.searchsorted(owner, np.arange(n_crystals))
    if not n_crystals:
        return []
    amounts //= np.repeat(np.gcd.reduceat(amounts, first), np.diff([*first, len(keys)]))
    ordered = amounts[np.lexsort((amounts, owner))].tolist()
    known: dict[tuple[int, ...], str] = {}
    formulas = []
    for start, stop in zip(first.tolist(), [*first[1:].tolist(), len(keys)], strict=True):
        numbers = tuple(ordered[start:stop])
        if numbers not in known:
            known[numbers] = ''.join(
                LETTERS[place % 26] + ('' if number == 1 else str(number)) for place, number in enumerate(numbers)
            )
        formulas.append(known[numbers])
    return formulas
