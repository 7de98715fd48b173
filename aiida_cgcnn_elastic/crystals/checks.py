"""Whether a crystal can be used at all, cheap enough to ask of every one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason

MIN_DISTANCE = 0.5
"""Atoms closer than this (Angstrom) cannot be two atoms: the shortest bond there is, in H2, measures 0.74 Angstrom."""

MAX_ATOMS = 10_000
"""Cells with more atoms are not what a crystal graph network is made for; the limit bounds time and memory."""

MAX_LENGTH = 10_000.0
"""Longest lattice vector (Angstrom) taken for a crystal's."""

MIN_HEIGHT = 0.1
"""Least distance (Angstrom) between opposite faces of a cell; a flatter one has no sensible images to search."""

MAX_COORDINATE = 1e6
"""Fractional coordinates beyond this have lost their decimals; they are a mistake, not an atom far away."""

# Spheres of radius r/2 around atoms that keep a distance r fill no more than the closest packing: V/n >= r^3/sqrt(2).
_MIN_VOLUME_PER_ATOM = MIN_DISTANCE**3 / math.sqrt(2.0)

# All pairs of so many atoms are faster to look at than a search among cells is to set up.
_MAX_ATOMS_ALL_PAIRS = 200

# Pairs looked at in one go: bounds the memory that their vectors take to some 10 MB.
_PAIRS_AT_ONCE = 200_000

_PERIODIC = np.array([1, 1, 1], dtype=np.int64)

Fault = tuple[Reason, str]
"""Why a crystal cannot be used: the kind of fault, and what was found."""


def find_faults(
    lattices: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64]
) -> dict[int, Fault]:
    """Return why crystals cannot be used, by their place; those that can be used do not occur.

    Parameters
    ----------
    lattices : array, shape (m, 3, 3)
        Lattice vectors as rows, in Angstrom.
    frac_coords : array, shape (a, 3)
        Fractional coordinates of all atoms.
    offsets : array of int, shape (m + 1,)
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``.

    Returns
    -------
    dict of int to tuple of Reason and str
        The first fault found of each, of: no or too many atoms, coordinates missing or absurd, a lattice not finite or
        without a volume, atoms (or an atom and its own periodic image) closer than 0.5 Angstrom.
    """
    n_atoms = np.diff(offsets)
    is_bad = ~(np.abs(frac_coords) <= MAX_COORDINATE).all(axis=1)
    n_bad_coords = np.diff(np.concatenate([[0], np.cumsum(is_bad)])[offsets])
    volumes, heights, longest = _sizes(lattices)
    sound = (n_atoms > 0) & (n_atoms <= MAX_ATOMS) & (n_bad_coords == 0)
    # Comparisons with NaN are false, so what is not finite is not sound either.
    sound &= (longest <= MAX_LENGTH) & (heights >= MIN_HEIGHT) & (volumes >= _MIN_VOLUME_PER_ATOM * n_atoms)
    faults = {
        int(row): _fault_of_size(n_atoms[row], n_bad_coords[row], volumes[row], heights[row], longest[row])
        for row in np.flatnonzero(~sound)
    }
    # A vector shorter than r has fractional components below r / height. Where that is less than a half, rounding
    # differences of coordinates to the nearest image finds every such vector, however skewed the cell.
    by_rounding = sound & (heights > 2 * MIN_DISTANCE) & (n_atoms <= _MAX_ATOMS_ALL_PAIRS)
    for size in np.unique(n_atoms[by_rounding]):
        rows = np.flatnonzero(by_rounding & (n_atoms == size))
        at_once = max(1, _PAIRS_AT_ONCE // (size * size))
        for part in np.split(rows, range(at_once, len(rows), at_once)):
            coords = frac_coords[offsets[part][:, None] + np.arange(size)]
            for row, first, second, distance in _overlaps_by_rounding(lattices[part], coords):
                faults[int(part[row])] = _overlap(first, second, distance)
    for row in np.flatnonzero(sound & ~by_rounding).tolist():
        coords = frac_coords[offsets[row] : offsets[row + 1]]
        first, second, distance = _nearest_by_search(lattices[row], coords, (volumes[row] / len(coords)) ** (1 / 3))
        if distance < MIN_DISTANCE:
            faults[row] = _overlap(first, second, distance)
    return dict(sorted(faults.items()))


def find_faults_of(crystals: Sequence[Crystal]) -> dict[int, Fault]:
    """Return why some of these crystals cannot be used, by their place, as :func:`find_faults` does."""
    if not crystals:
        return {}
    offsets = np.cumsum([0, *(crystal.n_atoms for crystal in crystals)])
    lattices = np.array([crystal.lattice for crystal in crystals])
    return find_faults(lattices, np.concatenate([crystal.frac_coords for crystal in crystals]), offsets)


def why_unusable(lattice: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64]) -> Fault | None:
    """Return why one crystal cannot be used, or None where it can; of many, ask :func:`find_faults`, which is faster.

    Parameters
    ----------
    lattice : array, shape (3, 3)
        Lattice vectors as rows, in Angstrom.
    frac_coords : array, shape (n, 3)
        Fractional coordinates.
    """
    return find_faults(lattice[None], frac_coords, np.array([0, len(frac_coords)])).get(0)


