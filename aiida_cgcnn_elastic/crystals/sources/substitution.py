"""Hypothetical crystals: known prototypes in which other elements take the places of the parent's.

A prototype is a crystal of the AFLOW library (Mehl et al., Comput. Mater. Sci. 136, S1, 2017) as pymatgen carries it.
All atoms of one element of the parent are replaced by atoms of another element; the shape of the cell and the
fractional coordinates are kept and the volume is predicted anew. There are three kinds of substitution:

- of ions by ions, keeping the crystal neutral, weighted by the substitution probabilities mined from the ICSD (Hautier
  et al., Inorg. Chem. 50, 656, 2011);
- of a metal by a metal and of a nonmetal by B, C, N, Si, P or As;
- of metals by metals.

The last two, for which there are no mined probabilities, are weighted by nearness on Pettifor's chemical scale (the
Mendeleev numbers; Pettifor, Solid State Commun. 51, 31, 1984): neighbors on it form the same structures. Only in the
structures of salts, where no metal of interest is near the parent's, any transition metal is as likely as another.
"""

from __future__ import annotations

import functools
import gzip
import importlib.metadata
import importlib.util
import itertools
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from aiida_cgcnn_elastic.crystals.checks import why_unusable
from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS, SYMBOLS
from aiida_cgcnn_elastic.crystals.crystal import Crystal

__all__ = ['FAMILIES', 'Prototype', 'data_files', 'family_of', 'hypothetical_crystals', 'prototype_library']

PROTOTYPES = 'aflow_prototypes.json.gz'
ION_SUBSTITUTIONS = 'data/lambda.json'
BOND_PARAMETERS = 'DLS_bond_params.yaml'
DATA_FILES = {
    PROTOTYPES: 'pymatgen.analysis.prototypes',
    ION_SUBSTITUTIONS: 'pymatgen.core.structure_prediction',
    BOND_PARAMETERS: 'pymatgen.core.structure_prediction',
}
"""The data of pymatgen that crystals are made of, and the packages that hold them."""

MAX_ATOMS = 20
MAX_ELEMENTS = 3

SYMMETRY_TOLERANCE = 1e-2
"""Angstrom; the library's coordinates have four or five digits."""

SHORTEST_BOND = (0.85, 1.2)
"""Shortest bond of a crystal over the expected length. A parent outside was measured under high pressure, or its cell
in the library is not that of the compound; its volume would mislead."""

MIN_PACKING = 0.28
"""Least volume of the atoms over that of the cell. Rutile has 0.34, zinc blende 0.35; below lie crystals of molecules,
open frameworks and wide layers, which are of no interest where hard materials are sought."""

MIN_VOLUME_PER_ATOM = 5.67
"""Angstrom^3, that of diamond: no crystal has more atoms in a volume at ambient pressure."""

MAX_LOOSENESS = 1.25
"""How much longer, over expected bonds, the shortest contact of any atom may be than the shortest in the crystal. No
sound parent has more; an atom with more rattles in its cage."""

PETTIFOR_WIDTH = 4.0
"""Steps on the chemical scale after which a substitution is e times less likely."""

UNSEEN_SUBSTITUTION = -5.0
"""Weight (logarithmic) of a pair of ions of which the ICSD has no example, as in Hautier et al."""

SAME_VOLUME = 0.02
"""Crystals of the same formula and space group whose volumes differ by less than this fraction are one crystal."""


def _symbols(text: str) -> tuple[str, ...]:
    return tuple(text.split())


METALS = _symbols(
    """
    Li Be Na Mg Al K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge Rb Sr Y Zr Nb Mo Ru Rh Pd Ag Cd In Sn Sb Cs Ba La Ce Pr
    Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
    """
)
"""Metals, with germanium and antimony, that have a stable isotope (bismuth counts as stable)."""

