"""Statistics of structure and composition that follow moduli: what perceptrons and boosting learn from.

All are means, spreads and extremes over the atoms of a crystal and over its bonds, from the same graphs that networks
take, so they do not depend on how the cell was written down. A bond is an edge of the graph that counts the less, the
longer it is beside the sum of the two covalent radii, ``exp((1 - x) / 0.12)`` with ``x = d / (r_i + r_j)``, in the way
of bond valences (Brown and Altermatt, Acta Cryst. B 41, 244 (1985)).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ['FEATURES_VERSION', 'PROPERTIES', 'Graphs', 'check_table', 'property_table', 'structure_features']

Values = npt.NDArray[np.float64]

FEATURES_VERSION = 1
"""Of the definitions of the features; raised when any changes, since trees know features by their place."""

PROPERTIES = (
    'group',
    'period',
    'valence_electrons',
    'electronegativity',
    'covalent_radius',
    'atomic_radius',
    'van_der_waals_radius',
    'first_ionisation_energy',
    'electron_affinity',
    'atomic_volume',
    'atomic_mass',
    'mendeleev_number',
    'melting_point',
    'bulk_modulus',
    'shear_modulus',
    's_electrons',
    'p_electrons',
    'd_electrons',
    'f_electrons',
)
"""The columns of a table of elements."""

BOND_DECAY = 0.12
STEEP_BOND_DECAY = 0.06
LARGEST_EXPONENT = 3.0
LEAST_EXPONENT = -30.0
"""Of bond weights, so that neither overlapping nor isolated atoms leave the range of numbers."""

STRONGEST_IN_COORDINATION = 2.0
"""The most that one bond adds to a coordination number."""


class Graphs(Protocol):
    """What is taken of `cgcnn.graphs.CrystalGraphs`."""

    @property
    def atomic_numbers(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def multiplicities(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def atom_offsets(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def centers(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def neighbors(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def distances(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def weights(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def edge_offsets(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def volumes(self) -> np.ndarray:
        """See `CrystalGraphs`."""

    @property
    def orientations(self) -> np.ndarray:
        """See `CrystalGraphs`."""


def property_table(properties: Mapping[str, npt.NDArray[np.float64]]) -> Values:
    """Return the table of elements, shape (119, p), from properties by name.

    Raises
    ------
    ValueError
        If a property is missing, has another shape or is not finite for an element.
    """
    if missing := [name for name in PROPERTIES if name not in properties]:
        raise ValueError(f'the properties of the elements lack {missing}')
    table = np.stack([np.asarray(properties[name], dtype=np.float64) for name in PROPERTIES], axis=1)
    table[0] = 0.0
    check_table(table)
    return table


def check_table(table: npt.NDArray[np.float64]) -> None:
    """Raise ValueError unless this is a table of elements."""
    if table.shape != (119, len(PROPERTIES)):
        raise ValueError(f'the table of elements has the shape {table.shape}; expected {(119, len(PROPERTIES))}')
    if not np.isfinite(table).all():
        raise ValueError('the table of elements has values that are not finite')


def structure_features(graphs: Graphs, table: npt.NDArray[np.float64]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the names of the features and their values, shape (m, f).

    Parameters
    ----------
    graphs : Graphs
        Of ``m`` crystals. Where their nodes know how their neighbors are arranged, so do the features.
    table : (119, p) array
        Properties of the elements; see `property_table`.
    """
    check_table(table)
    if not len(graphs.volumes):
        # The names come from the features of a crystal that is there.
        one = dataclasses.replace(_ONE_ATOM, orientations=np.zeros((1, graphs.orientations.shape[1])))
        names, _ = structure_features(one, table)
        return names, np.zeros((0, len(names)), dtype=np.float32)
    columns = _Columns()
    atoms = _Groups(graphs.atom_offsets, graphs.multiplicities.astype(np.float64))
    of_atom = table[graphs.atomic_numbers]
    columns.add('atom', PROPERTIES, atoms.statistics(of_atom))
    logarithms = np.log(np.maximum(of_atom, 1e-3))
    columns.add('atom_log', PROPERTIES, {'mean': atoms.mean(logarithms)})

    center, neighbor = of_atom[graphs.centers], of_atom[graphs.neighbors]
    radius = PROPERTIES.index('covalent_radius')
    distances = graphs.distances.astype(np.float64)
    relative = distances / (center[:, radius] + neighbor[:, radius])
    strength = _bond_strength(relative, BOND_DECAY)
    occurrences = graphs.weights * graphs.multiplicities[graphs.centers].astype(np.float64)
    bonds = _Groups(graphs.edge_offsets, occurrences * strength)
    columns.add('bond', ('length', 'relative_length'), bonds.statistics(np.stack([distances, relative], axis=1)))
    difference, product = np.abs(center - neighbor), np.sqrt(np.abs(center * neighbor))
    columns.add('bond_difference', PROPERTIES, bonds.statistics(difference, without='min'))
    columns.add('bond_product', PROPERTIES, bonds.statistics(product, without='max'))

    coordination = np.stack(
        [
            np.bincount(
                graphs.centers,
                graphs.weights * np.minimum(_bond_strength(relative, decay), STRONGEST_IN_COORDINATION),
                len(of_atom),
            )
            for decay in (BOND_DECAY, STEEP_BOND_DECAY)
        ],
        axis=1,
    )
    columns.add('coordination', ('soft', 'steep'), atoms.statistics(coordination.astype(np.float64)))

    # Sums of bonds in a volume, each like a spring whose constant some property sets: a crude model of the moduli.
    springs = {
        'plain': np.ones_like(strength),
        'ionic': difference[:, PROPERTIES.index('electronegativity')],
        **{
            name: product[:, PROPERTIES.index(name)]
            for name in ('valence_electrons', 'electronegativity', 'melting_point', 'bulk_modulus', 'shear_modulus')
        },
    }
    constants = np.stack(list(springs.values()), axis=1)
    for power in (0, 2):
        sums = bonds.sum(constants / distances[:, None] ** power) / graphs.volumes[:, None]
        columns.add(f'spring_{power}', tuple(springs), {'log': np.log(1e-9 + sums)})

    arranged = tuple(str(place) for place in range(graphs.orientations.shape[1]))
    if arranged:
        columns.add('orientation', arranged, atoms.statistics(graphs.orientations.astype(np.float64)))

    columns.add('cell', *_whole_cell(graphs, atoms, of_atom))
    return columns.names, np.concatenate(columns.values, axis=1).astype(np.float32)


