"""The columns of a prediction table that follow from the two predicted logarithms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aiida_cgcnn_elastic.elasticity.hardness import LAWS
from aiida_cgcnn_elastic.elasticity.moduli import Moduli, poisson_ratio, pugh_ratio, youngs_modulus


def derived_columns(log10_k: ArrayLike, log10_g: ArrayLike) -> dict[str, Moduli]:
    """Return everything that K and G of an isotropic solid say, by column name.

    Parameters
    ----------
    log10_k, log10_g : array_like of shape (m,)
        log10 of the bulk and shear modulus in GPa; NaN where unknown.

    Returns
    -------
    dict of arrays of shape (m,)
        `k_vrh`, `g_vrh`, `youngs_modulus` (GPa), `poisson_ratio`, `pugh_ratio` (dimensionless), and
        `hardness_<law>` (GPa) for each of `LAWS`, in this order. NaN where a modulus that the quantity needs is
        unknown.
    """
    # A wild prediction may overflow; it becomes infinite here and NaN in all that follows from it.
    with np.errstate(over='ignore', under='ignore'):
        k = np.power(10.0, np.asarray(log10_k, dtype=np.float64))
        g = np.power(10.0, np.asarray(log10_g, dtype=np.float64))
    columns = {
        'k_vrh': k,
        'g_vrh': g,
        'youngs_modulus': youngs_modulus(k, g),
        'poisson_ratio': poisson_ratio(k, g),
        'pugh_ratio': pugh_ratio(k, g),
    }
    return columns | {f'hardness_{name}': law(k, g) for name, law in LAWS.items()}
