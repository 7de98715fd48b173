"""Crystal graphs: every atom and its k nearest neighbors, as flat arrays.

The graph of a crystal is made so that it depends on the crystal alone, not on how its cell was written down.

**The shell at the cut.** Two crystals in three have several neighbors at the same distance around the k-th place, and
taking whichever comes first lets the order of the atoms decide. Here the neighbors of that shell share the remaining
places equally: with k = 12 and 8 + 6 neighbors in the first two shells, the eight have weight 1 and the six have weight
4/6. The weights of an atom's edges always sum to k.

**Atoms that cannot be told apart.** A message in the convolution of Xie and Grossman depends on the two atoms and their
distance only, so atoms with the same neighbors at the same distances, and so on outwards, have the same features in
every layer: the atoms of one crystallographic orbit, above all. They become one node that counts as often as they
occur, and edges between the same nodes at the same distance become one edge that carries the sum of their weights. No
prediction changes, the graph of a supercell is the graph of its primitive cell, and a symmetric crystal has a third of
the nodes and edges.

**Angles.** On demand a node also knows how its atoms' neighbors are arranged around them, see `orientation`: the mean
over the atoms that it stands for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres

from aiida_cgcnn_elastic.workers import worker_pool

from .orientation import N_ORIENTATIONS, orientations

__all__ = ['N_NEIGHBORS', 'CrystalGraphs', 'build_graphs', 'iter_graphs']

N_NEIGHBORS = 12

TIE_TOLERANCE = 0.01
"""Neighbors whose distances differ from the k-th smallest by less than this (Angstrom) are one shell.

