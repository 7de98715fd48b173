"""Well-known hard, soft and layered crystals, built from lattice constants and Wyckoff positions in the literature."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
from aiida_cgcnn_elastic.crystals.crystal import Crystal

__all__ = ['Control', 'controls']

FILE = Path(__file__).with_name('controls.yaml')

SYMMETRY_TOLERANCE = 1e-4
"""Angstrom; positions are exact by construction."""

SAME_PLACE = 1e-6
"""Fractional coordinates that differ by less are one place; a fraction such as 1/3 has rounding errors only."""

# The crystal families by the numbers of their space groups; trigonal crystals are given on hexagonal axes.
FIRST_TETRAGONAL, FIRST_HEXAGONAL, FIRST_CUBIC = 75, 143, 195


@dataclass(frozen=True)
class Control:
    """A crystal whose hardness everybody knows.

    Parameters
    ----------
    id, name : str
        The material id, ``control-...``, and what the crystal is called.
    hardness_class : str
        ``hard``, ``soft`` or ``layered``.
    space_group : str
        The full symbol, with its choice of origin or axes.
    space_group_number : int
        The number.
    lattice : tuple of float
        a, then b and c where symmetry leaves them free, of the conventional cell, in Angstrom.
    atoms : tuple of (symbol, (x, y, z))
        One atom of every Wyckoff position, in fractional coordinates.
    density, shortest_bond : float
        Accepted values in g/cm^3 and Angstrom; the structure is not made of them, they check it.
    citation : str
        Where lattice constants and positions are from.
    """

    id: str
    name: str
    hardness_class: str
    space_group: str
    space_group_number: int
    lattice: tuple[float, ...]
    atoms: tuple[tuple[str, tuple[float, float, float]], ...]
    density: float
    shortest_bond: float
    citation: str

    def crystal(self) -> Crystal:
        """Return the primitive cell, with the properties ``space_group_number``, ``name`` and ``control``."""
        import spglib

        symbols, positions = self._atoms_of_conventional_cell()
        cell = (self._conventional_lattice(), positions, [ATOMIC_NUMBERS[symbol] for symbol in symbols])
        lattice, frac_coords, numbers = spglib.standardize_cell(cell, to_primitive=True, symprec=SYMMETRY_TOLERANCE)
        properties = {'space_group_number': self.space_group_number, 'name': self.name, 'control': self.hardness_class}
        return Crystal(self.id, lattice, np.array(numbers, dtype=np.uint8), frac_coords, properties)

    def _atoms_of_conventional_cell(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Apply the space group to the atoms given."""
        import gemmi

        operations = gemmi.SpaceGroup(self.space_group).operations()
        symbols: list[str] = []
        positions: list[npt.NDArray[np.float64]] = []
        for symbol, xyz in self.atoms:
            orbit: list[npt.NDArray[np.float64]] = []
            for operation in operations:
                position = np.array(operation.apply_to_xyz(xyz)) % 1.0
                if not any(_same_place(position, other) for other in orbit):
                    orbit.append(position)
            symbols.extend([symbol] * len(orbit))
            positions.extend(orbit)
        return symbols, np.array(positions)

    def _conventional_lattice(self) -> npt.NDArray[np.float64]:
        a, *others = self.lattice
        if self.space_group_number >= FIRST_CUBIC:
            return np.diag([a, a, a])
        if self.space_group_number >= FIRST_HEXAGONAL:
            return np.array([[a, 0.0, 0.0], [-a / 2, a * math.sqrt(3) / 2, 0.0], [0.0, 0.0, others[0]]])
        if self.space_group_number >= FIRST_TETRAGONAL:
            return np.diag([a, a, others[0]])
        return np.diag([a, *others])


def _same_place(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    difference = one - other
    return bool(np.all(np.abs(difference - np.round(difference)) < SAME_PLACE))


@functools.cache
def controls() -> tuple[Control, ...]:
    """Return the controls, hard ones first."""
    content = yaml.safe_load(FILE.read_text(encoding='utf-8'))
    return tuple(
        Control(
            id=entry['id'],
            name=entry['name'],
            hardness_class=entry['class'],
            space_group=entry['space_group'],
            space_group_number=entry['space_group_number'],
            lattice=tuple(float(length) for length in entry['lattice']),
            atoms=tuple(
                (symbol, (_coordinate(x), _coordinate(y), _coordinate(z))) for symbol, x, y, z in entry['atoms']
            ),
            density=float(entry['density']),
            shortest_bond=float(entry['shortest_bond']),
            citation=content['references'][entry['reference']],
        )
        for entry in content['controls']
    )


def _coordinate(value: float | str) -> float:
    return float(Fraction(value)) if isinstance(value, str) else float(value)
