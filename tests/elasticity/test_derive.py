"""The derived columns of a prediction table."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.elasticity import LAWS, derived_columns


def test_names_and_order_are_the_prediction_tables() -> None:
    assert list(derived_columns([2.0], [2.0])) == [
        'k_vrh',
        'g_vrh',
        'youngs_modulus',
        'poisson_ratio',
        'pugh_ratio',
        'hardness_chen',
        'hardness_tian',
        'hardness_teter',
        'hardness_mazhnik_oganov',
    ]


def test_values() -> None:
    columns = derived_columns(np.log10([443.0, 98.0]), np.log10([535.0, 67.0]))
    np.testing.assert_allclose(columns['k_vrh'], [443, 98])
    np.testing.assert_allclose(columns['g_vrh'], [535, 67])
    for name, law in LAWS.items():
        np.testing.assert_allclose(columns[f'hardness_{name}'], law([443, 98], [535, 67]))


def test_one_modulus_alone_gives_that_modulus_only() -> None:
    columns = derived_columns([2.0, 2.0], [2.0, np.nan])
    assert columns['k_vrh'].tolist() == [100.0, 100.0]
    for name, values in columns.items():
        assert np.isnan(values[1]) == (name != 'k_vrh'), name


def test_a_wild_prediction_warns_nobody_and_gives_no_hardness() -> None:
    with np.errstate(all='raise'):
        columns = derived_columns([400.0], [2.0])
    assert columns['k_vrh'][0] == np.inf
    assert np.isnan(columns['hardness_chen'][0])


def test_error_of_the_shear_modulus_carries_to_chen() -> None:
    """An error of 0.07 in log10 G alone is about a third of Chen's hardness."""
    low, high = (derived_columns([2.4], [2.3 + step])['hardness_chen'][0] for step in (0.0, 0.07))
    assert high / low == pytest.approx(1.33, abs=0.06)
