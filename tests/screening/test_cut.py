"""Which predictions are worth a second stage."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.screening import CriteriaError, Cut, apply_cut

G = np.array([100.0, 300.0, 200.0, 10.0, np.nan, 250.0])
PREDICTIONS = {'material_id': list('abcdef'), 'log10_k_vrh': np.log10(G * 1.2), 'log10_g_vrh': np.log10(G)}
HARDNESS = LAWS['chen'](G * 1.2, G)


def chosen(**cut) -> tuple[str, dict]:
    result = apply_cut(PREDICTIONS, Cut.from_dict(cut), 'chen')
    assert len(result.rows) + sum(result.not_chosen.values()) == len(G)
    return ''.join(PREDICTIONS['material_id'][row] for row in result.rows), result.not_chosen


def test_without_a_condition_all_with_a_prediction_are_taken_hardest_first():
    assert chosen() == ('bfcad', {'no_prediction': 1})


def test_conditions_add_up():
    assert chosen(min_hardness=float(HARDNESS[2])) == ('bfc', {'no_prediction': 1, 'hardness_below_cut': 2})
    # The share is one of all predictions, and never less than a crystal.
    assert chosen(fraction=0.34)[0] == 'bfc'
    assert chosen(fraction=0.01) == ('b', {'no_prediction': 1, 'beyond_fraction': 4})
    assert chosen(fraction=0.5, max_crystals=2) == (
        'bf',
        {'no_prediction': 1, 'beyond_fraction': 2, 'beyond_max_crystals': 1},
    )


def test_the_law_is_that_of_the_criteria():
    stiff_but_ductile = {'material_id': ['x', 'y'], 'log10_k_vrh': [2.8, 2.0], 'log10_g_vrh': [2.3, 2.2]}
    assert apply_cut(stiff_but_ductile, Cut(max_crystals=1), 'chen').rows.tolist() == [1]
    assert apply_cut(stiff_but_ductile, Cut(max_crystals=1), 'teter').rows.tolist() == [0]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'share': 0.1}, "no 'share'; it has: fraction"),
        ({'fraction': 0}, 'above 0'),
        ({'fraction': True}, 'above 0'),
        ({'min_hardness': 'much'}, 'number of GPa'),
        ({'min_hardness': -3.0}, 'not negative'),
        ({'min_hardness': float('nan')}, 'number of GPa'),
        ({'max_crystals': 2.5}, 'whole number'),
        ([0.1], 'mapping'),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(CriteriaError, match=message):
        Cut.from_dict(values)


def test_a_cut_survives_the_database():
    cut = Cut(fraction=0.03, max_crystals=7)
    assert Cut.from_dict(cut.to_dict()) == cut
