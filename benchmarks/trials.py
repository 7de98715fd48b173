"""Try variants of the networks: trained on some of Matbench's folds, mean absolute errors in log10(GPa) on another.

    python benchmarks/trials.py KVRH.json.gz GVRH.json.gz [--train 1 2] [--test 3] [--seeds 0 1] [--trial NAME ...]
        [--features FOLDER] [--unlabelled 4]

One network each, for both moduli, as the blend `accurate` has it but for what the trial says; only those called taught
are taught responses to strain, which needs the extra `refine` and a folder for what the potentials say of the crystals,
an hour of work on two cores. With ``--unlabelled`` they are taught those of other folds as well, without the moduli.
Every error is of one seed; `averaged` is that of the mean prediction of the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from potential_features import kept_features

from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.training import train
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.elements import element_features

TARGETS = ('log10_k_vrh', 'log10_g_vrh')

BASE = dataclasses.replace(PROTOCOLS['accurate'], name='trial', folds=None, perceptron=None, responses_taught=None)

TRIALS = {
    'taught': {'responses_taught': PROTOCOLS['accurate'].responses_taught},
    'taught, twice weighed': {'responses_taught': 2.0},
    'taught, 110 epochs': {'responses_taught': 1.0, 'epochs': 110},
    'taught, 96 wide': {'responses_taught': 1.0, 'atom_width': 96},
    'not taught': {},
    'without angles': {'orientation': False},
    '24 neighbors': {'n_neighbors': 24},
    '2 convolutions': {'n_convolutions': 2},
    '4 convolutions': {'n_convolutions': 4},
    '128 wide': {'atom_width': 128},
    'weight decay 0.05': {'weight_decay': 0.05},
    'batches of 256': {'batch_size': 256},
    '120 epochs': {'epochs': 120},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--train', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--test', type=int, default=3)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1])
    parser.add_argument('--trial', nargs='+', default=list(TRIALS), choices=list(TRIALS))
    parser.add_argument('--features', type=Path)
    parser.add_argument('--unlabelled', nargs='+', type=int, default=[])
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()
    needs_features = any('responses_taught' in TRIALS[trial] for trial in options.trial)
    if needs_features and options.features is None:
        parser.error('what is taught needs the features of a potential: --features FOLDER')
    if shared := set(options.unlabelled) & {*options.train, options.test}:
        parser.error(f'fold {min(shared)} is trained or tested on: it is not without labels')

    table = sources.read(sources.open_source(options.files)).table
    targets = {name: np.array(values) for name in TARGETS if (values := table.column(name)) is not None}
    fold = table.column('matbench_fold')
    split = {
        'train': np.flatnonzero(np.isin(fold, options.train)),
        'validation': np.zeros(0, dtype=np.int64),
        'test': np.flatnonzero(fold == options.test),
    }
    test = split['test']
    unlabelled = np.flatnonzero(np.isin(fold, options.unlabelled))
    for values in targets.values():
        values[unlabelled] = np.nan
    features = kept_features(table, options.features, options.threads) if needs_features else None
    print('trial'.ljust(20), 'seed'.rjust(8), *(name.rjust(12) for name in TARGETS), 'seconds'.rjust(9))
    for trial in options.trial:
        protocol = dataclasses.replace(BASE, **TRIALS[trial])
        graphs = build_graphs(*table.arrays(), n_neighbors=protocol.n_neighbors, orientation=protocol.orientation)
        start = time.perf_counter()
        found: dict[str, list[np.ndarray]] = {name: [] for name in TARGETS}
        for seed in options.seeds:
            began = time.perf_counter()
            # The test part is evaluated after every epoch, but decides nothing.
            result = train(
                graphs,
                targets,
                {**split, 'train': np.append(split['train'], unlabelled)},
                protocol,
                element_features(),
                features=features if protocol.needs_potential else None,
                seed=seed,
                threads=options.threads,
                device='cpu',
            )
            predicted = {name: result.predictions[name][test] for name in TARGETS}
            for name, values in predicted.items():
                found[name].append(values)
            show(trial, str(seed), targets, test, predicted, time.perf_counter() - began)
        if len(options.seeds) > 1:
            means = {name: np.mean(values, axis=0) for name, values in found.items()}
            show(trial, 'averaged', targets, test, means, time.perf_counter() - start)


def show(trial: str, seed: str, targets: dict, rows: np.ndarray, predicted: dict, seconds: float) -> None:
    errors = [f'{mae(targets[name][rows], predicted[name]):12.4f}' for name in TARGETS]
    print(trial.ljust(20), seed.rjust(8), *errors, f'{seconds:9.0f}', flush=True)


if __name__ == '__main__':
    main()
