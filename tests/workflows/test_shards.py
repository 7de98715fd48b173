"""How crystals are dealt into shards."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.shards import ATOMS_A_CRYSTAL, plan_shards

pytestmark = pytest.mark.usefixtures('aiida_profile')


def set_of(*n_atoms: int) -> CrystalSetData:
    crystals = [
        Crystal(f'c{place}', np.eye(3) * 3 * n, np.full(n, 6), np.arange(3 * n).reshape(n, 3) / (3 * n))
        for place, n in enumerate(n_atoms)
    ]
    return CrystalSetData.from_table(CrystalTable.from_crystals(crystals))


def test_shards_are_limited_in_crystals():
    shards = plan_shards({'b': set_of(1, 1, 1), 'a': set_of(1, 1)}, 2)
    assert shards == [
        {'name': 'a_0000', 'key': 'a', 'rows': [0, 2]},
        {'name': 'b_0000', 'key': 'b', 'rows': [0, 2]},
        {'name': 'b_0001', 'key': 'b', 'rows': [2, 3]},
    ]


def test_large_cells_make_small_shards_and_no_crystal_is_left_out():
    most = 3 * ATOMS_A_CRYSTAL
    shards = plan_shards({'a': set_of(1, most - 1, 1, 10 * most, 1, 1, 1, 1)}, 3)
    assert [shard['rows'] for shard in shards] == [[0, 2], [2, 3], [3, 4], [4, 7], [7, 8]]


def test_a_set_without_crystals_has_no_shards():
    assert plan_shards({'a': CrystalSetData.from_table(CrystalTable.empty())}, 3) == []
