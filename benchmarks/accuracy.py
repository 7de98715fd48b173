"""Errors of the protocols on a fold of Matbench that took no part in training: MAE in log10(GPa).

Usage: python benchmarks/accuracy.py KVRH.json.gz GVRH.json.gz --features FOLDER [--test-fold 4]
    [--protocol paper ...]

Trains on the other folds that the files have; a blend on all of them, the others with a tenth for validation. A blend
is shown also with its members of each kind alone. `accurate` and `refined` need the extra
`refine`; the potentials' features of all crystals, an hour of work on two cores, are kept in a folder, and are not in
the seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from potential_features import kept_features

from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.splits import split_by_column
from aiida_cgcnn_elastic.cgcnn.training import train
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties
from aiida_cgcnn_elastic.potentials import PotentialFeatures

TARGETS = ('log10_k_vrh', 'log10_g_vrh')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--test-fold', type=int, default=4)
    parser.add_argument('--protocol', nargs='+', default=list(PROTOCOLS), choices=list(PROTOCOLS))
    parser.add_argument('--features', type=Path)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()
    if needing := [name for name in options.protocol if PROTOCOLS[name].needs_potential and not options.features]:
        parser.error(f'{" and ".join(needing)} need the features of a potential: --features FOLDER')

    table = sources.read(sources.open_source(options.files)).table
    targets = {name: values for name in TARGETS if (values := table.column(name)) is not None}
    common = {'seed': options.seed, 'threads': options.threads, 'device': 'cpu'}
    print('protocol'.ljust(28), *(name.rjust(12) for name in targets), 'seconds'.rjust(9))
    for name in options.protocol:
        protocol = PROTOCOLS[name]
        graphs = build_graphs(*table.arrays(), n_neighbors=protocol.n_neighbors, orientation=protocol.orientation)
        validation = 0.0 if protocol.folds else 0.1
        split = split_by_column(table.column('matbench_fold'), [options.test_fold], validation, seed=options.seed)
        features = kept_features(table, options.features, options.threads) if protocol.needs_potential else None
        start = time.perf_counter()
        if protocol.folds is None:
            model = train(graphs, targets, split, protocol, element_features(), **common).model
            variants = {name: model.members}
        else:
            elements = property_table(more_element_properties())
            model = train_blend(
                graphs, targets, split, protocol, element_features(), elements, features=features, **common
            ).model
            unweighted = [dataclasses.replace(member, weights=None) for member in model.members]
            variants = {name: model.members}
            for kind in sorted({type(member) for member in unweighted}, key=lambda kind: kind.__name__):
                variants[f'{name}, {kind.__name__}'] = [member for member in unweighted if type(member) is kind]
        seconds = time.perf_counter() - start
        for label, members in variants.items():
            rows = split['test']
            model = ElasticModel(members, {})
            tested = None if features is None or model.potential is None else features.select(rows)
            show(label, model, graphs.select(rows), tested, targets, rows, seconds)


def show(
    label: str,
    model: ElasticModel,
    graphs: CrystalGraphs,
    features: PotentialFeatures | None,
    targets: dict,
    rows: list,
    seconds: float,
) -> None:
    predicted = predict_graphs([model], graphs, features=features, device='cpu')
    errors = [f'{mae(values[rows], predicted[name]):12.4f}' for name, values in targets.items()]
    print(label.ljust(28), *errors, f'{seconds:9.0f}', flush=True)


if __name__ == '__main__':
    main()
