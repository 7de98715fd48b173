"""Flagging and ranking of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aiida_cgcnn_elastic.elasticity import derived_columns
from aiida_cgcnn_elastic.screening import DEFAULT, FLAG_COLUMNS, REASONS, Criteria, describe, flag

MATERIALS = [  # material_id, K, G (GPa; None: no prediction), elements
    ('salt', 25.0, 15.0, ['Cl', 'Na']),
    ('silicon', 98.0, 67.0, ['Si']),
    ('carbide', 439.0, 282.0, ['C', 'W']),
    ('nothing', None, None, ['C']),
    ('diamond', 443.0, 535.0, ['C']),
    ('uranium', 443.0, 535.0, ['C', 'U']),
    ('ductile', 300.0, 110.0, ['Pt']),
    ('nitride', 400.0, 405.0, ['B', 'N']),
    ('half', 400.0, None, ['B', 'N']),
]


def predictions(materials=MATERIALS) -> pa.Table:
    def log10(value: float | None) -> float | None:
        return None if value is None else float(np.log10(value))

    return pa.table(
        {
            'material_id': [m[0] for m in materials],
            'log10_k_vrh': pa.array([log10(m[1]) for m in materials], pa.float64()),
            'log10_g_vrh': pa.array([log10(m[2]) for m in materials], pa.float64()),
            'elements': [m[3] for m in materials],
        }
    )


def ranked(table: pa.Table, criteria: Criteria) -> list[str]:
    return [table['material_id'][int(row)].as_py() for row in flag(table, criteria).order]


def test_the_default_finds_the_hard_and_only_them() -> None:
    assert ranked(predictions(), DEFAULT) == ['diamond', 'nitride', 'carbide']


def test_every_row_is_accounted_for() -> None:
    result = flag(predictions(), DEFAULT)
    assert result.failed == {
        'radioactive_element': 1,
        'no_prediction': 2,
        'log10_k_vrh_too_low': 2,
        'hardness_too_low': 1,
    }
    assert result.n_candidates + sum(result.failed.values()) == len(MATERIALS)
    assert result.is_candidate.tolist() == [reason is None for reason in result.reasons]


def test_hardness_is_the_tables_own() -> None:
    table = predictions()
    hardness = flag(table, Criteria(hardness_law='tian')).hardness
    logs = (table[name].to_numpy() for name in ('log10_k_vrh', 'log10_g_vrh'))
    np.testing.assert_array_equal(hardness, derived_columns(*logs)['hardness_tian'])


@pytest.mark.parametrize('bad', [np.nan, np.inf, 400.0])
def test_a_row_without_finite_prediction_is_never_a_candidate(bad: float) -> None:
    table = pd.DataFrame({'material_id': ['a', 'b'], 'log10_k_vrh': [bad, 2.5], 'log10_g_vrh': [2.5, 2.5]})
    result = flag(table, Criteria())
    assert result.is_candidate.tolist() == [False, True]
    assert result.failed == {'no_prediction': 1}


def test_ranked_by_the_law_asked_for() -> None:
    table = predictions([('low_k', 150.0, 200.0, ['C']), ('high_g', 400.0, 260.0, ['C'])])
    assert ranked(table, Criteria(hardness_law='teter')) == ['high_g', 'low_k']
    assert ranked(table, Criteria(hardness_law='chen')) == ['low_k', 'high_g']


def test_ties_go_to_the_stiffer_then_by_id() -> None:
    soft = [('z', 100.0, 5.0, ['C']), ('b', 100.0, 6.0, ['C']), ('a', 100.0, 5.0, ['C'])]  # all 0 by Chen
    assert ranked(predictions(soft), Criteria()) == ['b', 'a', 'z']


def test_only_the_best() -> None:
    result = flag(predictions(), Criteria.from_dict({'max_candidates': 2}))
    assert [MATERIALS[row][0] for row in result.order] == ['diamond', 'nitride']
    assert result.failed['beyond_max_candidates'] == 1
    assert result.reasons[2] == 'beyond_max_candidates'
    assert not result.is_candidate[2]


def test_thresholds_include_their_value() -> None:
    table = pd.DataFrame({'material_id': ['at', 'below'], 'log10_k_vrh': [2.0, 2.0], 'log10_g_vrh': [2.0, 1.9999]})
    result = flag(table, Criteria(min_log10_g_vrh=2.0, min_log10_k_vrh=2.0))
    assert result.is_candidate.tolist() == [True, False]
    assert result.failed == {'log10_g_vrh_too_low': 1}


def test_candidates_of_unknown_gap_are_counted() -> None:
    table = predictions().append_column('band_gap', pa.array([None] * 4 + [5.5] + [None] * 4, pa.float64()))
    kept = flag(table, Criteria.from_dict({'min_band_gap': 0.1}))
    assert kept.kept_unknown == {'band_gap': 2}
    assert kept.n_candidates == 3
    dropped = flag(table, Criteria.from_dict({'min_band_gap': 0.1, 'unknown_band_gap': 'drop'}))
    assert dropped.kept_unknown == {}
    assert dropped.failed['band_gap_unknown'] == len(MATERIALS) - 2  # one is known, one is radioactive first
    assert dropped.n_candidates == 1


def test_no_predictions_at_all() -> None:
    result = flag(predictions([]), DEFAULT)
    assert result.order.tolist() == []
    assert result.failed == {}


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match='log10_g_vrh'):
        flag(predictions().drop_columns(['log10_g_vrh']), DEFAULT)


def test_every_reason_has_words_with_its_limit() -> None:
    criteria = Criteria.from_dict({'min_hardness': 35, 'hardness_law': 'tian'})
    assert describe('hardness_too_low', criteria) == 'hardness (tian) below 35.0 GPa'
    for reason in REASONS:
        assert '{' not in describe(reason, criteria)
    with pytest.raises(ValueError, match='too_soft'):
        describe('too_soft', criteria)


def uncertain(std: float = 0.05) -> pa.Table:
    """Return the predictions as a calibrated model gives them; the nitride is novel, the diamond ordinary."""
    table = predictions()
    novelty = [{'nitride': 0.97, 'half': None}.get(name, 0.3) for name in table['material_id'].to_pylist()]
    columns = {'log10_k_vrh_std': std, 'log10_g_vrh_std': std, 'log10_k_g_correlation': 0.4}
    for name, value in columns.items():
        table = table.append_column(name, pa.array([value] * len(table)))
    return table.append_column('novelty', pa.array(novelty))


def test_probability_follows_the_thresholds_given() -> None:
    table = uncertain()
    names = table['material_id'].to_pylist()
    p = dict(zip(names, flag(table, DEFAULT).p_candidate, strict=True))
    assert p['diamond'] > 0.999
    assert p['salt'] < 1e-6
    assert 0.5 < p['carbide'] < 1
    assert np.isnan(p['half'])
    stricter = dict(zip(names, flag(table, Criteria(min_hardness=30.0)).p_candidate, strict=True))
    assert stricter['carbide'] < p['carbide']
    assert np.isnan(flag(predictions(), DEFAULT).p_candidate).all()


def test_a_least_probability_stands_for_the_thresholds() -> None:
    """Silicon fails by its prediction, but may pass if the error is large enough."""
    by_point = dict(DEFAULT.to_dict())
    likely, lenient = (Criteria.from_dict({**by_point, 'min_p_candidate': p}) for p in (0.99, 0.01))
    assert ranked(uncertain(), likely) == ['diamond', 'nitride']
    assert ranked(uncertain(0.3), lenient) == ['diamond', 'nitride', 'carbide', 'silicon', 'ductile']
    result = flag(uncertain(), likely)
    assert result.failed['p_candidate_too_low'] == 4
    assert flag(predictions(), likely).failed['p_candidate_unknown'] == 6


def test_novel_crystals_can_be_left_out() -> None:
    criteria = Criteria.from_dict({'max_novelty': 0.95})
    assert ranked(uncertain(), criteria) == ['diamond', 'carbide']
    assert flag(uncertain(), criteria).failed['novelty_too_high'] == 1
    assert flag(predictions(), criteria).failed['novelty_unknown'] == 3


def test_moduli_that_do_not_fit_each_other_are_no_candidate() -> None:
    """By Chen's law they would be the hardest of all: a G of three times K, which no known hard crystal has."""
    table = predictions([('odd', 100.0, 289.0, ['C']), ('diamond', 443.0, 535.0, ['C'])])
    assert ranked(table, DEFAULT) == ['diamond']
    assert flag(table, DEFAULT).failed == {'poisson_ratio_too_low': 1}
    assert ranked(table, Criteria.from_dict({'min_poisson_ratio': None})) == ['odd', 'diamond']
    assert ranked(table, Criteria.from_dict({'min_poisson_ratio': 0.1})) == []


