"""Try what `refined` is made of: trained on some of Matbench's folds, mean absolute errors in log10(GPa) on another.

    python benchmarks/responses.py KVRH.json.gz GVRH.json.gz --features FOLDER [--train 1 2] [--test 3] [--seeds 0]
        [--trial NAME ...]

One network or readout each, for both moduli, as `refined` has it but for what the trial says; then blends of a network
and a readout, by weights that have the least error on that same fold, which flatters all blends alike. It needs the
extra `refine`. The features of all crystals, an hour of work on two cores, are kept in FOLDER as they are
made and taken from there when this is run again. What the responses say by themselves (the mean of Voigt's and Reuss'
averages, atoms free to move) comes first. `no responses` are the errors on the test fold with all responses
taken away, as if it were of crystals that are too large for them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from potential_features import kept_features

from aiida_cgcnn_elastic.cgcnn.blend import blend_weight
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Normalizer, ReadoutMember
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.readout import fit_readout
from aiida_cgcnn_elastic.cgcnn.training import train
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.elements import element_features
from aiida_cgcnn_elastic.potentials import POTENTIAL, RESPONSES

TARGETS = ('log10_k_vrh', 'log10_g_vrh')

REFINED = PROTOCOLS['refined']

NETWORKS = {
    'network, no responses': {'responses_withheld': None},
    'network': {},
    'network, 0.1 withheld': {'responses_withheld': 0.1},
    'network, 100 epochs': {'epochs': 100},
}

NO_RESPONSES = 'readout, no responses'

READOUTS = {
    NO_RESPONSES: {},
    'readout': {},
    'readout, 0.1 withheld': {'withheld': 0.1},
    'readout, 192 wide': {'width': 192, 'dropout': 0.15},
}

BLENDS = (('network, no responses', NO_RESPONSES), ('network, no responses', 'readout'), ('network', 'readout'))

DEFAULT = ('network, no responses', 'network', NO_RESPONSES, 'readout')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--features', type=Path, required=True)
    parser.add_argument('--train', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--test', type=int, default=3)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--trial', nargs='+', default=DEFAULT, choices=[*NETWORKS, *READOUTS])
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    fold = table.column('matbench_fold')
    rows = np.flatnonzero(np.isin(fold, [*options.train, options.test]))
    table, fold = table.select(rows), fold[rows]
    features = kept_features(table, options.features, options.threads)
    true = np.stack([table.column(name) for name in TARGETS], axis=1)
    learned, test = np.flatnonzero(np.isin(fold, options.train)), np.flatnonzero(fold == options.test)
    without = np.isnan(features.responses[test]).any(axis=1)
    print(f'{len(learned)} crystals to learn from, {len(test)} to test, {without.sum()} of them without response')
    alone = log10_moduli(features.responses)
    errors = [np.nanmean(np.abs(alone[:, place] - true[:, place])) for place in range(len(TARGETS))]
    print(f'responses by themselves, all these crystals: {errors[0]:.4f} (K), {errors[1]:.4f} (G)')
    graphs = build_graphs(*table.arrays(), n_neighbors=REFINED.n_neighbors, orientation=REFINED.orientation)
    tested = graphs.select(test)
    seen = features.select(test)
    blind = dataclasses.replace(seen, responses=np.full_like(seen.responses, np.nan))

    print(
        'trial'.ljust(24), 'seed', *(name.rjust(12) for name in TARGETS), 'no responses'.rjust(16), 'seconds'.rjust(8)
    )
    found: dict[str, list[np.ndarray]] = {}
    for trial in options.trial:
        for seed in options.seeds:
            began = time.perf_counter()
            if trial in NETWORKS:
                alone = {'name': trial, 'folds': None, 'readout': None}
                protocol = dataclasses.replace(REFINED, **alone, **NETWORKS[trial])
                known = features if protocol.needs_potential else None
                targets = dict(zip(TARGETS, true.T, strict=True))
                arguments = (graphs, targets, {'train': learned}, protocol, element_features())
                model = train(*arguments, seed=seed, device='cpu', features=known).model
            else:
                assert REFINED.readout is not None
                recipe = dataclasses.replace(REFINED.readout, **READOUTS[trial])
                known = features
                if trial == NO_RESPONSES:
                    known = dataclasses.replace(features, responses=np.full_like(features.responses, np.nan))
                normalizer = Normalizer.of(true[learned])
                readout = fit_readout(known, normalizer.standardise(true), learned, recipe, seed=seed)
                member = ReadoutMember(readout, TARGETS, normalizer, POTENTIAL, REFINED.n_neighbors)
                model = ElasticModel([member], {})
            given = blind if trial == NO_RESPONSES else seen
            seconds = time.perf_counter() - began
            predicted, lost = (predict_graphs([model], tested, features=own, device='cpu') for own in (given, blind))
            found.setdefault(trial, []).append(np.stack([predicted[name] for name in TARGETS], axis=1))
            show(trial, seed, true[test], found[trial][-1])
            errors = [mae(true[test, place], lost[name]) for place, name in enumerate(TARGETS)]
            print('', *(f'{error:7.4f}' for error in errors), f'{seconds:8.0f}', flush=True)
    for pair in BLENDS:
        if set(pair) <= set(found):
            for seed, first, second in zip(options.seeds, found[pair[0]], found[pair[1]], strict=True):
                weights = [blend_weight(true[test, i], first[:, i], second[:, i]) for i in range(len(TARGETS))]
                show(' + '.join(pair), seed, true[test], second + np.array(weights) * (first - second))
                print(f'  weights of the network {weights[0]:.2f}, {weights[1]:.2f}', flush=True)


def log10_moduli(responses: np.ndarray) -> np.ndarray:
    """Return (m, 2) log10 of K and G in GPa, Voigt-Reuss-Hill, of the atoms free to move."""
    found = [
        np.mean(
            [10 ** responses[:, RESPONSES.index(f'relaxed_log10_{modulus}_{mean}')] for mean in ('voigt', 'reuss')], 0
        )
        for modulus in 'kg'
    ]
    return np.log10(np.stack(found, axis=1))


def show(trial: str, seed: int, true: np.ndarray, predicted: np.ndarray) -> None:
    errors = [f'{mae(true[:, i], predicted[:, i]):12.4f}' for i in range(len(TARGETS))]
    print(trial.ljust(24), f'{seed:4}', *errors, end=' ')


if __name__ == '__main__':
    main()
