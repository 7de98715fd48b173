"""Whether elastic moduli that a database holds can be right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

LEAST_MODULUS = 1.0
"""GPa; the bulk modulus of solid neon."""

GREATEST_MODULUS = 600.0
"""GPa. No crystal is known to be much stiffer than diamond (K = 443, G = 535); the rest is room for errors of DFT."""

ROUNDING = 0.01
"""GPa. Averages that databases round may be out of order by so much."""


class ModuliFault(str, Enum):  # noqa: UP042  (as Reason is)
    """Why moduli cannot be used."""

    MISSING = 'missing'
    FAILED = 'failed'
    UNSTABLE = 'unstable'
    NOT_POSITIVE = 'not_positive'
    OUT_OF_ORDER = 'out_of_order'
    IMPLAUSIBLE = 'implausible'

    def __str__(self) -> str:
        return self.value


EXPLANATIONS: Mapping[ModuliFault, str] = {
    ModuliFault.MISSING: 'no value',
    ModuliFault.FAILED: 'of a calculation called failed',
    ModuliFault.UNSTABLE: 'mechanically unstable',
    ModuliFault.NOT_POSITIVE: 'not positive',
    ModuliFault.OUT_OF_ORDER: 'not Reuss <= VRH <= Voigt',
    ModuliFault.IMPLAUSIBLE: f'not between {LEAST_MODULUS:g} and {GREATEST_MODULUS:g} GPa',
}


@dataclass(frozen=True)
class Averages:
    """The averages of a modulus over directions, in GPa; None where unknown.

    Parameters
    ----------
    vrh : float or None
        Voigt, Reuss and Hill's average, the one that models learn.
    voigt, reuss : float or None
        The upper and the lower bound for a polycrystal; not checked where both are unknown.
    """

    vrh: float | None
    voigt: float | None = None
    reuss: float | None = None


def find_fault(bulk: Averages | None, shear: Averages | None) -> tuple[ModuliFault, str] | None:
    """Return why moduli cannot be used and what was found, or None where they can.

    These are the checks that Matbench's data went through (Dunn et al. 2020), and a plausible range.

    Parameters
    ----------
    bulk, shear : Averages or None
        Of the bulk and the shear modulus; None for one that the database does not have at all.
    """
    for symbol, averages in (('K', bulk), ('G', shear)):
        if averages is None:
            continue
        values = {'VRH': averages.vrh, 'Voigt': averages.voigt, 'Reuss': averages.reuss}
        if averages.vrh is None or math.isnan(averages.vrh):
            return ModuliFault.MISSING, f'{symbol}_VRH is unknown'
        known = {name: value for name, value in values.items() if value is not None and not math.isnan(value)}
        for name, value in known.items():
            if not value > 0:
                return ModuliFault.NOT_POSITIVE, f'{symbol}_{name} is {value:g} GPa'
        low, high = known.get('Reuss', averages.vrh), known.get('Voigt', averages.vrh)
        if not low - ROUNDING <= averages.vrh <= high + ROUNDING:
            found = f'{symbol}_Reuss {low:g}, {symbol}_VRH {averages.vrh:g}, {symbol}_Voigt {high:g} GPa'
            return ModuliFault.OUT_OF_ORDER, found
        if not LEAST_MODULUS <= averages.vrh <= GREATEST_MODULUS:
            return ModuliFault.IMPLAUSIBLE, f'{symbol}_VRH is {averages.vrh:g} GPa'
    return None


def log10_moduli(bulk: Averages | None, shear: Averages | None) -> dict[str, float]:
    """Return ``log10_k_vrh`` and ``log10_g_vrh`` (log10 of GPa) of moduli without fault."""
    averages = {'log10_k_vrh': bulk, 'log10_g_vrh': shear}
    return {name: math.log10(one.vrh) for name, one in averages.items() if one is not None and one.vrh is not None}


def describe_faults(faults: Sequence[ModuliFault] | Counter[ModuliFault]) -> str:
    """Return how many moduli have which fault, for a person."""
    counts = Counter(faults)
    return ', '.join(f'{counts[fault]} {EXPLANATIONS[fault]}' for fault in ModuliFault if counts[fault])
