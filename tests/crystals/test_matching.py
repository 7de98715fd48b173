"""Crystals that are in two tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.matching import find_equal


def test_same_id_and_structure_whatever_the_order_and_the_properties(crystals):
    table = CrystalTable.from_crystals(crystals)
    other = CrystalTable.from_crystals([replace(crystal, properties={}) for crystal in reversed(crystals[2:])])
    assert find_equal(table, other).tolist() == [-1, -1, *reversed(range(len(crystals) - 2))]
    assert find_equal(table, table.slice(0, 0)).tolist() == [-1] * len(crystals)
    assert find_equal(table.slice(0, 0), table).tolist() == []


def test_any_difference_of_the_structure_counts(crystals):
    same, moved, strained, replaced, larger = crystals[:5]
    moved = replace(moved, frac_coords=moved.frac_coords + np.array([[0, 0, 0], [0, 0, 1e-9]]))
    strained = replace(strained, lattice=strained.lattice * (1 + 1e-9))
    replaced = replace(replaced, atomic_numbers=np.array([14, 32]))
    larger = replace(
        larger,
        atomic_numbers=np.tile(larger.atomic_numbers, 2),
        frac_coords=np.concatenate([larger.frac_coords, larger.frac_coords + 0.25]),
    )
    other = CrystalTable.from_crystals([larger, replaced, strained, moved, same])
    assert find_equal(CrystalTable.from_crystals(crystals[:5]), other).tolist() == [4, -1, -1, -1, -1]
