"""What predictions are worth where the lattice constants are not those that density functional theory relaxes to.

    python benchmarks/lattices.py KVRH.json.gz GVRH.json.gz --model DIR [--test-fold 4] [--crystals 200]
        [--scale 1 0.993 1.007] [--threads 2]

Takes a model that was trained without a fold of Matbench, and some crystals of that fold whose lattice constants are
multiplied by a number: those of PBE, of which the labels are, are some 0.7 % longer than measured ones. Prints errors
against the labels, which do not change, their mean (the bias), how many are in the 90 % intervals, the mean novelty and
how many have one above 0.95, and the median residual stress.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.cgcnn.inference import predict
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import CrystalTable, sources
from aiida_cgcnn_elastic.crystals.table import CrystalArrays
from aiida_cgcnn_elastic.potentials import FeatureMaker
from aiida_cgcnn_elastic.uncertainty.novelty import FAR

TARGETS = ('log10_k_vrh', 'log10_g_vrh')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--model', type=Path, required=True)
    parser.add_argument('--test-fold', type=int, default=4)
    parser.add_argument('--crystals', type=int, default=200)
    parser.add_argument('--scale', nargs='+', type=float, default=[1.0, 0.993, 1.007])
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    tested = np.flatnonzero(table.column('matbench_fold') == options.test_fold)
    chosen = np.random.default_rng(0).choice(tested, min(options.crystals, len(tested)), replace=False)
    table = table.select(np.sort(chosen))
    model = ElasticModel.load(options.model)
    with contextlib.nullcontext() if model.potential is None else FeatureMaker(processes=options.threads) as make:
        of_scale = {scale: scaled(table, scale) for scale in options.scale}
        features_of = {scale: make and make(*arrays) for scale, arrays in of_scale.items()}
    for scale, arrays in of_scale.items():
        features = features_of[scale]
        predicted = predict([model], *arrays, features=features, device='cpu', threads=options.threads)
        novelty = predicted['novelty']
        far = (novelty > FAR).mean()
        print(f'lattice constants times {scale:g}: novelty {novelty.mean():.2f}, far {far:.3f}', end='')
        print('' if features is None else f', residual stress {np.nanmedian(features.residual_stresses):.2f} GPa')
        for target in TARGETS:
            true = table.column(target)
            covered = (true >= predicted[f'{target}_low']) & (true <= predicted[f'{target}_high'])
            bias = (predicted[target] - true).mean()
            error = mae(true, predicted[target])
            print(f'  {target}: MAE {error:.4f}, bias {bias:+.4f}, covered {covered.mean():.3f}', flush=True)


def scaled(table: CrystalTable, scale: float) -> CrystalArrays:
    arrays = table.arrays()
    return arrays._replace(lattices=arrays.lattices * scale)


if __name__ == '__main__':
    main()