def test_crystals_under_great_stress_are_no_candidates() -> None:
    """Where no potential has been asked, nothing is known of the stress, and nothing is lost by that."""
    names = predictions()['material_id'].to_pylist()
    stresses = [{'nitride': 480.0, 'diamond': 20.0}.get(name) for name in names]
    table = predictions().append_column('residual_stress', pa.array(stresses, pa.float64()))
    assert ranked(predictions(), DEFAULT) == ['diamond', 'nitride', 'carbide']
    assert ranked(table, DEFAULT) == ['diamond', 'carbide']
    assert flag(table, DEFAULT).failed['residual_stress_too_large'] == 1
    assert ranked(table, Criteria.from_dict({'max_residual_stress': 10})) == ['carbide']
    assert ranked(table, Criteria.from_dict({'max_residual_stress': None})) == ['diamond', 'nitride', 'carbide']


@pytest.mark.parametrize(
    'values',
    [
        {'min_p_candidate': 1.5},
        {'max_novelty': -0.1},
        {'max_novelty': 'low'},
        {'min_poisson_ratio': 0.6},
        {'max_residual_stress': -5},
    ],
)
def test_limits_that_cannot_be(values) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Criteria.from_dict(values)


def test_a_material_is_a_candidate_once_and_its_first_crystal_stays() -> None:
    hard = [(name, 443.0, g, ['C']) for name, g in (('b', 540.0), ('a', 535.0), ('c', 530.0))]
    soft = [('first', 10.0, 5.0, ['Na']), ('d', 400.0, 405.0, ['Na']), ('e', 400.0, 410.0, ['Na'])]
    table = predictions([*hard, *soft])
    marks = {'b': 'a', 'c': 'a', 'd': 'first', 'e': 'first'}
    table = table.append_column(
        'duplicate_of', pa.array([marks.get(item) for item in table['material_id'].to_pylist()])
    )
    assert ranked(table, DEFAULT) == ['a', 'e']
    result = flag(table, DEFAULT)
    assert result.failed == {'log10_k_vrh_too_low': 1, 'duplicate_of_candidate': 3}
    assert flag(table, Criteria.from_dict({'max_candidates': 1})).failed['beyond_max_candidates'] == 1
    assert ranked(table, Criteria.from_dict({'duplicates': 'all'})) == ['b', 'a', 'c', 'e', 'd']


