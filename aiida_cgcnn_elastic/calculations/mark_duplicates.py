"""The same material in several sets of crystals, or several times in one: kept, but marked."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aiida.engine import ExitCode, calcfunction
from aiida.orm import Dict

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.crystals.duplicates import Tolerances

__all__ = ('mark_duplicates',)

EXIT_CODE_TOLERANCES = ExitCode(214, 'The tolerances are invalid: {message}')


@calcfunction
def mark_duplicates(tolerances: Dict | None = None, **crystals: CrystalSetData) -> dict[str, Any] | ExitCode:
    """Return those of the sets that hold duplicates, each with the column ``duplicate_of``, and how many there are.

    A crystal is a duplicate if it is the same material as an earlier one, by the order of the keys of the sets and of
    A crystal is a duplicate if it is the same material as an earlier one, by the order of the keys of the sets and of
    the rows in them; the column holds the id of the first. Nothing is dropped. A set without duplicates is not
    returned: it can be used as it is. See :mod:`aiida_cgcnn_elastic.crystals.duplicates` for what is the same material.

    :param tolerances: Attributes of :class:`~aiida_cgcnn_elastic.crystals.duplicates.Tolerances` that are not to have
        their defaults.
    :param crystals: The sets, each under a key of choice; that whose crystals shall stand for the others comes first.
    """
    from aiida_cgcnn_elastic.crystals.duplicates import COLUMN, find_duplicates
    from aiida_cgcnn_elastic.crystals.sources.parsing import n_processes

    try:
        limits = _tolerances({} if tolerances is None else tolerances.get_dict())
    except ValueError as exception:
        return EXIT_CODE_TOLERANCES.format(message=str(exception))
    keys = sorted(crystals)
    tables = [crystals[key].get_table() for key in keys]
    marks = find_duplicates(tables, tolerances=limits, processes=n_processes(None))
    outputs: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    for key, table, mark in zip(keys, tables, marks, strict=True):
        n_duplicates = len(mark) - mark.null_count
        counts[key] = {'n_crystals': len(table), 'n_duplicates': n_duplicates}
        if n_duplicates:
            node = crystals[key]
            origin = node.origin
            message = f'{n_duplicates} crystals are marked as duplicates, in the column {COLUMN}'
            origin['messages'] = [*origin.get('messages', []), message]
            outputs[key] = CrystalSetData.from_table(table.with_columns({COLUMN: mark}), origin, node.get_rejections())
    return {**outputs, 'duplicates': Dict({'sets': counts})}


def _tolerances(given: dict[str, Any]) -> Tolerances:
    """Return the tolerances, checked.

    Raises
    ------
    ValueError
        If a name is unknown or a value is no positive number.
    """
    from aiida_cgcnn_elastic.crystals.duplicates import Tolerances

    allowed = [field.name for field in fields(Tolerances)]
    for name, value in given.items():
        if name not in allowed:
            raise ValueError(f'there is none called {name!r}; allowed are {", ".join(allowed)}')
        numbers = value if name == 'nearly_equal' else [value]
        n_numbers = 3 if name == 'nearly_equal' else 1
        if not isinstance(numbers, (list, tuple)) or len(numbers) != n_numbers or not all(map(_is_positive, numbers)):
            what = 'three positive numbers' if n_numbers == 3 else 'a positive number'
            raise ValueError(f'{name} must be {what}, not {value!r}')
    values = dict(given)
    if 'nearly_equal' in values:
        values['nearly_equal'] = tuple(values['nearly_equal'])
    return Tolerances(**values)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
