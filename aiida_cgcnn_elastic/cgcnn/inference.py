"""Predict the moduli of many crystals with trained models."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from aiida_cgcnn_elastic.baselines.features import structure_features
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures
from aiida_cgcnn_elastic.symbols import SYMBOLS

from .calibration import Calibration, Teams, Unseen
from .graphs import CrystalGraphs, iter_graphs
from .model import AnyMember, BoostingMember, ElasticModel, Member, PerceptronMember, ReadoutMember
from .network import CGCNN, Batch
from .threads import torch_threads

__all__ = [
    'DTYPES',
    'Statistics',
    'choose_device',
    'member_statistics',
    'needs_orientation',
    'pooled_features',
    'predict',
    'predict_graphs',
]

Statistics = dict[tuple[bytes, bool], np.ndarray]
"""Statistics of some crystals by the table of elements, and whether they see orientations."""

DTYPES = {'float32': torch.float32, 'float64': torch.float64}

CPU_BATCH_EDGES = 8192
"""Edges in a batch; more leave the cache of a core and are slower."""

GPU_BATCH_EDGES = 500_000

BATCHES_AT_ONCE = 16
"""Batches for which graphs are gathered, whatever the number of threads: batches decide the last digits."""


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
    batch_edges: int | None = None,
    processes: int = 1,
    features: PotentialFeatures | None = None,
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
        CPU threads; as many as torch would use if not given. They do not change the predictions.
    dtype : str
        ``'float32'`` or ``'float64'``.
    batch_edges : int, optional
        Edges in a batch; what suits the device if not given.
    processes : int
        Worker processes that make graphs while this process predicts, worth their start from some thousand crystals on;
        1 does all in this process.
    features : PotentialFeatures, optional
        What a potential knows of the crystals, for models that need it (see `ElasticModel.potential`).
    progress : callable
        Called with the numbers of crystals done and in all.

    Returns
    -------
    dict of (m,) arrays
        For every target its mean over the members, in log10(GPa), and under ``<target>_spread`` their standard
        deviation (NaN where there is one member only); both weighted where members have weights. Of one model that is
        calibrated also what `Calibration.columns` returns. A calibration says nothing of a model averaged with others.

    Raises
    ------
    ValueError
        If there is no model, the arrays do not fit together (see `build_graphs`), an option is unknown, or a model
        needs features that are not given, or others.
    """
    members = _members(models)
    _check_options(dtype, batch_edges)
    n_neighbors = members[0].n_neighbors
    target_device = choose_device(device)
    batch_edges = batch_edges or _default_batch_edges(target_device)
    parts = iter_graphs(
        lattices,
        atomic_numbers,
        frac_coords,
        offsets,
        n_neighbors=n_neighbors,
        orientation=needs_orientation(models),
        processes=processes,
    )
    is_alone = processes <= 1
    calibration = _calibration(models)
    total = len(offsets) - 1
    return _predict(
        members, calibration, parts, features, total, target_device, threads, dtype, batch_edges, is_alone, progress
    )


def predict_graphs(
    models: Sequence[ElasticModel],
    graphs: CrystalGraphs,
    *,
    device: str = 'auto',
    threads: int | None = None,
    dtype: str = 'float32',
    batch_edges: int | None = None,
    features: PotentialFeatures | None = None,
) -> dict[str, np.ndarray]:
    """Predict as `predict` does, where the graphs are there already."""
    members = _members(models)
    _check_options(dtype, batch_edges)
    n_neighbors = members[0].n_neighbors
    if graphs.n_neighbors != n_neighbors:
        raise ValueError(f'the graphs have {graphs.n_neighbors} neighbors, the models were trained on {n_neighbors}')
    if needs_orientation(models) and not graphs.has_orientations:
        raise ValueError('the models need graphs with orientations')
    target_device = choose_device(device)
    batch_edges = batch_edges or _default_batch_edges(target_device)
    calibration = _calibration(models)
    total = len(graphs)
    return _predict(
        members, calibration, [graphs], features, total, target_device, threads, dtype, batch_edges, True, None
    )


def pooled_features(
    member: AnyMember,
    graphs: CrystalGraphs,
    *,
    features: PotentialFeatures | None = None,
    device: str = 'auto',
    threads: int | None = None,
) -> np.ndarray:
    """Return what a network makes of ``m`` crystals before its hidden layers, (m, w) float32.

    Raises
    ------
    ValueError
        If the member is no network, or needs features that are not given, or others.
    """
    if not isinstance(member, Member):
        raise ValueError('only networks have pooled features')
    _check_features([member], features, len(graphs))
    target_device = choose_device(device)
    network = copy.deepcopy(member.network).to(target_device).eval()
    pooled = [np.empty((0, network.architecture.atom_width), dtype=np.float32)]
    with torch_threads(threads or torch.get_num_threads()), torch.inference_mode():
        for start, stop in graphs.batches(_default_batch_edges(target_device)):
            responses = None if features is None else features.responses[start:stop]
            batch = Batch.from_graphs(graphs.slice(start, stop), target_device, responses=responses)
            pooled.append(network.pooled(batch).cpu().numpy())
    return np.concatenate(pooled)


