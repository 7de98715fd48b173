"""How the neighbors of an atom are arranged around it: bond-orientational order (Steinhardt et al., 1983).

A message of the convolution knows distances only, so it cannot tell a tetrahedron from a square. The lengths of the
multipoles of an atom's neighbors can, they do not depend on the axes, and shear is a matter of angles. Of neighbors
with weights ``w`` that sum to 1, the multipole of rank ``l`` has the length

    q_l = sqrt( 4 pi / (2 l + 1)  sum_m | sum_j w_j Y_lm(r_j) |^2 ) = sqrt( sum_jk w_j w_k P_l(cos theta_jk) ),

which is from 0 to 1 (Steinhardt, Nelson and Ronchetti, Phys. Rev. B 28, 784 (1983), eq. 1.3).

Three sets of weights are used: those of the graph's edges; those of near neighbors, ``(d_min / d)^6``; and those of
near neighbors times the difference of the electronegativities, which tells how charges are arranged. The last do not
sum to 1, and may be negative.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ['MAX_RANK', 'N_ORIENTATIONS', 'orientations']

MAX_RANK = 6

N_SETS = 3

N_ORIENTATIONS = 2 + N_SETS * MAX_RANK
"""Numbers for each atom: how many near neighbors it has, how much more electronegative they are, and the lengths of
ranks 1 to 6 for each set of weights."""

NEARNESS = 6
"""Power of the distance by which neighbors count the less, the farther they are."""

ELECTRONEGATIVITIES = np.array([
    1.5, 2.2, 1.5, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, 1.5, 0.93, 1.31, 1.61, 1.9, 2.19, 2.58, 3.16, 1.5, 0.82,
    1.0, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88, 1.91, 1.9, 1.65, 1.81, 2.01, 2.18, 2.55, 2.96, 3.0, 0.82, 0.95,
    1.22, 1.33, 1.6, 2.16, 1.9, 2.2, 2.28, 2.2, 1.93, 1.69, 1.78, 1.96, 2.05, 2.1, 2.66, 2.6, 0.79, 0.89, 1.1, 1.12,
    1.13, 1.14, 1.13, 1.17, 1.2, 1.2, 1.1, 1.22, 1.23, 1.24, 1.25, 1.1, 1.27, 1.3, 1.5, 2.36, 1.9, 2.2, 2.2, 2.28,
    2.54, 2.0, 1.62, 2.33, 2.02, 2.0, 2.2, 2.2, 0.7, 0.9, 1.1, 1.3, 1.5, 1.38, 1.36, 1.28, 1.3, 1.3, 1.3, 1.3, 1.3,
    1.3, 1.3, 1.3, 1.3, *[1.5] * 15,
])  # fmt: skip
"""Pauling's, by atomic number, as pymatgen has them; 1.5 where there is none. Part of what the numbers mean to models
that were trained on them, so not to be changed."""

N_HARMONICS = (MAX_RANK + 1) ** 2

_EDGES_IN_BLOCK = 4000
"""Edges whose harmonics are held at a time: enough to amortise numpy's overhead, few enough for the cache."""


def _orders(rank: int) -> npt.NDArray[np.int64]:
    """Return m of the harmonics of a rank in the order of `_harmonics`, shape (2 rank + 1,)."""
    return (np.arange(2 * rank + 1) + 1) // 2


def _norms() -> npt.NDArray[np.float64]:
    """Return the factors of the harmonics' squares in the lengths' squares, shape (N_HARMONICS, MAX_RANK)."""
    norms = np.zeros((N_HARMONICS, MAX_RANK))
    for rank in range(1, MAX_RANK + 1):
        highest_power = math.prod(range(1, 2 * rank, 2))
        for row, m in enumerate(_orders(rank).tolist(), start=rank**2):
            parts = 1 if m == 0 else 2
            norms[row, rank - 1] = parts * highest_power**2 / (math.factorial(rank - m) * math.factorial(rank + m))
    return norms


_NORMS = _norms()

_RECURSION = {
    rank: (((rank - 1) ** 2 - _orders(rank - 2) ** 2) / (4 * (rank - 1) ** 2 - 1))[:, None]
    for rank in range(2, MAX_RANK + 1)
}
"""For every rank, the factors of the harmonics two ranks below in the recursion, shape (2 rank - 3, 1)."""


