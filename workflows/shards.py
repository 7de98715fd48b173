"""How sets of crystals are cut into the shards that jobs predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('ATOMS_A_CRYSTAL', 'plan_shards')

ATOMS_A_CRYSTAL = 50
"""A shard of m crystals has 50 m atoms at most, two or three times as many as usual: time and memory go with atoms."""


def plan_shards(crystals: Mapping[str, CrystalSetData], size: int) -> list[dict[str, Any]]:
    """Return the shards of sets of crystals, set by set, each a run of rows.

    Parameters
    ----------
    crystals
        The sets, by their keys.
    size
        How many crystals a shard has at most. One of large cells has fewer, but at least one.

    Returns
    -------
    list of dict
        ``name`` (the key and a number), ``key``, and ``rows``: the first, and the one after the last.
    """
    from aiida_cgcnn_elastic.crystals.table import pieces

    shards = []
    for key, node in sorted(crystals.items()):
        with node.crystal_file() as file:
            n_atoms = file.n_atoms()
        for number, (start, stop) in enumerate(pieces(n_atoms, size, size * ATOMS_A_CRYSTAL)):
            shards.append({'name': f'{key}_{number:04d}', 'key': key, 'rows': [start, stop]})
    return shards
