"""How a crystal responds to strain, as a universal potential has it: its elastic tensor, with the atoms free to move.

The forces on a crystal's atoms and its stress are evaluated for the crystal as it is, under small strains, and with
atoms displaced one after the other. Of strains and displacements that symmetry makes alike one is enough: the others'
stress and forces are its own, turned (for displacements phonopy does so; Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
Differences give the tensor with the atoms held at their places in the strained cell, C0, the force constants Phi, and
the forces that strain brings about, Lambda. Atoms that are free to move give way (Born and Huang, Dynamical Theory of
Crystal Lattices, 1954; Wu, Vanderbilt and Hamann, Phys. Rev. B 72, 035105 (2005)):

    C = C0 - Lambda^T Phi^-1 Lambda / V

No atom is relaxed, so this takes as many evaluations as a crystal has kinds of atoms, not hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .sevennet import GPA, forces_and_stresses

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    'MOST_EVALUATED',
    'MOST_STRESS',
    'N_RESPONSES',
    'RESPONSES',
    'Distorted',
    'Responses',
    'elastic_responses',
]

POTENTIAL = '7net-l3i5'
"""Of those that features are taken from, the slower one: its shear moduli are a third nearer to those of density
functional theory."""

MOST_EVALUATED = 6000
"""Atoms, over all distorted copies of a crystal, that are evaluated at most: a minute on one core."""

MOST_AT_ONCE = 500
"""Atoms of a crystal whose stress alone is evaluated, at most: the memory that they take is some 15 MB an atom."""

STRAIN = 0.002
"""Small enough for differences of one side to be off by a per cent or two only, large enough for single precision."""

DISPLACEMENT = 0.01
"""Angstrom."""

SYMMETRY_TOLERANCE = 1e-3
"""Angstrom."""

MOST_STRESS = 10.0
"""GPa, of the largest absolute principal value in the crystal as it is. One that is stretched more than that, or that
is unstable besides, responds in ways that tell nothing: rock salt MgO stretched by 4 % stiffens again."""

SOFTEST = 0.5
"""The least force constant, eV/Angstrom^2, with which atoms give way: softer and unstable modes would make the tensor
meaningless."""

OF_ONE_ATOM = 10.0
"""The force constant, eV/Angstrom^2, that counts as that of a crystal of one atom, which has no mode: a usual one."""

LEAST = 1.0
"""Moduli below this, in GPa, count as this: they are taken to be logarithms."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_AS_MATRIX = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
_MANDEL = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])

XX, YY, ZZ, YZ, XZ, XY = range(6)

_STRAINS = (
    (195, ((XX, YZ),)),  # cubic
    (75, ((XX,), (ZZ, YZ, XY))),  # tetragonal, trigonal, hexagonal: about z
    (16, ((XX, YZ), (YY, XZ), (ZZ, XY))),  # orthorhombic
    (3, ((XX, XY), (YY, YZ), (ZZ,), (XZ,))),  # monoclinic: about y
    (1, ((XX,), (YY,), (ZZ,), (YZ,), (XZ,), (XY,))),
)
"""From which space group on which strains, each of some components at once, along the axes of the standard setting, are
enough for all others to be sums of their images under symmetry: as many as the strains have symmetric parts of one
kind at most."""

_OF_A_TENSOR = ('k_voigt', 'k_reuss', 'g_voigt', 'g_reuss', *(f'eigenvalue_{number}' for number in range(1, 7)))

RESPONSES = (
    *(f'clamped_log10_{name}' for name in _OF_A_TENSOR),
    *(f'relaxed_log10_{name}' for name in _OF_A_TENSOR),
    'softest_mode',
    'log10_mean_mode',
    'mean_stress',
    'largest_abs_stress',
)
"""What is known of a crystal: logarithms of moduli and of the eigenvalues of both tensors in GPa, rising; the lowest
force constant of a mode and the mean logarithm of all (eV/Angstrom^2); of the stress that is left in the crystal as it
is the mean (GPa, tension positive) and the largest absolute principal value (GPa)."""

N_RESPONSES = len(RESPONSES)

Cell = tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64]]
"""A crystal: the lattice, (3, 3), vectors as rows in Angstrom; the atomic numbers, (n,); fractional coordinates."""