def orientations(
    vectors: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    centers: npt.NDArray[np.int64],
    neighbors: npt.NDArray[np.int64],
    atomic_numbers: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float64]:
    """Return how the neighbors of each of ``a`` atoms are arranged, shape (a, N_ORIENTATIONS).

    Parameters
    ----------
    vectors : (e, 3) float
        From the center to the neighbor of every edge, Angstrom.
    weights : (e,) float
        How many neighbors the edge stands for.
    centers, neighbors : (e,) int
        Atoms; every atom is the center of an edge.
    atomic_numbers : (a,) int
    """
    n_atoms = len(atomic_numbers)
    if n_atoms == 0:
        return np.empty((0, N_ORIENTATIONS))
    if np.any(centers[1:] < centers[:-1]):
        order = np.argsort(centers, kind='stable')
        vectors, weights, centers, neighbors = vectors[order], weights[order], centers[order], neighbors[order]
    columns = np.ascontiguousarray(vectors.T)
    of_atom = ELECTRONEGATIVITIES[atomic_numbers]
    differences = of_atom[neighbors] - of_atom[centers]
    # The atoms of a block need equally many edges, so that the sums over edges are one product of stacked matrices.
    # Atoms are taken by their number of edges, and those that lack some repeat their last with the weight 0.
    counts = np.bincount(centers, minlength=n_atoms)
    starts = np.cumsum(counts) - counts
    atoms = np.argsort(counts, kind='stable')
    counts, starts = counts[atoms], starts[atoms]
    size = max(_EDGES_IN_BLOCK, int(counts[-1]))
    # Allocated once: fresh memory is slower than the arithmetic.
    harmonics, scratch = np.empty((N_HARMONICS, size)), np.empty((len(_RECURSION[MAX_RANK]), size))
    result = np.empty((n_atoms, N_ORIENTATIONS))
    first = 0
    while first < n_atoms:
        longest = counts[first : first + size // counts[first]]
        stop = first + int(np.searchsorted(longest * np.arange(1, len(longest) + 1), size, side='right'))
        width = counts[stop - 1]
        last = counts[first:stop, None] - 1
        edges = starts[first:stop, None] + np.minimum(np.arange(width), last)
        of_edges = weights.take(edges)
        of_edges[np.arange(width) > last] = 0
        result[atoms[first:stop]] = _of_block(
            columns.take(edges, axis=1),
            of_edges,
            differences.take(edges),
            harmonics[:, : edges.size],
            scratch[:, : edges.size],
        )
        first = stop
    return result


def _of_block(
    vectors: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    differences: npt.NDArray[np.float64],
    harmonics: npt.NDArray[np.float64],
    scratch: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the rows of `orientations` for ``a`` atoms with ``k`` edges each.

    Parameters
    ----------
    vectors : (3, a, k) float
    weights : (a, k) float
    differences : (a, k) float
        How much more electronegative the neighbor is.
    harmonics : (N_HARMONICS, a * k) float
    scratch : (2 MAX_RANK - 3, a * k) float
        Memory to work in, as `harmonics` is.
    """
    n_atoms, width = weights.shape
    squares = np.einsum('iak,iak->ak', vectors, vectors)
    nearness = squares.min(axis=1, keepdims=True) / squares
    sets = np.empty((n_atoms, N_SETS, width))
    sets[:, 0] = weights
    near = np.multiply(weights, nearness ** (NEARNESS / 2), out=sets[:, 1])
    np.multiply(near, differences, out=sets[:, 2])
    vectors /= np.sqrt(squares)
    _harmonics(vectors.reshape(3, -1), harmonics, scratch)
    multipoles = sets @ harmonics.reshape(N_HARMONICS, n_atoms, width).transpose(1, 2, 0)

    # The harmonic of rank 0 is 1, so these are the sums of the weights.
    totals = multipoles[:, :, 0].copy()
    np.square(multipoles, out=multipoles)
    lengths = np.sqrt(multipoles.reshape(-1, N_HARMONICS) @ _NORMS).reshape(n_atoms, N_SETS, MAX_RANK)
    lengths /= totals[:, [0, 1, 1], None]
    result = np.empty((n_atoms, N_ORIENTATIONS))
    np.divide(totals[:, 1:], totals[:, :2], out=result[:, :2])
    result[:, 2:] = lengths.reshape(n_atoms, -1)
    return result


def _harmonics(
    directions: npt.NDArray[np.float64], out: npt.NDArray[np.float64], scratch: npt.NDArray[np.float64]
) -> None:
    """Write real solid harmonics of ``e`` unit vectors, (3, e), to the rows of ``out``, (N_HARMONICS, e).

    The rows ``l^2`` to ``(l + 1)^2`` have rank ``l``: first ``m = 0``, then the real and the imaginary part of
    ``m = 1, ..., l``. A harmonic is that part of ``(x + i y)^m``, times the associated Legendre function as a
    polynomial of ``z``, scaled so that its highest power has the factor 1. `_NORMS` makes up for the scale. What is in
    ``scratch`` is overwritten.
    """
    x, y, z = directions
    out[0] = 1
    out[1], out[2], out[3] = z, x, y
    for rank in range(2, MAX_RANK + 1):
        first, end = rank**2, (rank + 1) ** 2
        before, present = out[(rank - 2) ** 2 : (rank - 1) ** 2], out[(rank - 1) ** 2 : first]
        # All but the highest m by the recursion of the Legendre functions, whose second term is 0 for m = rank - 1.
        np.multiply(present, z, out=out[first : end - 2])
        past = np.multiply(before, _RECURSION[rank], out=scratch[: len(before)])
        out[first : first + len(before)] -= past
        # The highest m by another factor x + i y.
        real, imaginary = present[-2:]
        np.multiply(present[-2:], x, out=out[end - 2 : end])
        np.multiply(imaginary, y, out=scratch[0])
        np.multiply(real, y, out=scratch[1])
        out[end - 2] -= scratch[0]
        out[end - 1] += scratch[1]
