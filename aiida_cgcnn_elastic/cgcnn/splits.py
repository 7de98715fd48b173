"""Training, validation and test parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ['PARTS', 'Split', 'SplitError', 'split_by_column', 'split_by_fraction']

PARTS = ('train', 'validation', 'test')

Split = dict[str, npt.NDArray[np.int64]]
"""The rows of every part, sorted: keys ``train``, ``validation`` and ``test``."""


class SplitError(ValueError):
    """The rows cannot be divided as asked; the message says why."""


def split_by_fraction(n: int, validation: float, test: float, seed: int) -> Split:
    """Divide ``n`` rows at random.

    Parameters
    ----------
    n : int
    validation, test : float
        Fractions of all rows; the rest is for training. A fraction that is not zero gives at least one row.
    seed : int

    Raises
    ------
    SplitError
        If a fraction is impossible or no row is left for training.
    """
    n_validation, n_test = _count(n, validation, 'validation'), _count(n, test, 'test')
    if n_validation + n_test >= n:
        raise SplitError(f'{n_validation} validation and {n_test} test rows of {n} leave none for training')
    order = np.random.default_rng(seed).permutation(n)
    return {
        'train': np.sort(order[n_validation + n_test :]),
        'validation': np.sort(order[n_test : n_test + n_validation]),
        'test': np.sort(order[:n_test]),
    }


def split_by_column(
    values: Sequence[Any] | npt.NDArray[Any],
    test: Sequence[Any],
    validation: float | Sequence[Any] = 0.1,
    train: Sequence[Any] | None = None,
    seed: int = 0,
) -> Split:
    """Divide rows by the value that a column has in them, such as Matbench's fold.

    Parameters
    ----------
    values : (n,) sequence
        The column.
    test : sequence
        Rows with these values are the test part; it may be empty.
    validation : float or sequence
        Values of the validation part, or the fraction of the rows that remain, drawn at random.
    train : sequence, optional
        Values of the rows that remain for training (and for a validation fraction); rows with other values are left
        out. All other rows if not given.
    seed : int
        For a validation fraction.

    Raises
    ------
    SplitError
        If a value is in no row or in two parts, a row that would be used has no value, or no row is left for training.
    """
    column = list(values)
    named = {
        'test': list(test),
        'validation': [] if isinstance(validation, (int, float)) else list(validation),
        'train': list(train or []),
    }
    owner: dict[Any, str] = {}
    for part, wanted in named.items():
        for value in wanted:
            if value in owner:
                raise SplitError(f'the value {value!r} is named twice: for {owner[value]} and {part}')
            owner[value] = part
    present = set(column)
    if absent := [value for value in owner if value not in present]:
        raise SplitError(f'no row has the value {absent[0]!r} named for {owner[absent[0]]}')
    if train is None and (empty := sum(_is_missing(value) for value in column)):
        raise SplitError(f'{empty} of {len(column)} rows have no value in the column; name the values to train on')
    part_of_row = [owner.get(value, 'train' if train is None else None) for value in column]
    split = {
        part: np.array([row for row, owned in enumerate(part_of_row) if owned == part], dtype=np.int64)
        for part in PARTS
    }
    if isinstance(validation, (int, float)):
        rest = split['train']
        inner = split_by_fraction(len(rest), validation, 0.0, seed)
        split['train'], split['validation'] = rest[inner['train']], rest[inner['validation']]
    if not len(split['train']):
        raise SplitError('no row is left for training')
    return split


def _count(n: int, fraction: float, part: str) -> int:
    """Return the number of rows in a part."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction < 1:
        raise SplitError(f'the {part} fraction is {fraction!r}; expected a number from 0 to less than 1')
    return max(round(n * fraction), 1) if fraction else 0


def _is_missing(value: Any) -> bool:
    """Return whether a cell of the column is empty."""
    return value is None or (isinstance(value, float) and np.isnan(value))
