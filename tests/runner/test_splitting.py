"""The dictionary of `--split`."""

from __future__ import annotations

import pytest

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.splitting import check_split, split_crystals
from aiida_cgcnn_elastic.runner.status import Status
from tests.labelled import labelled_crystals

TABLE = CrystalTable.from_crystals(labelled_crystals())


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({}, ['method', 'fraction', 'column']),
        ({'method': 'random'}, ["'random'", 'fraction', 'column']),
        ({'method': 'fraction', 'column': 'x'}, ['column', 'validation', 'test']),
        ({'method': 'fraction', 'test': '0.1'}, ['test', 'fraction']),
        ({'method': 'column', 'test': [4]}, ['column', 'name of a column']),
        ({'method': 'column', 'column': 'matbench_fold', 'test': 4}, ['test', 'list']),
        ({'method': 'column', 'column': 'matbench_fold'}, ['test', 'list']),
        ({'method': 'column', 'column': 'f', 'test': [4], 'validation': '3'}, ['validation', 'fraction', 'list']),
        ({'method': 'column', 'column': 'f', 'test': [4], 'train': 3}, ['train', 'list']),
    ],
)
def test_errors_say_what_is_allowed(values: dict, named: list[str]) -> None:
    with pytest.raises(RunFailed) as raised:
        check_split(values)
    assert raised.value.status is Status.SETTINGS_INVALID
    for text in named:
        assert text in str(raised.value)


def test_by_fold() -> None:
    spec = check_split({'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': [3]})
    split = split_crystals(spec, TABLE, seed=0)
    folds = TABLE.column('matbench_fold')
    assert set(folds[split['test']]) == {4}
    assert set(folds[split['validation']]) == {3}
    assert set(folds[split['train']]) == {0, 1, 2}


def test_by_fold_with_a_fraction_for_validation() -> None:
    spec = check_split(
        {'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0.25, 'train': [1, 2]}
    )
    split = split_crystals(spec, TABLE, seed=0)
    assert {part: len(rows) for part, rows in split.items()} == {'train': 18, 'validation': 6, 'test': 12}


def test_by_fraction_is_the_seeds_own() -> None:
    spec = check_split({'method': 'fraction', 'test': 0.2})
    first, same, other = (split_crystals(spec, TABLE, seed)['test'].tolist() for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert len(first) == 12


@pytest.mark.parametrize(
    'values',
    [
        {'method': 'column', 'column': 'fold', 'test': [4]},
        {'method': 'column', 'column': 'matbench_fold', 'test': [9]},
        {'method': 'column', 'column': 'band_gap', 'test': []},
        {'method': 'fraction', 'validation': 0.6, 'test': 0.6},
        {'method': 'fraction', 'validation': 1.5},
    ],
)
def test_splits_that_cannot_be(values: dict) -> None:
    with pytest.raises(RunFailed, match='cannot be split') as raised:
        split_crystals(check_split(values), TABLE, seed=0)
    assert raised.value.status is Status.TARGETS_MISSING
