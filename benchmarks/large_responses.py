"""What responses to strain are worth on large crystals, and what they cost there: by the members of `refined`.

    python benchmarks/large_responses.py GVRH.json.gz KVRH.json.gz --folder FOLDER [--above 500] [--up-to 2000]

Crystals whose response takes more atoms than ``--above`` are predicted with and without it, each by the members that
were trained without the eighth of the crystals that it is in. Mean absolute errors in log10(GPa). FOLDER
keeps what is done, and the next run goes on from there. It needs the extra `refine`, and the files that `refined` was
trained on.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.cgcnn.blend import folds
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import CrystalTable, sources
from aiida_cgcnn_elastic.potentials import POTENTIAL, PotentialFeatures
from aiida_cgcnn_elastic.potentials.compute import prepare_process
from aiida_cgcnn_elastic.potentials.response import Distorted, elastic_responses
from aiida_cgcnn_elastic.potentials.sevennet import atom_features
from aiida_cgcnn_elastic.workers import worker_pool

TARGETS = ('log10_k_vrh', 'log10_g_vrh')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--folder', type=Path, required=True)
    parser.add_argument('--above', type=int, default=500)
    parser.add_argument('--up-to', type=int, default=2000)
    parser.add_argument('--edges', nargs='*', type=int, default=[750, 1000], help='Where the table is divided.')
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    table = sources.read(sources.open_source(options.files)).table
    model = ElasticModel.load(pretrained.path('refined'))
    training = model.card['training'][0]
    if table.sha256() != training['data']['content_sha256']:
        parser.error('the crystals are not those of the training, in its order: who left which out is not known')
    with worker_pool(options.threads, prepare_process) as pool:
        sizes = np.array(list(pool.map(_size, _cells(table), chunksize=64)))
        rows = np.flatnonzero((sizes > options.above) & (sizes <= options.up_to))
        print(f'{len(table)} crystals: {(sizes > options.above).sum()} of more than {options.above} evaluated atoms,')
        print(f'{(sizes > options.up_to).sum()} of more than {options.up_to}', flush=True)
        chosen = table.select(rows)
        files = [options.folder / f'{name.replace("/", "_")}.features.pkl' for name in chosen.material_ids]
        made = list(pool.map(_make, _cells(chosen), files, [options.up_to] * len(files)))

    features = PotentialFeatures(
        POTENTIAL,
        np.concatenate([entry['values'] for entry in made]),
        np.cumsum([0, *(len(entry['values']) for entry in made)]),
        np.concatenate([entry['responses'].values for entry in made]),
        np.concatenate([entry['responses'].residual_stresses for entry in made]),
    )
    blind = dataclasses.replace(features, responses=np.full_like(features.responses, np.nan))
    n_folds = training['protocol']['folds']
    fold = folds(len(table), n_folds, training['seed'])[rows]
    graphs = build_graphs(*chosen.arrays(), n_neighbors=model.members[0].n_neighbors, orientation=True)
    found = {}
    for name, seen in (('without', blind), ('with', features)):
        found[name] = np.full((len(rows), len(TARGETS)), np.nan)
        for number in range(n_folds):
            own = np.flatnonzero(fold == number)
            team = ElasticModel(model.members[number::n_folds], {})
            predicted = predict_graphs([team], graphs.select(own), features=seen.select(own), device='cpu')
            found[name][own] = np.stack([predicted[target] for target in TARGETS], axis=1)
    true = np.stack([chosen.column(name) for name in TARGETS], axis=1)
    seconds = np.array([entry['seconds'] for entry in made])
    print(
        'evaluated atoms'.rjust(16), 'crystals'.rjust(9), 'K without'.rjust(10), 'with'.rjust(7), 'G without'.rjust(10)
    )
    edges = [options.above, *options.edges, options.up_to]
    for first, last in [*itertools.pairwise(edges), (options.above, options.up_to)]:
        own = (sizes[rows] > first) & (sizes[rows] <= last)
        if own.any():
            errors = [mae(true[own, i], found[name][own, i]) for i in range(2) for name in ('without', 'with')]
            cost = f'{np.median(seconds[own]):.1f} s (median), {seconds[own].max():.1f} s (most)'
            print(f'{first + 1:7} to {last:5} {own.sum():9}', *(f'{error:8.4f}' for error in errors), cost)


def _cells(table: CrystalTable) -> list[tuple[np.ndarray, ...]]:
    lattices, numbers, coords, offsets = table.arrays()
    atoms = [slice(offsets[row], offsets[row + 1]) for row in range(len(table))]
    return [(lattice, numbers[own], coords[own]) for lattice, own in zip(lattices, atoms, strict=True)]


def _size(cell: tuple[np.ndarray, ...]) -> int:
    return Distorted.of(*cell).n_evaluated


def _make(cell: tuple[np.ndarray, ...], file: Path, most: int) -> dict[str, Any]:
    """Return a crystal's features, its responses, and the seconds that the response took."""
    if not file.exists():
        lattice, numbers, coords = cell
        values = atom_features(lattice[None], numbers, coords, np.array([0, len(numbers)]))
        began = time.perf_counter()
        responses = elastic_responses([cell], most_evaluated=most)
        entry = {'values': values, 'responses': responses, 'seconds': time.perf_counter() - began}
        temporary = file.with_suffix('.tmp')
        temporary.write_bytes(pickle.dumps(entry))
        temporary.replace(file)
        print(f'{file.stem}: {entry["seconds"]:.1f} s', flush=True)
    return pickle.loads(file.read_bytes())


if __name__ == '__main__':
    main()
