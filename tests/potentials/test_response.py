"""Responses to strain: against atoms that are really relaxed, known materials, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from aiida_cgcnn_elastic.potentials import N_RESPONSES, RESPONSES
from aiida_cgcnn_elastic.potentials.response import POTENTIAL, Distorted, _of_a_tensor, elastic_response
from aiida_cgcnn_elastic.potentials.sevennet import GPA

STRAIN = 0.004

DIAMOND = bulk('C', 'diamond', a=3.57)
SILICON = bulk('Si', 'diamond', a=5.43)

ARSENIC = bulk('As', 'rhombohedral', a=4.131, alpha=54.13, basis=[[0.2271] * 3, [-0.2271] * 3])
"""Whose two atoms move apart or together when it is strained."""

ZINC_OXIDE = bulk('ZnO', 'wurtzite', a=3.25, c=5.2, u=0.382)


def responses(*crystals: Atoms) -> np.ndarray:
    return np.stack(
        [
            elastic_response(atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions())
            for atoms in crystals
        ]
    )


def modulus(found: np.ndarray, name: str) -> float:
    return float(10 ** found[RESPONSES.index(name)])


@pytest.fixture(scope='module')
def relaxed_stress():
    """Return a function of a crystal and a strain: the change of stress (GPa), all atoms relaxed before and after."""
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(POTENTIAL)

    def stress(atoms: Atoms, strain: np.ndarray) -> np.ndarray:
        found = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
            strained.calc = calculator
            BFGS(strained, logfile=None).run(fmax=0.003, steps=100)
            found.append(strained.get_stress(voigt=False) * GPA)
        return (found[0] - found[1]) / 2

    return stress


def test_the_bulk_modulus_of_arsenic_is_that_of_atoms_that_were_relaxed(relaxed_stress):
    """The three uniaxial strains give all of K Voigt: the mean of the upper left block of the tensor."""
    (found,) = responses(ARSENIC)
    block = 0.0
    for axis in range(3):
        strain = np.zeros((3, 3))
        strain[axis, axis] = STRAIN
        block += np.trace(relaxed_stress(ARSENIC, strain)) / STRAIN
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


def test_axes_and_cell_do_not_matter():
    atoms = ZINC_OXIDE
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix(), scale_atoms=True)
    turned.translate([0.3, 0.1, 0.2])
    for other in (turned, atoms.repeat((2, 1, 1)), atoms[[2, 0, 3, 1]]):
        assert responses(other)[0] == pytest.approx(responses(atoms)[0], abs=0.03)


def test_atoms_that_are_free_to_move_never_make_a_crystal_stiffer():
    found = responses(ARSENIC, DIAMOND, ZINC_OXIDE)
    half = 10
    assert (found[:, half : 2 * half] <= found[:, :half] + 1e-3).all()


def test_a_crystal_that_is_too_large_has_no_response():
    atoms = Atoms('C60', cell=np.eye(3) * 9, scaled_positions=np.random.default_rng(0).random((60, 3)), pbc=True)
    (found,) = responses(atoms)
    assert np.isnan(found).all()
    assert found.shape == (N_RESPONSES,)


def test_the_limit_is_one_of_atoms_in_all_copies():
    cell = (ZINC_OXIDE.cell.array, ZINC_OXIDE.numbers.astype(np.uint8), ZINC_OXIDE.get_scaled_positions())
    n = Distorted.of(*cell).n_evaluated
    assert np.isfinite(elastic_response(*cell, most_evaluated=n)).all()
    assert np.isnan(elastic_response(*cell, most_evaluated=n - 1)).all()


def test_a_crystal_without_a_symmetry_has_no_response_and_spoils_no_other():
    """Two atoms in one place are one by symmetry, which phonopy finds out in its own words."""
    overlap = Atoms('Mg2O', cell=np.eye(3) * 4, scaled_positions=[[0, 0, 0], [2.5e-6, 0, 0], [0.5] * 3], pbc=True)
    found = responses(overlap, ZINC_OXIDE)
    assert np.isnan(found[0]).all()
    # Torch shares sums out among threads here, which round as it happens.
    assert found[1] == pytest.approx(responses(ZINC_OXIDE)[0], abs=1e-4)


def test_a_squeezed_crystal_is_under_compression_and_a_stretched_one_under_tension():
    squeezed, stretched = responses(bulk('MgO', 'rocksalt', a=4.0), bulk('MgO', 'rocksalt', a=4.4))
    mean, largest = RESPONSES.index('mean_stress'), RESPONSES.index('largest_abs_stress')
    assert squeezed[mean] < -10 < 0 < stretched[mean]
    # Of a cubic crystal all principal values are the mean.
    assert [squeezed[largest], stretched[largest]] == pytest.approx([-squeezed[mean], stretched[mean]], rel=1e-3)


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
