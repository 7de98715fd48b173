"""Crystals and CIFs made for tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable

CELL = """_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""

P1 = """loop_
_symmetry_equiv_pos_site_id
_symmetry_equiv_pos_as_xyz
1 'x, y, z'
"""

SITES = """loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""

TWO_ATOMS = 'Na Na0 0 0 0 1\nCl Cl1 0.5 0.5 0.5 1\n'

SCALARS = {
    'band_gap': st.none() | st.floats(0, 10),
    'space_group_number': st.none() | st.integers(1, 230),
    'is_metal': st.none() | st.booleans(),
    'n_calculations': st.none() | st.integers(-(2**40), 2**40),
    'note': st.none() | st.text(st.characters(codec='utf-8'), max_size=10),
    'tags': st.none() | st.lists(st.sampled_from(['a', 'b', '']), max_size=3),
}


def cif(sites: str = TWO_ATOMS, cell: str = CELL, symmetry: str = P1, header: str = SITES, end: str = '') -> str:
    """Return a CIF, by default one of NaCl in the CsCl structure."""
    return f'data_test\n{symmetry}{cell}{header}{sites}{end}'


def rock_salt(material_id: str = 'NaCl', **properties: object) -> Crystal:
    """Return a primitive cell of NaCl."""
    lattice = 2.82 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    return Crystal(material_id, lattice, np.array([11, 17]), np.array([[0.0] * 3, [0.5] * 3]), properties)


def table_of(*ids: str) -> CrystalTable:
    """Return a table of equal crystals with these ids."""
    return CrystalTable.from_crystals([rock_salt(material_id) for material_id in ids])


@st.composite
def crystals(draw: st.DrawFn) -> Crystal:
    """Draw a crystal with a right- or left-handed lattice, coordinates in and out of the cell, and properties."""
    n_atoms = draw(st.integers(1, 6))
    numbers = draw(st.lists(st.integers(1, 118), min_size=n_atoms, max_size=n_atoms))
    coords = draw(st.lists(st.floats(-2, 2), min_size=3 * n_atoms, max_size=3 * n_atoms))
    small = st.floats(-1, 1)
    lattice = np.diag([draw(st.floats(2, 20)) for _ in range(3)]) + np.array(
        [[0, draw(small), draw(small)], [0, 0, draw(small)], [0, 0, 0]]
    )
    if draw(st.booleans()):
        lattice = lattice[::-1]
    names = draw(st.sets(st.sampled_from(sorted(SCALARS))))
    properties = {name: draw(SCALARS[name]) for name in sorted(names)}
    material_id = draw(st.text(st.characters(codec='utf-8'), min_size=1, max_size=12))
    return Crystal(material_id, lattice, np.array(numbers), np.array(coords).reshape(-1, 3), properties)


def sets_of_crystals() -> st.SearchStrategy[list[Crystal]]:
    """Draw some crystals with different ids."""
    return st.lists(crystals(), max_size=8, unique_by=lambda crystal: crystal.material_id)
