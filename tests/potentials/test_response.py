"""Responses to strain: against atoms that are really relaxed, known materials, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.optimize import BFGS
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from aiida_cgcnn_elastic.potentials import N_RESPONSES, RESPONSES
from aiida_cgcnn_elastic.potentials.response import (
    POTENTIAL,
    Distorted,
    _of_a_tensor,
    elastic_responses,
)
from aiida_cgcnn_elastic.potentials.sevennet import GPA, forces_and_stresses

STRAIN = 0.002

DIAMOND = bulk('C', 'diamond', a=3.57)
SILICON = bulk('Si', 'diamond', a=5.43)

ARSENIC = bulk('As', 'rhombohedral', a=4.131, alpha=54.13, basis=[[0.2271] * 3, [-0.2271] * 3])
"""Whose two atoms move apart or together when it is strained."""

ZINC_OXIDE = bulk('ZnO', 'wurtzite', a=3.25, c=5.2, u=0.382)

OVERLAP = Atoms('Mg2O', cell=np.eye(3) * 4, scaled_positions=[[0, 0, 0], [2.5e-6, 0, 0], [0.5] * 3], pbc=True)
"""Two atoms in one place are one by symmetry, which phonopy finds out in its own words."""

LARGE = Atoms('C60', cell=np.eye(3) * 9, scaled_positions=np.random.default_rng(0).random((60, 3)), pbc=True)

STRESSED = (bulk('MgO', 'rocksalt', a=4.0), bulk('MgO', 'rocksalt', a=4.4))


Cell = tuple[np.ndarray, np.ndarray, np.ndarray]


def cell_of(atoms: Atoms) -> Cell:
    return atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions()


def responses(*crystals: Atoms, **options: float) -> np.ndarray:
    return np.concatenate([elastic_responses([cell_of(atoms)], **options).values for atoms in crystals])


def modulus(found: np.ndarray, name: str) -> float:
    return float(10 ** found[RESPONSES.index(name)])


@pytest.fixture(scope='module')
def relaxed():
    """Return a function of a crystal: the same with its atoms where the potential has no forces on them."""
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(POTENTIAL)

    def relax(atoms: Atoms) -> Atoms:
        moved = atoms.copy()
        moved.calc = calculator
        BFGS(moved, logfile=None).run(fmax=0.003, steps=100)
        return moved

    return relax


@pytest.fixture(scope='module')
def relaxed_stress(relaxed):
    """Return a function of a crystal and a strain: the change of stress (GPa), all atoms relaxed before and after."""

    def stress(atoms: Atoms, strain: np.ndarray) -> np.ndarray:
        found = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
            found.append(relaxed(strained).get_stress(voigt=False) * GPA)
        return (found[0] - found[1]) / 2

    return stress


def test_the_bulk_modulus_of_arsenic_is_that_of_atoms_that_were_relaxed(relaxed, relaxed_stress):
    """The three uniaxial strains give all of K Voigt: the mean of the upper left block of the tensor."""
    arsenic = relaxed(ARSENIC)
    (found,) = responses(arsenic)
    block = 0.0
    for axis in range(3):
        strain = np.zeros((3, 3))
        strain[axis, axis] = STRAIN
        block += np.trace(relaxed_stress(arsenic, strain)) / STRAIN
    assert modulus(found, 'relaxed_log10_k_voigt') == pytest.approx(block / 9, rel=0.03)
    # With the atoms held at their places it would be half as stiff again.
    assert modulus(found, 'clamped_log10_k_voigt') > 1.4 * block / 9


def test_the_shear_modulus_of_silicon_is_that_of_atoms_that_were_relaxed(relaxed_stress):
    """G Voigt of a cubic crystal is (C11 - C12 + 3 C44) / 5; Kleinman's displacement lowers C44 only."""
    (found,) = responses(SILICON)
    uniaxial, shear = np.zeros((3, 3)), np.zeros((3, 3))
    uniaxial[0, 0] = STRAIN
    shear[1, 2] = shear[2, 1] = STRAIN / 2
    along = relaxed_stress(SILICON, uniaxial) / STRAIN
    c44 = relaxed_stress(SILICON, shear)[1, 2] / STRAIN
    expected = (along[0, 0] - along[1, 1] + 3 * c44) / 5
    assert modulus(found, 'relaxed_log10_g_voigt') == pytest.approx(expected, rel=0.05)
    assert modulus(found, 'clamped_log10_g_voigt') > 1.1 * expected
    assert modulus(found, 'relaxed_log10_k_voigt') == pytest.approx(modulus(found, 'clamped_log10_k_voigt'), rel=0.01)


def test_known_bulk_moduli_are_near_those_measured():
    found = responses(
        DIAMOND, bulk('MgO', 'rocksalt', a=4.21), bulk('Al', 'fcc', a=4.05), bulk('NaCl', 'rocksalt', a=5.64)
    )
    measured = [443, 160, 76, 25]
    assert [modulus(row, 'relaxed_log10_k_voigt') for row in found] == pytest.approx(measured, rel=0.2)


