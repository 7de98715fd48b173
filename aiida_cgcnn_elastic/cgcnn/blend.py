"""A cross-fitted blend of networks with perceptrons, gradient boosting, or readouts of a potential's features.

The training part is divided at random into folds. For each fold a network and one other learn from the rest and
predict it, so every crystal has a prediction by models that never saw it. From these out-of-fold predictions
alone follow the weights of the blend and its error (Wolpert, Neural Networks 5, 241 (1992)): trees fit their own
crystals far better than networks do, and would be trusted too much otherwise. The model is all of them together.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import save as save_tensors

from aiida_cgcnn_elastic.baselines.boosting import BoostedTrees, Stopped
from aiida_cgcnn_elastic.baselines.features import structure_features
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .calibrate import calibrate_blend, why_not
from .graphs import CrystalGraphs
from .inference import choose_device, predict_graphs
from .metrics import all_metrics, mae
from .model import (
    AnyMember,
    BoostingMember,
    ElasticModel,
    Member,
    Normalizer,
    PerceptronMember,
    ReadoutMember,
    write_atomically,
)
from .perceptron import Perceptron, fit_perceptron
from .protocol import SECONDS, Protocol
from .readout import Readout, fit_readout
from .response import is_known
from .splits import Split
from .threads import torch_threads
from .training import (
    CHECKPOINT_FILE,
    CITATION,
    OF_POTENTIALS,
    CheckpointError,
    Interrupted,
    TrainingResult,
    check_arguments,
    evaluate_parts,
    fingerprint,
    n_taught,
    require_same_training,
    train,
    versions,
    with_target,
)

__all__ = ['BlendResult', 'blend_weight', 'folds', 'remove_checkpoint', 'train_blend']

Columns = dict[str, npt.NDArray[np.float64]]

Trained = TypeVar('Trained', Perceptron, Readout)


@dataclasses.dataclass(frozen=True)
class BlendResult(TrainingResult):
    """What came of a cross-fitted training.

    Attributes
    ----------
    fold : (m,) int64
        Of every crystal of the training part, -1 for others.
    out_of_fold : dict
        ``{target: {'network' | one of `SECONDS` | 'blend': (m,) float64}}``: predictions by models that did not see the
        crystal; NaN outside the training part.
    """

    fold: npt.NDArray[np.int64]
    out_of_fold: dict[str, Columns]


def folds(n: int, n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each of ``n`` rows: as many in each as can be, at random."""
    result = np.empty(n, dtype=np.int64)
    result[np.random.default_rng([seed, n_folds]).permutation(n)] = np.arange(n) % n_folds
    return result


