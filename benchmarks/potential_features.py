"""Features of crystals by the universal potentials, kept in a folder as they are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.potentials import HOW_MADE, POTENTIAL, FeatureMaker, PotentialFeatures
from aiida_cgcnn_elastic.runner.features import ARRAYS
from aiida_cgcnn_elastic.runner.files import sha256_of_json

AT_ONCE = 64
"""Crystals of a file."""


def kept_features(table: CrystalTable, folder: Path, threads: int) -> PotentialFeatures:
    """Return the features of all crystals, those that are in the folder not made again."""
    folder = folder / sha256_of_json({'crystals': table.sha256(), 'arrays': ARRAYS, **HOW_MADE})[:12]
    folder.mkdir(parents=True, exist_ok=True)
    pieces = {start: table.slice(start, start + AT_ONCE).arrays() for start in range(0, len(table), AT_ONCE)}
    files = {start: folder / f'{start:08d}.npz' for start in pieces}
    parts = []
    with FeatureMaker(processes=threads) as make:
        made = make.each(piece for start, piece in pieces.items() if not files[start].exists())
        for start, piece in pieces.items():
            file = files[start]
            if file.exists():
                parts.append(PotentialFeatures(potential=POTENTIAL, offsets=piece.offsets, **dict(np.load(file))))
            else:
                parts.append(next(made))
                temporary = file.with_suffix('.tmp.npz')
                np.savez(temporary, **{name: getattr(parts[-1], name) for name in ARRAYS})
                temporary.replace(file)
                print(f'features of {start + len(piece.lattices)} of {len(table)}', flush=True)
    return PotentialFeatures.concatenate(parts)
