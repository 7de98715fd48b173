"""Crystals as the attributes of AiiDA's ``StructureData``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from aiida.orm import StructureData

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.crystals import Crystal

__all__ = ('structure_attributes', 'to_structure_data')


def structure_attributes(crystal: Crystal) -> dict[str, Any]:
    """Return what ``StructureData`` stores of a crystal: cell and positions in Angstrom, one kind an element.

    The attributes are those of a ``StructureData`` to which the atoms were appended one by one. Making such a node
    checks every atom against all kinds, which costs more than storing it.
    """
    from aiida.common.constants import elements
    from aiida.orm.implementation.utils import clean_value

    numbers = crystal.atomic_numbers.tolist()
    symbols = [elements[number]['symbol'] for number in numbers]
    masses = {elements[number]['symbol']: elements[number]['mass'] for number in dict.fromkeys(numbers)}
    positions = np.asarray(crystal.frac_coords) @ np.asarray(crystal.lattice)
    return clean_value(
        {
            'cell': crystal.lattice.tolist(),
            'pbc1': True,
            'pbc2': True,
            'pbc3': True,
            'kinds': [
                {'mass': mass, 'name': symbol, 'symbols': [symbol], 'weights': [1.0]} for symbol, mass in masses.items()
            ],
            'sites': [
                {'kind_name': symbol, 'position': position}
                for symbol, position in zip(symbols, positions.tolist(), strict=True)
            ],
        }
    )


def to_structure_data(crystal: Crystal) -> StructureData:
    """Return an unstored ``StructureData``; its label is the id of the crystal, its description the formula."""
    structure = StructureData(label=crystal.material_id, description=crystal.formula)
    structure.base.attributes.set_many(structure_attributes(crystal))
    return structure
