"""Parts are disjoint, exhaustive and the same each time; metrics are the textbook's."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.cgcnn.metrics import all_metrics
from aiida_cgcnn_elastic.cgcnn.splits import SplitError, split_by_column, split_by_fraction


def sizes(split) -> dict[str, int]:
    return {part: len(rows) for part, rows in split.items()}


def test_fractions_divide_all_rows():
    split = split_by_fraction(1000, 0.1, 0.2, seed=4)
    assert sizes(split) == {'train': 700, 'validation': 100, 'test': 200}
    assert sorted(np.concatenate(list(split.values()))) == list(range(1000))
    again = split_by_fraction(1000, 0.1, 0.2, seed=4)
    assert all(np.array_equal(split[part], again[part]) for part in split)
    assert not np.array_equal(split['test'], split_by_fraction(1000, 0.1, 0.2, seed=5)['test'])


def test_small_sets_have_no_empty_parts():
    assert sizes(split_by_fraction(4, 0.1, 0.1, seed=0)) == {'train': 2, 'validation': 1, 'test': 1}
    assert sizes(split_by_fraction(4, 0.0, 0.1, seed=0)) == {'train': 3, 'validation': 0, 'test': 1}


@pytest.mark.parametrize(
    ('n', 'validation', 'test', 'message'),
    [
        (2, 0.1, 0.1, 'leave none for training'),
        (10, 0.5, 0.5, 'leave none for training'),
        (10, -0.1, 0.1, 'the validation fraction is -0.1'),
        (10, 0.1, 1, 'the test fraction is 1'),
        (10, 0.1, True, 'the test fraction is True'),
        (10, float('nan'), 0.1, 'the validation fraction is nan'),
        (0, 0.0, 0.0, 'leave none for training'),
    ],
)
def test_impossible_fractions_are_refused(n, validation, test, message):
    with pytest.raises(SplitError, match=message):
        split_by_fraction(n, validation, test, seed=0)


FOLDS = [1, 2, 3, 4] * 25


def test_fold_column_with_a_fraction_for_validation():
    split = split_by_column(FOLDS, [4], 0.2, seed=1)
    assert sizes(split) == {'train': 60, 'validation': 15, 'test': 25}
    assert sorted(np.concatenate(list(split.values()))) == list(range(100))
    assert {FOLDS[row] for row in split['test']} == {4}
    again = split_by_column(np.array(FOLDS), [4], 0.2, seed=1)
    assert all(np.array_equal(split[part], again[part]) for part in split)


def test_fold_column_with_folds_for_all_parts():
    split = split_by_column(FOLDS, [4], [3], train=[1])
    assert {part: {FOLDS[row] for row in rows} for part, rows in split.items()} == {
        'train': {1},
        'validation': {3},
        'test': {4},
    }


def test_no_fold_for_testing():
    assert sizes(split_by_column(FOLDS, [], 0.1)) == {'train': 90, 'validation': 10, 'test': 0}


@pytest.mark.parametrize(
    ('values', 'options', 'message'),
    [
        (FOLDS, {'test': [7]}, 'no row has the value 7 named for test'),
        (FOLDS, {'test': [4], 'validation': [4]}, 'the value 4 is named twice'),
        (FOLDS, {'test': [1, 2, 3, 4], 'validation': []}, 'no row is left for training'),
        (FOLDS, {'test': [1, 2, 3, 4], 'validation': 0.1}, 'leave none for training'),
        ([*FOLDS, None], {'test': [4]}, '1 of 101 rows have no value'),
        ([1.0, 4.0, float('nan')], {'test': [4]}, '1 of 3 rows have no value'),
    ],
)
def test_impossible_columns_are_refused(values, options, message):
    with pytest.raises(SplitError, match=message):
        split_by_column(values, **options)


def test_rows_without_a_value_are_left_out_where_the_values_are_named():
    split = split_by_column([1, 1, 4, None], [4], 0.5, train=[1])
    assert sorted(np.concatenate(list(split.values()))) == [0, 1, 2]


def test_metrics_by_hand():
    found = all_metrics(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 6.0]))
    assert found == {'n': 4, 'mae': 0.5, 'rmse': 1.0, 'r2': pytest.approx(0.2), 'spearman': 1.0}


def test_metrics_agree_with_scipy_and_sklearn():
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rng = np.random.default_rng(0)
    true = rng.normal(size=200).round(1)
    predicted = (true + rng.normal(size=200)).round(1)
    found = all_metrics(true, predicted)
    assert found['mae'] == pytest.approx(mean_absolute_error(true, predicted))
    assert found['rmse'] == pytest.approx(root_mean_squared_error(true, predicted))
    assert found['r2'] == pytest.approx(r2_score(true, predicted))
    assert found['spearman'] == pytest.approx(spearmanr(true, predicted).statistic)


def test_metrics_that_do_not_exist_are_none():
    found = all_metrics(np.array([2.0]), np.array([3.0]))
    assert found == {'n': 1, 'mae': 1.0, 'rmse': 1.0, 'r2': None, 'spearman': None}


@pytest.mark.parametrize(
    ('true', 'predicted', 'message'),
    [([], [], 'no values'), ([1.0], [1.0, 2.0], 'values'), ([1.0, 2.0], [1.0, np.nan], 'finite')],
)
def test_values_that_cannot_be_compared_are_refused(true, predicted, message):
    with pytest.raises(ValueError, match=message):
        all_metrics(np.array(true), np.array(predicted))
