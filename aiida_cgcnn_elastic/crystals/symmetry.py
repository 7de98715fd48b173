"""Space groups of crystals, found from where their atoms are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.crystals.table import CrystalArrays, pieces
from aiida_cgcnn_elastic.workers import worker_pool

__all__ = ['SYMPREC', 'find_space_groups', 'space_group_number']

SYMPREC = 0.01
"""Tolerance in Angstrom within which atoms are equivalent."""

CRYSTALS_AT_ONCE = 64
ATOMS_AT_ONCE = 2048
"""At most, but at least one crystal: a piece of work for a process, a third of a second or so."""

CRYSTALS_WORTH_A_POOL = 512
"""Starting processes takes about as long as the search for this many."""


def space_group_number(
    lattice: NDArray[np.float64], atomic_numbers: NDArray[np.integer], frac_coords: NDArray[np.float64]
) -> int | None:
    """Return the number of a crystal's space group, from 1 to 230, None where the search fails.

    Parameters
    ----------
    lattice : (3, 3) float
        Rows are lattice vectors, in Angstrom.
    atomic_numbers : (n,) int
    frac_coords : (n, 3) float
    """
    import spglib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that spglib will raise where it returns None today
            dataset = spglib.get_symmetry_dataset((lattice, frac_coords, atomic_numbers.astype(int)), symprec=SYMPREC)
    except spglib.SpglibError:
        return None
    return None if dataset is None else int(dataset.number)


def find_space_groups(
    crystals: CrystalArrays, *, processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float64]:
    """Return the space group number of each crystal, shape (m,), NaN where the search fails.

    Parameters
    ----------
    crystals : CrystalArrays
        m crystals.
    processes : int
        How many processes search; one where there are too few crystals to be worth more.
    progress : callable, optional
        Called with the number of crystals searched so far and in all; what it raises ends the search.
    """
    total = len(crystals.lattices)
    numbers = np.full(total, np.nan)
    if processes < 2 or total < CRYSTALS_WORTH_A_POOL:
        _keep(map(_search, _cut(crystals)), numbers, progress)
        return numbers
    pool = worker_pool(processes)
    try:
        _keep(pool.map(_search, _cut(crystals)), numbers, progress)
    finally:
        pool.shutdown(cancel_futures=True)
    return numbers


def _cut(crystals: CrystalArrays) -> Iterator[CrystalArrays]:
    for start, stop in pieces(np.diff(crystals.offsets), CRYSTALS_AT_ONCE, ATOMS_AT_ONCE):
        offsets = crystals.offsets[start : stop + 1]
        atoms = slice(offsets[0], offsets[-1])
        yield CrystalArrays(
            crystals.lattices[start:stop],
            crystals.atomic_numbers[atoms],
            crystals.frac_coords[atoms],
            offsets - offsets[0],
        )


def _search(crystals: CrystalArrays) -> list[int | None]:
    return [
        space_group_number(lattice, crystals.atomic_numbers[start:stop], crystals.frac_coords[start:stop])
        for lattice, start, stop in zip(crystals.lattices, crystals.offsets[:-1], crystals.offsets[1:], strict=True)
    ]


def _keep(
    found: Iterator[list[int | None]], numbers: NDArray[np.float64], progress: Callable[[int, int], None] | None
) -> None:
    """Put what is found piece by piece into the numbers, in their order."""
    done = 0
    for piece in found:
        numbers[done : done + len(piece)] = [np.nan if number is None else number for number in piece]
        done += len(piece)
        if progress is not None:
            progress(done, len(numbers))