def needs_orientation(models: Sequence[ElasticModel]) -> bool:
    """Say whether one of the models needs graphs whose atoms know how their neighbors are arranged."""
    return any(member.orientation for model in models for member in model.members)


def _calibration(models: Sequence[ElasticModel]) -> Calibration | None:
    """Return the calibration that the predictions have."""
    return models[0].calibration if len(models) == 1 else None


def _members(models: Sequence[ElasticModel]) -> list[AnyMember]:
    """Return the members of all models, which must take the same graphs."""
    members = [member for model in models for member in model.members]
    if not members:
        raise ValueError('no model to predict with')
    neighbors = {member.n_neighbors for member in members}
    if len(neighbors) > 1:
        raise ValueError(f'the models were trained on graphs with different numbers of neighbors: {sorted(neighbors)}')
    return members


def _check_options(dtype: str, batch_edges: int | None) -> None:
    """Raise ValueError for an option that cannot be."""
    if dtype not in DTYPES:
        raise ValueError(f'unknown dtype {dtype!r}; known are {sorted(DTYPES)}')
    if batch_edges is not None and batch_edges < 1:
        raise ValueError(f'batch_edges is {batch_edges}; it must be at least 1')


def _check_features(members: Sequence[AnyMember], features: PotentialFeatures | None, total: int) -> None:
    """Raise ValueError if members need features that are not given, are of another potential or of other crystals."""
    needed = {member.potential for member in members} - {None}
    given = set() if features is None else {features.potential}
    if needed and needed != given:
        found = 'none' if features is None else f'those of {features.potential}'
        raise ValueError(f'the model needs the features of the potential {needed.pop()}, but got {found}')
    if features is not None and len(features) != total:
        raise ValueError(f'features of {len(features)} crystals do not fit {total} crystals')


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


def _default_batch_edges(device: torch.device) -> int:
    """Return the number of edges in a batch that keeps a CPU's cache, or a GPU's cores, well filled."""
    return CPU_BATCH_EDGES if device.type == 'cpu' else GPU_BATCH_EDGES


def _predict(
    members: Sequence[AnyMember],
    calibration: Calibration | None,
    parts: Iterable[CrystalGraphs],
    features: PotentialFeatures | None,
    total: int,
    device: torch.device,
    threads: int | None,
    dtype: str,
    batch_edges: int,
    is_alone: bool,
    progress: Callable[[int, int], None] | None,
) -> dict[str, np.ndarray]:
    """Evaluate all members on all graphs and combine what they give.

    Every batch is one thread's work. Dividing the small operations of a batch between threads instead gains little,
    waits for the slowest thread hundreds of times a batch, and would let the number of threads decide the last digits.
    """
    _check_features(members, features, total)
    networks = {
        index: copy.deepcopy(member.network).to(device=device, dtype=DTYPES[dtype]).eval()
        for index, member in enumerate(members)
        if isinstance(member, Member)
    }
    outputs = [np.empty((total, len(member.targets))) for member in members]
    n_cpus = threads or torch.get_num_threads()
    n_threads = 1 if device.type != 'cpu' else n_cpus
    running: deque[tuple[int, int, Future[tuple[list[np.ndarray], np.ndarray | None]]]] = deque()
    points = None if calibration is None else np.empty((total, calibration.novelty.points.shape[1]), dtype=np.float32)
    unseen: list[Unseen] = []

    def collect() -> None:
        start, stop, future = running.popleft()
        values_of, placed = future.result()
        for index, values in zip(networks, values_of, strict=True):
            outputs[index][start:stop] = values
        if points is not None:
            points[start:stop] = placed
        if progress is not None:
            progress(stop, total)

    done = 0
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for graphs in _gathered(parts, BATCHES_AT_ONCE * batch_edges):
                for start, stop in graphs.batches(batch_edges):
                    own = None if features is None else features.responses[done + start : done + stop]
                    future = pool.submit(
                        _evaluate, networks, graphs.slice(start, stop), own, device, DTYPES[dtype], calibration
                    )
                    running.append((done + start, done + stop, future))
                    if len(running) > 4 * n_threads:
                        collect()
                own = None if features is None else features.responses[done : done + len(graphs)]
                _evaluate_statistics(members, outputs, graphs, own, done, n_cpus)
                if calibration is not None:
                    unseen.append(calibration.unseen(graphs, SYMBOLS))
                done += len(graphs)
                while is_alone and running:
                    collect()
            while running:
                collect()
        finally:
            for _, _, future in running:
                future.cancel()
    for member, output in zip(members, outputs, strict=True):
        if isinstance(member, ReadoutMember):
            assert features is not None
            output[:] = member.predict(features)
    restored = [
        member.normalizer.restore(output) if isinstance(member, Member) else output
        for member, output in zip(members, outputs, strict=True)
    ]
    result = _combine(members, restored)
    if calibration is not None and points is not None:
        teams = _teams(members, restored, calibration)
        result |= calibration.columns(result, teams, points, Unseen.join(unseen))
    return result


