"""Vickers hardness of a polycrystal from its bulk and shear modulus, by four empirical laws.

Each law is a fit to measured hardness of some tens of materials. They agree within about 20 % on most strong
covalent solids; all of them fail for MgO-like ionic solids, and none knows of microstructure. Moduli are in GPa, and
so is the hardness; it is NaN where K or G is not positive and finite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from aiida_cgcnn_elastic.elasticity.moduli import Moduli, poisson_ratio, positive_moduli, youngs_modulus


def chen(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return 2 (n^2 G)^0.585 - 3 with n = G/K, and 0 where that is negative.

    The offset of -3 GPa makes the fit negative for soft solids, which no hardness is.

    Source: Chen, Niu, Li and Li 2011, Intermetallics 19, 1275.
    """
    k, g = positive_moduli(k, g)
    return np.maximum(2 * ((g / k) ** 2 * g) ** 0.585 - 3, 0)


def tian(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return 0.92 n^1.137 G^0.708 with n = G/K: Chen's law fitted again without the offset.

    Source: Tian, Xu and Zhao 2012, Int. J. Refract. Met. Hard Mater. 33, 93.
    """
    k, g = positive_moduli(k, g)
    return 0.92 * (g / k) ** 1.137 * g**0.708


def teter(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return 0.151 G, whatever K is.

    Source: Teter 1998, MRS Bulletin 23, 22.
    """
    _, g = positive_moduli(k, g)
    return 0.151 * g


def mazhnik_oganov(k: ArrayLike, g: ArrayLike) -> Moduli:
    """Return 0.096 E (1 - 8.5 v + 19.5 v^2) / (1 - 7.5 v + 12.2 v^2 + 19.6 v^3), v being Poisson's ratio.

    The fraction is positive and without poles for every v between -1 and 1/2.

    Source: Mazhnik and Oganov 2019, J. Appl. Phys. 126, 125109.
    """
    v = poisson_ratio(k, g)
    shape = (1 - 8.5 * v + 19.5 * v**2) / (1 - 7.5 * v + 12.2 * v**2 + 19.6 * v**3)
    return 0.096 * youngs_modulus(k, g) * shape


LAWS: dict[str, Callable[[ArrayLike, ArrayLike], Moduli]] = {
    'chen': chen,
    'tian': tian,
    'teter': teter,
    'mazhnik_oganov': mazhnik_oganov,
}
"""The laws by the name that criteria and the columns `hardness_<name>` use."""

POWER_LAWS: dict[str, tuple[float, float]] = {
    'chen': (-2 * 0.585, 3 * 0.585),
    'tian': (-1.137, 1.137 + 0.708),
    'teter': (0.0, 1.0),
}
"""Exponents of K and G in the laws that are a power of each, up to a factor and an offset."""
