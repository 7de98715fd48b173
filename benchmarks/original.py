"""The way of the original CGCNN code, end to end: how long it takes to predict a crystal from its CIF.

    python benchmarks/original.py RELEASE_FOLDER --crystals 300

As `predict.py` and `data.py` of that code do it: pymatgen parses the CIF, `get_all_neighbors` finds what lies within
8 A, Python sorts it, the first 12 are kept; distances are expanded in Gaussians; the network multiplies the features of
center, neighbor and bond of every bond of every atom. Weights are random: they do not change the time. The networks are
two, one for each modulus, as that code predicts one property at a time.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
import zipfile
from pathlib import Path

import machine
import numpy as np
import torch
from torch import nn

RADIUS, N_NEIGHBORS, STEP = 8.0, 12, 0.2
CENTERS = np.arange(0, RADIUS + STEP, STEP)
BATCH_SIZE = 256


class Convolution(nn.Module):
    """The convolution as it was written."""

    def __init__(self, width: int, n_bond: int) -> None:
        super().__init__()
        self.full = nn.Linear(2 * width + n_bond, 2 * width)
        self.norm, self.norm_out = nn.BatchNorm1d(2 * width), nn.BatchNorm1d(width)

    def forward(self, atoms: torch.Tensor, bonds: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
        """Return the new features of atoms."""
        n, m = neighbors.shape
        width = atoms.shape[1]
        total = torch.cat([atoms.unsqueeze(1).expand(n, m, width), atoms[neighbors], bonds], dim=2)
        gated = self.norm(self.full(total).view(-1, 2 * width)).view(n, m, 2 * width)
        gate, core = gated.chunk(2, dim=2)
        summed = (torch.sigmoid(gate) * nn.functional.softplus(core)).sum(dim=1)
        return nn.functional.softplus(atoms + self.norm_out(summed))


class Network(nn.Module):
    """The network with the settings of its authors: 92 element features, width 64, 3 convolutions, 128 hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(92, 64)
        self.convolutions = nn.ModuleList(Convolution(64, len(CENTERS)) for _ in range(3))
        self.hidden, self.out = nn.Linear(64, 128), nn.Linear(128, 1)

    def forward(
        self, elements: torch.Tensor, bonds: torch.Tensor, neighbors: torch.Tensor, rows: list[torch.Tensor]
    ) -> torch.Tensor:
        """Return the outputs of a batch."""
        atoms = self.embedding(elements)
        for convolution in self.convolutions:
            atoms = convolution(atoms, bonds, neighbors)
        pooled = torch.stack([atoms[index].mean(dim=0) for index in rows])
        return self.out(nn.functional.softplus(self.hidden(nn.functional.softplus(pooled))))


def read_graph(cif: str, table: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return element features, bond features and neighbors of a crystal."""
    from pymatgen.io.cif import CifParser

    structure = CifParser.from_str(cif).parse_structures(primitive=False)[0]
    found = structure.get_all_neighbors(RADIUS, include_index=True)
    neighbors, distances = [], []
    for of_atom in found:
        nearest = sorted(of_atom, key=lambda neighbor: neighbor[1])[:N_NEIGHBORS]
        missing = N_NEIGHBORS - len(nearest)
        neighbors.append([neighbor[2] for neighbor in nearest] + [0] * missing)
        distances.append([neighbor[1] for neighbor in nearest] + [RADIUS + 1.0] * missing)
    bonds = np.exp(-((np.array(distances)[..., None] - CENTERS) ** 2) / STEP**2)
    elements = np.vstack([table[site.specie.number] for site in structure])
    return torch.Tensor(elements), torch.Tensor(bonds), torch.LongTensor(neighbors)


def collate(graphs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> tuple:
    base, rows, neighbors = 0, [], []
    for elements, _, of_atoms in graphs:
        neighbors.append(of_atoms + base)
        rows.append(torch.arange(base, base + len(elements)))
        base += len(elements)
    return (
        torch.cat([graph[0] for graph in graphs]),
        torch.cat([graph[1] for graph in graphs]),
        torch.cat(neighbors),
        rows,
    )


def time_original(archive_path: Path, n_crystals: int) -> tuple[int, float, float]:
    """Predict the first crystals of an archive; return how many, and the seconds of wall time and of the processor."""
    warnings.simplefilter('ignore')
    table = np.random.default_rng(0).integers(0, 2, (119, 92)).astype(float)
    networks = [Network().eval() for _ in range(2)]
    n_done = 0
    start, cpu = time.perf_counter(), time.process_time()
    with zipfile.ZipFile(archive_path) as archive, torch.no_grad():
        names = [name for name in archive.namelist() if name.lower().endswith('.cif')][:n_crystals]
        for network in networks:
            # One property at a time, so everything is read for each.
            for first in range(0, len(names), BATCH_SIZE):
                graphs = [read_graph(archive.read(name).decode(), table) for name in names[first : first + BATCH_SIZE]]
                n_done += len(network(*collate(graphs)))
    return n_done // len(networks), time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('release', type=Path, help='a folder with by_id.zip')
    parser.add_argument('--crystals', type=int, default=300)
    options = parser.parse_args()
    print(machine.describe('numpy', 'pymatgen', 'torch'))
    n_crystals, seconds, cpu = time_original(options.release / 'by_id.zip', options.crystals)
    print(
        f'the original way, {n_crystals} crystals, K and G: {1e3 * seconds / n_crystals:.2f} ms a crystal, '
        f'{1e3 * cpu / n_crystals:.2f} ms of CPU; load after {os.getloadavg()[0]:.1f}'
    )


if __name__ == '__main__':
    main()
