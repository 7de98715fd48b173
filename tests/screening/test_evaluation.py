"""Measures on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.screening.evaluation import (
    crystal_systems,
    element_families,
    enrichment,
    interval_metrics,
    n_seen_in_training,
    precision_and_recall,
    ranking_metrics,
    recall_at_precision,
)

SCORES = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0])
TRUE = np.array([True, True, False, True, True, False, False, True])


def test_intervals_cover_and_their_ends_belong_to_them():
    true, low, high = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.1, 2.0, 3.0]), np.array([2.0, 2.5, 3.0, 3.9])
    assert interval_metrics(true, low, high) == {'coverage': 0.5, 'mean_width': pytest.approx((1 + 0.4 + 1 + 0.9) / 4)}


def test_precision_and_recall_by_hand():
    found = SCORES >= 7  # three, two of them true, of five
    assert precision_and_recall(found, TRUE) == {
        'n_candidates': 3,
        'n_candidates_by_label': 5,
        'n_true_positives': 2,
        'precision': 2 / 3,
        'recall': 2 / 5,
    }
    nothing = np.zeros(8, dtype=bool)
    assert precision_and_recall(nothing, TRUE)['precision'] is None
    assert precision_and_recall(found, nothing)['recall'] is None


def test_recall_at_precision_takes_the_best_threshold():
    """At 5 four of five are true; below, precision falls to 5 of 8."""
    assert recall_at_precision(SCORES, TRUE) == {'recall': 4 / 5, 'precision': 4 / 5, 'threshold': 5.0}
    assert recall_at_precision(SCORES, TRUE, 0.9) == {'recall': 2 / 5, 'precision': 1.0, 'threshold': 8.0}
    assert recall_at_precision(SCORES, TRUE, 0.6)['recall'] == 1.0


def test_equal_scores_pass_a_threshold_together():
    scores, true = np.array([1.0, 1.0, 1.0, 0.0]), np.array([True, True, False, True])
    assert recall_at_precision(scores, true, 0.8)['recall'] is None
    assert recall_at_precision(scores, true, 0.7) == {'recall': 1.0, 'precision': 0.75, 'threshold': 0.0}


@pytest.mark.parametrize('true', [np.zeros(8, dtype=bool), SCORES < 3])
def test_no_threshold_is_precise_enough(true):
    assert recall_at_precision(SCORES, true)['recall'] is None


def test_enrichment_by_hand():
    """Of 200 the best 2 count: one of them is true, 4 of all are, so 0.5 / 0.02."""
    scores, true = np.arange(200.0), np.zeros(200, dtype=bool)
    true[[199, 10, 20, 30]] = True
    assert enrichment(scores, true) == pytest.approx(25)
    assert enrichment(-scores, true) == 0
    assert enrichment(np.zeros(200), true) == pytest.approx(1)
    assert enrichment(scores, np.zeros(200, dtype=bool)) is None


def test_unknown_scores_come_last():
    scores = np.array([2.0, np.nan, 1.0])
    found = ranking_metrics(scores, np.array([True, False, True]))
    assert found['at_precision'] == {'wanted': 0.8, 'recall': 1.0, 'precision': 1.0, 'threshold': 1.0}


def test_crystals_of_the_training_are_those_without_novelty():
    """Rounding moved the second from 0; the third is only near to the training, the last unknown."""
    assert n_seen_in_training(np.array([0.0, 5e-7, 1e-4, 0.5, 1.0, np.nan])) == 2
    assert n_seen_in_training(np.array([0.3, 1.0])) == 0
    assert n_seen_in_training(np.array([np.nan, np.nan])) is None


def test_space_groups_have_their_systems():
    numbers = np.array([1, 2, 3, 15, 16, 74, 75, 142, 143, 167, 168, 194, 195, 230, np.nan, 0])
    names = ('triclinic', 'monoclinic', 'orthorhombic', 'tetragonal', 'trigonal', 'hexagonal', 'cubic')
    assert crystal_systems(numbers).tolist() == [name for name in names for _ in range(2)] + [None, None]


def test_families_of_compounds():
    compounds = {
        'halides': ['Cl', 'Na'],
        'oxides': ['C', 'Ca', 'O'],
        'chalcogenides': ['Mo', 'S'],
        'nitrides': ['B', 'N'],
        'hydrides': ['H', 'Li'],
        'carbides': ['C', 'W'],
        'pnictides': ['As', 'Ga'],
        'borides': ['B', 'Os'],
        'silicides and germanides': ['Mo', 'Si'],
        'intermetallics': ['Al', 'Ni'],
        'elements': ['C'],
    }
    assert element_families(compounds.values()).tolist() == list(compounds)
    assert element_families([['F', 'O', 'La']]).tolist() == ['halides']