Between the 12th and the 13th neighbor of Matbench's and GNoME's crystals, gaps that are rounding of one and the same
distance end at about 1e-3 A, where the number of gaps for each Angstrom has fallen to that of gaps in general. Ten
times that leaves room for less careful relaxations.
"""

MERGE_TOLERANCE = 1e-3
"""Distances that differ by less than this (Angstrom) are the same distance where atoms and edges are compared."""

_SELF = 1e-6  # An atom is no neighbor of itself; its images are. Angstrom.
_POINTS_IN_FIRST_SPHERE = 1.8  # expected number of points in the first sphere, over k
_GROWTH = 1.35  # of the radius where an atom has fewer than k neighbors within it
# Crystals and atoms in one vectorised step: enough to amortise numpy's overhead, few enough for the cache and for the
# bits of the integer keys. One crystal may have more atoms.
_CRYSTALS_IN_CHUNK = 256
_ATOMS_IN_CHUNK = 20_000
_PERIODIC = np.array([1, 1, 1], dtype=np.int64)


@dataclass(frozen=True)
class CrystalGraphs:
    """The graphs of ``m`` crystals with ``a`` distinct atoms and ``e`` distinct edges in all.

    Attributes
    ----------
    atomic_numbers : (a,) uint8
    multiplicities : (a,) int32
        How many atoms of the cell the distinct atom stands for.
    atom_offsets : (m + 1,) int64
        Crystal ``i`` has the distinct atoms ``atom_offsets[i]`` to ``atom_offsets[i + 1]``.
    centers, neighbors : (e,) int32
        The two distinct atoms of every edge, counted over all crystals; ``centers`` is sorted.
    distances : (e,) float32
        Angstrom.
    weights : (e,) float32
        How many neighbors the edge stands for. The weights of an atom sum to ``n_neighbors``.
    edge_offsets : (m + 1,) int64
        Crystal ``i`` has the edges ``edge_offsets[i]`` to ``edge_offsets[i + 1]``.
    volumes : (m,) float64
        Of the cells that the multiplicities count the atoms of, cubic Angstrom.
    orientations : (a, q) float32
        How the neighbors of the atoms are arranged, see `orientation.orientations`; ``q`` is 0 where that was not asked
        for.
    n_neighbors : int
    """

    atomic_numbers: np.ndarray
    multiplicities: np.ndarray
    atom_offsets: np.ndarray
    centers: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray
    weights: np.ndarray
    edge_offsets: np.ndarray
    volumes: np.ndarray
    orientations: np.ndarray
    n_neighbors: int = N_NEIGHBORS

    def __len__(self) -> int:
        return len(self.atom_offsets) - 1

    @property
    def n_atoms(self) -> np.ndarray:
        """Return the number of atoms in the cell of every crystal, shape (m,)."""
        if len(self) == 0:
            return np.zeros(0, dtype=np.int64)
        return np.add.reduceat(self.multiplicities.astype(np.int64), self.atom_offsets[:-1])

    @property
    def n_edges(self) -> np.ndarray:
        """Return the number of distinct edges of every crystal, shape (m,)."""
        return np.diff(self.edge_offsets)

    @property
    def reaches(self) -> np.ndarray:
        """Return how far the farthest neighbor of an atom is in every crystal, shape (m,) float64, Angstrom."""
        farthest = np.zeros(len(self))
        some = np.flatnonzero(self.n_edges)
        if len(some):
            farthest[some] = np.maximum.reduceat(self.distances, self.edge_offsets[some])
        return farthest

    @property
    def has_orientations(self) -> bool:
        """Say whether the nodes know how their neighbors are arranged."""
        return self.orientations.shape[1] > 0

    def without_orientations(self) -> CrystalGraphs:
        """Return the same graphs whose nodes do not know how their neighbors are arranged."""
        return replace(self, orientations=self.orientations[:, :0])

    def select(self, indices: np.ndarray | Sequence[int]) -> CrystalGraphs:
        """Return the graphs of some crystals, in the order given (indices may repeat)."""
        rows = np.asarray(indices, dtype=np.int64)
        atoms, atom_offsets = _ranges(self.atom_offsets, rows)
        edges, edge_offsets = _ranges(self.edge_offsets, rows)
        shift = np.repeat(atom_offsets[:-1] - self.atom_offsets[rows], np.diff(edge_offsets)).astype(np.int32)
        return CrystalGraphs(
            atomic_numbers=self.atomic_numbers[atoms],
            multiplicities=self.multiplicities[atoms],
            atom_offsets=atom_offsets,
            centers=self.centers[edges] + shift,
            neighbors=self.neighbors[edges] + shift,
            distances=self.distances[edges],
            weights=self.weights[edges],
            edge_offsets=edge_offsets,
            volumes=self.volumes[rows],
            orientations=self.orientations[atoms],
            n_neighbors=self.n_neighbors,
        )

    def slice(self, start: int, stop: int) -> CrystalGraphs:
        """Return the graphs of the crystals ``start`` to ``stop``, without copying where nothing has to change."""
        first_atom, last_atom = self.atom_offsets[start], self.atom_offsets[stop]
        first_edge, last_edge = self.edge_offsets[start], self.edge_offsets[stop]
        shift = np.int32(first_atom)
        return CrystalGraphs(
            atomic_numbers=self.atomic_numbers[first_atom:last_atom],
            multiplicities=self.multiplicities[first_atom:last_atom],
            atom_offsets=self.atom_offsets[start : stop + 1] - first_atom,
            centers=self.centers[first_edge:last_edge] - shift,
            neighbors=self.neighbors[first_edge:last_edge] - shift,
            distances=self.distances[first_edge:last_edge],
            weights=self.weights[first_edge:last_edge],
            edge_offsets=self.edge_offsets[start : stop + 1] - first_edge,
            volumes=self.volumes[start:stop],
            orientations=self.orientations[first_atom:last_atom],
            n_neighbors=self.n_neighbors,
        )

    def batches(self, max_edges: int) -> Iterator[tuple[int, int]]:
        """Yield ``(start, stop)`` of runs of crystals with at most ``max_edges`` edges, but at least one crystal."""
        start = 0
        while start < len(self):
            limit = self.edge_offsets[start] + max_edges
            stop = max(int(np.searchsorted(self.edge_offsets, limit, side='right')) - 1, start + 1)
            yield start, stop
            start = stop

    @classmethod
    def concatenate(cls, parts: Iterable[CrystalGraphs]) -> CrystalGraphs:
        """Join several sets of graphs, in the order given.

        Raises
        ------
        ValueError
            If there is nothing to join, or the parts differ in their number of neighbors or in whether they have
            orientations.
        """
        items = list(parts)
        if not items:
            raise ValueError('there are no graphs to concatenate')
        if len({item.n_neighbors for item in items}) > 1:
            raise ValueError(f'graphs with different n_neighbors: {sorted({item.n_neighbors for item in items})}')
        if len({item.has_orientations for item in items}) > 1:
            raise ValueError('some of the graphs have orientations and others have none')
        atoms = np.cumsum([0, *(len(item.atomic_numbers) for item in items)])
        edges = np.cumsum([0, *(len(item.centers) for item in items)])
        shifts = atoms[:-1].astype(np.int32)
        return cls(
            atomic_numbers=np.concatenate([item.atomic_numbers for item in items]),
            multiplicities=np.concatenate([item.multiplicities for item in items]),
            atom_offsets=np.concatenate(
                [[0], *(item.atom_offsets[1:] + shift for item, shift in zip(items, atoms, strict=False))]
            ).astype(np.int64),
            centers=np.concatenate([item.centers + shift for item, shift in zip(items, shifts, strict=True)]),
            neighbors=np.concatenate([item.neighbors + shift for item, shift in zip(items, shifts, strict=True)]),
            distances=np.concatenate([item.distances for item in items]),
            weights=np.concatenate([item.weights for item in items]),
            edge_offsets=np.concatenate(
                [[0], *(item.edge_offsets[1:] + shift for item, shift in zip(items, edges, strict=False))]
            ).astype(np.int64),
            volumes=np.concatenate([item.volumes for item in items]),
            orientations=np.concatenate([item.orientations for item in items]),
            n_neighbors=items[0].n_neighbors,
        )


def build_graphs(
    lattices: np.ndarray,
    atomic_numbers: np.ndarray,
    frac_coords: np.ndarray,
    offsets: np.ndarray,
    *,
    n_neighbors: int = N_NEIGHBORS,
    orientation: bool = False,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CrystalGraphs:
    """Find the neighbors of all atoms of ``m`` crystals with ``a`` atoms in all.

    There is no cutoff radius: the sphere that is searched grows until every atom has ``n_neighbors``, so an isolated
    atom's neighbors are as far away as they are, and no neighbor is made up.

    Parameters
    ----------
    lattices : (m, 3, 3) float
        Angstrom; rows are lattice vectors.
    atomic_numbers : (a,) int
    frac_coords : (a, 3) float
        Anywhere in space, not only in the first cell.
    offsets : (m + 1,) int
        Crystal ``i`` has the atoms ``offsets[i]`` to ``offsets[i + 1]``; at least one.
    n_neighbors : int
    orientation : bool
        Whether the nodes shall know how their neighbors are arranged; takes half as long again.
    processes : int
        Worker processes. 1 works in this process.
    progress : callable
        Called with the numbers of crystals done and in all.

    Returns
    -------
    CrystalGraphs

    Raises
    ------
    ValueError
        If the arrays do not fit together, or a crystal has no atom, no volume or a coordinate that is not finite; the
        message names its index.
    """
    total = len(offsets) - 1
    parts = []
    done = 0
    for part in iter_graphs(
        lattices,
        atomic_numbers,
        frac_coords,
        offsets,
        n_neighbors=n_neighbors,
        orientation=orientation,
        processes=processes,
    ):
        parts.append(part)
        done += len(part)
        if progress is not None:
            progress(done, total)
    if not parts:
        return _no_graphs(n_neighbors, orientation)
    return CrystalGraphs.concatenate(parts)


def iter_graphs(
    lattices: np.ndarray,
    atomic_numbers: np.ndarray,
    frac_coords: np.ndarray,
    offsets: np.ndarray,
    *,
    n_neighbors: int = N_NEIGHBORS,
    orientation: bool = False,
    processes: int = 1,
) -> Iterator[CrystalGraphs]:
    """Yield the graphs of the crystals in order, some hundred at a time; see `build_graphs` for the parameters.

    With several processes only a few chunks are kept in flight, so memory does not grow with the number of crystals.
    """
    lattices = np.ascontiguousarray(lattices, dtype=np.float64)
    atomic_numbers = np.ascontiguousarray(atomic_numbers, dtype=np.uint8)
    frac_coords = np.ascontiguousarray(frac_coords, dtype=np.float64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    _check(lattices, atomic_numbers, frac_coords, offsets, n_neighbors)

    chunks = _chunks(offsets)

    def arguments() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, bool]]:
        for start, stop in chunks:
            atoms = slice(offsets[start], offsets[stop])
            local = offsets[start : stop + 1] - offsets[start]
            yield lattices[start:stop], atomic_numbers[atoms], frac_coords[atoms], local, n_neighbors, orientation

    if processes <= 1 or len(chunks) <= 1:
        for item in arguments():
            yield _build_chunk(*item)
        return
    # The C routine holds the interpreter's lock, so threads do not help.
    with worker_pool(processes) as pool:
        running: deque[Future[CrystalGraphs]] = deque()
        try:
            for item in arguments():
                running.append(pool.submit(_build_chunk, *item))
                if len(running) > 2 * processes:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _chunks(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Return ``(start, stop)`` of runs of crystals that are few enough for one vectorised step."""
    chunks = []
    start, total = 0, len(offsets) - 1
    while start < total:
        by_atoms = int(np.searchsorted(offsets, offsets[start] + _ATOMS_IN_CHUNK, side='right')) - 1
        stop = min(max(by_atoms, start + 1), start + _CRYSTALS_IN_CHUNK, total)
        chunks.append((start, stop))
        start = stop
    return chunks


