"""Crystals whose moduli are known, and a protocol that learns them in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_cgcnn_elastic.crystals import Crystal
from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
TINY_PROTOCOL = {
    'name': 'tiny',
    'n_convolutions': 1,
    'n_hidden': 1,
    'atom_width': 8,
    'hidden_width': 8,
    'joint_targets': True,
    'epochs': 3,
    'batch_size': 16,
}


def rock_salt(material_id: str, cation: str, anion: str, edge: float, **properties: Any) -> Crystal:
    """Return a primitive rock-salt cell; `edge` is the cubic lattice constant in Angstrom."""
    numbers = [ATOMIC_NUMBERS[cation], ATOMIC_NUMBERS[anion]]
    return Crystal(material_id, edge * FCC, np.array(numbers), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), properties)


def labelled_crystals() -> list[Crystal]:
    """Return 60 crystals that are the stiffer the smaller they are, with labels, a gap (some unknown) and a fold."""
    crystals = []
    for row, cation in enumerate(['Li', 'Na', 'K', 'Mg', 'Ca', 'Sc', 'Ti', 'V', 'Cr', 'Ni', 'U', 'Tc']):
        for column, anion in enumerate(['O', 'S', 'F', 'C', 'N']):
            edge = 4.0 + 0.1 * row + 0.2 * column
            k = 2.6 - 0.2 * (edge - 4.0)
            number = 5 * row + column
            crystals.append(
                rock_salt(
                    f'{number}e{number}',
                    cation,
                    anion,
                    edge,
                    log10_k_vrh=k,
                    log10_g_vrh=k - 0.1 - 0.02 * column,
                    band_gap=None if number % 10 == 0 else 0.1 * number,
                    matbench_fold=number % 5,
                )
            )
    return crystals
