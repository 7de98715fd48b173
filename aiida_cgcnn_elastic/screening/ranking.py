"""Hardness of predictions, and the order that it gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.elasticity import LAWS

__all__ = ('hardest_first', 'hardness_of')


def hardness_of(log10_k: NDArray[np.float64], log10_g: NDArray[np.float64], law: str) -> NDArray[np.float64]:
    """Return the hardness in GPa by a law, a key of `elasticity.LAWS`, from moduli in log10(GPa), shape (m,)."""
    # Absurd predictions overflow; they are no error here, and what is not finite is no candidate.
    with np.errstate(over='ignore', under='ignore'):
        return LAWS[law](10.0**log10_k, 10.0**log10_g)


def hardest_first(
    rows: Iterable[int], hardness: NDArray[np.float64], log10_g: NDArray[np.float64], material_ids: Sequence[str]
) -> list[int]:
    """Return rows by hardness, largest first; ties by log10 G, largest first, then by id."""
    return sorted(rows, key=lambda row: (-hardness[row], -log10_g[row], material_ids[row]))
