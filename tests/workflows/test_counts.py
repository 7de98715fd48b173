"""Counts that do not add up are noticed."""

from __future__ import annotations

import pytest

from aiida_cgcnn_elastic.workflows.counts import counts_differ

COUNTS = {
    'n_read': 10,
    'n_rejected': 1,
    'n_excluded': 2,
    'n_predicted': 6,
    'n_not_predicted': 1,
    'n_candidates': 2,
    'failed_by_reason': {'hardness_too_low': 4},
}


def test_counts_that_add_up():
    assert counts_differ(COUNTS) is None


@pytest.mark.parametrize('name', ['n_read', 'n_rejected', 'n_excluded', 'n_predicted', 'n_not_predicted'])
def test_lost_crystal(name):
    assert 'crystals read, but' in counts_differ({**COUNTS, name: COUNTS[name] + 1})


@pytest.mark.parametrize('name', ['n_chosen', 'n_refined', 'n_kept', 'n_not_refined'])
def test_crystal_lost_between_the_stages(name):
    counts = {**COUNTS, 'n_chosen': 6, 'n_refined': 3, 'n_kept': 2, 'n_not_refined': 1}
    assert counts_differ(counts) is None
    assert 'crystals chosen, but' in counts_differ({**counts, name: counts[name] + 1})


def test_prediction_that_is_neither_candidate_nor_failed():
    assert '6 crystals predicted' in counts_differ({**COUNTS, 'n_candidates': 1})