def _check(
    lattices: np.ndarray, atomic_numbers: np.ndarray, frac_coords: np.ndarray, offsets: np.ndarray, n_neighbors: int
) -> None:
    """Raise ValueError where the arrays cannot be crystals: the C routine would crash or run forever on them."""
    if n_neighbors < 1:
        raise ValueError(f'n_neighbors is {n_neighbors}; it must be at least 1')
    if lattices.shape != (len(offsets) - 1, 3, 3):
        raise ValueError(f'lattices have shape {lattices.shape}, expected {(len(offsets) - 1, 3, 3)}')
    if frac_coords.shape != (len(atomic_numbers), 3):
        raise ValueError(f'frac_coords have shape {frac_coords.shape}, expected {(len(atomic_numbers), 3)}')
    if offsets[0] != 0 or offsets[-1] != len(atomic_numbers):
        raise ValueError(f'offsets run from {offsets[0]} to {offsets[-1]}, expected 0 to {len(atomic_numbers)}')
    if len(lattices) == 0:
        return
    if (empty := np.flatnonzero(np.diff(offsets) < 1)).size:
        raise ValueError(f'crystal {empty[0]} has no atoms')
    finite = np.isfinite(lattices).all(axis=(1, 2)) & np.logical_and.reduceat(
        np.isfinite(frac_coords).all(axis=1), offsets[:-1]
    )
    if not finite.all():
        raise ValueError(f'crystal {np.flatnonzero(~finite)[0]} has a lattice or coordinates that are not finite')
    if (flat := np.flatnonzero(np.abs(np.linalg.det(lattices)) < 1e-6)).size:
        raise ValueError(f'crystal {flat[0]} has a lattice without volume')


