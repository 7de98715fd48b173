"""Which crystals are the same material, within a table and across tables of several sources.

What counts as one material is what the Materials Project takes for one (``emmet.core``): equal reduced formula, equal
space group at a tolerance of 0.1 Angstrom, and structures that pymatgen's ``StructureMatcher`` maps onto each other.
Beyond that, volumes per atom must be close; and crystals that are nearly equal are the same where noise has taken
symmetries from one of them. Formulas and volumes are cheap and leave few crystals whose symmetry is looked for and
which are matched.

Space groups that sources give are not used: they come of different tolerances, and the primitive cell, without which
nothing can be matched, comes from the same search as the number.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiida_cgcnn_elastic.crystals.composition import SYMBOLS
from aiida_cgcnn_elastic.crystals.table import CrystalArrays, CrystalTable
from aiida_cgcnn_elastic.workers import worker_pool

if TYPE_CHECKING:
    from pymatgen.core import Structure

COLUMN = 'duplicate_of'
"""The column that marks a crystal: the id of the first crystal that is the same material, null for that one itself."""

CRYSTALS_AT_ONCE = 256
"""About so many crystals are one piece of work for a process."""

CRYSTALS_WORTH_A_POOL = 1024
"""Starting processes takes about as long as comparing this many crystals."""

# Left- and right-handed forms of a crystal are mirror images, with equal moduli: the lower number stands for both.
_MIRRORED = dict(
    zip(
        (78, 95, 96, 145, 153, 154, 170, 172, 179, 181, 213),
        (76, 91, 92, 144, 151, 152, 169, 171, 178, 180, 212),
        strict=True,
    )
)


_SPGLIB_SWITCH = 'SPGLIB_WARNING'


class DuplicatesError(RuntimeError):
    """Crystals could not be compared."""


@dataclass(frozen=True)
class Tolerances:
    """How far two crystals may differ and still be the same material.

    Parameters
    ----------
    volume : float
        Largest relative difference of volumes per atom. Functionals differ by some per cent; phases of one space group
        that differ by more are, for elastic moduli, not the same.
    symprec : float
        Tolerance in Angstrom within which symmetry is looked for; the Materials Project's.
    length, site, angle : float
        ``ltol``, ``stol`` and ``angle_tol`` (degrees) of pymatgen's ``StructureMatcher``; its defaults.
    nearly_equal : tuple of float
        The same three for crystals whose space groups differ: a small strain or an incomplete relaxation can take
        symmetries away, so what is nearly equal is the same material all the same.
    """

    volume: float = 0.1
    symprec: float = 0.1
    length: float = 0.2
    site: float = 0.3
    angle: float = 5.0
    nearly_equal: tuple[float, float, float] = (0.02, 0.05, 1.5)


def find_duplicates(
    tables: Sequence[CrystalTable],
    *,
    tolerances: Tolerances | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[pa.Array]:
    """Return for every crystal the id of the first one that is the same material.

    A crystal is compared with the first of each material before it, in the order of the tables and of their rows. So
    the result is reproducible, and the order says whose crystals are kept where several tables have a material.

    Parameters
    ----------
    tables : sequence of CrystalTable
        Tables with m_1, m_2, ... crystals.
    tolerances : Tolerances, optional
        When crystals are the same.
    processes : int
        How many processes compare; one where there is too little to compare.
    progress : callable, optional
        Called with the number of crystals compared so far and in all; those alone of their formula and volume count as
        neither.

    Returns
    -------
    list of pyarrow.StringArray
        One a table, of shape (m_i,), null where no earlier crystal is the same.

    Raises
    ------
    DuplicatesError
        If the processes cannot be started.
    """
    limits = tolerances or Tolerances()
    table_of, row_of, bucket_of = _candidates(tables, limits.volume)
    first = np.arange(len(table_of))
    pieces = _pieces(bucket_of)
    done = 0
    compared = _compared(tables, table_of, row_of, bucket_of, pieces, limits, processes)
    for (start, stop), result in zip(pieces, compared, strict=True):
        first[start:stop] = start + result
        done = stop
        if progress is not None:
            progress(done, len(first))
    marks = []
    ids = [table.arrow.column('material_id') for table in tables]
    for number, table in enumerate(tables):
        mark: list[str | None] = [None] * len(table)
        for place in np.flatnonzero((table_of == number) & (first != np.arange(len(first)))).tolist():
            same = int(first[place])
            mark[row_of[place]] = ids[table_of[same]][int(row_of[same])].as_py()
        marks.append(pa.array(mark, pa.string()))
    return marks


def _candidates(
    tables: Sequence[CrystalTable], volume_tolerance: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return table, row and bucket of the crystals that have another of their formula and about their volume.

    Within a bucket the crystals are in the order of the tables and rows.
    """
    formulas: dict[str, int] = {}
    codes = np.array([formulas.setdefault(item, len(formulas)) for table in tables for item in table.formulas()], int)
    volumes = np.concatenate([_volumes_per_atom(table.arrays()) for table in tables]) if tables else np.empty(0)
    table_of = np.repeat(np.arange(len(tables), dtype=np.int32), [len(table) for table in tables])
    row_of = np.concatenate([np.arange(len(table)) for table in tables]) if tables else np.empty(0, int)
    order = np.lexsort((volumes, codes))
    logs = np.log(volumes[order])
    # Where the next larger volume is too far away, nothing below can be the same as anything above.
    breaks = (np.diff(codes[order]) != 0) | (np.diff(logs) > np.log1p(volume_tolerance))
    bucket = np.empty(len(order), dtype=np.int64)
    bucket[order] = np.concatenate([[0], np.cumsum(breaks)]) if len(order) else []
    sizes = np.bincount(bucket) if len(bucket) else np.empty(0, int)
    kept = np.flatnonzero(sizes[bucket] > 1) if len(bucket) else np.empty(0, int)
    kept = kept[np.argsort(bucket[kept], kind='stable')]
    return table_of[kept], row_of[kept], bucket[kept]


