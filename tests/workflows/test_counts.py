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


def test_prediction_that_is_neither_candidate_nor_failed():
    assert '6 crystals predicted' in counts_differ({**COUNTS, 'n_candidates': 1})
