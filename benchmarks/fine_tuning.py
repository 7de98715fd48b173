"""What fine-tuning gives on crystals with an element that the parent has never seen: MAE in log10(GPa).

Usage: python benchmarks/fine_tuning.py KVRH.json.gz GVRH.json.gz [--element N ...] [--crystals 40] [--draws 2]
        [--protocol accurate | --parent MODEL [--features FOLDER]]

For each element (or several: B,C) a parent is trained without any crystal that has it, fine-tuned on some of these
crystals, and tested on all others of them. Beside it stands the verdict of the cross-validation over the few crystals,
which knows no other, and how many the 90 % intervals of parent and child hold. The parent is a network like `fast`, or
a small blend like `accurate` (three networks and three perceptrons, not taught by a potential), trained for few epochs.
Or it is a MODEL that was trained without any crystal of the one family that is named then, such as
`benchmarks/coverage.py --split elements:B,C --output FOLDER` leaves; if it is like `refined`, the potentials' features
of all crystals, an hour of work on two cores, are kept in a folder.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
from potential_features import kept_features

from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.fine_tuning import FINE_TUNE, composition_groups, fine_tune, paired_comparison
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe
from aiida_cgcnn_elastic.cgcnn.training import Protocol, train
from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties
from aiida_cgcnn_elastic.crystals.sources import open_source, read
from aiida_cgcnn_elastic.screening.evaluation import interval_metrics

SMALL_BLEND = {'folds': 3, 'perceptron': PerceptronRecipe(epochs=20), 'responses_taught': None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path, help="matminer's dataset files")
    parser.add_argument('--element', action='append', help='Symbols, joined by commas; default: N, B, H, Cl, C, Si')
    parser.add_argument('--crystals', type=int, default=40, help='To fine-tune on.')
    parser.add_argument('--draws', type=int, default=2)
    parser.add_argument('--epochs', type=int, default=15, help="Of the parent's networks.")
    parser.add_argument('--protocol', choices=['fast', 'accurate'], default='fast')
    parser.add_argument('--parent', type=Path, metavar='MODEL')
    parser.add_argument('--features', type=Path)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--learning-rate', type=float, default=FINE_TUNE.learning_rate)
    options = parser.parse_args()
    if options.parent is not None and len(options.element or []) != 1:
        parser.error('--parent goes with one --element, without which that model was trained')

    table = read(open_source(options.paths)).table
    targets = {name: table.column(name) for name in ('log10_k_vrh', 'log10_g_vrh')}
    recipe = dataclasses.replace(FINE_TUNE, learning_rate=options.learning_rate)
    protocol = dataclasses.replace(Protocol.from_name(options.protocol), epochs=options.epochs)
    if protocol.folds is not None:
        protocol = dataclasses.replace(protocol, **SMALL_BLEND)
    graphs = build_graphs(*table.arrays(), orientation=True)
    crystal_of_atom = np.repeat(np.arange(len(graphs)), np.diff(graphs.atom_offsets))
    errors_before: dict[str, list[float]] = {name: [] for name in targets}
    errors_after: dict[str, list[float]] = {name: [] for name in targets}
    verdicts: Counter[tuple[str, str]] = Counter()
    for symbol in options.element or ['N', 'B', 'H', 'Cl', 'C', 'Si']:
        numbers = [ATOMIC_NUMBERS[each] for each in symbol.split(',')]
        has_element = np.isin(np.arange(len(graphs)), crystal_of_atom[np.isin(graphs.atomic_numbers, numbers)])
        features = None
        if options.parent is None:
            parent = trained(protocol, graphs, targets, np.flatnonzero(~has_element))
        else:
            parent = ElasticModel.load(options.parent)
        if parent.potential is not None:
            if options.features is None:
                parser.error('a parent that needs the features of a potential: --features FOLDER')
            features = kept_features(table, options.features, options.threads)
        family = np.flatnonzero(has_element)
        for draw in range(options.draws):
            order = np.random.default_rng(draw).permutation(family)
            few, others = order[: options.crystals], order[options.crystals :]
            own = {name: values[few] for name, values in targets.items()}
            known, seen = (None if features is None else features.select(rows) for rows in (few, others))
            result = fine_tune(
                parent, graphs.select(few), own, recipe, seed=draw, features=known, threads=options.threads
            )
            test = graphs.select(others)
            before, after = (
                predict_graphs([model], test, features=seen, threads=options.threads)
                for model in (parent, result.model)
            )
            for name, values in targets.items():
                errors = [np.abs(predicted[name] - values[others]) for predicted in (before, after)]
                truth = paired_comparison(*errors, composition_groups(test), seed=0)
                judged = result.metrics[name]['fine_tuning']
                errors_before[name].append(truth['mae_before'])
                errors_after[name].append(truth['mae_after'])
                verdicts[judged['verdict'], truth['verdict']] += 1
                bars = [interval_metrics(values[others], *ends(predicted, name)) for predicted in (before, after)]
                print(
                    f'{symbol:2} {name} {len(others)} others: {truth["mae_before"]:.4f} -> {truth["mae_after"]:.4f} '
                    f'{truth["verdict"]}; cross-validation: {judged["mae_before"]:.4f} -> {judged["mae_after"]:.4f} '
                    f'({judged["low"]:+.4f} to {judged["high"]:+.4f}) {judged["verdict"]}; intervals cover '
                    f'{bars[0]["coverage"]:.3f} -> {bars[1]["coverage"]:.3f}, '
                    f'width {bars[0]["mean_width"]:.3f} -> {bars[1]["mean_width"]:.3f}',
                    flush=True,
                )
    for name in targets:
        one, two = np.array(errors_before[name]), np.array(errors_after[name])
        print(f'{name}: {one.mean():.4f} -> {two.mean():.4f}; mean error after over before {(two / one).mean():.3f}')
    for (judged, truth), count in verdicts.most_common():
        print(f'judged {judged!r}, in truth {truth!r}: {count}')


def ends(predicted: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Return the ends of intervals, NaN where the model has none."""
    nothing = np.full_like(predicted[name], np.nan)
    return [predicted.get(f'{name}_{end}', nothing) for end in ('low', 'high')]


def trained(
    protocol: Protocol, graphs: CrystalGraphs, targets: dict[str, np.ndarray], rows: np.ndarray
) -> ElasticModel:
    arguments = (graphs, targets, {'train': rows}, protocol, element_features())
    if protocol.folds is None:
        return train(*arguments, seed=0).model
    return train_blend(*arguments, property_table(more_element_properties()), seed=0).model


if __name__ == '__main__':
    main()