def _build_chunk(
    lattices: np.ndarray,
    atomic_numbers: np.ndarray,
    frac_coords: np.ndarray,
    offsets: np.ndarray,
    n_neighbors: int,
    orientation: bool,
) -> CrystalGraphs:
    """Build the graphs of a few hundred crystals; the arguments have been checked."""
    n_atoms = np.diff(offsets)
    crystal_of_atom = np.repeat(np.arange(len(n_atoms)), n_atoms)
    wrapped = frac_coords - np.floor(frac_coords)
    coords = np.ascontiguousarray(np.einsum('ai,aij->aj', wrapped, lattices[crystal_of_atom]))
    volumes = np.abs(np.linalg.det(lattices))
    radii = np.cbrt(3 / (4 * np.pi) * volumes / n_atoms * n_neighbors * _POINTS_IN_FIRST_SPHERE)

    found = []
    pending = np.arange(len(n_atoms))
    while len(pending):
        centers, neighbors, images, distances = _points_in_spheres(
            lattices, coords, offsets, radii, pending, orientation
        )
        cut = _kth_smallest(centers, distances, len(atomic_numbers), n_neighbors)
        # The shell at the cut must lie within the sphere as a whole.
        needed = np.maximum.reduceat(cut + TIE_TOLERANCE, offsets[:-1])
        complete = needed <= radii
        is_pending = np.zeros(len(n_atoms), dtype=bool)
        is_pending[pending] = True
        known = complete & is_pending
        farthest = np.where(known[crystal_of_atom], cut + TIE_TOLERANCE, -np.inf)
        keep = np.flatnonzero(distances <= farthest.take(centers))
        centers, distances = centers.take(keep), distances.take(keep)
        weights = _weigh(centers, distances, cut, n_neighbors)
        found.append((centers, neighbors.take(keep), distances, weights, images.take(keep, axis=0)))

        pending = pending[~complete[pending]]
        radii[pending] = np.where(np.isfinite(needed[pending]), needed[pending] * (1 + 1e-9), radii[pending] * _GROWTH)

    centers, neighbors, distances, weights, images = _sorted_by_center(found)
    classes = _distinct_atoms(centers, neighbors, distances, weights, atomic_numbers, crystal_of_atom)
    arranged = np.zeros((len(classes), 0))
    if orientation:
        vectors = images + wrapped.take(neighbors, axis=0)
        vectors -= wrapped.take(centers, axis=0)
        # Edges are sorted by crystal: a loop is faster than one lattice for each edge.
        ends = np.searchsorted(centers, offsets).tolist()
        for lattice, start, stop in zip(lattices, ends[:-1], ends[1:], strict=True):
            vectors[start:stop] = vectors[start:stop] @ lattice
        arranged = orientations(vectors, weights, centers, neighbors, atomic_numbers)
    return _merge(
        centers, neighbors, distances, weights, classes, atomic_numbers, crystal_of_atom, volumes, arranged, n_neighbors
    )


