"""Crystals of one table that another has, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from aiida_cgcnn_elastic.crystals.table import CrystalTable

__all__ = ('find_equal',)

# What is compared is copied, so this bounds the memory: some 20 MB for 10 atoms a crystal.
_ROWS_AT_ONCE = 2**15


def find_equal(table: CrystalTable, other: CrystalTable) -> npt.NDArray[np.int64]:
    """Return where another table has the crystals of a table: the same id and, to the last digit, the same structure.

    Properties do not count.

    Returns
    -------
    array of shape (len(table),)
        The row in the other table, -1 where it has no such crystal.
    """
    ids, others = (one.arrow.column('material_id').combine_chunks() for one in (table, other))
    found = pc.fill_null(pc.index_in(ids, value_set=others), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.flatnonzero(found >= 0)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        found[some[~_are_equal(table.select(some), other.select(found[some]))]] = -1
    return found


def _are_equal(table: CrystalTable, other: CrystalTable) -> npt.NDArray[np.bool_]:
    """Return which rows of two tables have the same structure, to the last digit."""
    ours, theirs = table.arrays(), other.arrays()
    is_equal = (ours.lattices == theirs.lattices).all(axis=(1, 2))
    is_equal &= np.diff(ours.offsets) == np.diff(theirs.offsets)
    # Those with as many atoms have the same offsets, so their atoms can be compared all at once.
    alike = np.flatnonzero(is_equal)
    if not len(alike):
        return is_equal
    if len(alike) < len(is_equal):
        ours, theirs = table.select(alike).arrays(), other.select(alike).arrays()
    is_equal_atom = ours.atomic_numbers == theirs.atomic_numbers
    is_equal_atom &= (ours.frac_coords == theirs.frac_coords).all(axis=1)
    is_equal[alike] = np.logical_and.reduceat(is_equal_atom, ours.offsets[:-1])
    return is_equal
