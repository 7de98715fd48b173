"""Crystals that are in two tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

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


def test_many_crystals_are_compared_one_by_one(crystals):
    n_copies = 8000
    many = CrystalTable.concatenate([CrystalTable.from_crystals(crystals)] * n_copies, allow_duplicate_ids=True)
    ids = [str(row) for row in range(len(many))]
    many = CrystalTable.from_arrow(many.arrow.set_column(0, 'material_id', [ids]))
    rows = np.random.default_rng(0).permutation(len(many))
    lattices = many.arrays().lattices.copy()
    strained = [5, len(many) // 2, len(many) - 1]
    lattices[strained] *= 1 + 1e-9
    changed = many.arrow.set_column(1, 'lattice', pa.FixedSizeListArray.from_arrays(pa.array(lattices.ravel()), 9))
    expected = np.argsort(rows)
    expected[strained] = -1
    assert (find_equal(many, CrystalTable.from_arrow(changed).select(rows)) == expected).all()