def _whole_cell(graphs: Graphs, atoms: _Groups, of_atom: Values) -> tuple[tuple[str, ...], dict[str, Values]]:
    """Return features of the crystal as a whole: its volume and how many kinds of atoms it has."""
    n_atoms = atoms.total

    def filled(name: str, power: int) -> Values:
        return atoms.sum(of_atom[:, [PROPERTIES.index(name)]] ** power)[:, 0] / graphs.volumes

    crystal = np.repeat(np.arange(len(n_atoms)), np.diff(graphs.atom_offsets))
    keys, kind = np.unique(crystal * 119 + graphs.atomic_numbers, return_inverse=True)
    fractions = np.bincount(kind, graphs.multiplicities) / n_atoms[keys // 119]
    values = {
        'volume_per_atom': graphs.volumes / n_atoms,
        'density': filled('atomic_mass', 1),
        'covalent_packing': filled('covalent_radius', 3),
        'atomic_packing': filled('atomic_radius', 3),
        'van_der_waals_packing': filled('van_der_waals_radius', 3),
        'valence_density': filled('valence_electrons', 1),
        'volume_over_elements': 1 / filled('atomic_volume', 1),
        'distinct_atoms': np.diff(graphs.atom_offsets),
        'elements': np.bincount(keys // 119, minlength=len(n_atoms)),
        'largest_fraction': np.maximum.reduceat(fractions, np.searchsorted(keys // 119, np.arange(len(n_atoms)))),
        'norm_of_fractions': np.sqrt(np.bincount(keys // 119, fractions**2, len(n_atoms))),
    }
    return tuple(values), {'': np.stack([np.asarray(column, dtype=np.float64) for column in values.values()], axis=1)}


def _bond_strength(relative: Values, decay: float) -> Values:
    """Return what bonds of that length over the sum of the radii count."""
    return np.exp(np.clip((1 - relative) / decay, LEAST_EXPONENT, LARGEST_EXPONENT))


class _Groups:
    """Rows that belong to crystals, one after the other, with weights."""

    def __init__(self, offsets: np.ndarray, weights: Values) -> None:
        self.first = offsets[:-1]
        self.counts = np.diff(offsets)
        self.weights = weights
        self.total = np.add.reduceat(weights, self.first)

    def sum(self, values: Values) -> Values:
        """Return the weighted sums of (n, p) values, shape (m, p)."""
        return np.add.reduceat(values * self.weights[:, None], self.first)

    def mean(self, values: Values) -> Values:
        """Return the weighted means of (n, p) values, shape (m, p)."""
        return self.sum(values) / self.total[:, None]

    def statistics(self, values: Values, without: str = '') -> dict[str, Values]:
        """Return mean, standard deviation and extremes of (n, p) values, each of the shape (m, p)."""
        mean = self.mean(values)
        centered = values - np.repeat(mean, self.counts, axis=0)
        result = {
            'mean': mean,
            'std': np.sqrt(self.mean(centered**2)),
            'min': np.minimum.reduceat(values, self.first),
            'max': np.maximum.reduceat(values, self.first),
        }
        result.pop(without, None)
        return result


class _Columns:
    """Features with their names, as they are made."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values: list[Values] = []

    def add(self, of: str, names: tuple[str, ...], statistics: Mapping[str, Values]) -> None:
        """Take the (m, p) values of every statistic of ``p`` named quantities."""
        for statistic, values in statistics.items():
            self.names += [' '.join(filter(None, (of, name, statistic))) for name in names]
            self.values.append(values)


@dataclass(frozen=True)
class _Arrays:
    """The simplest graphs."""

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


_ONE_ATOM = _Arrays(
    atomic_numbers=np.array([1]),
    multiplicities=np.array([1]),
    atom_offsets=np.array([0, 1]),
    centers=np.array([0]),
    neighbors=np.array([0]),
    distances=np.array([1.0]),
    weights=np.array([1.0]),
    edge_offsets=np.array([0, 1]),
    volumes=np.array([1.0]),
    orientations=np.zeros((1, 0)),
)
