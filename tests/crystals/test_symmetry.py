"""Space groups that are found from where atoms are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.crystals.symmetry import CRYSTALS_WORTH_A_POOL, find_space_groups
from tests.labelled import rock_salt


def test_known_crystals_have_their_space_groups(crystals: list[Crystal]) -> None:
    numbers = find_space_groups(CrystalTable.from_crystals(crystals).arrays())
    assert numbers.tolist() == [227, 216, 216, 227, 225, 225, 225, 225, 225]


@pytest.mark.parametrize('old_handling', ['true', 'false'])
def test_a_crystal_on_which_the_search_fails_does_not_stop_it(
    monkeypatch: pytest.MonkeyPatch, old_handling: str
) -> None:
    """spglib says so by None or by an error of its own, by this setting."""
    monkeypatch.setenv('SPGLIB_OLD_ERROR_HANDLING', old_handling)
    good = rock_salt('good', 'Mg', 'O', 4.2)
    on_one_spot = Crystal('bad', good.lattice, np.array([12, 12]), np.zeros((2, 3)))
    also_good = dataclasses.replace(good, material_id='also_good')
    found = find_space_groups(CrystalTable.from_crystals([good, on_one_spot, also_good]).arrays())
    assert np.array_equal(found, [225, np.nan, 225], equal_nan=True)


def test_several_processes_find_the_same_in_the_same_order() -> None:
    """Triclinic, monoclinic, orthorhombic and tetragonal cells in turn: their symmetry is found in a moment."""
    cells = [
        np.array([[3, 0, 0], [0.4, 4, 0], [0.3, 0.5, 5]]),
        np.array([[3, 0, 0], [0, 4, 0], [0.5, 0, 5]]),
        np.diag([3.0, 4, 5]),
        np.diag([3.0, 3, 5]),
    ]
    n_crystals = CRYSTALS_WORTH_A_POOL + 3
    many = [Crystal(f'c{row}', cells[row % 4], np.array([29]), np.zeros((1, 3))) for row in range(n_crystals)]
    arrays = CrystalTable.from_crystals(many).arrays()
    seen: list[tuple[int, int]] = []
    numbers = find_space_groups(arrays, processes=2, progress=lambda done, total: seen.append((done, total)))
    assert numbers.tolist() == [[2, 10, 47, 123][row % 4] for row in range(n_crystals)]
    assert seen[-1] == (n_crystals, n_crystals)
    assert np.array_equal(numbers, find_space_groups(arrays))