def _volumes_per_atom(arrays: CrystalArrays) -> npt.NDArray[np.float64]:
    return np.abs(np.linalg.det(arrays.lattices)) / np.diff(arrays.offsets)


def _pieces(bucket_of: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut the candidates into pieces of whole buckets."""
    ends = [*(np.flatnonzero(np.diff(bucket_of)) + 1).tolist(), len(bucket_of)]
    pieces = []
    start = 0
    for end in ends:
        if end - start >= CRYSTALS_AT_ONCE or end == len(bucket_of):
            if end > start:
                pieces.append((start, end))
            start = end
    return pieces


def _compared(
    tables: Sequence[CrystalTable],
    table_of: npt.NDArray[np.int32],
    row_of: npt.NDArray[np.int64],
    bucket_of: npt.NDArray[np.int64],
    pieces: list[tuple[int, int]],
    limits: Tolerances,
    processes: int,
) -> Iterator[npt.NDArray[np.int64]]:
    """Compare piece by piece, in their order; only the pieces being worked on are copied out of the tables."""
    arrays = [table.arrays() for table in tables]
    jobs = (
        (_geometry(arrays, table_of[start:stop], row_of[start:stop]), bucket_of[start:stop], limits)
        for start, stop in pieces
    )
    workers = min(processes, len(pieces))
    if workers < 2 or len(bucket_of) < CRYSTALS_WORTH_A_POOL:
        for job in jobs:
            yield compare_piece(*job)
        return
    executor = worker_pool(workers)
    try:
        waiting: deque[Future[npt.NDArray[np.int64]]] = deque()
        for job in jobs:
            waiting.append(executor.submit(compare_piece, *job))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DuplicatesError(
            'a process that compares crystals ended at once: it was killed, or the calling script lacks the guard '
            "if __name__ == '__main__'; processes=1 compares without further processes"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _geometry(
    arrays: Sequence[CrystalArrays], table_of: npt.NDArray[np.int32], row_of: npt.NDArray[np.int64]
) -> CrystalArrays:
    """Return the geometry of some crystals, in their order."""
    chosen = [(arrays[table], row) for table, row in zip(table_of.tolist(), row_of.tolist(), strict=True)]
    atoms = [slice(*of.offsets[row : row + 2].tolist()) for of, row in chosen]
    return CrystalArrays(
        np.array([of.lattices[row] for of, row in chosen]),
        np.concatenate([of.atomic_numbers[at] for (of, _), at in zip(chosen, atoms, strict=True)]),
        np.concatenate([of.frac_coords[at] for (of, _), at in zip(chosen, atoms, strict=True)]),
        np.concatenate([[0], np.cumsum([at.stop - at.start for at in atoms])]),
    )


def compare_piece(
    crystals: CrystalArrays, bucket_of: npt.NDArray[np.int64], limits: Tolerances
) -> npt.NDArray[np.int64]:
    """Return for each crystal of some buckets the place of the first that is the same material, its own where none is.

    Parameters
    ----------
    crystals : CrystalArrays
        m crystals.
    bucket_of : array of int, shape (m,)
        Only crystals of one bucket are compared.
    limits : Tolerances
        When they are the same.

    Returns
    -------
    array of int, shape (m,)
    """
    alike, nearly_equal = _matcher(limits.length, limits.site, limits.angle), _matcher(*limits.nearly_equal)
    volumes = _volumes_per_atom(crystals)
    first = np.arange(len(bucket_of))
    # By bucket and number of atoms in the primitive cell: the first crystal of each material.
    materials: dict[tuple[int, int], list[tuple[int, int, Structure]]] = {}
    for place, bucket in enumerate(bucket_of.tolist()):
        atoms = slice(*crystals.offsets[place : place + 2].tolist())
        with _quiet_spglib():
            number, reduced = _reduced(
                crystals.lattices[place], crystals.frac_coords[atoms], crystals.atomic_numbers[atoms], limits.symprec
            )
        known = materials.setdefault((bucket, len(reduced)), [])
        for other, number_of_other, structure in known:
            ratio = volumes[place] / volumes[other]
            matcher = alike if number == number_of_other else nearly_equal
            if max(ratio, 1 / ratio) - 1 <= limits.volume and matcher.fit(
                structure, reduced, skip_structure_reduction=True
            ):
                first[place] = other
                break
        else:
            known.append((place, number, reduced))
    return first


@contextmanager
def _quiet_spglib() -> Iterator[None]:
    """Keep spglib's library from writing on standard error of every tolerance that it tries."""
    before = os.environ.get(_SPGLIB_SWITCH)
    os.environ[_SPGLIB_SWITCH] = 'OFF'
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SPGLIB_SWITCH]
        else:
            os.environ[_SPGLIB_SWITCH] = before


