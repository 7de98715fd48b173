"""Chemical symbols, and which elements count as radioactive."""

from __future__ import annotations

from aiida_cgcnn_elastic import symbols

SYMBOLS: tuple[str, ...] = symbols.SYMBOLS[1:]
"""The symbols of elements 1 to 118, in order of atomic number."""

RADIOACTIVE: frozenset[str] = frozenset(
    symbol for z, symbol in enumerate(SYMBOLS, start=1) if symbol in ('Tc', 'Pm') or z >= 84
)
"""Elements without a stable isotope: technetium, promethium, and all from polonium (84) on.

Bismuth (83) is kept: Bi-209 does decay, with a half-life of 2e19 years, a billion times the age of the universe, and
nobody handles it as radioactive. Thorium and uranium are out though they occur in nature.
"""
