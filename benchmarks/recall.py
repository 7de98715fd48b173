"""How small errors must be to find hard crystals: recall at a precision of 0.80, with the errors of a model scaled.

    python benchmarks/recall.py out_of_fold.parquet KVRH.json.gz GVRH.json.gz

The first file is what a training of `accurate` or `refined` leaves of its out-of-fold predictions. Crystals are hard
where Chen's law gives 20 GPa from their labels, and are ranked by what it gives from the predictions. A scale of 1 are
the model's own errors of log10 K and log10 G; with 0.5 each error is halved.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.screening.evaluation import recall_at_precision

K, G = 'log10_k_vrh', 'log10_g_vrh'

HARD = 20.0
"""GPa."""


def hardness(log10_k: np.ndarray, log10_g: np.ndarray) -> np.ndarray:
    return LAWS['chen'](10**log10_k, 10**log10_g)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('predictions', type=Path)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--scale', nargs='+', type=float, default=[1, 0.8, 0.6, 0.5, 0.4, 0.35, 0.3, 0.2, 0.1])
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    frame = pd.read_parquet(options.predictions).pivot(index='material_id', columns='target', values='blend')
    true = pd.DataFrame({name: table.column(name) for name in (K, G)}, index=table.material_ids)
    true = true.loc[frame.index]
    is_hard = hardness(true[K].to_numpy(), true[G].to_numpy()) >= HARD
    print(f'{len(true):,} crystals, {is_hard.sum()} of them hard')
    print('scale'.rjust(6), 'MAE of K'.rjust(10), 'MAE of G'.rjust(10), 'recall'.rjust(8))
    for scale in options.scale:
        scaled = true + scale * (frame - true)
        scores = hardness(scaled[K].to_numpy(), scaled[G].to_numpy())
        errors = [mae(true[name].to_numpy(), scaled[name].to_numpy()) for name in (K, G)]
        recall = recall_at_precision(scores, is_hard)['recall']
        print(f'{scale:6.2f} {errors[0]:10.4f} {errors[1]:10.4f} {recall:8.3f}')


if __name__ == '__main__':
    main()
