"""Which crystals are left out before anything is predicted, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aiida_cgcnn_elastic.screening import reasons
from aiida_cgcnn_elastic.screening.columns import Columns, arrow_column, float_column, n_rows, required
from aiida_cgcnn_elastic.screening.criteria import Criteria
from aiida_cgcnn_elastic.screening.elements import RADIOACTIVE

Mask = NDArray[np.bool_]


def exclusions(columns: Columns, criteria: Criteria) -> NDArray[np.object_]:
    """Return for each crystal why it is left out, or `None` if it is kept.

    A crystal gets the first reason that applies, in this order: number of atoms; radioactive, forbidden, not allowed
    and absent required elements, number of elements; band gap (unknown, too small, too large); energy above hull
    (unknown, too high).

    Parameters
    ----------
    columns : pyarrow.Table, pandas.DataFrame or mapping of arrays of shape (m,)
        With `n_atoms` and `elements` (list of symbols) where a criterion asks for them; `band_gap` (eV) and
        `energy_above_hull` (eV/atom) are unknown for all crystals if the column is absent.
    criteria : Criteria
        Only what `criteria.filters()` holds is looked at.

    Returns
    -------
    array of shape (m,)
        Of `None` and members of `reasons.REASONS`.

    Raises
    ------
    KeyError
        If `n_atoms` or `elements` is absent and asked for.
    """
    excluded = np.full(n_rows(columns), None, dtype=object)
    kept = np.ones(len(excluded), dtype=bool)
    for reason, applies in _rules(columns, criteria):
        excluded[kept & applies] = reason
        kept &= ~applies
    return excluded


def kept_unknown(columns: Columns, criteria: Criteria) -> dict[str, Mask]:
    """Return which crystals lack a value that a criterion asks for, where the criteria say to keep them.

    Returns
    -------
    dict of arrays of shape (m,)
        By column name (`band_gap`, `energy_above_hull`); a column that no criterion asks for, or whose unknown values
        are dropped, is not in it.
    """
    unknown: dict[str, Mask] = {}
    if _asks_for_gap(criteria) and criteria.unknown_band_gap == 'keep':
        unknown['band_gap'] = np.isnan(_values_or_unknown(columns, 'band_gap'))
    if criteria.max_energy_above_hull is not None and criteria.unknown_energy_above_hull == 'keep':
        unknown['energy_above_hull'] = np.isnan(_values_or_unknown(columns, 'energy_above_hull'))
    return unknown


def _rules(columns: Columns, criteria: Criteria) -> Iterator[tuple[str, Mask]]:
    """Yield each reason with the crystals it applies to; comparisons with NaN are false, so unknown passes."""
    if criteria.min_atoms is not None or criteria.max_atoms is not None:
        n_atoms = required(float_column(columns, 'n_atoms'), 'n_atoms', 'a limit on the number of atoms')
        if criteria.min_atoms is not None:
            yield reasons.TOO_FEW_ATOMS, n_atoms < criteria.min_atoms
        if criteria.max_atoms is not None:
            yield reasons.TOO_MANY_ATOMS, n_atoms > criteria.max_atoms
    yield from _element_rules(columns, criteria)
    if _asks_for_gap(criteria):
        gap = _values_or_unknown(columns, 'band_gap')
        if criteria.unknown_band_gap == 'drop':
            yield reasons.BAND_GAP_UNKNOWN, np.isnan(gap)
        if criteria.min_band_gap is not None:
            yield reasons.BAND_GAP_TOO_SMALL, gap < criteria.min_band_gap
        if criteria.max_band_gap is not None:
            yield reasons.BAND_GAP_TOO_LARGE, gap > criteria.max_band_gap
    if criteria.max_energy_above_hull is not None:
        hull = _values_or_unknown(columns, 'energy_above_hull')
        if criteria.unknown_energy_above_hull == 'drop':
            yield reasons.ENERGY_ABOVE_HULL_UNKNOWN, np.isnan(hull)
        yield reasons.ENERGY_ABOVE_HULL_TOO_HIGH, hull > criteria.max_energy_above_hull


def _element_rules(columns: Columns, criteria: Criteria) -> Iterator[tuple[str, Mask]]:
    asked = (criteria.allowed_elements, criteria.required_elements, criteria.min_elements, criteria.max_elements)
    if not criteria.no_radioactive and not criteria.forbidden_elements and all(value is None for value in asked):
        return
    elements = required(arrow_column(columns, 'elements'), 'elements', 'a criterion on elements')
    contains = _containment(elements)
    if criteria.no_radioactive:
        yield reasons.RADIOACTIVE_ELEMENT, contains(RADIOACTIVE)
    if criteria.forbidden_elements:
        yield reasons.FORBIDDEN_ELEMENT, contains(criteria.forbidden_elements)
    if criteria.allowed_elements is not None:
        yield reasons.ELEMENT_NOT_ALLOWED, ~contains(criteria.allowed_elements, every=True)
    for symbol in criteria.required_elements or ():
        yield reasons.REQUIRED_ELEMENT_ABSENT, ~contains([symbol])
    if (criteria.min_elements is None and criteria.max_elements is None) or len(elements) == 0:
        return
    n_elements = pc.list_value_length(elements).to_numpy(zero_copy_only=False)
    if criteria.min_elements is not None:
        yield reasons.TOO_FEW_ELEMENTS, n_elements < criteria.min_elements
    if criteria.max_elements is not None:
        yield reasons.TOO_MANY_ELEMENTS, n_elements > criteria.max_elements


def _containment(elements: pa.Array) -> Callable[..., Mask]:
    """Return a function telling which crystals contain any (or, with `every`, nothing but) elements of a set."""
    if len(elements) == 0:
        elements = pa.array([], pa.list_(pa.string()))  # an empty column need not know its type
    if not (pa.types.is_list(elements.type) or pa.types.is_large_list(elements.type)) or elements.null_count:
        raise ValueError("the column 'elements' must hold a list of symbols for every crystal, without nulls")
    crystal_of = pc.list_parent_indices(elements).to_numpy()
    symbols = pc.list_flatten(elements)

    def contains(chosen: Iterable[str], *, every: bool = False) -> Mask:
        is_chosen = pc.is_in(symbols, pa.array(sorted(chosen), symbols.type)).to_numpy(zero_copy_only=False)
        counted = ~is_chosen if every else is_chosen
        found = np.bincount(crystal_of[counted], minlength=len(elements)) > 0
        return ~found if every else found

    return contains


def _asks_for_gap(criteria: Criteria) -> bool:
    return criteria.min_band_gap is not None or criteria.max_band_gap is not None


def _values_or_unknown(columns: Columns, name: str) -> NDArray[np.float64]:
    values = float_column(columns, name)
    return np.full(n_rows(columns), np.nan) if values is None else values