class Responses(NamedTuple):
    """What the potential says of ``m`` crystals.

    Attributes
    ----------
    values : (m, `N_RESPONSES`) float32
        A row of NaN where the response is not known or tells nothing.
    residual_stresses : (m,) float32
        The largest absolute principal stress in each crystal as it is, GPa; NaN where the potential fails, and of a
        crystal without a response that has more than `MOST_AT_ONCE` atoms in its primitive cell.
    """

    values: npt.NDArray[np.float32]
    residual_stresses: npt.NDArray[np.float32]


def elastic_responses(
    cells: Sequence[Cell],
    *,
    device: str = 'cpu',
    most_evaluated: int = MOST_EVALUATED,
    most_stress: float = MOST_STRESS,
) -> Responses:
    """Return how crystals respond to strain; it depends on neither the axes nor the cell chosen.

    Parameters
    ----------
    cells : sequence of ``m`` tuples (lattice, atomic_numbers, frac_coords)
        They are evaluated together.
    device : str
        A name that torch knows.
    most_evaluated : int
        Atoms, over all distorted copies of a crystal.
    most_stress : float
        GPa; see `MOST_STRESS`.

    Returns
    -------
    Responses
        There is none for a crystal that would take more than ``most_evaluated`` atoms, for one stretched by more than
        ``most_stress`` or unstable under as much, for one whose symmetry is not found, and for one whose forces the
        potential does not know (NaN).

    Raises
    ------
    ValueError
        If a crystal has an element that the potential does not know.
    """
    values = np.full((len(cells), N_RESPONSES), np.nan, dtype=np.float32)
    residual = np.full(len(cells), np.nan, dtype=np.float32)
    distorted = [_distorted(*cell) for cell in cells]
    copies = [_evaluated(cell, own, most_evaluated) for cell, own in zip(cells, distorted, strict=True)]
    forces, stresses = forces_and_stresses(POTENTIAL, [copy for own in copies for copy in own], device)
    first = 0
    for row, (crystal, of_row) in enumerate(zip(distorted, copies, strict=True)):
        own = slice(first, first + len(of_row))
        if of_row and np.isfinite(stresses[first]).all():
            residual[row] = _largest(stresses[first])
        is_known = all(np.isfinite(found).all() for found in (*forces[own], stresses[own]))
        if crystal is not None and len(of_row) == crystal.n_copies and is_known:
            values[row] = _responses(crystal, forces[own], stresses[own])
        first = own.stop
    values[_tell_nothing(values, most_stress)] = np.nan
    return Responses(values, residual)


def _tell_nothing(responses: npt.NDArray[np.float32], most_stress: float) -> npt.NDArray[np.bool_]:
    """Say which (m, r) responses are of crystals under great tension, or under great stress and unstable."""
    softest, mean, largest = (
        responses[:, RESPONSES.index(name)] for name in ('softest_mode', 'mean_stress', 'largest_abs_stress')
    )
    return (largest > most_stress) & ((mean > 0) | (softest < SOFTEST))


def _distorted(
    lattice: npt.NDArray[np.float64], atomic_numbers: npt.NDArray[np.uint8], frac_coords: npt.NDArray[np.float64]
) -> Distorted | None:
    """Return the copies of a crystal, None for atoms on top of each other, for one: the others must not suffer."""
    import spglib

    try:
        return Distorted.of(lattice, atomic_numbers, frac_coords)
    except (spglib.SpglibError, RuntimeError):
        return None


def _evaluated(cell: Cell, distorted: Distorted | None, most_evaluated: int) -> list[Atoms]:
    """Return what is evaluated of a crystal: all its copies, the crystal alone, or where that is too large nothing."""
    if distorted is not None and distorted.n_evaluated <= most_evaluated:
        return distorted.copies
    crystal = _atoms(*cell) if distorted is None else distorted.crystal
    return [crystal] if len(crystal) <= MOST_AT_ONCE else []


def _atoms(
    lattice: npt.NDArray[np.float64], atomic_numbers: npt.NDArray[Any], frac_coords: npt.NDArray[np.float64]
) -> Atoms:
    from ase import Atoms

    return Atoms(atomic_numbers, cell=lattice, scaled_positions=frac_coords, pbc=True)