def test_a_table_without_a_column_of_duplicates_has_none() -> None:
    assert ranked(predictions(), Criteria.from_dict({'duplicates': 'once'})) == ['diamond', 'nitride', 'carbide']
    empty = predictions([]).append_column('duplicate_of', pa.array([], pa.string()))
    assert ranked(empty, DEFAULT) == []


def test_no_criterion_asks_for_more_than_the_columns_that_are_read():
    asked: set[str] = set()

    class Watched(dict):
        def __getitem__(self, name):
            asked.add(name)
            return super().__getitem__(name)

        def __contains__(self, name):
            asked.add(name)
            return super().__contains__(name)

        def get(self, name, default=None):
            asked.add(name)
            return super().get(name, default)

    columns = {
        'material_id': ['a'],
        'elements': [['C']],
        **{name: [0.5] for name in set(FLAG_COLUMNS) - {'material_id', 'elements', 'n_atoms', 'duplicate_of'}},
        'n_atoms': [2],
        'duplicate_of': [None],
    }
    everything = {'min_atoms': 1, 'min_band_gap': 0.1, 'max_energy_above_hull': 1.0, 'forbidden_elements': ['H']}
    flag(Watched(columns), Criteria.from_dict({**everything, 'min_p_candidate': 0.1, 'max_novelty': 0.9}))
    flag(Watched(columns), Criteria.from_dict(everything))
    assert asked == set(FLAG_COLUMNS)
