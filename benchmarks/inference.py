"""Measure how many crystals are predicted in a second.

    python benchmarks/inference.py GNOME_FOLDER_OR_ANY_SOURCE

"networks" is the prediction from graphs that are there already, with all members of the model; "graphs and networks" is
the whole way from lattices and coordinates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import machine
import numpy as np
from graphs import best_of

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import needs_orientation, predict, predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals.sources import open_source, read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path)
    parser.add_argument('--model', default='paper', help='name of a shipped model')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--device', default='auto')
    parser.add_argument('--repeats', type=int, default=5)
    options = parser.parse_args()

    table = read(open_source(options.paths)).table
    model = ElasticModel.load(pretrained.path(options.model))
    print(machine.describe('numpy', 'pymatgen', 'torch'))
    print(
        f'{len(table)} crystals, {table.n_atoms.mean():.1f} atoms on average; '
        f'model {options.model}, {len(model.members)} members, device {options.device}'
    )
    graphs = build_graphs(*table.arrays(), orientation=needs_orientation([model]))
    exact = predict_graphs([model], graphs, dtype='float64', device=options.device)
    single = predict_graphs([model], graphs, device=options.device)
    worst = max(float(np.abs(single[target] - exact[target]).max()) for target in model.targets)
    print(f'float32 differs from float64 by at most {worst:.1e} in log10(GPa)')
    for threads in options.threads:
        common = {'threads': threads, 'device': options.device}
        seconds = best_of(options.repeats, predict_graphs, [model], graphs, **common)
        print(f'{"networks, threads " + str(threads):34} {len(table) / seconds:9.0f} crystals/s')
        seconds = best_of(options.repeats, predict, [model], *table.arrays(), **common)
        print(f'{"graphs and networks, threads " + str(threads):34} {len(table) / seconds:9.0f} crystals/s')


if __name__ == '__main__':
    main()
