"""Measure what a second stage costs: the potentials' features of crystals, with and without what makes them faster.

    python benchmarks/potentials.py ANY_SOURCE ... [--crystals 40] [--potential 7net-l3i5]

First the forces and stresses of the same crystals by one process of its own each: with SevenNet's own convolution, with
the faster one, and with that and memory that is kept; then all features, as a job of `refined` makes them, by as many
processes as there are cores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import machine
import numpy as np
from ase import Atoms

from aiida_cgcnn_elastic.crystals.sources import open_source, read
from aiida_cgcnn_elastic.potentials import FeatureMaker, known_elements, sevennet
from aiida_cgcnn_elastic.workers import keep_memory

WAYS = ("SevenNet's own convolution", 'channels last', 'channels last, memory kept')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path)
    parser.add_argument('--crystals', type=int, default=40)
    parser.add_argument('--potential', choices=sevennet.POTENTIALS, default='7net-l3i5')
    options = parser.parse_args()

    table = read(open_source(options.paths)).table
    known = sorted(known_elements())
    usable = [row for row, crystal in enumerate(table) if np.isin(crystal.atomic_numbers, known).all()]
    rows = np.random.default_rng(0).choice(usable, min(options.crystals, len(usable)), replace=False)
    table = table.select(np.sort(rows))
    print(machine.describe('torch', 'sevenn', 'e3nn'))
    crystals = [
        Atoms(crystal.atomic_numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True)
        for crystal in table
    ]
    found = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            found[way] = pool.submit(measured, way, options.potential, crystals).result()
        seconds, forces = found[way]
        first_seconds, first_forces = found[WAYS[0]]
        difference = max(np.abs(own - other).max() for own, other in zip(forces, first_forces, strict=True))
        print(f'{way:28} {seconds:7.1f} s, {first_seconds / seconds:.2f} times as fast,', end=' ')
        print(f'forces differ by {difference:.1e} eV/Angstrom at most', flush=True)
    processes = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    with FeatureMaker(processes=processes) as make:
        make(*table.slice(0, processes).arrays())  # the potentials are read
        began = time.perf_counter()
        make(*table.arrays())
        seconds = time.perf_counter() - began
    print(f'features of {len(table)} crystals, {processes} processes: {seconds:.1f} s,', end=' ')
    print(f'{seconds * processes / len(table):.2f} s a crystal and core')


def measured(way: str, potential: str, crystals: Sequence[Atoms]) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that forces and stresses take on one core, and the forces."""
    import torch
    from sevenn.util import load_checkpoint

    torch.set_num_threads(1)
    if way == WAYS[2]:
        keep_memory()
    if way == WAYS[0]:
        model = sevennet._potential(potential, 'cpu').model
        for name, layer in load_checkpoint(potential).build_model().named_children():
            if name.endswith('_convolution'):
                setattr(model, name, layer.eval().requires_grad_(False))
    sevennet.forces_and_stresses(potential, crystals[:4])
    began = time.perf_counter()
    forces, _ = sevennet.forces_and_stresses(potential, crystals)
    return time.perf_counter() - began, forces


if __name__ == '__main__':
    main()
