"""Criteria as people write them."""

from __future__ import annotations

import json

import pytest

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.screening import DEFAULT, PRESETS, Criteria, CriteriaError
from aiida_cgcnn_elastic.screening.criteria import FILTER_KEYS, KEYS, THRESHOLD_KEYS


def test_an_empty_dictionary_is_the_default() -> None:
    criteria = Criteria.from_dict({})
    assert criteria == DEFAULT
    assert (criteria.min_log10_g_vrh, criteria.min_log10_k_vrh, criteria.min_hardness) == (2.0, 2.0, 20.0)
    assert criteria.hardness_law == 'chen'
    assert criteria.no_radioactive
    assert criteria.min_poisson_ratio == 0.0
    assert criteria.max_residual_stress == 20.0


def test_the_study_preset_is_its_window() -> None:
    criteria = Criteria.from_dict({'preset': 'study'})
    assert (criteria.min_band_gap, criteria.max_band_gap, criteria.no_radioactive) == (0.1, 3.0, True)
    assert criteria.unknown_band_gap == 'drop'
    assert criteria.min_poisson_ratio is None
    assert criteria.max_residual_stress is None


def test_a_dictionary_overrides_its_preset_and_null_takes_a_criterion_away() -> None:
    criteria = Criteria.from_dict({'preset': 'study', 'max_band_gap': 5, 'min_hardness': None})
    assert criteria.max_band_gap == 5.0
    assert isinstance(criteria.max_band_gap, float)  # QueryBuilder compares floats with floats
    assert criteria.min_band_gap == 0.1
    assert criteria.min_hardness is None


@pytest.mark.parametrize('preset', list(PRESETS))
def test_round_trip_through_json(preset: str) -> None:
    criteria = Criteria.from_dict({'preset': preset, 'forbidden_elements': ['Pb', 'Cs'], 'max_atoms': 40})
    assert Criteria.from_dict(json.loads(json.dumps(criteria.to_dict()))) == criteria


def test_no_criteria_survive_the_round_trip_too() -> None:
    assert Criteria.from_dict(Criteria().to_dict()) == Criteria()


def test_filters_and_thresholds_are_the_whole_and_share_nothing() -> None:
    assert {*FILTER_KEYS, *THRESHOLD_KEYS, 'preset'} == set(KEYS)
    assert not set(FILTER_KEYS) & set(THRESHOLD_KEYS)
    criteria = Criteria.from_dict({'preset': 'study', 'max_atoms': 10})
    assert criteria.filters().min_hardness is None
    assert criteria.filters().max_atoms == 10
    assert criteria.thresholds().min_hardness == 20.0
    assert criteria.thresholds().max_atoms is None
    assert not criteria.thresholds().no_radioactive


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({'min_log10_gvrh': 2.0}, ["'min_log10_gvrh'", "did you mean 'min_log10_g_vrh'", 'max_energy_above_hull']),
        ({'preset': 'hard'}, ["'hard'", 'default', 'study']),
        ({'preset': ['study']}, ['default', 'study']),
        ({'hardness_law': 'vickers'}, ["'vickers'", *LAWS]),
        ({'unknown_band_gap': 'ignore'}, ['keep', 'drop']),
        ({'unknown_band_gap': None}, ['keep', 'drop']),
        ({'no_radioactive': 'yes'}, ['no_radioactive', 'true or false']),
        ({'no_radioactive': 1}, ['no_radioactive', 'true or false']),
        ({'min_hardness': '20'}, ['min_hardness', "'20'"]),
        ({'min_hardness': True}, ['min_hardness', 'True']),
        ({'min_hardness': -5}, ['min_hardness', 'not negative', '-5']),
        ({'max_band_gap': float('nan')}, ['max_band_gap', 'finite']),
        ({'min_log10_g_vrh': 100}, ['min_log10_g_vrh', 'log10', '2.0']),
        ({'max_candidates': 0}, ['max_candidates', 'at least 1']),
        ({'max_atoms': 4.5}, ['max_atoms', 'whole number']),
        ({'allowed_elements': 'C'}, ['allowed_elements', 'list']),
        ({'allowed_elements': ['C', 'Xx']}, ["'Xx'"]),
        ({'forbidden_elements': [6]}, ['forbidden_elements', '6']),
        ({'allowed_elements': []}, ['allowed_elements', 'empty']),
        ({'allowed_elements': ['B', 'C'], 'forbidden_elements': ['C']}, ['both', 'C']),
        ({'allowed_elements': ['U', 'Tc']}, ['radioactive']),
        ({'min_band_gap': 3, 'max_band_gap': 1}, ['min_band_gap', 'max_band_gap', '3.0', '1.0']),
        ({'preset': 'study', 'min_band_gap': 4}, ['min_band_gap', 'max_band_gap']),
        ({'max_band_gap': -1}, ['max_band_gap', 'negative']),
        ({'min_atoms': 10, 'max_atoms': 5}, ['min_atoms', 'max_atoms']),
    ],
)
def test_errors_name_the_culprit_and_what_is_allowed(values: dict, named: list[str]) -> None:
    with pytest.raises(CriteriaError) as raised:
        Criteria.from_dict(values)
    for text in named:
        assert text in str(raised.value)


def test_a_list_is_no_criteria() -> None:
    with pytest.raises(CriteriaError, match='dictionary'):
        Criteria.from_dict([('min_hardness', 20)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'required_elements': ['B', 'C', 'N'], 'max_elements': 2}, '3 required elements and max_elements of 2'),
        ({'required_elements': ['B'], 'forbidden_elements': ['B']}, 'both required and forbidden: B'),
        ({'required_elements': ['B'], 'allowed_elements': ['C']}, 'required but not allowed: B'),
        ({'required_elements': ['U']}, 'required, but radioactive: U'),
        ({'min_elements': 3, 'max_elements': 2}, 'nothing lies in that window'),
        ({'max_elements': 0}, 'whole number of at least 1'),
        ({'required_elements': ['Zz']}, 'not among the elements'),
    ],
)
def test_compositions_that_no_crystal_has(values, message):
    with pytest.raises(CriteriaError, match=message):
        Criteria.from_dict(values)
