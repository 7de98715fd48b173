"""Predict the moduli of many crystals with trained models."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from .graphs import CrystalGraphs, iter_graphs
from .model import ElasticModel, Member
from .network import Batch

__all__ = ['BATCH_EDGES', 'DTYPES', 'choose_device', 'predict', 'predict_graphs']

DTYPES = {'float32': torch.float32, 'float64': torch.float64}

BATCH_EDGES = 16_384
"""Edges in a batch. On a CPU more than this leaves the cache and is slower."""


def predict(
    models: Sequence[ElasticModel],
    lattices: np.ndarray,
    atomic_numbers: np.ndarray,
    frac_coords: np.ndarray,
    offsets: np.ndarray,
    *,
    device: str = 'auto',
    threads: int | None = None,
    dtype: str = 'float32',
    batch_edges: int = BATCH_EDGES,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Predict with all members of all models; members with the same target are averaged.

    Parameters
    ----------
    models : sequence of ElasticModel
        At least one.
    lattices, atomic_numbers, frac_coords, offsets
        Of ``m`` crystals, as in `build_graphs`.
    device : str
        ``'auto'`` (a GPU where torch sees one), ``'cpu'``, ``'cuda'`` or another name that torch knows.
    threads : int, optional
        CPU threads of torch; what torch chooses if not given.
    dtype : str
        ``'float32'`` or ``'float64'``.
    batch_edges : int
        Edges in a batch.
    processes : int
        Worker processes that find neighbors while this process predicts; 1 does all in this process.
    progress : callable
        Called with the numbers of crystals done and in all.

    Returns
    -------
    dict of (m,) float64
        For every target its mean over the members, in log10(GPa), and under ``<target>_std`` their standard deviation
        (NaN where there is one member only).

    Raises
    ------
    ValueError
        If there is no model, the arrays do not fit together (see `build_graphs`) or an option is unknown.
    """
    members = [member for model in models for member in model.members]
    if not members:
        raise ValueError('no model to predict with')
    if dtype not in DTYPES:
        raise ValueError(f'unknown dtype {dtype!r}; known are {sorted(DTYPES)}')
    if batch_edges < 1:
        raise ValueError(f'batch_edges is {batch_edges}; it must be at least 1')
    neighbors = {member.network.architecture.n_neighbors for member in members}
    if len(neighbors) > 1:
        raise ValueError(f'the models were trained on graphs with different numbers of neighbors: {sorted(neighbors)}')
    target_device = choose_device(device)
    total = len(offsets) - 1
    outputs = [np.empty((total, len(member.targets))) for member in members]
    networks = [_evaluator(member, target_device, DTYPES[dtype]) for member in members]
    done = 0
    with limited_threads(threads):
        parts = iter_graphs(
            lattices, atomic_numbers, frac_coords, offsets, n_neighbors=neighbors.pop(), processes=processes
        )
        for graphs in parts:
            for output, values in zip(
                outputs, _evaluate(networks, graphs, target_device, DTYPES[dtype], batch_edges), strict=True
            ):
                output[done : done + len(graphs)] = values
            done += len(graphs)
            if progress is not None:
                progress(done, total)
    return _combine(members, outputs)


def predict_graphs(
    models: Sequence[ElasticModel],
    graphs: CrystalGraphs,
    *,
    device: str = 'auto',
    threads: int | None = None,
    dtype: str = 'float32',
    batch_edges: int = BATCH_EDGES,
) -> dict[str, np.ndarray]:
    """Predict as `predict` does, where the graphs are there already."""
    members = [member for model in models for member in model.members]
    target_device = choose_device(device)
    networks = [_evaluator(member, target_device, DTYPES[dtype]) for member in members]
    with limited_threads(threads):
        outputs = _evaluate(networks, graphs, target_device, DTYPES[dtype], batch_edges)
    return _combine(members, outputs)


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``'auto'`` is a GPU where torch sees one.

    Raises
    ------
    ValueError
        If torch does not know the device, or does not see it on this machine.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'the device {name!r} cannot be used here: {str(error).splitlines()[0]}') from error
    return device


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let torch use that many CPU threads within the context."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _evaluator(member: Member, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Return a copy of the member's network, ready to be evaluated."""
    return copy.deepcopy(member.network).to(device=device, dtype=dtype).eval()


def _evaluate(
    networks: Sequence[torch.nn.Module],
    graphs: CrystalGraphs,
    device: torch.device,
    dtype: torch.dtype,
    batch_edges: int,
) -> list[np.ndarray]:
    """Return the standardised (m, t) outputs of every network."""
    parts: list[list[np.ndarray]] = [[] for _ in networks]
    with torch.inference_mode():
        for start, stop in graphs.batches(batch_edges):
            batch = Batch.from_graphs(graphs.slice(start, stop), device, dtype)
            for part, network in zip(parts, networks, strict=True):
                part.append(network(batch).cpu().double().numpy())
    return [np.concatenate(part) for part in parts]


def _combine(members: Sequence[Member], outputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Undo the standardisation and average the members that predict the same target."""
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    for member, output in zip(members, outputs, strict=True):
        for target, values in zip(member.targets, member.normalizer.restore(output).T, strict=True):
            columns[target].append(values)
    result = {}
    for target in sorted(columns):
        stacked = np.stack(columns[target])
        result[target] = stacked.mean(axis=0)
        result[f'{target}_std'] = stacked.std(axis=0, ddof=1) if len(stacked) > 1 else np.full(stacked.shape[1], np.nan)
    return result