TURN = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()


def test_axes_and_cell_do_not_matter():
    atoms = ZINC_OXIDE
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ TURN, scale_atoms=True)
    turned.translate([0.3, 0.1, 0.2])
    for other in (turned, atoms.repeat((2, 1, 1)), atoms[[2, 0, 3, 1]]):
        assert responses(other)[0] == pytest.approx(responses(atoms)[0], abs=0.01)


SYSTEMS = {
    'Fd-3m': (DIAMOND, 1),
    'Pa-3': (crystal('FeS', [(0, 0, 0), (0.385, 0.385, 0.385)], spacegroup=205, cellpar=[5.42] * 3 + [90] * 3), 1),
    'P6_3mc': (ZINC_OXIDE, 2),
    'R-3m': (ARSENIC, 2),
    'P3_221': (
        crystal(
            'SiO', [(0.47, 0, 2 / 3), (0.414, 0.268, 0.786)], spacegroup=154, cellpar=[4.92, 4.92, 5.41, 90, 90, 120]
        ),
        2,
    ),
    'P4_2/mnm': (
        crystal('TiO', [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.6, 4.6, 2.96, 90, 90, 90]),
        2,
    ),
    'I-4': (
        crystal(
            'CdGaS',
            [(0, 0, 0), (0, 0, 0.5), (0.27, 0.26, 0.14)],
            spacegroup=82,
            cellpar=[5.55, 5.55, 10.1, 90, 90, 90],
        ),
        2,
    ),
    'Pnma': (
        crystal(
            'BFe', [(0.036, 0.25, 0.61), (0.18, 0.25, 0.125)], spacegroup=62, cellpar=[5.5, 2.95, 4.06, 90, 90, 90]
        ),
        3,
    ),
    'P2_1/c': (
        crystal(
            'ZrOO',
            [(0.276, 0.041, 0.208), (0.07, 0.332, 0.345), (0.45, 0.757, 0.479)],
            spacegroup=14,
            cellpar=[5.15, 5.21, 5.32, 90, 99.2, 90],
        ),
        4,
    ),
    'P-1': (
        crystal('BP', [(0.1, 0.15, 0.2), (0.3, 0.4, 0.1)], spacegroup=2, cellpar=[4.0, 4.4, 5.0, 80, 95, 102]),
        6,
    ),
}
"""Crystals of all systems, of the Laue groups with fewer mirrors too, and how many strains are enough for each."""


