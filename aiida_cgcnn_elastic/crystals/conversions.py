"""Crystals from and to pymatgen and ASE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS, SYMBOLS
from aiida_cgcnn_elastic.crystals.crystal import Crystal

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


def to_pymatgen(crystal: Crystal) -> Structure:
    """Return a pymatgen ``Structure``; lattice and coordinates are the same numbers, neither wrapped nor rotated."""
    from pymatgen.core import Structure

    return Structure(
        crystal.lattice,
        [SYMBOLS[number] for number in crystal.atomic_numbers.tolist()],
        crystal.frac_coords,
        properties={'material_id': crystal.material_id},
    )


def from_pymatgen(structure: Structure, material_id: str, properties: Mapping[str, Any] | None = None) -> Crystal:
    """Return a crystal of a pymatgen ``Structure``; oxidation states and site properties are left behind.

    Raises
    ------
    ValueError
        If a site is partly occupied or shared, or holds something that is no element.
    """
    if not structure.is_ordered:
        raise ValueError(f'{material_id}: a site is partly occupied or shared')
    numbers = []
    for species in structure.species:
        symbol = 'H' if species.symbol in ('D', 'T') else species.symbol
        if symbol not in ATOMIC_NUMBERS:
            raise ValueError(f'{material_id}: {symbol!r} names no element')
        numbers.append(ATOMIC_NUMBERS[symbol])
    return Crystal(
        material_id,
        np.array(structure.lattice.matrix),
        np.array(numbers, dtype=np.uint8),
        np.array(structure.frac_coords).reshape(-1, 3),
        dict(properties or {}),
    )


def to_ase(crystal: Crystal) -> Atoms:
    """Return ASE ``Atoms``, periodic in all directions; the id is kept in ``info['material_id']``."""
    from ase import Atoms

    return Atoms(
        numbers=crystal.atomic_numbers.astype(int),
        cell=crystal.lattice,
        scaled_positions=crystal.frac_coords,
        pbc=True,
        info={'material_id': crystal.material_id},
    )


def from_ase(atoms: Atoms, material_id: str, properties: Mapping[str, Any] | None = None) -> Crystal:
    """Return a crystal of ASE ``Atoms``.

    Raises
    ------
    ValueError
        If the atoms are not periodic in all three directions, or one is ASE's unknown element X.
    """
    if not atoms.pbc.all():
        raise ValueError(f'{material_id}: not periodic in all three directions')
    if (atoms.numbers < 1).any():
        raise ValueError(f"{material_id}: 'X' names no element")
    return Crystal(
        material_id,
        np.array(atoms.cell),
        atoms.numbers.astype(np.uint8),
        atoms.get_scaled_positions(wrap=False),
        dict(properties or {}),
    )
