from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from aiida_cgcnn_elastic.crystals.conversions import from_ase, from_pymatgen, to_ase, to_pymatgen
from tests.crystals.making import crystals, rock_salt


@given(crystals())
@settings(max_examples=50)
def test_pymatgen_gives_back_the_same_crystal(crystal):
    again = from_pymatgen(to_pymatgen(crystal), crystal.material_id, crystal.properties)
    assert again == crystal


@given(crystals())
@settings(max_examples=50)
def test_ase_gives_back_the_same_crystal(crystal):
    again = from_ase(to_ase(crystal), crystal.material_id, crystal.properties)
    np.testing.assert_array_equal(again.lattice, crystal.lattice)
    np.testing.assert_array_equal(again.atomic_numbers, crystal.atomic_numbers)
    np.testing.assert_allclose(again.frac_coords, crystal.frac_coords, atol=1e-12)
    assert again.properties == crystal.properties


def test_oxidation_states_and_deuterium_are_plain_elements():
    from pymatgen.core import Structure

    structure = Structure(np.eye(3) * 4, ['Fe3+', 'O2-', 'D'], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])
    assert from_pymatgen(structure, 'x').atomic_numbers.tolist() == [26, 8, 1]


def test_what_is_no_crystal_here_is_refused_by_name():
    from ase import Atoms
    from pymatgen.core import Structure

    with pytest.raises(ValueError, match=r'm-1.*partly occupied'):
        from_pymatgen(Structure(np.eye(3) * 4, [{'Fe': 0.5, 'Co': 0.5}], [[0, 0, 0]]), 'm-1')
    with pytest.raises(ValueError, match='names no element'):
        from_pymatgen(Structure(np.eye(3) * 4, ['X'], [[0, 0, 0]]), 'm-1')
    with pytest.raises(ValueError, match='not periodic'):
        from_ase(Atoms('H', cell=[3, 3, 3], pbc=[True, True, False]), 'm-1')
    with pytest.raises(ValueError, match='names no element'):
        from_ase(Atoms('X', cell=[3, 3, 3], pbc=True), 'm-1')


def test_what_leaves_knows_its_id():
    assert to_pymatgen(rock_salt('mp-22862')).properties['material_id'] == 'mp-22862'
    assert to_ase(rock_salt('mp-22862')).info['material_id'] == 'mp-22862'
