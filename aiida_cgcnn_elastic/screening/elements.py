"""Chemical symbols, and which elements count as radioactive."""

from __future__ import annotations

_PERIODIC_TABLE = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_PERIODIC_TABLE.split())
"""The symbols of elements 1 to 118, in order of atomic number."""

RADIOACTIVE: frozenset[str] = frozenset(
    symbol for z, symbol in enumerate(SYMBOLS, start=1) if symbol in ('Tc', 'Pm') or z >= 84
)
"""Elements without a stable isotope: technetium, promethium, and all from polonium (84) on.

Bismuth (83) is kept: Bi-209 does decay, with a half-life of 2e19 years, a billion times the age of the universe, and
nobody handles it as radioactive. Thorium and uranium are out though they occur in nature.
"""
