"""Whether 90 % intervals hold on crystals like those of the training, and on others.

Usage: python benchmarks/coverage.py KVRH.json.gz GVRH.json.gz [--split random elements:B,C prototypes] [--quick]
    --features FOLDER [--protocol refined] [--checkpoint FOLDER] [--output FOLDER]

Trains a protocol, `accurate` if no other is named, without each test part: ``random`` is a fold of Matbench,
``elements:B,C`` all crystals with one of these elements, ``prototypes`` all crystals of a fifth of the prototypes
(anonymous formula and space group). ``--model DIR`` evaluates a model trained without the fold instead, for
``random``. ``--quick`` trains for 15 epochs (perceptrons 20), not taught by a potential: errors are larger, what is
asked of the intervals is the same. Else the extra `refine` is needed; the potentials' features of all crystals, an hour
of work on two cores, are kept in a folder. A training that was stopped goes on from its ``--checkpoint``; the models
are left in ``--output``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import spglib
from potential_features import kept_features

from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.crystals import CrystalTable, sources
from aiida_cgcnn_elastic.crystals.composition import element_symbols
from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties
from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.uncertainty import anonymous_formulas, hardness_interval, pass_probability

TARGETS = ('log10_k_vrh', 'log10_g_vrh')
NOVELTIES = (0.0, 0.5, 0.9, 0.99, 1.01)
PROBABILITIES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--split', nargs='+', default=['random', 'elements:B,C', 'elements:S,Se,Te', 'prototypes'])
    parser.add_argument('--test-fold', type=int, default=4)
    parser.add_argument('--model', type=Path)
    parser.add_argument('--protocol', choices=['accurate', 'refined'], default='accurate')
    parser.add_argument('--features', type=Path)
    parser.add_argument('--checkpoint', type=Path)
    parser.add_argument('--output', type=Path)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()

    protocol = PROTOCOLS[options.protocol]
    if options.quick:
        if protocol.perceptron is None:
            parser.error('--quick is for accurate')
        perceptron = dataclasses.replace(protocol.perceptron, epochs=20)
        protocol = dataclasses.replace(protocol, name='quick', epochs=15, perceptron=perceptron, responses_taught=None)
    given = None if options.model is None else ElasticModel.load(options.model)
    needs_features = protocol.needs_potential if given is None else given.potential is not None
    if needs_features and options.features is None:
        parser.error('the features of a potential are needed: --features FOLDER')
    table = sources.read(sources.open_source(options.files)).table
    targets = {name: table.column(name) for name in TARGETS}
    graphs = build_graphs(*table.arrays(), n_neighbors=protocol.n_neighbors, orientation=protocol.orientation)
    features = kept_features(table, options.features, options.threads) if needs_features else None
    for name in options.split:
        is_test = test_part(name, table, graphs, options.test_fold, options.seed)
        model = given
        if model is None:
            split = {'train': np.flatnonzero(~is_test), 'test': np.flatnonzero(is_test)}
            elements = property_table(more_element_properties())
            model = train_blend(
                graphs,
                targets,
                split,
                protocol,
                element_features(),
                elements,
                features=features,
                checkpoint=None if options.checkpoint is None else options.checkpoint / name.replace(':', '-'),
                resume=True,
                seed=options.seed,
                threads=options.threads,
                device='cpu',
            ).model
            if options.output is not None:
                model.save(options.output / name.replace(':', '-'))
        print(f'\n# {name}: trained on {(~is_test).sum()}, tested on {is_test.sum()} crystals', flush=True)
        rows = np.flatnonzero(is_test)
        own = features.select(rows) if features is not None and model.potential is not None else None
        predicted = predict_graphs([model], graphs.select(rows), features=own, device='cpu')
        report(predicted, {target: values[is_test] for target, values in targets.items()})


def test_part(name: str, table: CrystalTable, graphs: CrystalGraphs, test_fold: int, seed: int) -> np.ndarray:
    """Return which crystals are tested on."""
    if name == 'random':
        return table.column('matbench_fold') == test_fold
    kind, _, symbols = name.partition(':')
    if kind == 'elements':
        left_out = set(symbols.split(','))
        return np.array([not left_out.isdisjoint(element_symbols(crystal.atomic_numbers)) for crystal in table])
    if kind != 'prototypes':
        raise SystemExit(f'no split is called {name!r}')
    formulas = anonymous_formulas(graphs.atomic_numbers, graphs.multiplicities, graphs.atom_offsets)
    prototypes = np.array(
        [f'{formula} {space_group(crystal)}' for formula, crystal in zip(formulas, table, strict=True)]
    )
    names = np.random.default_rng(seed).permutation(np.unique(prototypes))
    return np.isin(prototypes, names[: len(names) // 5])


def space_group(crystal: object) -> int:
    dataset = spglib.get_symmetry_dataset(
        (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers.astype(int)), symprec=0.01
    )
    return 0 if dataset is None else dataset.number


def report(predicted: dict, true: dict) -> None:
    novelty = predicted['novelty']
    for target, values in true.items():
        covered = (values >= predicted[f'{target}_low']) & (values <= predicted[f'{target}_high'])
        width = (predicted[f'{target}_high'] - predicted[f'{target}_low']).mean()
        error = np.abs(values - predicted[target])
        order = np.array_split(np.argsort(predicted[target]), 10)
        print(f'{target}: MAE {error.mean():.4f}, covered {covered.mean():.3f}, mean width {width:.3f}')
        print('  by decile of the prediction:', ' '.join(f'{covered[rows].mean():.2f}' for rows in order))
        print('  by novelty:', parts(novelty, NOVELTIES, covered))
    k, g = (predicted[target] for target in TARGETS)
    uncertain = (k, g, *(predicted[f'{target}_std'] for target in TARGETS), predicted['log10_k_g_correlation'])
    hardness = LAWS['chen'](*(10 ** true[target] for target in TARGETS))
    low, high = hardness_interval(*uncertain, law='chen')
    covered = (hardness >= low) & (hardness <= high)
    hard = LAWS['chen'](10**k, 10**g) >= 10
    print(f'hardness (Chen): covered {covered.mean():.3f}, where predicted >= 10 GPa {covered[hard].mean():.3f}')
    probability = pass_probability(*uncertain, min_log10_k=2.0, min_log10_g=2.0, min_hardness=20.0, law='chen')
    passes = (true[TARGETS[0]] >= 2) & (true[TARGETS[1]] >= 2) & (hardness >= 20)
    print(f'candidates: {passes.sum()} by labels, {probability.sum():.1f} expected; share that pass by p_candidate:')
    print('  ', parts(probability, PROBABILITIES, passes))


def parts(values: np.ndarray, edges: tuple[float, ...], hits: np.ndarray) -> str:
    """Return the share of hits, and how many there are, between edges."""
    texts = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & (values < high)
        texts.append(f'[{low:g}, {min(high, 1):g}] {hits[inside].mean():.2f} of {inside.sum()}' if inside.any() else '')
    return '; '.join(text for text in texts if text)


if __name__ == '__main__':
    main()