TRANSITION_METALS = _symbols('Sc Ti V Cr Mn Fe Co Ni Y Zr Nb Mo Ru Rh Pd La Hf Ta W Re Os Ir Pt')
"""Metals whose borides, carbides and nitrides are worth trying in structures of salts, as TiC in that of NaCl."""

NONMETALS = _symbols('B C N O F Si P S Cl As Se Br Te I')

ELECTROPOSITIVE_PARTNERS = ('Be', 'B', 'Al', 'Si', 'Ga', 'Ge', *TRANSITION_METALS)
"""What may take the place of the less electronegative element where both are nonmetals (SiC, BN)."""

COVALENT_NONMETALS = ('B', 'C', 'N', 'Si', 'P', 'As')

FAMILY_OF_NONMETAL = {
    'B': 'boride',
    'C': 'carbide',
    'N': 'nitride',
    'O': 'oxide',
    'F': 'halide',
    'Si': 'silicide',
    'P': 'pnictide',
    'S': 'chalcogenide',
    'Cl': 'halide',
    'As': 'pnictide',
    'Se': 'chalcogenide',
    'Br': 'halide',
    'Te': 'chalcogenide',
    'I': 'halide',
}
FAMILIES = (
    'boride',
    'carbide',
    'nitride',
    'oxide',
    'silicide',
    'pnictide',
    'chalcogenide',
    'halide',
    'intermetallic',
)
"""Kinds of compounds, by their most electronegative nonmetal; crystals are made of each in turn."""

# Ions of the mined table that are left out as cations: their bonds are those of molecules or of complex anions.
NOT_CATIONS = frozenset({'H', 'N', 'O', 'F', 'S', 'Cl', 'Se', 'Br', 'I', 'Te', 'Kr', 'Xe'})


@dataclass(frozen=True, eq=False)
class Prototype:
    """A crystal whose elements can be replaced.

    Parameters
    ----------
    label : str
        The parent's formula, Pearson symbol and space group number: ``AlB2-hP3-191``.
    elements : tuple of str
        The parent's elements, from the least to the most electronegative. Their places are the roles to be cast anew.
    lattice : array, shape (3, 3)
        The parent's primitive cell, in Angstrom.
    frac_coords : array, shape (n, 3)
        Fractional coordinates.
    roles : array of int, shape (n,)
        The place in ``elements`` of every atom's element.
    distances : array, shape (r, r)
        The shortest distance between atoms of two roles, in Angstrom.
    space_group_number : int
        The space group, also that of every crystal made of it: the roles stay different elements.
    """

    label: str
    elements: tuple[str, ...]
    lattice: npt.NDArray[np.float64]
    frac_coords: npt.NDArray[np.float64]
    roles: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    space_group_number: int

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many atoms of each role the cell has, shape (r,)."""
        return np.bincount(self.roles)

    def crystal(self, symbols: tuple[str, ...]) -> Crystal | None:
        """Return the crystal in which these elements take the roles, or None where they do not fit.

        The parent's cell is scaled by the geometric mean of two factors (Chu et al., Comput. Mater. Sci. 146, 184,
        2018): that of data-mined lattice scaling, by which the shortest bond grows as the sum of the mined radii of its
        atoms, and that of reference lattice scaling, by which the cell grows as all atomic radii. For the 2,800
        crystals of Matbench with the space group and composition of one of these prototypes the volume so predicted is
        off by 8 % (median; 27 % in the worst tenth). The mean was chosen on these same crystals: either factor alone is
        off by 9 to 10 %.
        """
        fit = self._fit(symbols)
        by_bonds = self._fit(self.elements).min() / fit.min()
        by_atoms = self._size(symbols) / self._size(self.elements)
        scale = math.sqrt(by_bonds * by_atoms)
        lattice = self.lattice * scale
        if not self._is_sound(symbols, scale):
            return None
        numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols], dtype=np.uint8)[self.roles]
        if why_unusable(lattice, self.frac_coords) is not None:
            return None
        properties = {'space_group_number': self.space_group_number, 'prototype': self.label}
        return Crystal(f'proto-{self.label}-{"-".join(symbols)}', lattice, numbers, self.frac_coords, properties)

    def parent_is_sound(self) -> bool:
        """Say whether the parent is a crystal, at its volume, of which others can be made."""
        return self._is_sound(self.elements, 1.0)

    def _is_sound(self, symbols: tuple[str, ...], scale: float) -> bool:
        """Say whether bonds are as long as expected, no atom is loose, and the crystal is dense but not too dense."""
        fit = self._fit(symbols) * scale
        shortest, longest = SHORTEST_BOND
        radii = _radii(symbols, tuple(self.counts))
        volume = abs(float(np.linalg.det(self.lattice))) * scale**3
        packing = 4 / 3 * math.pi * float(self.counts @ radii**3) / volume
        return (
            shortest <= fit.min() <= longest
            and fit.min(axis=1).max() <= MAX_LOOSENESS * fit.min()
            and packing >= MIN_PACKING
            and volume / len(self.roles) >= MIN_VOLUME_PER_ATOM
        )

    def _size(self, symbols: tuple[str, ...]) -> float:
        """Return what reference lattice scaling takes for a crystal's linear size, in Angstrom."""
        radii = np.array([_atomic_radius(symbol) for symbol in symbols])
        return float(radii @ np.cbrt(self.counts))

    def _fit(self, symbols: tuple[str, ...]) -> npt.NDArray[np.float64]:
        """Return the shortest distances between roles over those expected of these elements, shape (r, r)."""
        radii = _radii(symbols, tuple(self.counts))
        return self.distances / (radii[:, None] + radii[None, :])


