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

    def summed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(centers, values, n_atoms), dtype=np.float64)

    distances = np.sqrt(np.einsum('ei,ei->e', vectors, vectors))
    nearest = np.full(n_atoms, np.inf)
    np.minimum.at(nearest, centers, distances)
    near = weights * (nearest[centers] / distances) ** NEARNESS
    n_near, n_neighbors = summed(near), summed(weights)
    near /= n_near[centers]
    of_atom = ELECTRONEGATIVITIES[atomic_numbers]
    polar = near * (of_atom[neighbors] - of_atom[centers])
    sets = (weights / n_neighbors[centers], near, polar)
    columns = [n_near / n_neighbors, summed(polar)]
    x, y, z = (vectors / distances[:, None]).T
    squares = np.zeros((N_SETS, MAX_RANK + 1, n_atoms))
    # Real solid harmonics on the unit sphere: Re and Im of (x + i y)^m, times a polynomial of z that begins with
    # (2 m - 1)!! at l = m and is raised in l by the recursion of the associated Legendre functions.
    real, imaginary = np.ones_like(z), np.zeros_like(z)
    for m in range(MAX_RANK + 1):
        before, present = np.zeros_like(z), np.full_like(z, math.prod(range(1, 2 * m, 2)))
        for rank in range(m, MAX_RANK + 1):
            if rank > m:
                before, present = present, ((2 * rank - 1) * z * present - (rank + m - 1) * before) / (rank - m)
            if rank == 0:
                continue
            norm = (1 if m == 0 else 2) * math.factorial(rank - m) / math.factorial(rank + m)
            for part in (real,) if m == 0 else (real, imaginary):
                harmonic = part * present
                for place, of_edges in enumerate(sets):
                    squares[place, rank] += norm * summed(of_edges * harmonic) ** 2
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    result = np.empty((n_atoms, N_ORIENTATIONS))
    result[:, :2] = np.stack(columns, axis=1)
    result[:, 2:] = np.sqrt(squares[:, 1:].reshape(-1, n_atoms)).T
    return result
