"""Moduli of an isotropic solid from its bulk modulus K and shear modulus G.

A polycrystal without texture is elastically isotropic, and two moduli say everything; K and G here are the
Voigt-Reuss-Hill averages. Any function of this package gives NaN where K or G is not a positive, finite number: a
mechanically unstable or missing entry must neither stop the other rows of a table nor pass for a value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Moduli = NDArray[np.float64]


def positive_moduli(k: ArrayLike, g: ArrayLike) -> tuple[Moduli, Moduli]:
    """Return K and G broadcast against each other, NaN in both where either is not positive and finite.

    Parameters
    ----------
    k, g : array_like
        Bulk and shear modulus in GPa, of any shapes that broadcast.

    Returns
    -------
    tuple of arrays of the common shape
        K and G in GPa.
    """
    k_values, g_values = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(g, dtype=np.float64))
    usable = np.isfinite(k_values) & np.isfinite(g_values) & (k_values > 0) & (g_values > 0)
    return np.where(usable, k_values, np.nan), np.where(usable, g_values, np.nan)


def youngs_modulus(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return Young's modulus E = 9KG / (3K + G).

    Parameters
    ----------
    k, g : array_like
        Bulk and shear modulus in GPa.

    Returns
    -------
    array
        E in GPa; NaN where K or G is not positive and finite.
    """
    k, g = positive_moduli(k, g)
    return 9 * k * g / (3 * k + g)


def poisson_ratio(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return Poisson's ratio v = (3K - 2G) / (6K + 2G), which lies between -1 and 1/2.

    Parameters
    ----------
    k, g : array_like
        Bulk and shear modulus in GPa.

    Returns
    -------
    array
        v, dimensionless; NaN where K or G is not positive and finite.
    """
    k, g = positive_moduli(k, g)
    return (3 * k - 2 * g) / (6 * k + 2 * g)


def pugh_ratio(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return Pugh's ratio K / G: ductile above 1.75, brittle below (Pugh 1954, Phil. Mag. 45, 823).

    Parameters
    ----------
    k, g : array_like
        Bulk and shear modulus in GPa.

    Returns
    -------
    array
        K / G, dimensionless; NaN where K or G is not positive and finite.
    """
    k, g = positive_moduli(k, g)
    return k / g
