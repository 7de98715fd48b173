"""Measure how many crystal graphs are built in a second.

    python benchmarks/graphs.py GNOME_FOLDER_OR_ANY_SOURCE

The original code's way, pymatgen's `Structure.get_all_neighbors` within 8 A and a sort in Python, is measured beside it
on the first crystals.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import machine
import numpy as np

from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import open_source, read
from aiida_cgcnn_elastic.crystals.table import CrystalTable

ORIGINAL_SUBSET = 200


def best_of(repeats: int, function, *arguments, **options) -> float:
    """Return the shortest wall time of several calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments, **options)
        times.append(time.perf_counter() - start)
    return min(times)


def original_way(table: CrystalTable) -> None:
    """Find neighbors as the data loader of the original code does."""
    for crystal in table:
        neighbors = to_pymatgen(crystal).get_all_neighbors(8.0, include_index=True)
        for atom in neighbors:
            sorted(atom, key=lambda neighbor: neighbor[1])[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path)
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument(
        '--copies', type=int, default=10, help='take the crystals so often: starting workers takes time'
    )
    options = parser.parse_args()

    table = read(open_source(options.paths)).table
    print(machine.describe('numpy', 'pymatgen'))
    print(f'{len(table)} crystals, {table.n_atoms.mean():.1f} atoms on average')
    graphs = build_graphs(*table.arrays())
    atoms = graphs.multiplicities.sum()
    m = len(graphs)
    print(f'a crystal has {atoms / m:.1f} atoms and {12 * atoms / m:.1f} edges', end=', ')
    print(f'of which {len(graphs.atomic_numbers) / m:.1f} and {len(graphs.centers) / m:.1f} are distinct')
    many = CrystalTable.concatenate([table] * options.copies, allow_duplicate_ids=True).arrays()
    for processes in options.processes:
        for kind, orientation in (('graphs', False), ('with angles', True)):
            seconds = best_of(options.repeats, build_graphs, *many, processes=processes, orientation=orientation)
            label = f'{kind}, processes {processes}'
            print(f'{label:28} {options.copies * len(table) / seconds:9.0f} crystals/s')
    subset = table.select(np.arange(min(ORIGINAL_SUBSET, len(table))))
    seconds = best_of(1, original_way, subset)
    print(f'{"the original way, 1 process":28} {len(subset) / seconds:9.0f} crystals/s')


if __name__ == '__main__':
    main()