@pytest.mark.parametrize('group', SYSTEMS)
def test_strains_and_their_images_give_what_six_strains_give(group):
    """Each of Voigt's strains is applied by itself, forwards and backwards, to the crystal turned any way."""
    atoms, n_strains = SYSTEMS[group]
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ TURN, scale_atoms=True)
    distorted = Distorted.of(*cell_of(atoms))
    assert len(distorted.strains) == n_strains
    forces, stresses = forces_and_stresses(POTENTIAL, distorted.copies)
    chosen = slice(1, 1 + n_strains)
    clamped, pushed = distorted.of_unit_strains(stresses[chosen] - stresses[0], np.stack(forces[chosen]) - forces[0])

    size = 2 * STRAIN  # twice and both ways: exacter, and no more costly for a test
    expected, expected_pushed = np.empty_like(clamped), np.empty_like(pushed)
    for place, (first, second) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        copies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[first, second] += sign * size / 2
            strain[second, first] += sign * size / 2
            copies.append(distorted.crystal.copy())
            copies[-1].set_cell(distorted.crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        found, stress = forces_and_stresses(POTENTIAL, copies)
        expected[:, place] = (stress[0] - stress[1]) / (2 * size)
        expected_pushed[:, place] = (found[0] - found[1]).ravel() / (2 * size)
    # Differences of one side are off by the third derivatives of the energy. And SevenNet's forces turn with a crystal,
    # but are those of its mirror image only roughly: up to 0.15 eV/Angstrom here where inversion allows none at all.
    assert np.abs(clamped - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(pushed - expected_pushed).max() < 0.08 * max(np.abs(expected_pushed).max(), 2)


def test_crystals_evaluated_together_respond_as_alone_and_one_without_symmetry_spoils_no_other():
    found = elastic_responses([cell_of(atoms) for atoms in (DIAMOND, OVERLAP, ZINC_OXIDE, LARGE)]).values
    assert np.isnan(found[[1, 3]]).all()
    assert found[[0, 2]] == pytest.approx(responses(DIAMOND, ZINC_OXIDE), abs=5e-3)


def test_atoms_that_are_free_to_move_never_make_a_crystal_stiffer():
    found = responses(ARSENIC, DIAMOND, ZINC_OXIDE)
    half = 10
    assert (found[:, half : 2 * half] <= found[:, :half] + 1e-3).all()


def test_a_crystal_that_is_too_large_has_no_response():
    (found,) = responses(LARGE)
    assert np.isnan(found).all()
    assert found.shape == (N_RESPONSES,)


def test_the_limit_is_one_of_atoms_in_all_copies():
    n = Distorted.of(*cell_of(ZINC_OXIDE)).n_evaluated
    assert np.isfinite(responses(ZINC_OXIDE, most_evaluated=n)).all()
    assert np.isnan(responses(ZINC_OXIDE, most_evaluated=n - 1)).all()


def test_a_crystal_without_a_symmetry_has_no_response_and_spoils_no_other():
    found = responses(OVERLAP, ZINC_OXIDE)
    assert np.isnan(found[0]).all()
    # Torch shares sums out among threads here, which round as it happens.
    assert found[1] == pytest.approx(responses(ZINC_OXIDE)[0], abs=1e-4)


def test_a_squeezed_crystal_is_under_compression_and_a_stretched_one_under_tension():
    squeezed, stretched = responses(*STRESSED, most_stress=np.inf)
    mean, largest = RESPONSES.index('mean_stress'), RESPONSES.index('largest_abs_stress')
    assert squeezed[mean] < -10 < 0 < stretched[mean]
    # Of a cubic crystal all principal values are the mean.
    assert [squeezed[largest], stretched[largest]] == pytest.approx([-squeezed[mean], stretched[mean]], rel=1e-3)


UNSTABLE = crystal(
    'LiNbO', [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.7, 3.7, 3.7, 90, 90, 90]
)
"""A cubic perovskite, whose lithium is too small for its place, squeezed."""


def test_a_crystal_that_is_torn_apart_has_no_response_and_one_under_pressure_has_while_it_is_stable():
    squeezed, stretched = responses(*STRESSED)
    assert np.isfinite(squeezed).all()
    assert np.isnan(stretched).all()
    assert np.isfinite(responses(bulk('MgO', 'rocksalt', a=4.3))).all()  # stretched a little
    (unstable,) = responses(UNSTABLE, most_stress=np.inf)
    assert unstable[RESPONSES.index('mean_stress')] < -10
    assert unstable[RESPONSES.index('softest_mode')] < 0
    assert np.isnan(responses(UNSTABLE)).all()


def test_the_stress_in_a_crystal_is_known_where_its_response_is_not():
    found = elastic_responses([cell_of(atoms) for atoms in (STRESSED[1], LARGE, DIAMOND, OVERLAP)])
    assert np.isnan(found.values[:2]).all()
    stretched, large, ordinary, _ = found.residual_stresses
    (response,) = responses(STRESSED[1], most_stress=np.inf)
    assert stretched == pytest.approx(response[RESPONSES.index('largest_abs_stress')], rel=1e-3)
    assert large > 100  # atoms thrown into a box at random
    assert ordinary < 5


def test_a_crystal_that_is_too_large_for_its_stress_spoils_no_other(monkeypatch):
    monkeypatch.setattr('aiida_cgcnn_elastic.potentials.response.MOST_AT_ONCE', 59)
    found = elastic_responses([cell_of(atoms) for atoms in (LARGE, DIAMOND)])
    assert np.isnan(found.residual_stresses).tolist() == [True, False]
    assert np.isfinite(found.values[1]).all()


def test_pressure_makes_a_crystal_stiffer():
    """By some 4 GPa of K for each GPa of pressure, as MgO is known to; see Birch, Phys. Rev. 71, 809 (1947)."""
    squeezed, usual = responses(STRESSED[0], bulk('MgO', 'rocksalt', a=4.21))
    pressure = -squeezed[RESPONSES.index('mean_stress')]
    gain = modulus(squeezed, 'relaxed_log10_k_voigt') - modulus(usual, 'relaxed_log10_k_voigt')
    assert 2 < gain / pressure < 6


def test_elements_without_a_mass_respond():
    """Plutonium has no standard atomic weight, and needs none here."""
    assert np.isfinite(responses(bulk('PuO', 'rocksalt', a=4.96))).all()


def test_an_isotropic_tensor_has_the_moduli_that_it_was_made_of():
    k, g = 160.0, 131.0
    stiffness = np.diag([2 * g, 2 * g, 2 * g, g, g, g])
    stiffness[:3, :3] += k - 2 * g / 3
    found = _of_a_tensor(stiffness)
    assert 10 ** found[:4] == pytest.approx([k, k, g, g])
    assert 10 ** found[4:] == pytest.approx([2 * g] * 5 + [3 * k])


def test_an_unstable_tensor_has_moduli_all_the_same():
    found = _of_a_tensor(np.diag([200.0, 200, 200, -30, 80, 80]))
    assert np.isfinite(found).all()
    assert found.min() >= 0