def _largest(stress: npt.NDArray[np.float64]) -> float:
    """Return the largest absolute principal value of a stress, Voigt."""
    return float(np.abs(np.linalg.eigvalsh(stress[_AS_MATRIX])).max())


@dataclass(frozen=True)
class Distorted:
    """A crystal's primitive cell, the same under some strains, and the same with an atom displaced.

    Attributes
    ----------
    crystal : Atoms
    turns : (o, 3, 3)
        The rotations of its symmetry operations, of vectors in Angstrom.
    strains : (k, 3, 3)
        Not more than it takes for their images under symmetry to make up all strains.
    displaced : list of Atoms
    phonopy : Phonopy
        Knows the symmetry and the displacements, and makes force constants of the forces.
    """

    crystal: Atoms
    turns: npt.NDArray[np.float64]
    strains: npt.NDArray[np.float64]
    displaced: list[Atoms]
    phonopy: Any

    @classmethod
    def of(
        cls,
        lattice: npt.NDArray[np.float64],
        atomic_numbers: npt.NDArray[np.uint8],
        frac_coords: npt.NDArray[np.float64],
    ) -> Distorted:
        """Return the copies of a crystal (see `Cell`).

        Raises
        ------
        RuntimeError, SpglibError
            If its symmetry is not found, or makes no sense.
        """
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms

        lattice, frac_coords, numbers = _primitive(lattice, frac_coords, atomic_numbers)
        crystal = _atoms(lattice, numbers, frac_coords)
        # Masses play no part, and phonopy knows none for some heavy elements.
        cell = PhonopyAtoms(numbers=numbers, cell=lattice, scaled_positions=frac_coords, masses=np.ones(len(numbers)))
        phonopy = Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=np.eye(3), symprec=SYMMETRY_TOLERANCE)
        phonopy.generate_displacements(distance=DISPLACEMENT, is_plusminus=False)
        displaced = [
            _atoms(lattice, numbers, copy.scaled_positions) for copy in phonopy.supercells_with_displacements or []
        ]
        symmetry = phonopy.symmetry
        turns = lattice.T @ symmetry.symmetry_operations['rotations'] @ np.linalg.inv(lattice.T)
        dataset: Any = symmetry.dataset  # spglib's
        enough = next(strains for first, strains in _STRAINS if dataset.number >= first)
        # The standard setting's axes in those of the crystal: they make the strains the same however it is turned.
        axes = dataset.std_rotation_matrix
        strains = np.stack([axes.T @ _strain(components) @ axes for components in enough])
        if np.linalg.matrix_rank(_images(strains, turns), tol=STRAIN / 10) < len(_PAIRS):
            raise RuntimeError('the images of the strains under symmetry do not make up all strains')
        return cls(crystal, turns, strains, displaced, phonopy)

    @property
    def strained(self) -> list[Atoms]:
        """Return the crystal under each of the strains, the atoms moved with the cell."""
        copies = []
        for strain in self.strains:
            copy = self.crystal.copy()
            copy.set_cell(self.crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            copies.append(copy)
        return copies

    @property
    def copies(self) -> list[Atoms]:
        """Return all that is to be evaluated, in order."""
        return [self.crystal, *self.strained, *self.displaced]

    @property
    def n_copies(self) -> int:
        """Return how many are to be evaluated."""
        return 1 + len(self.strains) + len(self.displaced)

    @property
    def n_evaluated(self) -> int:
        """Return the number of atoms in all copies."""
        return len(self.crystal) * self.n_copies

    def of_unit_strains(
        self, stresses: npt.NDArray[np.float64], forces: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return changes of stress, (6, 6), and of forces, (3 n, 6), for each of Voigt's six strains of 1.

        Parameters
        ----------
        stresses : (k, 6)
            What each of the strains adds to the stress, Voigt.
        forces : (k, n, 3)
            What it adds to the forces.
        """
        turned = np.empty((len(self.turns), *forces.shape))
        for image, turn, places in zip(turned, self.turns, self.phonopy.symmetry.atomic_permutations, strict=True):
            image[:, places] = forces @ turn.T  # an atom's force is felt where the operation takes the atom
        changes = [_images(stresses[:, _AS_MATRIX], self.turns), turned.reshape(len(turned) * len(forces), -1)]
        solved = np.linalg.lstsq(_images(self.strains, self.turns), np.concatenate(changes, axis=1))[0]
        # A shear strain's component is sqrt(2) of itself in Mandel's notation, twice itself in Voigt's.
        solved /= _MANDEL[:, None]
        return solved[:, :6].T / _MANDEL[:, None], solved[:, 6:].T


def _strain(components: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the (3, 3) strain of `STRAIN` in each of some components, in Voigt's notation."""
    strain = np.zeros((3, 3))
    for component in components:
        first, second = _PAIRS[component]
        strain[first, second] += STRAIN / 2
        strain[second, first] += STRAIN / 2
    return strain


def _images(matrices: npt.NDArray[np.float64], turns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (k, 3, 3) symmetric matrices, each turned in (o, 3, 3) ways, as (o k, 6) vectors in Mandel's notation."""
    turned = np.einsum('oia,kab,ojb->okij', turns, matrices, turns)
    return np.stack([turned[..., first, second].ravel() for first, second in _PAIRS], axis=1) * _MANDEL


def _primitive(
    lattice: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64], atomic_numbers: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return lattice, coordinates and numbers of a primitive cell, or of the cell given where spglib finds none."""
    import spglib

    cell = (lattice, frac_coords, atomic_numbers.astype(int))
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMMETRY_TOLERANCE)
    return cell if found is None or len(found[2]) >= len(atomic_numbers) else found


def _responses(
    distorted: Distorted, forces: Sequence[npt.NDArray[np.float64]], stresses: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the responses of one crystal from the forces (eV/Angstrom) and stresses (GPa) of all copies."""
    clamped, given_way, modes = _tensors(distorted, forces, stresses)
    if not len(modes):
        modes = np.array([OF_ONE_ATOM])
    stress = stresses[0]
    return np.array(
        [
            *_of_a_tensor(clamped),
            *_of_a_tensor(clamped - given_way),
            modes[0],
            np.log10(np.maximum(modes, 0.1)).mean(),
            stress[:3].mean(),
            _largest(stress),
        ]
    )


def _tensors(
    distorted: Distorted, forces: Sequence[npt.NDArray[np.float64]], stresses: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return C0 and what it loses by the atoms' motion (Voigt, GPa), and the force constants of the modes, rising.

    The three uniform translations are not among the modes.
    """
    n_atoms, n_strains = len(distorted.crystal), len(distorted.strains)
    strained, displaced = slice(1, 1 + n_strains), slice(1 + n_strains, None)
    clamped, pushed = distorted.of_unit_strains(
        stresses[strained] - stresses[0], np.stack(forces[strained]) - forces[0]
    )
    distorted.phonopy.forces = [own - forces[0] for own in forces[displaced]]
    distorted.phonopy.produce_force_constants()
    constants = distorted.phonopy.force_constants.transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
    translations = np.tile(np.eye(3), (n_atoms, 1)) / np.sqrt(n_atoms)
    projector = np.eye(3 * n_atoms) - translations @ translations.T
    # Translations are moved far below all modes, to be told from soft ones whatever noise makes of their 0.
    below = 1e6
    shifted = projector @ (constants + constants.T) @ projector / 2 - below * translations @ translations.T
    modes, directions = (found[..., 3:] for found in np.linalg.eigh(shifted))
    along = directions.T @ pushed
    given_way = along.T @ (along / np.maximum(modes, SOFTEST)[:, None]) * GPA / distorted.crystal.get_volume()
    return (clamped + clamped.T) / 2, given_way, modes


def _of_a_tensor(stiffness: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return logarithms of the averages and eigenvalues of an elastic tensor (Voigt notation, GPa).

    Eigenvalues below `LEAST` are raised to it first, so that an unstable tensor has averages.
    """
    from pymatgen.analysis.elasticity import ElasticTensor

    scale = np.outer(_MANDEL, _MANDEL)
    eigenvalues, directions = np.linalg.eigh(stiffness * scale)
    eigenvalues = np.maximum(eigenvalues, LEAST)
    tensor = ElasticTensor.from_voigt((directions * eigenvalues) @ directions.T / scale)
    moduli = (tensor.k_voigt, tensor.k_reuss, tensor.g_voigt, tensor.g_reuss)
    return np.log10(np.maximum([*moduli, *eigenvalues], LEAST))
