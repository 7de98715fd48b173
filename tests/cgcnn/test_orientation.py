"""Bond-orientational order: the values of known arrangements, and what must not change it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn import orientation
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict, predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Member, Normalizer
from aiida_cgcnn_elastic.cgcnn.network import CGCNN, Architecture
from aiida_cgcnn_elastic.cgcnn.orientation import ELECTRONEGATIVITIES, MAX_RANK, N_ORIENTATIONS, orientations
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.crystals.elements import more_element_properties

from .known_crystals import crystal, diamond, join, random_crystal, rock_salt, tungsten

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


@pytest.mark.parametrize('edges_in_block', [1, 60, 10_000])
def test_atoms_with_few_and_many_edges_in_any_order(edges_in_block, monkeypatch):
    """Every number of all atoms is what its definition gives for the atom alone, however edges are worked on."""
    monkeypatch.setattr(orientation, '_EDGES_IN_BLOCK', edges_in_block)
    rng = np.random.default_rng(1)
    numbers = rng.integers(1, 90, 40).astype(np.uint8)
    counts = rng.permutation([*range(1, 21), *[12] * 20])
    centers = rng.permutation(np.repeat(np.arange(40), counts))
    neighbors = rng.integers(0, 40, len(centers))
    vectors, weights = rng.normal(size=(len(centers), 3)), rng.uniform(0.2, 2, len(centers))
    found = orientations(vectors, weights, centers, neighbors, numbers)

    distances = np.linalg.norm(vectors, axis=1)
    unit = vectors / distances[:, None]
    for atom in range(40):
        mine = np.flatnonzero(centers == atom)
        near = weights[mine] * (distances[mine].min() / distances[mine]) ** 6
        more = ELECTRONEGATIVITIES[numbers[neighbors[mine]]] - ELECTRONEGATIVITIES[numbers[atom]]
        shares = [weights[mine] / weights[mine].sum(), near / near.sum(), near * more / near.sum()]
        expected = [near.sum() / weights[mine].sum(), shares[2].sum()]
        for share in shares:
            for rank in range(1, MAX_RANK + 1):
                legendre = np.polynomial.legendre.Legendre.basis(rank)(unit[mine] @ unit[mine].T)
                expected.append(np.sqrt(max(share @ legendre @ share, 0)))
        assert found[atom] == pytest.approx(expected, abs=1e-7), atom


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


@pytest.fixture(scope='module')
def trained(element_features, tmp_path_factory):
    """Return a blend whose networks and trees see angles, as it was read from its file, and what it learned from."""
    graphs = build_graphs(*join([random_crystal(seed, 1 + seed % 5) for seed in range(30)]), orientation=True)
    means = np.add.reduceat(graphs.orientations[:, 4], graphs.atom_offsets[:-1]) / np.diff(graphs.atom_offsets)
    protocol = dataclasses.replace(
        PROTOCOLS['accurate'],
        atom_width=8,
        hidden_width=8,
        epochs=2,
        batch_size=8,
        folds=2,
        perceptron=None,
        boosting=Boosting(n_trees=5),
        responses_taught=None,
    )
    arguments = (graphs, {'log10_k_vrh': 2 * means}, {'train': np.arange(30)}, protocol, element_features)
    table = property_table(more_element_properties())
    result = train_blend(*arguments, table, seed=0, device='cpu')
    folder = tmp_path_factory.mktemp('seeing')
    result.model.save(folder)
    return ElasticModel.load(folder), graphs, result.predictions['log10_k_vrh'], arguments, table


def test_a_model_that_sees_angles_is_read_as_it_was_written(trained):
    model, graphs, predictions, *_ = trained
    assert all(member.orientation for member in model.members)
    assert predict_graphs([model], graphs, device='cpu')['log10_k_vrh'] == pytest.approx(predictions, abs=1e-6)


def test_a_model_that_sees_angles_refuses_graphs_without_and_makes_its_own(trained):
    model, graphs, *_ = trained
    with pytest.raises(ValueError, match='orientations'):
        predict_graphs([model], graphs.without_orientations(), device='cpu')
    arrays = join([random_crystal(seed, 1 + seed % 5) for seed in range(30)])
    own = predict([model], *arrays, device='cpu')['log10_k_vrh']
    assert own == pytest.approx(predict_graphs([model], graphs, device='cpu')['log10_k_vrh'], abs=1e-6)


def test_a_training_that_sees_angles_refuses_graphs_without(trained):
    *_, (graphs, *others), table = trained
    with pytest.raises(ValueError, match='orientations'):
        train_blend(graphs.without_orientations(), *others, table, seed=0, device='cpu')


def test_networks_that_see_no_angles_predict_the_same_beside_those_that_do(trained, element_features):
    """Models of both kinds are averaged on the same graphs."""
    model, graphs, *_ = trained
    blind = Member(
        CGCNN(Architecture(n_targets=1), element_features).eval(), ('log10_k_vrh',), Normalizer((0.0,), (1.0,))
    )
    alone = predict_graphs([ElasticModel([blind], {})], graphs.without_orientations(), device='cpu')['log10_k_vrh']
    beside = predict_graphs([ElasticModel([blind], {})], graphs, device='cpu')['log10_k_vrh']
    assert np.array_equal(alone, beside)
    both = predict_graphs([ElasticModel([blind, *model.members[:1]], {})], graphs, device='cpu')
    assert np.isfinite(both['log10_k_vrh']).all()