def _sizes(
    lattices: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return cells' volumes, least distances between opposite faces, and longest vectors (Angstrom), shapes (m,)."""
    with np.errstate(invalid='ignore', over='ignore', divide='ignore'):
        faces = np.cross(lattices[:, (1, 2, 0)], lattices[:, (2, 0, 1)])
        volumes = np.abs((lattices[:, 0] * faces[:, 0]).sum(axis=1))
        largest_faces = np.linalg.norm(faces, axis=2).max(axis=1)
        heights = np.where(largest_faces > 0, volumes / largest_faces, 0.0)
        return volumes, heights, np.linalg.norm(lattices, axis=2).max(axis=1)


def _fault_of_size(n_atoms: int, n_bad_coords: int, volume: float, height: float, longest: float) -> Fault:
    """Say what is wrong with a crystal whose numbers alone tell that it cannot be used."""
    if n_atoms == 0:
        return Reason.NO_ATOMS, 'no atoms'
    if n_atoms > MAX_ATOMS:
        return Reason.TOO_MANY_ATOMS, f'{n_atoms} atoms; at most {MAX_ATOMS} are read'
    if n_bad_coords:
        return Reason.BAD_COORDINATES, f'a fractional coordinate is missing, not finite or beyond {MAX_COORDINATE:.0f}'
    if not math.isfinite(volume + height + longest):
        return Reason.BAD_LATTICE, 'the lattice is not finite'
    if longest > MAX_LENGTH:
        return Reason.BAD_LATTICE, f'a lattice vector of {longest:.6g} A is longer than {MAX_LENGTH:.0f} A'
    if height < MIN_HEIGHT:
        return Reason.BAD_LATTICE, f'the cell is flat: it spans {volume:.3g} A^3'
    return Reason.ATOMS_OVERLAP, f'{n_atoms} atoms in {volume:.3g} A^3 must be closer than {MIN_DISTANCE} A'


def _overlap(first: int, second: int, distance: float) -> Fault:
    pair = f'atom {first + 1} and its own image' if first == second else f'atoms {first + 1} and {second + 1}'
    return Reason.ATOMS_OVERLAP, f'{pair} are {distance:.3f} A apart'


def _overlaps_by_rounding(
    lattices: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64]
) -> Iterator[tuple[int, int, int, float]]:
    """Yield crystal, atoms and distance where the closest two atoms of crystals of equally many overlap.

    By all pairs; exact for distances below half a cell's least height. Shapes (m, 3, 3) and (m, n, 3).
    """
    first, second = np.triu_indices(frac_coords.shape[1], 1)
    if len(first) == 0:
        return
    apart = frac_coords[:, first] - frac_coords[:, second]
    apart -= np.rint(apart)
    vectors = apart @ lattices
    squares = np.einsum('ijk,ijk->ij', vectors, vectors)
    for row in np.flatnonzero(squares.min(axis=1) < MIN_DISTANCE**2):
        pair = int(squares[row].argmin())
        yield int(row), int(first[pair]), int(second[pair]), math.sqrt(squares[row, pair])


def _nearest_by_search(
    lattice: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64], spacing: float
) -> tuple[int, int, float]:
    """Return the closest two atoms, images included, among those that a search in spheres finds."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = (frac_coords % 1.0) @ lattice
    # The search cuts space into cubes as wide as the radius; about one an atom keeps it fast and small.
    radius = max(MIN_DISTANCE, spacing)
    first, second, images, distances = find_points_in_spheres(
        all_coords=points,
        center_coords=points,
        r=radius,
        pbc=_PERIODIC,
        lattice=np.ascontiguousarray(lattice),
        tol=1e-8,
        min_r=radius,
    )
    itself = (first == second) & ~images.any(axis=1)
    if itself.all():
        return 0, 0, math.inf
    distances = np.where(itself, np.inf, distances)
    nearest = int(distances.argmin())
    i, j = sorted((int(first[nearest]), int(second[nearest])))
    return i, j, float(distances[nearest])