def hypothetical_crystals(seed: int, taken: Iterable[Crystal] = ()) -> Iterator[Crystal]:
    """Make crystals, different from each other, of every family in turn and within a family of every prototype in turn.

    Parameters
    ----------
    seed : int
        Substitutions are drawn without replacement by their weights; another seed draws others. The crystals of one
        seed always come in the same order.
    taken : iterable of Crystal
        Known crystals (with their space group numbers) whose formula and space group no crystal shall have.

    Yields
    ------
    Crystal
        With the properties ``space_group_number`` and ``prototype``, until there are no more.
    """
    known = {(crystal.formula, crystal.properties['space_group_number']) for crystal in taken}
    made: dict[tuple[str, int], list[float]] = {}
    for crystal in _in_turn([_of_family(family, seed) for family in FAMILIES]):
        kind = (crystal.formula, crystal.properties['space_group_number'])
        volume = crystal.volume / crystal.n_atoms
        volumes = made.setdefault(kind, [])
        if kind in known or any(abs(volume - other) < SAME_VOLUME * other for other in volumes):
            continue
        volumes.append(volume)
        yield crystal


def family_of(symbols: Iterable[str]) -> str:
    """Return the family of a compound, one of :data:`FAMILIES`: that of its most electronegative nonmetal."""
    nonmetals = [symbol for symbol in symbols if symbol in FAMILY_OF_NONMETAL]
    if not nonmetals:
        return 'intermetallic'
    return FAMILY_OF_NONMETAL[max(nonmetals, key=_electronegativity)]


@functools.cache
def prototype_library() -> tuple[Prototype, ...]:
    """Return the prototypes that crystals are made of, in the order of their labels.

    These are the AFLOW prototypes of two or three elements and at most 20 atoms in the primitive cell, without those
    that hold hydrogen, have no symmetry or another than they are said to have, or are unsound as crystals.
    """
    entries = json.loads(gzip.decompress(_data_file(PROTOTYPES).read_bytes()))
    prototypes = [prototype for entry in entries if (prototype := _prototype(entry)) is not None]
    return tuple(sorted(prototypes, key=lambda prototype: prototype.label))


