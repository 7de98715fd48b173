"""Crystals as the arrays that graphs are built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs


class Arrays(NamedTuple):
    """One or more crystals in the form that `build_graphs` takes."""

    lattices: np.ndarray
    atomic_numbers: np.ndarray
    frac_coords: np.ndarray
    offsets: np.ndarray


def crystal(lattice: Sequence, atomic_numbers: Sequence[int], frac_coords: Sequence) -> Arrays:
    numbers = np.array(atomic_numbers, dtype=np.uint8)
    return Arrays(
        np.array([lattice], dtype=float), numbers, np.array(frac_coords, dtype=float), np.array([0, len(numbers)])
    )


def join(crystals: Sequence[Arrays]) -> Arrays:
    return Arrays(
        np.concatenate([c.lattices for c in crystals]),
        np.concatenate([c.atomic_numbers for c in crystals]),
        np.concatenate([c.frac_coords for c in crystals]),
        np.cumsum([0, *(len(c.atomic_numbers) for c in crystals)]),
    )


def random_crystal(seed: int, n_atoms: int = 6) -> Arrays:
    """A triclinic crystal without symmetry, its atoms at least about 1.2 A apart."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(2.2, 3.2, 3)) * np.cbrt(n_atoms) + rng.uniform(-0.8, 0.8, (3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    coords = grid[rng.permutation(len(grid))[:n_atoms]] + rng.uniform(-0.03, 0.03, (n_atoms, 3))
    return crystal(lattice, rng.integers(1, 84, n_atoms), coords)


FCC = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
FCC_SITES = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def rock_salt(conventional: bool = False) -> Arrays:
    """NaCl, a = 5.64 A, as its primitive or conventional cell."""
    if not conventional:
        return crystal(5.64 * np.array(FCC), [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    sites = np.array(FCC_SITES)
    return crystal(5.64 * np.eye(3), [11] * 4 + [17] * 4, np.concatenate([sites, sites + 0.5]))


def diamond(conventional: bool = False) -> Arrays:
    """Diamond, a = 3.567 A, as its primitive or conventional cell."""
    if not conventional:
        return crystal(3.567 * np.array(FCC), [6, 6], [[0, 0, 0], [0.25, 0.25, 0.25]])
    sites = np.array(FCC_SITES)
    return crystal(3.567 * np.eye(3), [6] * 8, np.concatenate([sites, sites + 0.25]))


def tungsten() -> Arrays:
    """Body-centred cubic W, a = 3.165 A."""
    return crystal(3.165 * np.eye(3), [74, 74], [[0, 0, 0], [0.5, 0.5, 0.5]])


def supercell(c: Arrays, repeats: tuple[int, int, int]) -> Arrays:
    shifts = np.stack(np.meshgrid(*[np.arange(r) for r in repeats], indexing='ij'), axis=-1).reshape(-1, 3)
    coords = (c.frac_coords[None] + shifts[:, None]).reshape(-1, 3) / np.array(repeats)
    return crystal(np.diag(repeats) @ c.lattices[0], np.tile(c.atomic_numbers, len(shifts)), coords)


def unmerged_graphs(c: Arrays, n_neighbors: int = 12, tolerance: float = 0.01) -> CrystalGraphs:
    """The graph of one crystal with a node for every atom and an edge for every image, found by trying all images."""
    n = len(c.atomic_numbers)
    images = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    centers, neighbors, distances, weights = [], [], [], []
    for atom in range(n):
        difference = c.frac_coords[None] + images[:, None] - c.frac_coords[atom]
        d = np.linalg.norm(difference @ c.lattices[0], axis=-1)
        other = np.tile(np.arange(n), (len(images), 1))
        d, other = d[d > 1e-8], other[d > 1e-8]
        cut = np.sort(d)[n_neighbors - 1]
        inside, tied = d < cut - tolerance, np.abs(d - cut) <= tolerance
        for mask, weight in ((inside, 1.0), (tied, (n_neighbors - inside.sum()) / tied.sum())):
            centers.append(np.full(mask.sum(), atom))
            neighbors.append(other[mask])
            distances.append(d[mask])
            weights.append(np.full(mask.sum(), weight))
    return CrystalGraphs(
        atomic_numbers=c.atomic_numbers,
        multiplicities=np.ones(n, dtype=np.int32),
        atom_offsets=np.array([0, n]),
        centers=np.concatenate(centers).astype(np.int32),
        neighbors=np.concatenate(neighbors).astype(np.int32),
        distances=np.concatenate(distances).astype(np.float32),
        weights=np.concatenate(weights).astype(np.float32),
        edge_offsets=np.array([0, sum(len(part) for part in centers)]),
        volumes=np.abs(np.linalg.det(c.lattices)),
        orientations=np.zeros((n, 0), dtype=np.float32),
        n_neighbors=n_neighbors,
    )
