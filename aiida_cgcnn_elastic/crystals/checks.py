"""Whether a crystal can be used at all, cheap enough to ask of every one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.crystals.crystal import Reason

MIN_DISTANCE = 0.5
"""Atoms closer than this (Angstrom) cannot be two atoms: the shortest bond there is, in H2, measures 0.74 Angstrom."""

MAX_ATOMS = 10_000
"""Cells with more atoms are not what a crystal graph network is made for; the limit bounds time and memory."""

MAX_LENGTH = 10_000.0
"""Longest lattice vector (Angstrom) taken for a crystal's."""

MIN_HEIGHT = 0.1
"""Least distance (Angstrom) between opposite faces of a cell; a flatter one has no sensible images to search."""

# Spheres of radius r/2 around atoms that keep a distance r fill no more than the closest packing: V/n >= r^3/sqrt(2).
_MIN_VOLUME_PER_ATOM = MIN_DISTANCE**3 / math.sqrt(2.0)

# All pairs of so many atoms are faster to look at than a search among cells is to set up.
_MAX_ATOMS_ALL_PAIRS = 200

_PERIODIC = np.array([1, 1, 1], dtype=np.int64)


def why_unusable(
    lattice: npt.NDArray[np.float64],
    atomic_numbers: npt.NDArray[np.uint8],
    frac_coords: npt.NDArray[np.float64],
) -> tuple[Reason, str] | None:
    """Return why a crystal cannot be used, or None where it can.

    Parameters
    ----------
    lattice : array, shape (3, 3)
        Lattice vectors as rows, in Angstrom.
    atomic_numbers : array, shape (n,)
        Atomic numbers.
    frac_coords : array, shape (n, 3)
        Fractional coordinates.

    Returns
    -------
    tuple of Reason and str, or None
        The first fault found, of: no or too many atoms, coordinates or lattice not finite, a lattice that spans no
        volume, atoms (or an atom and its own periodic image) closer than 0.5 Angstrom.
    """
    n_atoms = len(atomic_numbers)
    if n_atoms == 0:
        return Reason.NO_ATOMS, 'no atoms'
    if n_atoms > MAX_ATOMS:
        return Reason.TOO_MANY_ATOMS, f'{n_atoms} atoms; at most {MAX_ATOMS} are read'
    if not np.isfinite(frac_coords).all():
        return Reason.BAD_COORDINATES, 'a coordinate is missing or not finite'
    volume, height, longest = _size(lattice)
    if not math.isfinite(volume + height + longest):
        return Reason.BAD_LATTICE, 'the lattice is not finite'
    if longest > MAX_LENGTH:
        return Reason.BAD_LATTICE, f'a lattice vector of {longest:.6g} A is longer than {MAX_LENGTH:.0f} A'
    if height < MIN_HEIGHT:
        return Reason.BAD_LATTICE, f'the cell is flat: it spans {volume:.3g} A^3'
    if volume / n_atoms < _MIN_VOLUME_PER_ATOM:
        return Reason.ATOMS_OVERLAP, f'{n_atoms} atoms in {volume:.3g} A^3 must be closer than {MIN_DISTANCE} A'
    # A vector shorter than r has fractional components below r / height. Where that is less than a half, rounding
    # differences of coordinates to the nearest image finds every such vector, however skewed the cell.
    if height > 2 * MIN_DISTANCE and n_atoms <= _MAX_ATOMS_ALL_PAIRS:
        i, j, distance = _nearest_by_rounding(lattice, frac_coords)
    else:
        i, j, distance = _nearest_by_search(lattice, frac_coords, (volume / n_atoms) ** (1.0 / 3.0))
    if distance >= MIN_DISTANCE:
        return None
    pair = f'atom {i + 1} and its own image' if i == j else f'atoms {min(i, j) + 1} and {max(i, j) + 1}'
    return Reason.ATOMS_OVERLAP, f'{pair} are {distance:.3f} A apart'


def _size(lattice: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return a cell's volume, the least distance between opposite faces, and its longest vector (Angstrom)."""
    # Written out: numpy takes longer to call than three vectors take to work through.
    a, b, c = lattice.tolist()
    bc = _cross(b, c)
    volume = abs(a[0] * bc[0] + a[1] * bc[1] + a[2] * bc[2])
    largest_face = max(math.hypot(*_cross(a, b)), math.hypot(*bc), math.hypot(*_cross(c, a)))
    longest = max(math.hypot(*a), math.hypot(*b), math.hypot(*c))
    return volume, volume / largest_face if largest_face > 0.0 else 0.0, longest


def _nearest_by_rounding(
    lattice: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64]
) -> tuple[int, int, float]:
    """Return the closest two atoms, by all pairs; exact for distances below half the cell's least height."""
    n_atoms = len(frac_coords)
    apart = frac_coords[:, None] - frac_coords[None]
    apart -= np.rint(apart)
    vectors = apart.reshape(-1, 3) @ lattice
    squares = np.einsum('ij,ij->i', vectors, vectors)
    squares[:: n_atoms + 1] = np.inf
    i, j = divmod(int(squares.argmin()), n_atoms)
    return i, j, math.sqrt(squares[i * n_atoms + j])


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
    return int(first[nearest]), int(second[nearest]), float(distances[nearest])


def _cross(u: list[float], v: list[float]) -> tuple[float, float, float]:
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