def _prototype(entry: dict[str, Any]) -> Prototype | None:
    import spglib

    structure = entry['snl']
    symbols = [site['species'][0]['element'] for site in structure['sites']]
    counts = Counter(symbols)
    if len(symbols) > MAX_ATOMS or not 2 <= len(counts) <= MAX_ELEMENTS or 'H' in counts:
        return None
    elements = tuple(sorted(counts, key=lambda symbol: (_electronegativity(symbol), symbol)))
    lattice = np.array(structure['lattice']['matrix'], dtype=np.float64)
    frac_coords = np.array([site['abc'] for site in structure['sites']], dtype=np.float64)
    roles = np.array([elements.index(symbol) for symbol in symbols])
    number = int(entry['tags']['aflow'].split('_')[2])
    symmetry = spglib.get_symmetry_dataset((lattice, frac_coords, roles), symprec=SYMMETRY_TOLERANCE)
    if symmetry is None or symmetry.number != number or number == 1:
        return None
    divisor = math.gcd(*counts.values())
    numbers = [counts[symbol] // divisor for symbol in elements]
    formula = ''.join(f'{symbol}{n}' if n > 1 else symbol for symbol, n in zip(elements, numbers, strict=True))
    prototype = Prototype(
        label=f'{formula}-{entry["tags"]["pearson"]}-{number}',
        elements=elements,
        lattice=lattice,
        frac_coords=frac_coords,
        roles=roles,
        distances=_shortest_distances(lattice, frac_coords, roles),
        space_group_number=number,
    )
    return prototype if prototype.parent_is_sound() else None


def _shortest_distances(
    lattice: npt.NDArray[np.float64], frac_coords: npt.NDArray[np.float64], roles: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the shortest distance between atoms of any two roles, shape (r, r)."""
    images = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    separations = frac_coords[None, :, None] - frac_coords[:, None, None] + images
    distances = np.linalg.norm(separations @ lattice, axis=-1)
    distances[distances < SYMMETRY_TOLERANCE] = np.inf  # an atom and itself
    nearest = distances.min(axis=-1)
    n_roles = int(roles.max()) + 1
    return np.array(
        [[nearest[np.ix_(roles == one, roles == other)].min() for other in range(n_roles)] for one in range(n_roles)]
    )


def _in_turn(iterators: Iterable[Iterator[Crystal]]) -> Iterator[Crystal]:
    """Take one item of each iterator in turn; those that end drop out."""
    running = list(iterators)
    while running:
        still_running = []
        for iterator in running:
            item = next(iterator, None)
            if item is not None:
                yield item
                still_running.append(iterator)
        running = still_running


def _of_family(family: str, seed: int) -> Iterator[Crystal]:
    return _in_turn([_draws(prototype, family, seed) for prototype in prototype_library()])


def _draws(prototype: Prototype, family: str, seed: int) -> Iterator[Crystal]:
    """Draw the substitutions of a prototype that give a family's compounds, and make those crystals that fit."""
    casts, weights = _substitutions(prototype).get(family, (np.empty((0, 0), np.uint8), np.empty(0)))
    # The generator depends on names alone, so that a prototype's crystals do not change when others come or go.
    rng = np.random.default_rng([seed, zlib.crc32(f'{family} {prototype.label}'.encode())])
    # The Gumbel-max trick: sorting by these keys is drawing without replacement with probability ~ exp(weight).
    for row in np.argsort(-(weights + rng.gumbel(size=len(weights))), kind='stable'):
        symbols = tuple(SYMBOLS[number] for number in casts[row])
        if symbols != prototype.elements and (crystal := prototype.crystal(symbols)) is not None:
            yield crystal


@functools.cache
def _substitutions(prototype: Prototype) -> dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]]:
    """Return by family the atomic numbers that may take a prototype's roles, shape (m, r), and their log weights."""
    parts = [part for part in (_ionic(prototype), _covalent(prototype), _metallic(prototype)) if part is not None]
    if not parts:
        return {}
    casts = np.concatenate([part[0] for part in parts])
    weights = np.concatenate([part[1] for part in parts])
    # The family is that of the most electronegative nonmetal; the row of -1 catches compounds without any.
    rank = np.full(len(SYMBOLS), -1)
    for place, symbol in enumerate(sorted(NONMETALS, key=_electronegativity)):
        rank[ATOMIC_NUMBERS[symbol]] = place
    leading = np.take_along_axis(casts, rank[casts].argmax(axis=1)[:, None], axis=1)[:, 0]
    families = np.array([FAMILY_OF_NONMETAL.get(symbol, 'intermetallic') for symbol in SYMBOLS])[leading]
    return {family: (casts[families == family], weights[families == family]) for family in FAMILIES}