def _matcher(length: float, site: float, angle: float) -> Any:
    from pymatgen.core.structure_matcher import ElementComparator, StructureMatcher

    return StructureMatcher(
        ltol=length,
        stol=site,
        angle_tol=angle,
        primitive_cell=False,
        scale=True,
        attempt_supercell=False,
        comparator=ElementComparator(),
    )


def _reduced(
    lattice: npt.NDArray[np.float64],
    frac_coords: npt.NDArray[np.float64],
    atomic_numbers: npt.NDArray[np.uint8],
    symprec: float,
) -> tuple[int, Structure]:
    """Return a crystal's space group number (0 where none is found) and its primitive cell, Niggli-reduced."""
    import spglib
    from pymatgen.core import Structure
    from spglib.error import SpglibError

    number, atoms, cell = 0, np.arange(len(atomic_numbers)), np.asarray(lattice)
    positions = frac_coords @ lattice
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that spglib will raise where it returns None today
            dataset = spglib.get_symmetry_dataset((lattice, frac_coords, atomic_numbers.astype(int)), symprec=symprec)
            if dataset is not None:
                number = _MIRRORED.get(int(dataset.number), int(dataset.number))
                cell = np.asarray(dataset.primitive_lattice)
                # One atom of each set of those that translations of the primitive lattice map onto each other.
                atoms = np.unique(dataset.mapping_to_primitive, return_index=True)[1]
            niggli = spglib.niggli_reduce(cell)
    except SpglibError:
        # Compared as it is given.
        niggli = None
    cell = cell if niggli is None else np.asarray(niggli)
    symbols = [SYMBOLS[number_of] for number_of in atomic_numbers[atoms].tolist()]
    return number, Structure(cell, symbols, positions[atoms] @ np.linalg.inv(cell) % 1.0)
