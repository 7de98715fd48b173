"""What the columns of a dataset hold: numbers, also where some values are none, or values of any one kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any

import pyarrow as pa

from aiida_cgcnn_elastic.crystals.table import PROPERTY_TYPES

UNKNOWN_TEXTS = frozenset({'', 'nan', 'none', 'null', 'na', 'n/a', '<na>'})
"""Texts that tables of all kinds have, in any case of letters, where a value is unknown."""

_KINDS = {bool: 'booleans', int: 'numbers', float: 'numbers', str: 'strings', list: 'lists', dict: 'objects'}


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Parameters
    ----------
    values : list
        A finite number for each row, None where unknown.
    places_of_others : list of int
        The rows, from 0, whose value is given but no number that the column can hold.
    places_of_texts : list of int
        The rows whose number was written as text.
    """

    values: list[float | int | None]
    places_of_others: list[int]
    places_of_texts: list[int]


def number_type(label: str) -> pa.DataType | None:
    """Return the type of a property that is a number by agreement, None for any other."""
    kind = PROPERTY_TYPES.get(label)
    is_number = kind is not None and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    return kind if is_number else None


def read_numbers(values: Sequence[Any], kind: pa.DataType) -> Numbers:
    """Return the values of a column as numbers, those that are none as unknown.

    Parameters
    ----------
    values : sequence
        As JSON gives them.
    kind : pyarrow.DataType
        A type of floats, or of integers with sign.
    """
    numbers = [None if is_unknown(value) else _as_number(value, kind) for value in values]
    pairs = list(zip(values, numbers, strict=True))
    return Numbers(
        numbers,
        [place for place, (value, number) in enumerate(pairs) if number is None and not is_unknown(value)],
        [place for place, (value, number) in enumerate(pairs) if number is not None and isinstance(value, str)],
    )


def is_unknown(value: Any) -> bool:
    """Say whether a value stands for one that is unknown: null, NaN, or such a text."""
    if isinstance(value, str):
        return value.strip().lower() in UNKNOWN_TEXTS
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_number(value: Any, kind: pa.DataType) -> float | int | None:
    """Return a value as a finite number of a type, None where it is none."""
    # Python's float() would also take True as 1 and '1_0' as 10.
    if type(value) not in (int, float, str) or '_' in str(value):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    if pa.types.is_floating(kind):
        return number
    return int(number) if number.is_integer() and abs(number) < 2 ** (kind.bit_width - 1) else None


def describe_numbers(name: Any, values: Sequence[Any], found: Numbers, kind: pa.DataType) -> list[str]:
    """Return what a person should know of a column of numbers: what counts as unknown, and what was text.

    Parameters
    ----------
    name : str
        The column's own.
    values : sequence
        As they were given.
    found : Numbers
        What `read_numbers` made of them.
    kind : pyarrow.DataType
        The type of the numbers.
    """
    messages = []
    if found.places_of_others:
        what = 'finite number' if pa.types.is_floating(kind) else f'whole number below {2 ** (kind.bit_width - 1)}'
        first = found.places_of_others[0]
        messages.append(
            f'in {len(found.places_of_others)} of {len(values)} rows the column {name!r} holds no {what}, such as '
            f'{shortened(values[first])} in row {first} (from 0); these count as unknown: correct them if they are not'
        )
    if found.places_of_texts:
        first = found.places_of_texts[0]
        messages.append(
            f'in {len(found.places_of_texts)} of {len(values)} rows the column {name!r} holds a number as text, such '
            f'as {shortened(values[first])} in row {first} (from 0); these count as the numbers'
        )
    return messages


def common_type(values: Sequence[Any]) -> type | None:
    """Return the type that a column's values have, None if they are not of one kind; NaN counts as a number."""
    types = {type(value) for value in values if value is not None}
    if types <= {int, float}:
        # What 64 bits cannot hold is kept as a float.
        is_whole = types == {int} and all(value is None or abs(value) < 2**63 for value in values)
        return int if is_whole else float
    return types.pop() if len(types) == 1 and types <= {bool, str} else None


def describe_kinds(name: Any, values: Sequence[Any]) -> str:
    """Return why a column without a common type is left out, and what would keep it."""
    counts = Counter(_KINDS.get(type(value), type(value).__name__) for value in values if value is not None)
    if len(counts) == 1:
        return f'the column {name!r} holds {next(iter(counts))}, not numbers, strings or booleans, and was left out'
    shown = ', '.join(f'{kind} in {count} rows' for kind, count in counts.most_common())
    return (
        f'the column {name!r} holds values of several kinds ({shown}) and was left out; '
        'to keep it, make them all numbers, all strings or all booleans'
    )
