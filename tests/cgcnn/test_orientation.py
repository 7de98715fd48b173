"""Bond-orientational order: the values of known arrangements, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.orientation import ELECTRONEGATIVITIES, MAX_RANK, N_ORIENTATIONS, orientations

from .known_crystals import crystal, diamond, join, rock_salt, tungsten

GOLDEN = (1 + 5**0.5) / 2
ARRANGEMENTS = {
    'pair': [[0, 0, 1], [0, 0, -1]],
    'tetrahedron': [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
    'octahedron': [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
    'fcc': [p for a in (1, -1) for b in (1, -1) for p in ([0, a, b], [a, 0, b], [a, b, 0])],
    'icosahedron': [p for a in (1, -1) for b in (GOLDEN, -GOLDEN) for p in ([0, a, b], [a, b, 0], [b, 0, a])],
}


def ranks(vectors, weights=None) -> np.ndarray:
    """Return q_1 to q_6 of one atom of carbon with these neighbors, by the weights of the edges."""
    points = np.array(vectors, dtype=float)
    weights = np.ones(len(points)) if weights is None else np.array(weights)
    zeros = np.zeros(len(points), dtype=np.int64)
    return orientations(points, weights, zeros, zeros, np.array([6], dtype=np.uint8))[0, 2 : 2 + MAX_RANK]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        # Of two opposite neighbors even multipoles have the length 1, odd ones cancel.
        ('pair', {1: 0, 2: 1, 3: 0, 4: 1, 5: 0, 6: 1}),
        # q_3 of a tetrahedron is sqrt(5)/3: P_3(-1/3) = 11/27, and (4 + 12 * 11/27) / 16 = 5/9.
        ('tetrahedron', {1: 0, 2: 0, 3: 5**0.5 / 3}),
        # Steinhardt et al. (1983), table I and figure 2: simple cubic, fcc and icosahedral clusters.
        ('octahedron', {2: 0, 4: 0.764, 6: 0.354}),
        ('fcc', {2: 0, 4: 0.191, 6: 0.575}),
        ('icosahedron', {2: 0, 4: 0, 6: 0.663}),
    ],
)
def test_known_arrangements(name, expected):
    found = ranks(ARRANGEMENTS[name])
    for rank, value in expected.items():
        assert found[rank - 1] == pytest.approx(value, abs=6e-4), rank


def test_every_rank_is_the_sum_of_legendre_polynomials_over_pairs():
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(9, 3)), rng.uniform(0.2, 2, 9)
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    share = weights / weights.sum()
    for rank, value in enumerate(ranks(vectors, weights), start=1):
        legendre = np.polynomial.legendre.Legendre.basis(rank)(unit @ unit.T)
        assert value == pytest.approx(np.sqrt(share @ legendre @ share), abs=1e-9)


def test_near_neighbors_and_charges_count():
    """Four near neighbors and six far ones: the second set sees a tetrahedron; the third the polar bonds."""
    tetrahedron = np.array(ARRANGEMENTS['tetrahedron'])
    # The last edge is the oxygen's.
    vectors = np.concatenate([tetrahedron, 50.0 * np.array(ARRANGEMENTS['octahedron']), [[1, 0, 0]]])
    centers, neighbors = np.array([0] * 10 + [1]), np.array([1] * 4 + [0] * 7)
    found = orientations(vectors, np.ones(11), centers, neighbors, np.array([14, 8], dtype=np.uint8))[0]
    difference = ELECTRONEGATIVITIES[8] - ELECTRONEGATIVITIES[14]
    assert found[0] == pytest.approx(0.4, abs=1e-6)
    assert found[1] == pytest.approx(difference, abs=1e-6)
    assert found[2 + MAX_RANK + 2] == pytest.approx(5**0.5 / 3, abs=1e-6)
    assert found[2 + 2 * MAX_RANK + 2] == pytest.approx(difference * 5**0.5 / 3, abs=1e-6)


def test_crystals_are_arranged_as_they_are():
    """By their near neighbors diamond is tetrahedral, rock salt octahedral, and tungsten has a center of symmetry."""
    graphs = build_graphs(*join([diamond(), rock_salt(), tungsten()]), orientation=True)
    near = graphs.orientations[:, 2 + MAX_RANK : 2 + 2 * MAX_RANK]
    # Of carbon; the twelve second neighbors, 1.63 times as far, count a twentieth each.
    assert near[0, 2] == pytest.approx(4 / (4 + 8 * (3 / 8) ** 3) * 5**0.5 / 3, abs=1e-3)
    for row in range(1, 4):
        assert near[row, ::2] == pytest.approx(0, abs=1e-6)
    assert graphs.orientations[1, 1] == pytest.approx(-graphs.orientations[2, 1], abs=1e-6)


def test_square_and_tetrahedron_at_equal_distances_are_told_apart():
    """Distances do not tell these two; angles do."""
    square = crystal(40 * np.eye(3), [6, 1, 1, 1, 1], np.array([[0, 0, 0], *SQUARE]) / 40)
    other = crystal(40 * np.eye(3), [6, 1, 1, 1, 1], np.array([[0, 0, 0], *TETRAHEDRON]) / 40)
    graphs = build_graphs(*join([square, other]), n_neighbors=4, orientation=True)
    carbon = graphs.orientations[graphs.atomic_numbers == 6]
    assert carbon[0, 2 + 1] == pytest.approx(0.5, abs=1e-6)
    assert carbon[1, 2 + 1] == pytest.approx(0, abs=1e-6)


SQUARE = [[1.09, 0, 0], [-1.09, 0, 0], [0, 1.09, 0], [0, -1.09, 0]]
TETRAHEDRON = 1.09 / 3**0.5 * np.array(ARRANGEMENTS['tetrahedron'])


def test_graphs_without_orientations_are_not_mixed_with_others():
    plain, arranged = build_graphs(*diamond()), build_graphs(*diamond(), orientation=True)
    assert plain.orientations.shape == (1, 0)
    assert arranged.orientations.shape == (1, N_ORIENTATIONS)
    assert not arranged.without_orientations().has_orientations
    with pytest.raises(ValueError, match='orientations'):
        CrystalGraphs.concatenate([plain, arranged])
