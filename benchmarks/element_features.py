"""Find which description of the elements predicts best for elements that the network has never seen.

    python benchmarks/element_features.py matbench_log_kvrh.json.gz matbench_log_gvrh.json.gz

The elements that occur often enough to matter and seldom enough to be spared are dealt into groups. For each group a
network is trained on crystals without any of its elements, and tested on the crystals with at least one ("unseen"), and
on a tenth of the others that was kept out ("seen"). Mean absolute errors in log10(GPa), over all groups.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.training import Protocol, train
from aiida_cgcnn_elastic.crystals.elements import (
    LAST_SPANNED,
    LOGARITHMIC,
    N_GAUSSIANS,
    element_features,
    element_properties,
)
from aiida_cgcnn_elastic.crystals.sources import open_source, read

FEWEST_CRYSTALS, MOST_CRYSTALS = 50, 900


def learned() -> np.ndarray:
    """One-hot elements: the first layer is a learned embedding."""
    return np.eye(119, dtype=np.float32)


def scaled_properties() -> dict[str, np.ndarray]:
    """Return the properties as they vary evenly, from 0 to 1 over the elements up to fermium."""
    scaled = {}
    for name, values in element_properties().items():
        even = np.log(values) if name in LOGARITHMIC else values
        low, high = even[1 : LAST_SPANNED + 1].min(), even[1 : LAST_SPANNED + 1].max()
        scaled[name] = np.nan_to_num(np.clip((even - low) / (high - low), 0, 1))
    return scaled


def one_hot(values: np.ndarray) -> np.ndarray:
    return values.astype(int)[:, None] == np.arange(values.max() + 1)


def numbers() -> np.ndarray:
    """Every property as one standardised number, the block one-hot."""
    scaled = scaled_properties()
    block = one_hot(3 * scaled.pop('block'))
    columns = np.stack(list(scaled.values()), axis=1)
    common = columns[1 : LAST_SPANNED + 1]
    return np.concatenate([(columns - common.mean(axis=0)) / common.std(axis=0), block], axis=1).astype(np.float32)


def binned() -> np.ndarray:
    """Every property one-hot in bins, as the original code's ``atom_init.json`` has it."""
    scaled, columns = scaled_properties(), []
    for name, values in element_properties().items():
        if name in ('group', 'period', 'block', 'valence_electrons'):
            columns.append(one_hot(np.nan_to_num(values)))
        else:
            columns.append(one_hot(np.minimum(N_GAUSSIANS * scaled[name], N_GAUSSIANS - 1)))
    return np.concatenate(columns, axis=1).astype(np.float32)


DESCRIPTIONS = {'gaussians': element_features, 'numbers': numbers, 'binned': binned, 'learned': learned}
"""``gaussians`` is what the project uses."""


def groups_of_elements(graphs: CrystalGraphs, n_groups: int, seed: int) -> list[np.ndarray]:
    """Return the elements of every group."""
    presence = presence_of_elements(graphs)
    counts = presence.sum(axis=0)
    elements = np.flatnonzero((counts >= FEWEST_CRYSTALS) & (counts <= MOST_CRYSTALS))
    return np.array_split(np.random.default_rng(seed).permutation(elements), n_groups)


def presence_of_elements(graphs: CrystalGraphs) -> np.ndarray:
    """Return (m, 119) whether a crystal has an element."""
    presence = np.zeros((len(graphs), 119), dtype=bool)
    presence[np.repeat(np.arange(len(graphs)), np.diff(graphs.atom_offsets)), graphs.atomic_numbers] = True
    return presence


def compare(
    graphs: CrystalGraphs, targets: dict[str, np.ndarray], protocol: Protocol, groups: list[np.ndarray], seed: int
) -> None:
    """Train with every description on every group and print the errors."""
    presence = presence_of_elements(graphs)
    print(
        f'{"features":10} {"target":12} {"unseen":>8} {"seen":>8}   '
        f'{len(groups)} groups, {protocol.epochs} epochs, seed {seed}'
    )
    for description, features in DESCRIPTIONS.items():
        errors: dict[tuple[str, str], list[np.ndarray]] = {}
        start = time.perf_counter()
        for elements in groups:
            is_unseen = presence[:, elements].any(axis=1)
            others = np.random.default_rng(seed).permutation(np.flatnonzero(~is_unseen))
            tenth = len(others) // 10
            split = {'validation': others[:tenth], 'train': others[2 * tenth :], 'test': others[tenth : 2 * tenth]}
            parts = {'unseen': np.flatnonzero(is_unseen), 'seen': split['test']}
            split['test'] = np.concatenate(list(parts.values()))
            result = train(graphs, targets, split, protocol, features(), seed=seed)
            for target, predicted in result.predictions.items():
                for part, rows in parts.items():
                    errors.setdefault((target, part), []).append(np.abs(predicted[rows] - targets[target][rows]))
        for target in targets:
            unseen, seen = (np.concatenate(errors[target, part]).mean() for part in ('unseen', 'seen'))
            print(f'{description:10} {target:12} {unseen:8.4f} {seen:8.4f}', flush=True)
        print(f'{"":10} {time.perf_counter() - start:.0f} s', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path, help="matminer's dataset files")
    parser.add_argument('--epochs', type=int, default=15)
    parser.add_argument('--groups', type=int, default=6)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    table = read(open_source(options.paths)).table
    graphs = build_graphs(*table.arrays())
    targets = {name: table.column(name) for name in ('log10_k_vrh', 'log10_g_vrh') if name in table.column_names}
    protocol = dataclasses.replace(Protocol.from_name('paper'), epochs=options.epochs)
    compare(graphs, targets, protocol, groups_of_elements(graphs, options.groups, options.seed), options.seed)


if __name__ == '__main__':
    main()
