"""Graphs depend on the crystal alone, and hold every neighbor that they should."""

from __future__ import annotations

import dataclasses
import itertools
import zipfile

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.network import Batch

from .known_crystals import (
    Arrays,
    crystal,
    diamond,
    join,
    random_crystal,
    rock_salt,
    supercell,
    tungsten,
    unmerged_graphs,
)


def edges_of(graphs: CrystalGraphs, center: int) -> list[tuple[int, float, float]]:
    """Return the atomic number of the neighbor, the distance and the weight of every edge of a center."""
    mask = graphs.centers == center
    numbers = graphs.atomic_numbers[graphs.neighbors[mask]]
    return sorted(
        (int(z), round(float(d), 4), round(float(w), 4))
        for z, d, w in zip(numbers, graphs.distances[mask], graphs.weights[mask], strict=True)
    )


def predictions(network, graphs: CrystalGraphs) -> np.ndarray:
    with torch.inference_mode():
        return network(Batch.from_graphs(graphs, dtype=torch.float64)).numpy()


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


CRYSTALS = {
    'rock salt': rock_salt(),
    'diamond': diamond(),
    'tungsten': tungsten(),
    'triclinic': random_crystal(0, 7),
    'one atom': random_crystal(1, 1),
    # Graphite: neighbors within the layer and 3.35 A above.
    'layers': crystal(
        [[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 6.71]],
        [6] * 4,
        [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    ),
}


def same_crystal(change: str, c: Arrays) -> Arrays:
    lattice, numbers, coords = c.lattices[0], c.atomic_numbers, c.frac_coords
    rng = np.random.default_rng(5)
    if change == 'order':
        order = rng.permutation(len(numbers))
        return crystal(lattice, numbers[order], coords[order])
    if change == 'origin':
        return crystal(lattice, numbers, coords + rng.uniform(size=3))
    if change == 'other cells':
        return crystal(lattice, numbers, coords + rng.integers(-3, 4, coords.shape))
    if change == 'rotation':
        return crystal(lattice @ rotation(2), numbers, coords)
    if change == 'reflection':
        return crystal(lattice @ np.diag([1, 1, -1]), numbers, coords)
    if change == 'skewed cell':
        transform = np.array([[1, 2, 0], [0, 1, 0], [1, 3, 1]])
        return crystal(transform @ lattice, numbers, coords @ np.linalg.inv(transform))
    if change == 'supercell':
        return supercell(c, (2, 1, 3))
    raise AssertionError(change)


@pytest.mark.parametrize('name', CRYSTALS)
@pytest.mark.parametrize(
    'change', ['order', 'origin', 'other cells', 'rotation', 'reflection', 'skewed cell', 'supercell']
)
def test_graph_depends_on_the_crystal_alone(name, change, network, seeing_network):
    original, changed = CRYSTALS[name], same_crystal(change, CRYSTALS[name])
    graphs, others = build_graphs(*original, orientation=True), build_graphs(*changed, orientation=True)
    assert len(others.centers) == len(graphs.centers)
    assert len(others.atomic_numbers) == len(graphs.atomic_numbers)
    assert predictions(network, others) == pytest.approx(predictions(network, graphs), abs=1e-6)
    assert predictions(seeing_network, others) == pytest.approx(predictions(seeing_network, graphs), abs=1e-5)


@pytest.mark.parametrize('cell', [rock_salt, diamond])
def test_primitive_and_conventional_cell_have_one_graph(cell, network):
    primitive, conventional = build_graphs(*cell()), build_graphs(*cell(conventional=True))
    assert len(primitive.centers) == len(conventional.centers)
    assert predictions(network, conventional) == pytest.approx(predictions(network, primitive), abs=1e-6)
    assert conventional.n_atoms[0] == 4 * primitive.n_atoms[0]


def test_shell_at_the_cut_shares_what_is_left():
    graphs = build_graphs(*tungsten())
    # Eight neighbors at a sqrt(3)/2, and six at a that share the four places left. Both atoms of the cell are one node.
    assert list(graphs.multiplicities) == [2]
    assert edges_of(graphs, 0) == [(74, round(3.165 * np.sqrt(3) / 2, 4), 8.0), (74, 3.165, 4.0)]


def test_shell_at_the_cut_of_two_elements():
    graphs = build_graphs(*rock_salt(conventional=True))
    sodium = int(np.flatnonzero(graphs.atomic_numbers == 11)[0])
    assert edges_of(graphs, sodium) == [(11, round(5.64 / np.sqrt(2), 4), 6.0), (17, 2.82, 6.0)]


def test_distances_almost_equal_are_one_shell():
    """Relaxed cells are not quite symmetric; that must not decide which of the equal neighbors is dropped."""
    strained = crystal(np.diag([3.165, 3.167, 3.169]), [74, 74], [[0, 0, 0], [0.5, 0.5, 0.5]])
    graphs = build_graphs(*strained)
    first = graphs.distances < 3
    assert graphs.weights[first].sum() == pytest.approx(8)
    assert graphs.weights[~first] == pytest.approx([4 / 3] * 3)


def test_a_crystal_reaches_as_far_as_its_farthest_shell():
    """Diamond's 12 neighbors are 4 at sqrt(3)/4 a and 8 of the 12 at a/sqrt(2); tungsten's (bcc) end at a."""
    graphs = build_graphs(*join([diamond(), tungsten(), diamond(conventional=True)]))
    assert graphs.reaches == pytest.approx([3.567 / np.sqrt(2), 3.165, 3.567 / np.sqrt(2)], abs=1e-3)


def test_lone_atoms_have_their_true_neighbors():
    """No cutoff and no made-up neighbors: the images of an atom in a box of 20 A are its neighbors."""
    graphs = build_graphs(*crystal(20 * np.eye(3), [18], [[0, 0, 0]]))
    assert edges_of(graphs, 0) == [(18, 20.0, 6.0), (18, 28.2843, 6.0)]


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('n_neighbors', [4, 12, 20])
def test_neighbors_are_those_found_by_going_through_all_images(seed, n_neighbors):
    c = random_crystal(seed)
    graphs, expected = build_graphs(*c, n_neighbors=n_neighbors), unmerged_graphs(c, n_neighbors)
    # Without symmetry every atom is a node, in an order of its own.
    assert sorted(graphs.atomic_numbers) == sorted(c.atomic_numbers)

    def moments(g: CrystalGraphs) -> np.ndarray:
        """Sums over every atom's neighbors that tell lists of neighbors apart, merged or not."""
        z = g.atomic_numbers[g.neighbors].astype(float)
        terms = (z * 0 + 1, g.distances, g.distances**3, z, z * g.distances, np.sqrt(z) * g.distances**2)
        sums = [np.bincount(g.centers, weights=g.weights * term) for term in terms]
        rows = np.stack([g.atomic_numbers.astype(float), *sums], axis=1)
        return rows[np.lexsort(rows.round(2).T)]

    assert moments(graphs) == pytest.approx(moments(expected), rel=1e-5)
    assert np.bincount(graphs.centers, weights=graphs.weights) == pytest.approx(n_neighbors, rel=1e-5)


@pytest.mark.parametrize('name', CRYSTALS)
def test_merged_atoms_and_edges_change_no_prediction(name, network):
    c = supercell(CRYSTALS[name], (1, 2, 1))
    merged, unmerged = build_graphs(*c), unmerged_graphs(c)
    assert len(merged.centers) < len(unmerged.centers)
    assert predictions(network, merged) == pytest.approx(predictions(network, unmerged), abs=1e-5)


def test_atoms_of_one_element_with_different_surroundings_stay_apart():
    # Perovskite SrTiO3 with one oxygen moved: three kinds of oxygen, and Sr and Ti.
    c = crystal(
        3.905 * np.eye(3),
        [38, 22, 8, 8, 8],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.03], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    graphs = build_graphs(*c)
    assert sorted(zip(graphs.atomic_numbers.tolist(), graphs.multiplicities.tolist(), strict=True)) == [
        (8, 1),
        (8, 2),
        (22, 1),
        (38, 1),
    ]


def test_crystals_do_not_know_of_each_other(network):
    crystals = [*CRYSTALS.values(), *(random_crystal(seed, 1 + seed) for seed in range(5))]
    together = predictions(network, build_graphs(*join(crystals)))
    alone = np.concatenate([predictions(network, build_graphs(*c)) for c in crystals])
    assert together == pytest.approx(alone, abs=1e-9)


def test_select_slice_and_concatenate_agree(toy_graphs, network):
    expected = predictions(network, toy_graphs)
    rows = np.array([7, 3, 3, 39, 0])
    assert predictions(network, toy_graphs.select(rows)) == pytest.approx(expected[rows], abs=1e-9)
    assert predictions(network, toy_graphs.slice(5, 12)) == pytest.approx(expected[5:12], abs=1e-9)
    parts = [toy_graphs.slice(0, 11), toy_graphs.slice(11, 12), toy_graphs.slice(12, 40)]
    joined = CrystalGraphs.concatenate(parts)
    for name in ('centers', 'neighbors', 'distances', 'weights', 'atom_offsets', 'edge_offsets', 'multiplicities'):
        assert np.array_equal(getattr(joined, name), getattr(toy_graphs, name)), name


def test_batches_cover_all_crystals_once(toy_graphs):
    limit = int(toy_graphs.n_edges.max()) + 20
    batches = list(toy_graphs.batches(limit))
    assert [start for start, _ in batches] == [0, *(stop for _, stop in batches[:-1])]
    assert batches[-1][1] == len(toy_graphs)
    assert all(toy_graphs.n_edges[start:stop].sum() <= limit for start, stop in batches)
    # A crystal larger than the limit makes a batch of its own.
    assert list(toy_graphs.batches(1)) == [(i, i + 1) for i in range(len(toy_graphs))]


def test_worker_processes_give_the_same_graphs():
    arrays = join([random_crystal(seed % 50, 2) for seed in range(1200)])
    alone, shared = build_graphs(*arrays), build_graphs(*arrays, processes=2)
    for name in ('atomic_numbers', 'centers', 'neighbors', 'distances', 'weights', 'atom_offsets', 'edge_offsets'):
        assert np.array_equal(getattr(alone, name), getattr(shared, name)), name


def test_orientations_change_nothing_else():
    """Also where some crystals need a larger sphere than others: molecules with few neighbors of their own."""
    corners = np.array(list(itertools.product((0, 0.1), repeat=3)))
    molecule = crystal(20 * np.eye(3), [6] * 8, corners)
    arrays = join([tungsten(), molecule, random_crystal(4), molecule, diamond()])
    plain, seeing = build_graphs(*arrays), build_graphs(*arrays, orientation=True)
    for field in dataclasses.fields(CrystalGraphs):
        if field.name != 'orientations':
            assert np.array_equal(getattr(plain, field.name), getattr(seeing, field.name)), field.name
    assert seeing.select([0, 4]).orientations == pytest.approx(
        build_graphs(*join([tungsten(), diamond()]), orientation=True).orientations, abs=1e-6
    )


def test_no_crystals_have_no_graphs():
    graphs = build_graphs(np.zeros((0, 3, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(1))
    assert len(graphs) == 0
    assert list(graphs.n_atoms) == []


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ((np.eye(3)[None], [], np.zeros((0, 3)), [0, 0]), 'crystal 0 has no atoms'),
        ((np.zeros((1, 3, 3)), [1], [[0, 0, 0]], [0, 1]), 'crystal 0 has a lattice without volume'),
        ((5 * np.eye(3)[None], [1], [[np.nan, 0, 0]], [0, 1]), 'crystal 0 has a lattice or coordinates'),
        ((5 * np.eye(3)[None], [1, 1], [[0, 0, 0]], [0, 2]), 'frac_coords have shape'),
        ((5 * np.eye(3)[None], [1], [[0, 0, 0]], [0, 2]), 'offsets run from 0 to 2'),
        ((5 * np.eye(3)[None], [1], [[0, 0, 0]], [0, 1, 1]), 'lattices have shape'),
    ],
)
def test_arrays_that_are_no_crystals_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        build_graphs(*(np.array(a) for a in arrays))


def test_real_crystals_and_their_supercells(shared_data, network):
    """Coordinates rounded to the digits of a CIF still give one graph for the cell and its supercell."""
    gemmi = pytest.importorskip('gemmi')
    crystals = []
    with zipfile.ZipFile(shared_data / 'gnome' / 'by_id.zip') as archive:
        for member in archive.namelist()[:60]:
            block = gemmi.cif.read_string(archive.read(member).decode()).sole_block()
            structure = gemmi.make_small_structure_from_block(block)
            sites = structure.get_all_unit_cell_sites()
            lattice = np.array(structure.cell.orth.mat.tolist()).T
            numbers = [site.element.atomic_number for site in sites]
            crystals.append(crystal(lattice, numbers, [site.fract.tolist() for site in sites]))
    graphs = build_graphs(*join(crystals))
    supercells = build_graphs(*join([supercell(c, (1, 2, 1)) for c in crystals]))
    assert np.bincount(graphs.centers, weights=graphs.weights) == pytest.approx(12, rel=1e-5)
    assert list(graphs.n_atoms) == [len(c.atomic_numbers) for c in crystals]
    assert graphs.multiplicities.max() > 1
    assert predictions(network, supercells) == pytest.approx(predictions(network, graphs), abs=1e-5)


def test_large_and_sparse_cells_among_many(network):
    """Cells of thousands of atoms, and distances of hundreds of Angstrom, share a step with small crystals."""
    large = supercell(random_crystal(8, 3), (9, 9, 9))
    sparse = crystal(300 * np.eye(3), [2], [[0, 0, 0]])
    crystals = [tungsten(), large, sparse] + [random_crystal(seed, 2) for seed in range(300)]
    graphs = build_graphs(*join(crystals))
    assert list(graphs.n_atoms[:3]) == [2, 2187, 1]
    assert np.bincount(graphs.centers, weights=graphs.weights) == pytest.approx(12, rel=1e-5)
    alone = [predictions(network, build_graphs(*c)) for c in (random_crystal(8, 3), sparse, crystals[-1])]
    together = predictions(network, graphs)
    assert together[[1, 2, -1]] == pytest.approx(np.concatenate(alone), abs=1e-6)
