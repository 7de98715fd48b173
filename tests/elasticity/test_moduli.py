"""Isotropic elasticity, against relations that do not use the formulas under test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_cgcnn_elastic.elasticity.moduli import poisson_ratio, pugh_ratio, youngs_modulus

moduli = st.floats(min_value=0.01, max_value=2000)


@given(k=moduli, g=moduli)
def test_agree_with_the_stiffness_matrix(k: float, g: float) -> None:
    """E and v are read from the inverse of the isotropic stiffness matrix, as a tensile test measures them."""
    lame = k - 2 * g / 3
    stiffness = np.diag([2 * g, 2 * g, 2 * g, g, g, g]).astype(float)
    stiffness[:3, :3] += lame
    compliance = np.linalg.inv(stiffness)
    assert youngs_modulus(k, g) == pytest.approx(1 / compliance[0, 0], rel=1e-6)
    assert poisson_ratio(k, g) == pytest.approx(-compliance[0, 1] / compliance[0, 0], rel=1e-6, abs=1e-6)


@given(k=moduli, g=moduli)
def test_e_and_v_give_k_and_g_back(k: float, g: float) -> None:
    e, v = youngs_modulus(k, g), poisson_ratio(k, g)
    assert e / (2 * (1 + v)) == pytest.approx(g, rel=1e-9)
    assert e == pytest.approx(3 * k * (1 - 2 * v), rel=1e-9)
    assert -1 < v < 0.5


def test_limits() -> None:
    assert poisson_ratio(1e9, 1.0) == pytest.approx(0.5, abs=1e-8)  # a liquid keeps its volume
    assert poisson_ratio(1.0, 1.5) == pytest.approx(0.0, abs=1e-12)  # cork: K = 2G/3
    assert youngs_modulus(1e9, 2.0) == pytest.approx(6.0, rel=1e-6)  # rubber: E = 3G
    assert pugh_ratio(175.0, 100.0) == pytest.approx(1.75)


def test_diamond() -> None:
    """Diamond: E = 1144 GPa, v = 0.07 (McSkimin and Andreatch 1972)."""
    assert youngs_modulus(443, 535) == pytest.approx(1144, abs=1)
    assert poisson_ratio(443, 535) == pytest.approx(0.07, abs=0.005)


@pytest.mark.parametrize('function', [youngs_modulus, poisson_ratio, pugh_ratio])
@pytest.mark.parametrize(
    ('k', 'g'), [(0, 1), (1, 0), (-5, 3), (5, -3), (np.nan, 1), (1, np.nan), (np.inf, 1), (1, np.inf)]
)
def test_what_is_no_modulus_gives_nan(function, k: float, g: float) -> None:
    with np.errstate(all='raise'):
        assert np.isnan(function(k, g))


def test_one_bad_row_leaves_the_others() -> None:
    k, g = np.array([443.0, -1.0, 98.0]), np.array([535.0, 10.0, 67.0])
    e = youngs_modulus(k, g)
    assert np.isnan(e).tolist() == [False, True, False]
    assert e[2] == youngs_modulus(98.0, 67.0)


def test_broadcasts() -> None:
    assert youngs_modulus(np.array([[100.0], [200.0]]), np.array([50.0, 60.0, 70.0])).shape == (2, 3)
