"""Which crystals are for training, validation and test: the dictionary of `--split`, checked and carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.splits import Split
    from aiida_cgcnn_elastic.crystals import CrystalTable

DEFAULT_SPLIT: dict[str, Any] = {'method': 'fraction', 'validation': 0.1, 'test': 0.1}
KEYS = {
    'fraction': ('method', 'validation', 'test'),
    'column': ('method', 'column', 'test', 'validation', 'train'),
}
"""The keys that each method has."""


def check_split(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a split's dictionary with every key that its method has.

    Raises
    ------
    RunFailed
        With `Status.SETTINGS_INVALID` if the method or a key is unknown, or a value has the wrong type.
    """
    method = values.get('method')
    if method not in KEYS:
        raise _invalid(f'method is {method!r}; allowed are {", ".join(KEYS)}')
    if unknown := sorted(set(values) - set(KEYS[method])):
        raise _invalid(
            f'unknown keys {", ".join(unknown)}; with method {method!r} allowed are {", ".join(KEYS[method])}'
        )
    if method == 'fraction':
        spec = {**DEFAULT_SPLIT, **values}
        for part in ('validation', 'test'):
            _require(_is_number(spec[part]), part, spec[part], 'a fraction')
        return spec
    spec = {'validation': 0.1, 'train': None, **values}
    _require(isinstance(spec.get('column'), str), 'column', spec.get('column'), 'the name of a column')
    _require(isinstance(spec.get('test'), list), 'test', spec.get('test'), 'a list of values')
    _require(
        _is_number(spec['validation']) or isinstance(spec['validation'], list),
        'validation',
        spec['validation'],
        'a fraction of the rest or a list of values',
    )
    _require(
        spec['train'] is None or isinstance(spec['train'], list), 'train', spec['train'], 'a list of values or null'
    )
    return spec


def split_crystals(spec: Mapping[str, Any], crystals: CrystalTable, seed: int) -> Split:
    """Return the rows of each part.

    Parameters
    ----------
    spec : mapping
        As `check_split` returns.
    crystals : CrystalTable
    seed : int
        Of whatever is drawn at random.

    Raises
    ------
    RunFailed
        With `Status.TARGETS_MISSING` if the crystals cannot be divided so.
    """
    from aiida_cgcnn_elastic.cgcnn.splits import SplitError, split_by_column, split_by_fraction

    try:
        if spec['method'] == 'fraction':
            return split_by_fraction(len(crystals), spec['validation'], spec['test'], seed)
        column = crystals.column(spec['column'])
        if column is None:
            raise SplitError(f'no column {spec["column"]!r}; there are {", ".join(crystals.property_names) or "none"}')
        return split_by_column(column.tolist(), spec['test'], spec['validation'], spec['train'], seed)
    except SplitError as error:
        raise RunFailed(Status.TARGETS_MISSING, f'the crystals cannot be split: {error}') from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require(is_right: bool, key: str, value: Any, expected: str) -> None:
    if not is_right:
        raise _invalid(f'{key} must be {expected}, not {value!r}')


def _invalid(what: str) -> RunFailed:
    return RunFailed(Status.SETTINGS_INVALID, f'the split: {what}')
