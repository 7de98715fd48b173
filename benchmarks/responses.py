"""Try what `refined` is made of: trained on some of Matbench's folds, mean absolute errors in log10(GPa) on another.

    python benchmarks/responses.py KVRH.json.gz GVRH.json.gz --features FOLDER [--train 1 2] [--test 3] [--seeds 0]
        [--trial NAME ...]

One network, readout or perceptron each, for both moduli, as `refined` has it but for what the trial says; then blends
of them, by weights that have the least error on that same fold, which flatters all blends alike. It needs the extra
`refine`. The features of all crystals, an hour of work on two cores, are kept in FOLDER as they are made and taken from
there when this is run again. What the responses say by themselves (the mean of Voigt's and Reuss' averages, atoms free
to move) comes first. `no responses` are the errors on the test fold with all responses taken away, as if it were of
crystals that are too large for them.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from potential_features import kept_features

from aiida_cgcnn_elastic.baselines.features import property_table, structure_features
from aiida_cgcnn_elastic.cgcnn.blend import blend_weights
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import AnyMember, ElasticModel, Normalizer, PerceptronMember, ReadoutMember
from aiida_cgcnn_elastic.cgcnn.perceptron import fit_perceptron
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.readout import fit_readout
from aiida_cgcnn_elastic.cgcnn.training import train
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties
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

PERCEPTRONS = {
    'perceptron': {},
    'perceptron, 384 wide': {'width': 384, 'dropout': 0.2},
}

BLENDS = (
    ('network, no responses', NO_RESPONSES),
    ('network, no responses', 'readout'),
    ('network', 'readout'),
    ('network', 'perceptron'),
    ('readout', 'perceptron'),
    ('network', 'readout', 'perceptron'),
)

DEFAULT = ('network, no responses', 'network', NO_RESPONSES, 'readout', 'perceptron')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--features', type=Path, required=True)
    parser.add_argument('--train', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--test', type=int, default=3)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--trial', nargs='+', default=DEFAULT, choices=[*NETWORKS, *READOUTS, *PERCEPTRONS])
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
    elements = property_table(more_element_properties())
    statistics = structure_features(graphs, elements)[1]
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
                alone = {'name': trial, 'folds': None, 'readout': None, 'perceptron': None}
                protocol = dataclasses.replace(REFINED, **alone, **NETWORKS[trial])
                known = features if protocol.needs_potential else None
                targets = dict(zip(TARGETS, true.T, strict=True))
                arguments = (graphs, targets, {'train': learned}, protocol, element_features())
                model = train(*arguments, seed=seed, device='cpu', features=known).model
            else:
                normalizer = Normalizer.of(true[learned])
                member: AnyMember
                if trial in READOUTS:
                    assert REFINED.readout is not None
                    recipe = dataclasses.replace(REFINED.readout, **READOUTS[trial])
                    known = features
                    if trial == NO_RESPONSES:
                        known = dataclasses.replace(features, responses=np.full_like(features.responses, np.nan))
                    readout = fit_readout(known, normalizer.standardise(true), learned, recipe, seed=seed)
                    member = ReadoutMember(readout, TARGETS, normalizer, POTENTIAL, REFINED.n_neighbors)
                else:
                    assert REFINED.perceptron is not None
                    perceptron = fit_perceptron(
                        statistics,
                        normalizer.standardise(true),
                        learned,
                        dataclasses.replace(REFINED.perceptron, **PERCEPTRONS[trial]),
                        seed=seed,
                        responses=features.responses,
                        withheld=REFINED.responses_withheld,
                    )
                    shape = (REFINED.n_neighbors, None, REFINED.orientation, POTENTIAL)
                    member = PerceptronMember(perceptron, TARGETS, normalizer, elements, *shape)
                model = ElasticModel([member], {})
            given = blind if trial == NO_RESPONSES else seen
            seconds = time.perf_counter() - began
            predicted, lost = (predict_graphs([model], tested, features=own, device='cpu') for own in (given, blind))
            found.setdefault(trial, []).append(np.stack([predicted[name] for name in TARGETS], axis=1))
            show(trial, seed, true[test], found[trial][-1])
            errors = [mae(true[test, place], lost[name]) for place, name in enumerate(TARGETS)]
            print('', *(f'{error:7.4f}' for error in errors), f'{seconds:8.0f}', flush=True)
    for kinds in BLENDS:
        if set(kinds) <= set(found):
            for place, seed in enumerate(options.seeds):
                of_kinds = np.stack([found[kind][place] for kind in kinds])
                weights = np.stack([blend_weights(true[test, i], of_kinds[..., i]) for i in range(len(TARGETS))], 1)
                show(' + '.join(kinds), seed, true[test], (weights[:, None] * of_kinds).sum(axis=0))
                print('  weights', ', '.join(f'{one:.2f} {two:.2f}' for one, two in weights), flush=True)


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