def _points_in_spheres(
    lattices: np.ndarray,
    coords: np.ndarray,
    offsets: np.ndarray,
    radii: np.ndarray,
    crystals: np.ndarray,
    with_images: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return centers, neighbors (counted over the chunk), their cells and distances of all pairs within the radius.

    The cells have shape (e, 3), or (e, 0) without images. An atom and itself are infinitely far apart.
    """
    results = []
    for crystal in crystals.tolist():
        first, last = offsets[crystal], offsets[crystal + 1]
        points = coords[first:last]
        radius = float(radii[crystal])
        center, neighbor, image, distance = find_points_in_spheres(
            points, points, radius, _PERIODIC, lattices[crystal], _SELF, 1.0
        )
        center += first
        neighbor += first
        results.append((center, neighbor, image if with_images else image[:, :0], distance))
    centers, neighbors, images, distances = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    distances[distances <= _SELF] = np.inf
    return centers, neighbors, images, distances


def _sorted_by_center(found: Sequence[tuple[np.ndarray, ...]]) -> Iterator[np.ndarray]:
    """Join what was found in several rounds, in the order of the centers, which come first and are sorted in each."""
    joined = [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
    if len(found) == 1:
        return iter(joined)
    order = np.argsort(joined[0], kind='stable')
    return (array.take(order, axis=0) for array in joined)


def _kth_smallest(centers: np.ndarray, distances: np.ndarray, n_atoms: int, k: int) -> np.ndarray:
    """Return the k-th smallest distance of every atom, infinite where it has fewer; ``centers`` is sorted."""
    counts = np.bincount(centers, minlength=n_atoms)
    place = np.arange(len(centers)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n_atoms, max(int(counts.max(initial=0)), k)), np.inf)
    table[centers, place] = distances
    table.partition(k - 1, axis=1)
    return table[:, k - 1]


def _weigh(centers: np.ndarray, distances: np.ndarray, cut: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return the weights of edges: 1 within the shell at the cut, an equal share of the rest in it."""
    at_cut = distances >= cut[centers] - TIE_TOLERANCE
    inside = np.bincount(centers, weights=~at_cut, minlength=len(cut))
    tied = np.bincount(centers, weights=at_cut, minlength=len(cut))
    share = (n_neighbors - inside) / np.maximum(tied, 1)
    return np.where(at_cut, share[centers], 1.0)


def _distinct_atoms(
    centers: np.ndarray,
    neighbors: np.ndarray,
    distances: np.ndarray,
    weights: np.ndarray,
    atomic_numbers: np.ndarray,
    crystal_of_atom: np.ndarray,
) -> np.ndarray:
    """Return the class of every atom; atoms of a class have the same element and the same edges to the same classes.

    ``centers`` is sorted.

    This is color refinement (Weisfeiler and Leman): atoms begin with their element as color, and are recolored by the
    multiset of their neighbors' colors, distances and weights until no class splits any more. Colors are 64-bit hashes
    and a multiset is the sum of its members' hashes, so neither the classes nor their order depend on the order of the
    atoms. Equal distances that rounding sends to different steps only leave two classes where one would do.
    """
    first = np.searchsorted(centers, np.arange(len(atomic_numbers)))
    steps = _hash(np.rint(distances / MERGE_TOLERANCE).astype(np.uint64))
    shares = np.rint(weights * 2**20).astype(np.uint64)
    crystals = crystal_of_atom.astype(np.uint64) << np.uint64(48)
    # Crystals come first in the order of classes: the high bits hold the crystal, the low bits the hash.
    colors = crystals | (_hash(atomic_numbers.astype(np.uint64)) >> np.uint64(16))
    _, classes = np.unique(colors, return_inverse=True)
    n_classes = 0
    while classes.max() + 1 > n_classes:
        n_classes = int(classes.max()) + 1
        messages = _hash(_hash(colors)[neighbors] + steps) * shares
        hashes = _hash(colors + _hash(np.add.reduceat(messages, first)))
        colors = crystals | (hashes >> np.uint64(16))
        _, classes = np.unique(colors, return_inverse=True)
    return classes


def _merge(
    centers: np.ndarray,
    neighbors: np.ndarray,
    distances: np.ndarray,
    weights: np.ndarray,
    classes: np.ndarray,
    atomic_numbers: np.ndarray,
    crystal_of_atom: np.ndarray,
    volumes: np.ndarray,
    arranged: np.ndarray,
    n_neighbors: int,
) -> CrystalGraphs:
    """Make one node of every class of atoms, and one edge of all between the same nodes at the same distance."""
    n_crystals = len(volumes)
    multiplicities = np.bincount(classes)
    representatives = np.zeros(len(multiplicities), dtype=np.int64)
    representatives[classes] = np.arange(len(classes))

    pairs = classes[centers] * len(multiplicities) + classes[neighbors]
    order = np.argsort(_sort_keys(pairs, distances))
    pairs, distances, weights = pairs[order], distances[order], weights[order]
    is_new = np.ones(len(pairs), dtype=bool)
    is_new[1:] = (np.diff(pairs) != 0) | (np.diff(distances) > MERGE_TOLERANCE)
    first = np.flatnonzero(is_new)
    merged_weights = np.add.reduceat(weights, first)
    # The mean distance makes the merging exact to first order in the differences between the merged distances.
    merged_distances = np.add.reduceat(distances * weights, first) / merged_weights
    merged_centers, merged_neighbors = np.divmod(pairs[first], len(multiplicities))

    atom_offsets = np.searchsorted(crystal_of_atom[representatives], np.arange(n_crystals + 1))
    return CrystalGraphs(
        atomic_numbers=atomic_numbers[representatives],
        multiplicities=multiplicities.astype(np.int32),
        atom_offsets=atom_offsets,
        centers=merged_centers.astype(np.int32),
        neighbors=merged_neighbors.astype(np.int32),
        distances=merged_distances.astype(np.float32),
        weights=(merged_weights / multiplicities[merged_centers]).astype(np.float32),
        edge_offsets=np.searchsorted(merged_centers, atom_offsets),
        volumes=volumes,
        orientations=_means(arranged, classes, multiplicities).astype(np.float32),
        n_neighbors=n_neighbors,
    )


def _means(rows: np.ndarray, classes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the mean of the (n, q) rows of each class, whatever their order but for rounding."""
    sums = [np.bincount(classes, column, len(sizes)) for column in rows.T]
    return np.stack(sums, axis=1) / sizes[:, None] if sums else np.zeros((len(sizes), 0))


def _hash(values: np.ndarray) -> np.ndarray:
    """Return 64-bit hashes of unsigned integers (the finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _sort_keys(pairs: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return integers that sort by pair and then by distance: several times faster than sorting by two columns.

    Distances are resolved a thousand times finer than needed to merge them.
    """
    step = max(MERGE_TOLERANCE / 1000, float(distances.max()) / 1e8)
    n_steps = int(distances.max() / step) + 2
    return pairs * n_steps + (distances / step).astype(np.int64)


def _ranges(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all elements of the given rows of a ragged array, and the offsets of the result."""
    lengths = offsets[rows + 1] - offsets[rows]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(new_offsets[-1]) + np.repeat(offsets[rows] - new_offsets[:-1], lengths)
    return positions, new_offsets


def _no_graphs(n_neighbors: int, orientation: bool) -> CrystalGraphs:
    """Return the graphs of no crystal."""
    dtypes = {
        'atomic_numbers': np.uint8,
        'multiplicities': np.int32,
        'centers': np.int32,
        'neighbors': np.int32,
        'distances': np.float32,
        'weights': np.float32,
    }
    arrays = {f.name: np.zeros(0, dtypes[f.name]) for f in fields(CrystalGraphs) if f.name in dtypes}
    return CrystalGraphs(
        **arrays,
        atom_offsets=np.zeros(1, np.int64),
        edge_offsets=np.zeros(1, np.int64),
        volumes=np.zeros(0),
        orientations=np.zeros((0, N_ORIENTATIONS if orientation else 0), np.float32),
        n_neighbors=n_neighbors,
    )