def _gathered(parts: Iterable[CrystalGraphs], least_edges: int) -> Iterator[CrystalGraphs]:
    """Join small sets of graphs, so that the batches cut from them are full and keep all threads busy."""
    waiting: list[CrystalGraphs] = []
    for part in parts:
        waiting.append(part)
        if sum(len(graphs.centers) for graphs in waiting) >= least_edges:
            yield CrystalGraphs.concatenate(waiting)
            waiting = []
    if waiting:
        yield CrystalGraphs.concatenate(waiting)


def _evaluate(
    networks: Mapping[int, CGCNN],
    graphs: CrystalGraphs,
    responses: np.ndarray | None,
    device: torch.device,
    dtype: torch.dtype,
    calibration: Calibration | None,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Return the standardised (m, t) outputs of every network for one batch, and where the calibration's places it."""
    expanded: dict[tuple[float, float, float], torch.Tensor] = {}
    outputs = []
    points = None
    with torch.inference_mode():
        batch = Batch.from_graphs(graphs, device, dtype, responses)
        for index, network in networks.items():
            shape = network.architecture
            key = (shape.max_distance, shape.distance_step, shape.distance_width)
            if key not in expanded:
                expanded[key] = network.expansion(batch.distances)
            features = network.pooled(batch, expanded[key])
            outputs.append(network.head(features, batch.responses).cpu().double().numpy())
            if calibration is not None and index == calibration.network:
                points = calibration.novelty.space.place(features.cpu().numpy())
    return outputs, points


def _evaluate_statistics(
    members: Sequence[AnyMember],
    outputs: Sequence[np.ndarray],
    graphs: CrystalGraphs,
    responses: np.ndarray | None,
    first: int,
    threads: int,
) -> None:
    """Write what boosted trees and perceptrons predict of some graphs, the first of which is crystal ``first``."""
    made: Statistics = {}
    for member, output in zip(members, outputs, strict=True):
        if isinstance(member, BoostingMember | PerceptronMember):
            seen = () if member.potential is None else (responses,)
            predicted = member.predict(member_statistics(member, graphs, made), threads, *seen)
            output[first : first + len(graphs)] = predicted


def member_statistics(member: BoostingMember | PerceptronMember, graphs: CrystalGraphs, made: Statistics) -> np.ndarray:
    """Return the (m, f) float32 statistics that a member takes; ``made`` keeps those of a table for the next member."""
    # Those of one training have the same table, hence the same statistics.
    key = (member.element_table.tobytes(), member.orientation)
    if key not in made:
        own = graphs if member.orientation else graphs.without_orientations()
        _, made[key] = structure_features(own, member.element_table)
    return made[key]


def _combine(members: Sequence[AnyMember], restored: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Average the members that predict the same target, by their weights."""
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    weights: dict[str, list[float]] = defaultdict(list)
    for member, output in zip(members, restored, strict=True):
        for place, target in enumerate(member.targets):
            columns[target].append(output[:, place])
            weights[target].append(_weight(member, target))
    result: dict[str, np.ndarray] = {}
    for target in sorted(columns):
        mean, spread = _mean_and_spread(np.stack(columns[target]), np.array(weights[target]))
        result |= {target: mean, f'{target}_spread': spread}
    return result


def _teams(members: Sequence[AnyMember], restored: Sequence[np.ndarray], calibration: Calibration) -> dict[str, Teams]:
    """Return by target what the teams of a blend predict; none for networks alone."""
    n_teams = calibration.n_teams
    if not n_teams:
        return {}
    teams = {}
    for target in calibration.errors:
        places = [member.targets.index(target) for member in members]
        values = np.stack([output[:, place] for output, place in zip(restored, places, strict=True)])
        # Members of a kind have one weight.
        weights = np.array([_weight(members[first], target) for first in range(0, len(members), n_teams)])
        teams[target] = Teams(values.reshape(len(weights), n_teams, -1), weights / weights.sum())
    return teams


def _weight(member: AnyMember, target: str) -> float:
    """Return the weight of a member in the mean over members."""
    return 1.0 if member.weights is None else member.weights[member.targets.index(target)]


def _mean_and_spread(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of (n, m) values over the ``n`` members, each of the shape (m,).

    Equal weights give the usual estimate with ``n - 1``; a single member with a weight has no spread (NaN).
    """
    values, weights = values[weights > 0], weights[weights > 0]
    if not len(values):
        raise ValueError('no member with this target has a weight')
    if (weights == weights[0]).all():
        mean = values.mean(axis=0)
        return mean, values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    total = weights.sum()
    mean = weights @ values / total
    return mean, np.sqrt(weights @ (values - mean) ** 2 / (total - (weights**2).sum() / total))
