from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals import Reason
from aiida_cgcnn_elastic.crystals.checks import MIN_DISTANCE, find_faults, why_unusable


def shortest_distance(lattice, coords):
    """The least distance between any two atoms, over images far enough out for the cells tested."""
    images = np.array(list(itertools.product(range(-6, 7), repeat=3)))
    apart = coords[:, None, None] - coords[None, :, None] + images
    distances = np.linalg.norm(apart @ lattice, axis=-1)
    itself = (np.arange(len(coords))[:, None] == np.arange(len(coords)))[:, :, None] & ~images.any(axis=1)
    return distances[~itself].min()


@given(
    st.lists(st.floats(-1.5, 1.5), min_size=9, max_size=9),
    st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(-1, 2), min_size=3 * n, max_size=3 * n)),
)
def test_overlap_is_found_in_skewed_and_small_cells(entries, coords):
    lattice = np.array(entries).reshape(3, 3) + 1.2 * np.eye(3)
    coords = np.array(coords).reshape(-1, 3)
    volume = abs(np.linalg.det(lattice))
    heights = [volume / max(np.linalg.norm(np.cross(lattice[i - 2], lattice[i - 1])), 1e-12) for i in range(3)]
    if min(heights) < 0.3:
        return
    shortest = shortest_distance(lattice, coords)
    if abs(shortest - MIN_DISTANCE) < 1e-6:
        return
    fault = why_unusable(lattice, coords)
    assert (fault is not None and fault[0] is Reason.ATOMS_OVERLAP) == (shortest < MIN_DISTANCE)


@pytest.mark.parametrize('edge', [3.0, 40.0, 900.0])
def test_atoms_that_meet_across_the_border_are_named(edge):
    coords = np.array([[0.5, 0.5, 0.5], [0.1 / edge, 0.0, 0.0], [1 - 0.2 / edge, 0.0, 0.0]])
    reason, detail = why_unusable(np.eye(3) * edge, coords)
    assert reason is Reason.ATOMS_OVERLAP
    assert detail == 'atoms 2 and 3 are 0.300 A apart'


def test_overlap_is_found_among_many_atoms():
    grid = np.array(list(itertools.product(range(8), repeat=3))) / 8
    lattice = np.eye(3) * 16
    assert why_unusable(lattice, grid) is None
    reason, detail = why_unusable(lattice, np.vstack([grid, grid[100] + 0.01]))
    assert reason is Reason.ATOMS_OVERLAP
    assert 'atoms 101 and 513' in detail


def test_an_atom_that_meets_its_own_image_is_named():
    reason, detail = why_unusable(np.diag([0.4, 5.0, 5.0]), np.zeros((1, 3)))
    assert reason is Reason.ATOMS_OVERLAP
    assert 'its own image' in detail


@pytest.mark.parametrize(
    ('lattice', 'coords', 'reason'),
    [
        (np.eye(3) * 3, np.empty((0, 3)), Reason.NO_ATOMS),
        (np.eye(3) * 3, np.array([[np.nan, 0, 0]]), Reason.BAD_COORDINATES),
        (np.eye(3) * 3, np.array([[np.inf, 0, 0]]), Reason.BAD_COORDINATES),
        (np.zeros((3, 3)), np.zeros((1, 3)), Reason.BAD_LATTICE),
        (np.ones((3, 3)), np.zeros((1, 3)), Reason.BAD_LATTICE),
        (np.diag([3, 3, np.nan]), np.zeros((1, 3)), Reason.BAD_LATTICE),
        (np.diag([3, 3, 1e5]), np.zeros((1, 3)), Reason.BAD_LATTICE),
        (np.eye(3) * 300, np.zeros((10_001, 3)), Reason.TOO_MANY_ATOMS),
    ],
)
def test_what_is_no_crystal_is_refused(lattice, coords, reason):
    fault = why_unusable(lattice.astype(float), coords.astype(float))
    assert fault is not None
    assert fault[0] is reason


def test_each_of_many_crystals_is_judged_as_if_alone():
    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 9, 300)
    lattices = rng.normal(size=(300, 3, 3)) + rng.choice([0.0, 1.0, 3.0, 6.0], 300)[:, None, None] * np.eye(3)
    coords = [rng.random((size, 3)) for size in sizes]
    coords[7][0], coords[8][0], lattices[9, 1] = np.nan, 1e30, np.inf
    faults = find_faults(lattices, np.concatenate(coords), np.cumsum([0, *sizes]))
    alone = {row: why_unusable(lattice, coords[row]) for row, lattice in enumerate(lattices)}
    assert faults == {row: fault for row, fault in alone.items() if fault is not None}
    assert {fault[0] for fault in faults.values()} == {
        Reason.NO_ATOMS,
        Reason.BAD_COORDINATES,
        Reason.BAD_LATTICE,
        Reason.ATOMS_OVERLAP,
    }
    assert len(faults) < 250
