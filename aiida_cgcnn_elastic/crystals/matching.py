"""Crystals of one table that another has, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from aiida_cgcnn_elastic.crystals.table import CrystalTable

__all__ = ('find_equal',)


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
    if not len(rows):
        return found
    ours, theirs = table.select(rows).arrays(), other.select(found[rows]).arrays()
    is_equal = (ours.lattices == theirs.lattices).all(axis=(1, 2))
    is_equal &= np.diff(ours.offsets) == np.diff(theirs.offsets)
    # Those with as many atoms have the same offsets, so their atoms can be compared all at once.
    alike = rows[is_equal]
    found[rows[~is_equal]] = -1
    if not len(alike):
        return found
    ours, theirs = table.select(alike).arrays(), other.select(found[alike]).arrays()
    is_equal_atom = (ours.atomic_numbers == theirs.atomic_numbers) & (ours.frac_coords == theirs.frac_coords).all(
        axis=1
    )
    is_same = np.logical_and.reduceat(is_equal_atom, ours.offsets[:-1])
    found[alike[~is_same]] = -1
    return found