def blend_weight(
    true: npt.NDArray[np.float64], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> float:
    """Return the weight ``w`` from 0 to 1 for which ``w first + (1 - w) second`` has the least mean absolute error.

    The error is ``sum |w a - b|`` with ``a = first - second`` and ``b = true - second``, so the best weight is the
    median of ``b / a``, weighted by ``|a|``; as the sum is convex, what is beyond the ends goes to the nearer end.
    """
    difference, wanted = first - second, true - second
    differs = difference != 0
    if not differs.any():
        return 0.5
    ratios, masses = wanted[differs] / difference[differs], np.abs(difference[differs])
    order = np.argsort(ratios, kind='stable')
    reached = np.cumsum(masses[order])
    median = ratios[order][np.searchsorted(reached, reached[-1] / 2)]
    return float(np.clip(median, 0.0, 1.0))


def train_blend(
    graphs: CrystalGraphs,
    targets: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    element_features: npt.NDArray[Any],
    element_table: npt.NDArray[np.float64],
    *,
    features: PotentialFeatures | None = None,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str = 'auto',
    threads: int = 1,
    card: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> BlendResult:
    """Train a cross-fitted blend.

    Only the training part decides anything; the validation and test parts are evaluated.

    Parameters
    ----------
    element_table : (119, p) array
        See `baselines.features.property_table`; kept in the model.
    features : PotentialFeatures, optional
        What a potential knows of the crystals; needed by a protocol with a readout, or whose networks see responses or
        are taught them.
    checkpoint : Path, optional
        Folder for what is finished: a folder for each network, a file for each of the others.
    progress : callable, optional
        Called with the numbers of steps done and in all: a thousand for each network and each of the others.

    The other parameters, and what is raised, are those of `train`.
    """
    if protocol.folds is None:
        raise ValueError('the protocol has no folds: it is not one of a blend')
    if protocol.needs_potential != (features is not None) or (features is not None and len(features) != len(graphs)):
        raise ValueError(
            'a protocol with a readout, or whose networks see responses or are taught them, and no other, needs a '
            "potential's features of all crystals"
        )
    columns, split = check_arguments(graphs, targets, split, protocol)
    rows = with_target(split['train'], columns)
    if len(rows) < 2 * protocol.folds:
        raise ValueError(f'{len(rows)} crystals with targets are too few for {protocol.folds} folds')
    fold = np.full(len(graphs), -1, dtype=np.int64)
    fold[rows] = folds(len(rows), protocol.folds, seed)

    deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
    run = _Run(
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        is_over=lambda: time.monotonic() >= deadline or (stop is not None and stop()),
        progress=progress,
        n_steps=2 * protocol.folds,
        device=device,
        threads=threads,
    )
    mark = fingerprint(graphs, columns, split, protocol, element_features, seed, element_table, features=features)
    # Without the blend's name: where two blends train the same networks, the checkpoints of one serve the other.
    single = dataclasses.replace(protocol, name='network', folds=None, perceptron=None, boosting=None, readout=None)
    shown = features if single.needs_potential else None
    # Whoever predicts needs none of what networks are taught only.
    features = features if protocol.sees_potential else None
    # All networks may be taught by crystals without a target: none of these is predicted out of fold.
    others = rows[:0]
    if protocol.responses_taught is not None and shown is not None:
        others = np.setdiff1d(split['train'][is_known(shown.responses[split['train']])], rows)
    assert protocol.second is not None
    kinds = ('network', protocol.second)
    statistics = None
    if protocol.readout is None:
        seen = graphs if protocol.orientation else graphs.without_orientations()
        statistics = structure_features(seen, element_table)[1]
    networks: list[Member] = []
    seconds: list[AnyMember] = []
    history: list[dict[str, Any]] = []
    out_of_fold = {name: {kind: np.full(len(graphs), np.nan) for kind in (*kinds, 'blend')} for name in columns}
    for index in range(protocol.folds):
        inside, outside = rows[fold[rows] != index], rows[fold[rows] == index]
        taught = np.concatenate([inside, others])
        trained = run.network(index, graphs, columns, taught, single, element_features, shown, seed + index)
        history += [{'fold': index, **entry} for entry in trained.history]
        second: AnyMember
        if protocol.readout is not None:
            assert features is not None
            second = run.readout(index, mark, features, columns, inside, protocol, seed + index)
        elif protocol.perceptron is not None:
            assert statistics is not None
            table = element_table
            second = run.perceptron(index, mark, statistics, columns, taught, protocol, table, shown, seed + index)
        else:
            assert statistics is not None
            second = run.boosting(index, mark, statistics, columns, inside, protocol, element_table, seed + index)
        networks += [member for member in trained.model.members if isinstance(member, Member)]
        seconds.append(second)
        own = None if features is None else features.select(outside)
        for kind, model in zip(kinds, (trained.model, ElasticModel([second], {})), strict=True):
            predicted = predict_graphs([model], graphs.select(outside), features=own, device=device, threads=threads)
            for name in columns:
                out_of_fold[name][kind][outside] = predicted[name]

    blend = {}
    for name, values in columns.items():
        found = out_of_fold[name]
        known = rows[np.isfinite(values[rows])]
        first, other = (found[kind] for kind in kinds)
        weight = blend_weight(values[known], first[known], other[known])
        found['blend'] = weight * first + (1 - weight) * other
        blend[name] = {
            'weights': dict(zip(kinds, (weight, 1 - weight), strict=True)),
            'out_of_fold_mae': {kind: mae(values[known], predicted[known]) for kind, predicted in found.items()},
        }
    model = _blended(networks, seconds, {name: entry['weights']['network'] for name, entry in blend.items()})
    predictions, metrics = evaluate_parts(
        model, graphs, columns, split, device=device, threads=threads, features=features
    )
    for name, values in columns.items():
        known = rows[np.isfinite(values[rows])]
        metrics[name]['out_of_fold'] = all_metrics(values[known], out_of_fold[name]['blend'][known])
    n_held_out = {name: int(np.isfinite(values[rows]).sum()) for name, values in columns.items()}
    reason = why_not(n_held_out, 'out-of-fold')
    if reason is None:
        model.calibration = calibrate_blend(
            model, graphs, columns, fold, out_of_fold, device=device, threads=threads, features=features
        )
    model.card = {
        'name': protocol.name,
        'citation': CITATION,
        **(card or {}),
        'training': [
            {
                **(record or {}),
                'protocol': protocol.to_dict(),
                'seed': seed,
                'n_crystals': {part: len(with_target(members, columns)) for part, members in split.items()},
                **n_taught(protocol, None if shown is None else shown.responses, split['train'], rows),
                'blend': blend,
                'calibration': reason or 'on the out-of-fold predictions',
                'metrics': metrics,
                'fingerprint': mark,
                'device': choose_device(device).type,
                'threads': threads,
                'versions': versions(*_packages(protocol)),
            }
        ],
    }
    return BlendResult(model, history, metrics, predictions, fold, out_of_fold)


def _packages(protocol: Protocol) -> list[str]:
    """Return the packages that decide a training, beside those of every one."""
    return [
        *(['xgboost'] if protocol.boosting is not None else []),
        *(OF_POTENTIALS if protocol.needs_potential else []),
    ]


@dataclasses.dataclass(frozen=True)
class _Run:
    """How members are trained, one after the other, and where what is finished is kept."""

    checkpoint: Path | None
    resume: bool
    is_over: Callable[[], bool]
    progress: Callable[[int, int], None] | None
    n_steps: int
    device: str
    threads: int

    def network(
        self,
        index: int,
        graphs: CrystalGraphs,
        columns: Columns,
        rows: npt.NDArray[np.int64],
        protocol: Protocol,
        element_features: npt.NDArray[Any],
        features: PotentialFeatures | None,
        seed: int,
    ) -> TrainingResult:
        """Train the network that does not see a fold, or read it where it is finished."""
        return train(
            graphs,
            columns,
            {'train': rows},
            protocol,
            element_features,
            seed=seed,
            features=features,
            checkpoint=None if self.checkpoint is None else self.checkpoint / f'network-{index}',
            resume=self.resume,
            stop=self.is_over,
            progress=lambda done, total: self._tell(2 * index, done / total),
            device=self.device,
            threads=self.threads,
        )

    def boosting(
        self,
        index: int,
        mark: str,
        features: npt.NDArray[np.float32],
        columns: Columns,
        rows: npt.NDArray[np.int64],
        protocol: Protocol,
        element_table: npt.NDArray[np.float64],
        seed: int,
    ) -> BoostingMember:
        """Train the boosting that does not see a fold, or read it where it is finished."""
        assert protocol.boosting is not None
        trees = []
        for number, (name, values) in enumerate(columns.items()):
            file = None if self.checkpoint is None else self.checkpoint / f'boosting-{index}-{name}.safetensors'
            if self.resume and file is not None and file.exists():
                trees.append(_read_trees(file, mark))
                continue
            known = rows[np.isfinite(values[rows])]
            try:
                fitted = BoostedTrees.fit(
                    features[known],
                    values[known],
                    protocol.boosting,
                    seed=seed,
                    threads=self.threads,
                    stop=self.is_over,
                )
            except Stopped as stopped:
                raise Interrupted(f'the boosting of fold {index} was {stopped}', self.checkpoint) from stopped
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                content = torch.from_numpy(np.frombuffer(fitted.content, dtype=np.uint8).copy())
                write_atomically(file, save_tensors({'trees': content}, metadata={'fingerprint': mark}))
            trees.append(fitted)
            self._tell(2 * index + 1, (number + 1) / len(columns))
        return BoostingMember(
            tuple(trees), tuple(columns), element_table, protocol.n_neighbors, orientation=protocol.orientation
        )

    def perceptron(
        self,
        index: int,
        mark: str,
        statistics: npt.NDArray[np.float32],
        columns: Columns,
        rows: npt.NDArray[np.int64],
        protocol: Protocol,
        element_table: npt.NDArray[np.float64],
        features: PotentialFeatures | None,
        seed: int,
    ) -> PerceptronMember:
        """Train the perceptron that does not see a fold, or read it where it is finished."""
        assert protocol.perceptron is not None
        values = np.stack(list(columns.values()), axis=1)
        normalizer = Normalizer.of(values[rows])
        taught = protocol.responses_taught
        network = self._finished(
            'perceptron',
            index,
            mark,
            Perceptron(statistics.shape[1], protocol.perceptron.width, len(columns)),
            partial(
                fit_perceptron,
                statistics,
                normalizer.standardise(values),
                rows,
                protocol.perceptron,
                seed=seed,
                responses=None if taught is None or features is None else features.responses,
                responses_weight=1.0 if taught is None else taught,
            ),
        )
        shape = (protocol.n_neighbors, None, protocol.orientation)
        return PerceptronMember(network, tuple(columns), normalizer, element_table, *shape)

    def readout(
        self,
        index: int,
        mark: str,
        features: PotentialFeatures,
        columns: Columns,
        rows: npt.NDArray[np.int64],
        protocol: Protocol,
        seed: int,
    ) -> ReadoutMember:
        """Train the readout that does not see a fold, or read it where it is finished."""
        assert protocol.readout is not None
        values = np.stack(list(columns.values()), axis=1)
        normalizer = Normalizer.of(values[rows])
        sizes = (features.values.shape[1], features.responses.shape[1], protocol.readout.width, len(columns))
        fit = partial(fit_readout, features, normalizer.standardise(values), rows, protocol.readout, seed=seed)
        network = self._finished('readout', index, mark, Readout(*sizes), fit)
        return ReadoutMember(network, tuple(columns), normalizer, features.potential, protocol.n_neighbors)

    def _finished(self, kind: str, index: int, mark: str, empty: Trained, fit: Callable[..., Trained]) -> Trained:
        """Train what a network is paired with, or fill an empty one where it is finished."""
        file = None if self.checkpoint is None else self.checkpoint / f'{kind}-{index}.safetensors'
        if self.resume and file is not None and file.exists():
            return _read_network(file, mark, empty, kind)
        try:
            with torch_threads(self.threads):
                network = fit(stop=self.is_over, progress=lambda done, total: self._tell(2 * index + 1, done / total))
        except Stopped as stopped:
            raise Interrupted(f'the {kind} of fold {index} was {stopped}', self.checkpoint) from stopped
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, save_tensors(dict(network.state_dict()), metadata={'fingerprint': mark}))
        return network

    def _tell(self, step: int, fraction: float) -> None:
        """Say how far the training is, with a step halfway through."""
        if self.progress is not None:
            self.progress(round(1000 * (step + fraction)), 1000 * self.n_steps)


def remove_checkpoint(folder: Path, n_folds: int) -> None:
    """Remove what `train_blend` kept in a folder."""
    for index in range(n_folds):
        network = folder / f'network-{index}'
        (network / CHECKPOINT_FILE).unlink(missing_ok=True)
        if network.is_dir() and not any(network.iterdir()):
            network.rmdir()
        for kind in SECONDS:
            for file in (folder / f'{kind}-{index}.safetensors', *folder.glob(f'{kind}-{index}-*.safetensors')):
                file.unlink(missing_ok=True)


def _read_trees(file: Path, mark: str) -> BoostedTrees:
    """Return trees that were finished before."""
    try:
        with safetensors.safe_open(file, framework='np') as opened:
            found = (opened.metadata() or {})['fingerprint']
            trees = BoostedTrees(opened.get_tensor('trees').tobytes())
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f'{file} holds no trees, or is damaged: {error}') from error
    require_same_training(file, found, mark)
    return trees


def _read_network(file: Path, mark: str, empty: Trained, kind: str) -> Trained:
    """Return a readout or perceptron, of the shape of an empty one, that was finished before."""
    try:
        with safetensors.safe_open(file, framework='pt') as opened:
            found = (opened.metadata() or {})['fingerprint']
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, safetensors.SafetensorError, KeyError) as error:
        raise CheckpointError(f'{file} holds no {kind}, or is damaged: {error}') from error
    # First of all: what another training left may have another shape.
    require_same_training(file, found, mark)
    try:
        empty.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f'{file} holds no {kind}, or is damaged: {error}') from error
    empty.eval()
    return empty


def _blended(
    networks: list[Member], seconds: Sequence[AnyMember], network_weights: Mapping[str, float]
) -> ElasticModel:
    """Return the model of all members, weighed so that their mean weight is 1."""

    def weights(member: AnyMember, is_network: bool) -> tuple[float, ...]:
        return tuple(
            2 * (network_weights[name] if is_network else 1 - network_weights[name]) for name in member.targets
        )

    return ElasticModel(
        [
            *(dataclasses.replace(member, weights=weights(member, True)) for member in networks),
            *(dataclasses.replace(member, weights=weights(member, False)) for member in seconds),
        ],
        {},
    )
