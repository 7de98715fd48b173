"""Errors of the protocols on a fold of Matbench that took no part in training: MAE in log10(GPa).

Usage: python benchmarks/accuracy.py KVRH.json.gz GVRH.json.gz [--test-fold 4] [--protocol paper ...]

Trains on the other folds that the files have; a blend on all of them, the others with a tenth for validation. A blend
is shown also with its networks alone and its boostings (or readouts) alone. `refined` needs the extra `refine`, and
spends most of its time on the potential's features of the atoms.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Member
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS
from aiida_cgcnn_elastic.cgcnn.splits import split_by_column
from aiida_cgcnn_elastic.cgcnn.training import train
from aiida_cgcnn_elastic.crystals import sources
from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties
from aiida_cgcnn_elastic.potentials import FeatureMaker, PotentialFeatures

TARGETS = ('log10_k_vrh', 'log10_g_vrh')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--test-fold', type=int, default=4)
    parser.add_argument('--protocol', nargs='+', default=list(PROTOCOLS), choices=list(PROTOCOLS))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    targets = {name: values for name in TARGETS if (values := table.column(name)) is not None}
    common = {'seed': options.seed, 'threads': options.threads, 'device': 'cpu'}
    print('protocol'.ljust(24), *(name.rjust(12) for name in targets), 'seconds'.rjust(9))
    for name in options.protocol:
        protocol = PROTOCOLS[name]
        graphs = build_graphs(*table.arrays(), n_neighbors=protocol.n_neighbors, orientation=protocol.orientation)
        validation = 0.0 if protocol.folds else 0.1
        split = split_by_column(table.column('matbench_fold'), [options.test_fold], validation, seed=options.seed)
        start = time.perf_counter()
        features = None
        if protocol.folds is None:
            model = train(graphs, targets, split, protocol, element_features(), **common).model
            variants = {name: model.members}
        else:
            elements = property_table(more_element_properties())
            if protocol.needs_potential:
                with FeatureMaker(processes=options.threads) as make:
                    features = make(*table.arrays())
            model = train_blend(
                graphs, targets, split, protocol, element_features(), elements, features=features, **common
            ).model
            unweighted = [dataclasses.replace(member, weights=None) for member in model.members]
            variants = {
                name: model.members,
                f'{name}, networks': [member for member in unweighted if isinstance(member, Member)],
                f'{name}, others': [member for member in unweighted if not isinstance(member, Member)],
            }
        seconds = time.perf_counter() - start
        for label, members in variants.items():
            rows = split['test']
            tested = None if features is None else features.select(rows)
            show(label, ElasticModel(members, {}), graphs.select(rows), tested, targets, rows, seconds)


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
    print(label.ljust(24), *errors, f'{seconds:9.0f}', flush=True)


if __name__ == '__main__':
    main()
