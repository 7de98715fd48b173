"""Formulas, elements and masses from atomic numbers, fast enough for every row of a table."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.symbols import SYMBOLS

ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}
"""Atomic numbers by element symbol."""

GRAMS_PER_CM3_FROM_DALTON_PER_A3 = 1.66053906660
"""1 Da/A^3 in g/cm^3 (CODATA 2018)."""

# Formulas that chemists do not reduce further, as in pymatgen: molecules of two atoms, peroxides.
_UNREDUCED = {
    'LiO': 'Li2O2',
    'NaO': 'Na2O2',
    'KO': 'K2O2',
    'HO': 'H2O2',
    'CsO': 'Cs2O2',
    'RbO': 'Rb2O2',
    'O': 'O2',
    'N': 'N2',
    'F': 'F2',
    'Cl': 'Cl2',
    'H': 'H2',
}

# Two last elements whose electronegativities differ by less are written as a polyanion, (PO4)2, as in pymatgen.
_POLYANION_DIFFERENCE = 1.65


def element_symbols(atomic_numbers: npt.ArrayLike) -> list[str]:
    """Return the symbols of the elements present, in alphabetical order."""
    return sorted(SYMBOLS[number] for number in set(np.asarray(atomic_numbers).tolist()))


def reduced_formula(atomic_numbers: npt.ArrayLike) -> str:
    """Return the reduced formula of a cell, spelled as pymatgen's ``Composition.reduced_formula``.

    Parameters
    ----------
    atomic_numbers : array of int, shape (n,)
        The atoms of a cell.

    Raises
    ------
    ValueError
        If there are no atoms.
    """
    counts: dict[int, int] = {}
    for number in np.asarray(atomic_numbers).tolist():
        counts[number] = counts.get(number, 0) + 1
    return formula_of_counts(counts)


def formula_of_counts(counts: Mapping[int, int]) -> str:
    """Return the reduced formula of numbers of atoms by atomic number."""
    if not counts:
        raise ValueError('a formula needs at least one atom')
    electronegativity = _electronegativities()
    symbols = {SYMBOLS[number]: count for number, count in counts.items()}
    ordered = sorted(symbols, key=lambda symbol: (electronegativity[ATOMIC_NUMBERS[symbol]], symbol))
    formula = _reduced(ordered, symbols)
    return _UNREDUCED.get(formula, formula)


def _reduced(ordered: list[str], amounts: Mapping[str, int]) -> str:
    """Write amounts divided by their greatest common divisor, a repeated polyanion in brackets."""
    divisor = math.gcd(*(amounts[symbol] for symbol in ordered))
    ending = ''
    if len(ordered) >= 3:
        electronegativity = _electronegativities()
        left, right = ordered[-2:]
        difference = electronegativity[ATOMIC_NUMBERS[right]] - electronegativity[ATOMIC_NUMBERS[left]]
        pair = {left: amounts[left] // divisor, right: amounts[right] // divisor}
        repeats = math.gcd(*pair.values())
        if difference < _POLYANION_DIFFERENCE and repeats > 1:
            ending = f'({_reduced([left, right], pair)}){repeats}'
            ordered = ordered[:-2]
    parts = (symbol if amounts[symbol] == divisor else f'{symbol}{amounts[symbol] // divisor}' for symbol in ordered)
    return ''.join(parts) + ending


@functools.lru_cache(maxsize=1)
def _electronegativities() -> tuple[float, ...]:
    """Pauling electronegativities by atomic number; infinite where there is none, so that such elements come last."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # pymatgen warns of every noble gas
        values = [math.nan, *(float(Element(symbol).X) for symbol in SYMBOLS[1:])]
    return tuple(math.inf if math.isnan(value) else value for value in values)


@functools.lru_cache(maxsize=1)
def atomic_masses() -> npt.NDArray[np.float64]:
    """Return standard atomic masses in Da by atomic number, shape (119,); place 0 holds NaN."""
    from pymatgen.core import Element

    masses = np.array([math.nan, *(float(Element(symbol).atomic_mass) for symbol in SYMBOLS[1:])])
    masses.flags.writeable = False
    return masses
