"""Which crystals are the same material, however they are written down."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, make_supercell
from ase.spacegroup import crystal as by_space_group

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable, duplicates
from aiida_cgcnn_elastic.crystals.conversions import from_ase
from aiida_cgcnn_elastic.crystals.duplicates import Tolerances, find_duplicates

RANDOM = np.random.default_rng(3)


def table(**atoms) -> CrystalTable:
    return CrystalTable.from_crystals([from_ase(item, name) for name, item in atoms.items()])


def marks(*tables, **options) -> list[list[str | None]]:
    return [mark.to_pylist() for mark in find_duplicates(tables, **options)]


def are_same(one, other) -> bool:
    ((first, second),) = marks(table(one=one, other=other))
    assert first is None
    assert second in (None, 'one')
    return second == 'one'


def changed(atoms, *, strain=0.0, noise=0.0, scale=1.0):
    """Return atoms strained, each of them moved by so many Angstrom, and scaled."""
    atoms = atoms.copy()
    random = np.random.default_rng(7)
    deformation = np.eye(3) * scale + np.array([[strain, strain / 2, 0], [strain / 2, -strain, 0], [0, 0, 0]])
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    directions = random.normal(size=(len(atoms), 3))
    atoms.positions += noise * directions / np.linalg.norm(directions, axis=1)[:, None]
    return atoms


def otherwise_written(atoms):
    """Return the same crystal by other lattice vectors, origin, orientation and order of atoms."""
    matrix = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])
    atoms = make_supercell(atoms, matrix)
    atoms.translate([0.3, -1.1, 7.7])
    atoms.rotate(33, (1, 2, 3), rotate_cell=True)
    return atoms[RANDOM.permutation(len(atoms))]


DIAMOND = bulk('C', 'diamond', a=3.57)
ZINC_BLENDE = bulk('ZnS', 'zincblende', a=5.41)
WURTZITE = bulk('ZnS', 'wurtzite', a=3.82, c=6.26)
CORUNDUM = by_space_group(
    ('Al', 'O'), [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120]
)
ROCK_SALT = bulk('MgO', 'rocksalt', a=4.21)
CESIUM_CHLORIDE = bulk('MgO', 'cesiumchloride', a=2.65)


QUARTZ = by_space_group(
    ('Si', 'O'), [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.1191)], spacegroup=152, cellpar=[4.91, 4.91, 5.41, 90, 90, 120]
)


def silicon_carbide(n_layers, stacking):
    """Return a polytype of SiC by its stacking of layers, such as ABC (3C) or ABCB (4H)."""
    a, layer = 3.08, 2.52
    places = {'A': (0, 0), 'B': (1 / 3, 2 / 3), 'C': (2 / 3, 1 / 3)}
    symbols, positions = [], []
    for number, place in enumerate(stacking):
        for symbol, z in (('Si', 0.0), ('C', 0.75)):
            symbols.append(symbol)
            positions.append((*places[place], (number + z) / n_layers))
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, layer * n_layers]]
    return Atoms(symbols, scaled_positions=positions, cell=cell, pbc=True)


@pytest.mark.parametrize('atoms', [DIAMOND, WURTZITE, CORUNDUM, QUARTZ], ids=str)
def test_a_crystal_is_the_same_however_it_is_written(atoms):
    assert are_same(atoms, otherwise_written(atoms))
    assert are_same(atoms, otherwise_written(atoms * (2, 1, 1)))
    assert are_same(otherwise_written(atoms * (1, 2, 2)), atoms)


def test_primitive_and_conventional_cells_are_the_same():
    assert are_same(bulk('Cu', 'fcc', a=3.6), bulk('Cu', 'fcc', a=3.6, cubic=True))
    assert are_same(DIAMOND, bulk('C', 'diamond', a=3.57, cubic=True))


@pytest.mark.parametrize('atoms', [DIAMOND * (2, 1, 1), WURTZITE, CORUNDUM, ROCK_SALT], ids=str)
@pytest.mark.parametrize(
    'change', [{'strain': 0.01}, {'noise': 0.02}, {'scale': 1.02}, {'strain': 0.005, 'noise': 0.01}]
)
def test_small_differences_of_relaxation_are_the_same(atoms, change):
    assert are_same(atoms, changed(atoms, **change))


def test_polytypes_and_polymorphs_are_not_the_same():
    lonsdaleite = WURTZITE.copy()
    lonsdaleite.symbols[:] = 'C'
    lonsdaleite.set_cell(lonsdaleite.cell * (2.52 / 3.82), scale_atoms=True)
    graphite = graphene('C2', a=2.46, vacuum=3.35)
    graphite.pbc = True
    assert not are_same(DIAMOND, lonsdaleite)
    assert not are_same(DIAMOND, graphite)
    assert not are_same(ZINC_BLENDE, WURTZITE)
    polytypes = {name: silicon_carbide(len(name), name) for name in ('ABC', 'ABCB', 'ABCACB', 'AB')}
    for one, other in itertools.combinations(polytypes.values(), 2):
        assert not are_same(one, other)
    scaled = CESIUM_CHLORIDE.copy()
    scaled.set_cell(scaled.cell * (ROCK_SALT.get_volume() / scaled.get_volume()) ** (1 / 3), scale_atoms=True)
    assert not are_same(ROCK_SALT, scaled)


def test_elements_on_exchanged_sites_are_another_material():
    exchanged = CORUNDUM.copy()
    assert not are_same(bulk('GaAs', 'zincblende', a=5.65), bulk('GaP', 'zincblende', a=5.65))
    exchanged.symbols = ['O' if symbol == 'Al' else 'Al' for symbol in exchanged.symbols]
    assert not are_same(CORUNDUM, exchanged)


def test_mirror_images_are_the_same():
    import spglib

    mirrored = QUARTZ.copy()
    mirrored.set_scaled_positions(-QUARTZ.get_scaled_positions())
    cells = [(item.cell[:], item.get_scaled_positions(), item.numbers) for item in (QUARTZ, mirrored)]
    assert [spglib.get_symmetry_dataset(cell).number for cell in cells] == [152, 154]
    assert are_same(QUARTZ, mirrored)


def test_a_phase_of_another_volume_is_another_material():
    assert not are_same(bulk('Ce', 'fcc', a=5.16), bulk('Ce', 'fcc', a=4.82))
    loose = Tolerances(volume=0.3)
    both = table(gamma=bulk('Ce', 'fcc', a=5.16), alpha=bulk('Ce', 'fcc', a=4.82))
    assert marks(both, tolerances=loose) == [[None, 'gamma']]


def test_the_first_in_order_is_the_one_that_stays():
    first = table(a=ROCK_SALT, b=DIAMOND, c=otherwise_written(DIAMOND))
    second = table(d=otherwise_written(ROCK_SALT), e=WURTZITE, f=changed(DIAMOND, scale=1.01))
    assert marks(first, second) == [[None, None, 'b'], ['a', None, 'b']]
    assert marks(second, first) == [[None, None, None], ['d', 'f', 'f']]


def test_the_result_does_not_depend_on_what_else_is_there_or_on_processes(monkeypatch):
    base = [DIAMOND, ROCK_SALT, ZINC_BLENDE, WURTZITE, CORUNDUM, CESIUM_CHLORIDE]
    crystals = [from_ase(atoms, f'{name}-{number}') for number in range(3) for name, atoms in enumerate(base)]
    both = CrystalTable.from_crystals(crystals)
    expected = marks(both)
    assert expected == [[None] * 6 + [f'{name}-0' for name in range(6)] * 2]
    monkeypatch.setattr(duplicates, 'CRYSTALS_WORTH_A_POOL', 1)
    monkeypatch.setattr(duplicates, 'CRYSTALS_AT_ONCE', 4)
    seen = []
    assert marks(both, processes=2, progress=lambda done, total: seen.append((done, total))) == expected
    assert seen[-1] == (18, 18)


def test_nothing_to_compare_is_no_error():
    assert marks() == []
    assert marks(CrystalTable.empty(), table(a=DIAMOND)) == [[], [None]]


def test_a_crystal_without_any_symmetry_is_compared_as_it_is():
    random = np.random.default_rng(5)
    lattice = np.diag([4.0, 5.0, 6.0]) + random.uniform(-1, 1, (3, 3))
    coords = random.random((4, 3))
    crystals = [
        Crystal('a', lattice, np.array([6, 7, 8, 9]), coords),
        Crystal('b', lattice * 1.01, np.array([9, 8, 7, 6]), coords[::-1] + 0.25),
        Crystal('c', lattice, np.array([6, 7, 8, 9]), random.random((4, 3))),
    ]
    assert marks(CrystalTable.from_crystals(crystals)) == [[None, 'a', None]]
