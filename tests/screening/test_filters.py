"""Crystals left out before anything is predicted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aiida_cgcnn_elastic.screening import Criteria, exclusions, kept_unknown
from aiida_cgcnn_elastic.screening.elements import RADIOACTIVE, SYMBOLS

CRYSTALS = {
    'n_atoms': [2, 2, 8, 4, 100],
    'elements': [['C'], ['B', 'N'], ['O', 'U'], ['Cl', 'Na'], ['C', 'Si']],
    'band_gap': [4.1, None, 1.0, 5.0, 0.0],
    'energy_above_hull': [0.1, 0.0, None, 0.0, 0.2],
}


def excluded(crystals=None, **values) -> list[str | None]:
    columns = pa.table(CRYSTALS) if crystals is None else crystals
    return exclusions(columns, Criteria.from_dict({'no_radioactive': False, **values})).tolist()


def test_symbols_are_in_order_of_atomic_number() -> None:
    assert len(SYMBOLS) == 118
    assert [SYMBOLS[z - 1] for z in (1, 6, 26, 57, 71, 79, 92, 118)] == ['H', 'C', 'Fe', 'La', 'Lu', 'Au', 'U', 'Og']


def test_radioactive_elements() -> None:
    assert {'Tc', 'Pm', 'Po', 'Th', 'U', 'Pu', 'Og'} <= RADIOACTIVE
    assert not {'Bi', 'Pb', 'Ru', 'Mo', 'Nd', 'Sm', 'K', 'Rb'} & RADIOACTIVE
    assert len(RADIOACTIVE) == 2 + (118 - 83)


def test_nothing_asked_nothing_excluded() -> None:
    assert excluded() == [None] * 5


def test_elements() -> None:
    assert excluded(no_radioactive=True) == [None, None, 'radioactive_element', None, None]
    assert excluded(forbidden_elements=['Na', 'N']) == [None, 'forbidden_element', None, 'forbidden_element', None]
    outside = 'element_not_allowed'
    assert excluded(allowed_elements=['C', 'B', 'N']) == [None, None, outside, outside, outside]


def test_required_elements_and_how_many() -> None:
    absent = 'required_element_absent'
    assert excluded(required_elements=['C']) == [None, absent, absent, absent, None]
    assert excluded(required_elements=['Si', 'C']) == [absent, absent, absent, absent, None]
    assert excluded(min_elements=2) == ['too_few_elements', None, None, None, None]
    assert excluded(pa.table({'elements': pa.array([])}), max_elements=1) == []
    assert excluded(max_elements=1) == [None, *['too_many_elements'] * 4]
    assert excluded(min_elements=2, max_elements=2, required_elements=['O']) == [absent, absent, None, absent, absent]


def test_atoms() -> None:
    assert excluded(min_atoms=4, max_atoms=8) == ['too_few_atoms', 'too_few_atoms', None, None, 'too_many_atoms']


def test_band_gap_window_includes_its_ends() -> None:
    assert excluded(min_band_gap=1.0, max_band_gap=4.1) == [
        None,
        None,
        None,
        'band_gap_too_large',
        'band_gap_too_small',
    ]


def test_unknown_values_are_kept_or_dropped() -> None:
    assert excluded(min_band_gap=0.0, unknown_band_gap='drop')[1] == 'band_gap_unknown'
    assert excluded(max_energy_above_hull=0.15) == [None, None, None, None, 'energy_above_hull_too_high']
    assert excluded(max_energy_above_hull=0.15, unknown_energy_above_hull='drop')[2] == 'energy_above_hull_unknown'


def test_unknown_matters_only_where_a_criterion_asks() -> None:
    assert excluded(unknown_band_gap='drop', unknown_energy_above_hull='drop') == [None] * 5


def test_an_absent_column_is_unknown_for_all() -> None:
    columns = pa.table({'n_atoms': [2, 3], 'elements': [['C'], ['Si']]})
    assert excluded(columns, min_band_gap=0.1) == [None, None]
    assert excluded(columns, min_band_gap=0.1, unknown_band_gap='drop') == ['band_gap_unknown'] * 2
    assert kept_unknown(columns, Criteria(min_band_gap=0.1))['band_gap'].tolist() == [True, True]


def test_kept_unknown_speaks_of_what_was_asked() -> None:
    table = pa.table(CRYSTALS)
    assert kept_unknown(table, Criteria()) == {}
    assert kept_unknown(table, Criteria(min_band_gap=0.1, unknown_band_gap='drop')) == {}
    unknown = kept_unknown(table, Criteria(min_band_gap=0.1, max_energy_above_hull=1.0))
    assert unknown['band_gap'].tolist() == [False, True, False, False, False]
    assert unknown['energy_above_hull'].tolist() == [False, False, True, False, False]


def test_the_first_reason_in_the_stated_order() -> None:
    crystal = pa.table({'n_atoms': [100], 'elements': [['Na', 'U']], 'band_gap': [9.0], 'energy_above_hull': [1.0]})
    asked = {
        'max_atoms': 10,
        'no_radioactive': True,
        'forbidden_elements': ['Na'],
        'allowed_elements': ['C'],
        'max_band_gap': 3.0,
        'max_energy_above_hull': 0.1,
    }
    expected = [
        'too_many_atoms',
        'radioactive_element',
        'forbidden_element',
        'element_not_allowed',
        'band_gap_too_large',
        'energy_above_hull_too_high',
    ]
    for key, reason in zip(list(asked), expected, strict=True):
        assert excluded(crystal, **asked) == [reason]
        del asked[key]


def test_tables_of_every_kind_agree() -> None:
    asked = {'preset': 'study', 'max_energy_above_hull': 0.15, 'max_atoms': 50}
    expected = excluded(**asked)
    assert excluded(pd.DataFrame(CRYSTALS), **asked) == expected
    assert excluded({name: np.array(v, dtype=object) for name, v in CRYSTALS.items()}, **asked) == expected
    chunks = pa.concat_tables([pa.table(CRYSTALS).slice(0, 2), pa.table(CRYSTALS).slice(2)])
    assert excluded(chunks, **asked) == expected
    assert excluded(pa.table(CRYSTALS).slice(2), **asked) == expected[2:]


def test_an_empty_table() -> None:
    assert excluded(pa.table(CRYSTALS).slice(0, 0), preset='study') == []


def test_elements_absent_but_asked_for() -> None:
    with pytest.raises(KeyError, match='elements'):
        excluded(pa.table({'n_atoms': [1]}), forbidden_elements=['C'])
    with pytest.raises(KeyError, match='n_atoms'):
        excluded(pa.table({'elements': [['C']]}), max_atoms=3)


def test_elements_as_text_are_refused() -> None:
    with pytest.raises(ValueError, match='list of symbols'):
        excluded(pa.table({'elements': ["['C', 'N']"]}), forbidden_elements=['C'])