_Casts = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]


def _ionic(prototype: Prototype) -> _Casts | None:
    """Ions for ions of the same sign, neutral in all; the weights are those mined by Hautier et al."""
    parent_charges = _charges_of(prototype)
    table = _ion_weights()
    if parent_charges is None:
        return None
    pools, charges, weights = [], [], []
    for symbol, charge in zip(prototype.elements, parent_charges, strict=True):
        ions = [ion for ion in _ions() if (ion[1] > 0) == (charge > 0)]
        pools.append([symbol for symbol, _ in ions])
        charges.append(np.array([charge for _, charge in ions]))
        weights.append(np.array([table.get(frozenset({(symbol, charge), ion}), UNSEEN_SUBSTITUTION) for ion in ions]))
    total = _outer_sum([count * charge for count, charge in zip(prototype.counts, charges, strict=True)])
    return _casts(pools, weights, total == 0)


def _covalent(prototype: Prototype) -> _Casts | None:
    """Metals for metals, and for the one nonmetal one that forms hard compounds."""
    *partners, nonmetal = prototype.elements
    if nonmetal not in NONMETALS or any(partner in NONMETALS for partner in partners[1:]):
        return None
    is_salt = nonmetal not in COVALENT_NONMETALS
    if is_salt and prototype.counts[-1] > 2 * prototype.counts[:-1].sum():
        return None
    pools: list[Sequence[str]] = [TRANSITION_METALS if is_salt else METALS] * len(partners)
    if partners[0] in NONMETALS:
        if len(partners) > 1:
            return None
        pools = [ELECTROPOSITIVE_PARTNERS]
    pools.append(COVALENT_NONMETALS)
    if is_salt:
        return _casts(pools, [np.zeros(len(pool)) for pool in pools])
    return _casts(pools, _pettifor_weights(prototype.elements, pools))


def _metallic(prototype: Prototype) -> _Casts | None:
    """Metals for metals."""
    if any(element in NONMETALS for element in prototype.elements):
        return None
    pools = [METALS] * len(prototype.elements)
    return _casts(pools, _pettifor_weights(prototype.elements, pools))


