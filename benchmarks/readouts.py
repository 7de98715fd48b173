"""Try variants of the readouts: trained on some of Matbench's folds, mean absolute errors in log10(GPa) on another.

    python benchmarks/readouts.py KVRH.json.gz GVRH.json.gz --features FOLDER [--train 1 2] [--test 3] [--seeds 0]
        [--trial NAME ...]

One readout each, for both moduli, as `refined` has it but for what the trial says. It needs the extra `refine`. The
features of all crystals, an hour and a half of work on two cores, are kept in FOLDER as they are made and taken from
there when this is run again. `without` is the error on those crystals of the test fold that have no response to strain:
82 of fold 3 when responses were taken up to 500 evaluated atoms, as they were for the figures in the documentation.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import Normalizer
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.readout import ReadoutRecipe, fit_readout
from aiida_cgcnn_elastic.crystals import CrystalTable, sources
from aiida_cgcnn_elastic.potentials import HOW_MADE, POTENTIAL, FeatureMaker, PotentialFeatures
from aiida_cgcnn_elastic.runner.files import sha256_of_json

TARGETS = ('log10_k_vrh', 'log10_g_vrh')

NO_RESPONSE = 'no responses'

TRIALS = {
    NO_RESPONSE: {},
    'as in refined': {},
    'withheld 0.03': {'withheld': 0.03},
    'withheld 0.25': {'withheld': 0.25},
    '192 wide, dropout 0.15': {'width': 192, 'dropout': 0.15},
    '512 wide, dropout 0.4': {'width': 512, 'dropout': 0.4},
}

AT_ONCE = 64
"""Crystals of a file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--features', type=Path, required=True)
    parser.add_argument('--train', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--test', type=int, default=3)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--trial', nargs='+', default=list(TRIALS), choices=list(TRIALS))
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    fold = table.column('matbench_fold')
    rows = np.flatnonzero(np.isin(fold, [*options.train, options.test]))
    table, fold = table.select(rows), fold[rows]
    features = kept_features(table, options.features, options.threads)
    true = np.stack([table.column(name) for name in TARGETS], axis=1)
    train, test = np.flatnonzero(np.isin(fold, options.train)), np.flatnonzero(fold == options.test)
    without = np.isnan(features.responses[test]).any(axis=1)
    normalizer = Normalizer.of(true[train])
    base = PROTOCOLS['refined'].readout
    assert base is not None
    print(f'{len(train)} crystals to learn from, {len(test)} to test, {without.sum()} of them without response')
    print('trial'.ljust(24), 'seed', *(name.rjust(12) for name in TARGETS), 'without'.rjust(16), 'seconds'.rjust(8))
    for trial in options.trial:
        recipe: ReadoutRecipe = dataclasses.replace(base, **TRIALS[trial])
        seen = features
        if trial == NO_RESPONSE:
            seen = dataclasses.replace(features, responses=np.full_like(features.responses, np.nan))
        for seed in options.seeds:
            began = time.perf_counter()
            readout = fit_readout(seen, normalizer.standardise(true), train, recipe, seed=seed)
            predicted = normalizer.restore(readout.predict(seen.select(test)))
            errors = [f'{mae(true[test, i], predicted[:, i]):12.4f}' for i in range(len(TARGETS))]
            errors += [f'{mae(true[test][without, i], predicted[without, i]):8.4f}' for i in range(len(TARGETS))]
            print(trial.ljust(24), f'{seed:4}', *errors, f'{time.perf_counter() - began:7.0f}', flush=True)


def kept_features(table: CrystalTable, folder: Path, threads: int) -> PotentialFeatures:
    """Return the features of all crystals, those that are in the folder not made again."""
    folder = folder / sha256_of_json({'crystals': table.sha256(), **HOW_MADE})[:12]
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with FeatureMaker(processes=threads) as make:
        for start in range(0, len(table), AT_ONCE):
            arrays = table.slice(start, start + AT_ONCE).arrays()
            file = folder / f'{start:08d}.npz'
            if file.exists():
                saved = np.load(file)
                parts.append(PotentialFeatures(POTENTIAL, saved['values'], arrays.offsets, saved['responses']))
            else:
                parts.append(make(*arrays))
                temporary = file.with_suffix('.tmp.npz')
                np.savez(temporary, values=parts[-1].values, responses=parts[-1].responses)
                temporary.replace(file)
                print(f'features of {start + len(arrays.lattices)} of {len(table)}', flush=True)
    return PotentialFeatures.concatenate(parts)


if __name__ == '__main__':
    main()