def _casts(
    pools: Sequence[Sequence[str]],
    weights: Sequence[npt.NDArray[np.float64]],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> _Casts:
    """Return all choices of one element from each pool, all different, and the sums of their weights."""
    total = _outer_sum(weights)
    picks = np.stack(np.nonzero(np.ones(total.shape, dtype=bool) if allowed is None else allowed), axis=1)
    numbers = [np.array([ATOMIC_NUMBERS[symbol] for symbol in pool], dtype=np.uint8) for pool in pools]
    casts = np.stack([of_role[pick] for of_role, pick in zip(numbers, picks.T, strict=True)], axis=1)
    different = np.ones(len(casts), dtype=bool)
    for one, other in itertools.combinations(range(len(pools)), 2):
        different &= casts[:, one] != casts[:, other]
    return casts[different], total[tuple(picks.T)][different]


def _outer_sum(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the sums of one value from each array, of as many dimensions as there are arrays."""
    return functools.reduce(np.add.outer, arrays)


def _pettifor_weights(elements: Sequence[str], pools: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float64]]:
    return [
        np.array([-abs(_pettifor_number(symbol) - _pettifor_number(element)) / PETTIFOR_WIDTH for symbol in pool])
        for element, pool in zip(elements, pools, strict=True)
    ]


def _charges_of(prototype: Prototype) -> tuple[int, ...] | None:
    """Return the charges of a parent's ions, or None where it is no salt of known ions."""
    from pymatgen.core import Composition

    anions = {symbol for symbol, charge in _ions() if charge < 0}
    if prototype.elements[-1] not in anions:
        return None
    composition = Composition(dict(zip(prototype.elements, prototype.counts.tolist(), strict=True)))
    for guess in composition.oxi_state_guesses():
        charges = [guess[symbol] for symbol in prototype.elements]
        if all(charge == int(charge) for charge in charges):
            return tuple(int(charge) for charge in charges)
    return None


@functools.cache
def _ion_weights() -> dict[frozenset[tuple[str, int]], float]:
    """Return the mined weights (logarithmic) of pairs of ions; an ion that stays itself is a pair of one."""
    rows = json.loads(_data_file(ION_SUBSTITUTIONS).read_bytes())
    return {frozenset({_ion(row[0]), _ion(row[1])}): float(row[2]) for row in rows if 'D1+' not in row}


@functools.cache
def _ions() -> tuple[tuple[str, int], ...]:
    """Return the ions that crystals are made of: those of the mined table that are usual, sorted."""
    from pymatgen.core import Element

    mined = {ion for pair in _ion_weights() for ion in pair}
    return tuple(
        (symbol, charge)
        for symbol, charge in sorted(mined)
        if (symbol in METALS or symbol in NONMETALS)
        and not (charge > 0 and symbol in NOT_CATIONS)
        and charge in Element(symbol).icsd_oxidation_states
    )


def _ion(text: str) -> tuple[str, int]:
    """Read an ion such as ``O2-`` or ``Na+``."""
    symbol = text.rstrip('0123456789+-')
    magnitude = text[len(symbol) : -1] or '1'
    return symbol, int(f'{text[-1]}{magnitude}')


@functools.lru_cache(maxsize=4096)
def _radii(symbols: tuple[str, ...], counts: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the radii of data-mined lattice scaling, in Angstrom; they depend on how polar the whole crystal is."""
    electronegativities = np.repeat([_electronegativity(symbol) for symbol in symbols], counts)
    spread = float(np.std(electronegativities))
    parameters = _bond_parameters()
    return np.array([parameters[symbol]['r'] + parameters[symbol]['k'] * spread for symbol in symbols])


@functools.cache
def _bond_parameters() -> dict[str, dict[str, float]]:
    return yaml.safe_load(_data_file(BOND_PARAMETERS).read_bytes())


@functools.cache
def _electronegativity(symbol: str) -> float:
    """Return Pauling's electronegativity."""
    from pymatgen.core import Element

    return float(Element(symbol).X)


@functools.cache
def _atomic_radius(symbol: str) -> float:
    """Return Slater's radius, in Angstrom."""
    from pymatgen.core import Element

    return float(Element(symbol).atomic_radius)


@functools.cache
def _pettifor_number(symbol: str) -> float:
    """Return the place on Pettifor's chemical scale."""
    from pymatgen.core import Element

    return float(Element(symbol).mendeleev_no)


def data_files() -> list[Path]:
    """Return the files of pymatgen that crystals are made of."""
    return [_data_file(name) for name in DATA_FILES]


def _data_file(name: str) -> Path:
    """Return the path of a data file of pymatgen.

    The files are read in place of importing what pymatgen makes of them: that takes seconds, and sums over sets in an
    order that changes from process to process.

    Raises
    ------
    RuntimeError
        If the installed pymatgen has no such file.
    """
    package = DATA_FILES[name]
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(folders[0]) / name if folders else None
    if path is None or not path.is_file():
        version = importlib.metadata.version('pymatgen')
        raise RuntimeError(f'pymatgen {version} has no file {name} in {package}; crystals cannot be made with it')
    return path
