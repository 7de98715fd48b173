"""A cross-fitted blend of networks with perceptrons, gradient boosting, or readouts of a potential's features.

The training part is divided at random into folds. For each fold a network and its partners learn from the rest and
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
from scipy import sparse
from scipy.optimize import linprog

from aiida_cgcnn_elastic.baselines.boosting import BoostedTrees, Stopped
from aiida_cgcnn_elastic.baselines.features import structure_features
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .calibrate import calibrate_blend, why_not
from .cycle import Diverged
from .graphs import CrystalGraphs
from .inference import choose_device, predict_graphs
from .metrics import all_metrics, mae
from .model import (
    AnyMember,
    BoostingMember,
    ElasticModel,
    Normalizer,
    PerceptronMember,
    ReadoutMember,
    write_atomically,
)
from .perceptron import Perceptron, fit_perceptron
from .protocol import PARTNERS, Protocol
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

__all__ = ['BlendResult', 'blend_weights', 'folds', 'remove_checkpoint', 'train_blend']

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
        ``{target: {'network' | one of `PARTNERS` | 'blend': (m,) float64}}``: predictions by models that did not see
        the crystal; NaN outside the training part.
    """

    fold: npt.NDArray[np.int64]
    out_of_fold: dict[str, Columns]


def folds(n: int, n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each of ``n`` rows: as many in each as can be, at random."""
    result = np.empty(n, dtype=np.int64)
    result[np.random.default_rng([seed, n_folds]).permutation(n)] = np.arange(n) % n_folds
    return result


def blend_weights(true: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weights, from 0 and of sum 1, for which the weighted mean of predictions has the least absolute error.

    A linear program: of the weights, and of how far the mean of every crystal is above and below the true value.

    Parameters
    ----------
    true : (n,) float64
    predicted : (k, n) float64

    Returns
    -------
    (k,) float64
    """
    n_kinds, n = predicted.shape
    if (predicted == predicted[0]).all():
        return np.full(n_kinds, 1 / n_kinds)
    errors = sparse.identity(n, format='csr')
    means = sparse.hstack([sparse.csr_array(predicted.T), -errors, errors])
    total = sparse.csr_array(([1.0] * n_kinds, ([0] * n_kinds, range(n_kinds))), shape=(1, n_kinds + 2 * n))
    solution = linprog(
        np.concatenate([np.zeros(n_kinds), np.ones(2 * n)]),
        A_eq=sparse.vstack([means, total]),
        b_eq=np.append(true, 1.0),
        method='highs',
    )
    if not solution.success:
        raise RuntimeError(f'no weights of the blend were found: {solution.message}')
    weights = np.clip(solution.x[:n_kinds], 0.0, None)
    return np.asarray(weights / weights.sum())


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
    statistics = None
    if protocol.perceptron is not None or protocol.boosting is not None:
        seen = graphs if protocol.orientation else graphs.without_orientations()
        statistics = structure_features(seen, element_table)[1]
    mark = fingerprint(graphs, columns, split, protocol, element_features, seed, element_table, features=features)
    run = _Run(
        graphs,
        columns,
        protocol,
        element_features,
        element_table,
        statistics,
        features,
        mark,
        seed,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        is_over=lambda: time.monotonic() >= deadline or (stop is not None and stop()),
        progress=progress,
        device=device,
        threads=threads,
    )
    # Networks and perceptrons may be taught by crystals without a target: none of these is predicted out of fold.
    others = rows[:0]
    if protocol.responses_taught is not None and features is not None:
        others = np.setdiff1d(split['train'][is_known(features.responses[split['train']])], rows)
    n_told = n_taught(protocol, None if features is None else features.responses, split['train'], rows)
    # Whoever predicts needs none of what is taught only.
    features = features if protocol.sees_potential else None
    members: dict[str, list[AnyMember]] = {kind: [] for kind in run.kinds}
    history: list[dict[str, Any]] = []
    out_of_fold = {name: {kind: np.full(len(graphs), np.nan) for kind in (*run.kinds, 'blend')} for name in columns}
    for index in range(protocol.folds):
        inside, outside = rows[fold[rows] != index], rows[fold[rows] == index]
        trained = run.network(index, np.concatenate([inside, others]))
        history += [{'fold': index, **entry} for entry in trained.history]
        members['network'] += trained.model.members
        if protocol.perceptron is not None:
            members['perceptron'].append(run.perceptron(index, np.concatenate([inside, others])))
        if protocol.boosting is not None:
            members['boosting'].append(run.boosting(index, inside))
        if protocol.readout is not None:
            members['readout'].append(run.readout(index, inside))
        own = None if features is None else features.select(outside)
        for kind, of_kind in members.items():
            model = ElasticModel(of_kind[-1:], {})
            predicted = predict_graphs([model], graphs.select(outside), features=own, device=device, threads=threads)
            for name in columns:
                out_of_fold[name][kind][outside] = predicted[name]

    blend: dict[str, dict[str, dict[str, float]]] = {}
    for name, values in columns.items():
        found = out_of_fold[name]
        known = rows[np.isfinite(values[rows])]
        of_kinds = np.stack([found[kind] for kind in run.kinds])
        weights = blend_weights(values[known], of_kinds[:, known])
        found['blend'] = weights @ of_kinds
        blend[name] = {
            'weights': dict(zip(run.kinds, weights.tolist(), strict=True)),
            'out_of_fold_mae': {kind: mae(values[known], predicted[known]) for kind, predicted in found.items()},
        }
    model = _blended(members, {name: entry['weights'] for name, entry in blend.items()})
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
                'n_crystals': {part: len(with_target(own, columns)) for part, own in split.items()},
                **n_told,
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
    """What all members of a blend have in common, and where what is finished is kept."""

    graphs: CrystalGraphs
    columns: Columns
    protocol: Protocol
    element_features: npt.NDArray[Any]
    element_table: npt.NDArray[np.float64]
    statistics: npt.NDArray[np.float32] | None
    features: PotentialFeatures | None
    mark: str
    seed: int
    checkpoint: Path | None
    resume: bool
    is_over: Callable[[], bool]
    progress: Callable[[int, int], None] | None
    device: str
    threads: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of the members, in their order."""
        return ('network', *self.protocol.partners)

    def network(self, index: int, rows: npt.NDArray[np.int64]) -> TrainingResult:
        """Train the network that does not see a fold, or read it where it is finished."""
        # Without the blend's name: where two blends train the same networks, the checkpoints of one serve the other.
        alone: dict[str, Any] = {'name': 'network', 'folds': None, **dict.fromkeys(PARTNERS)}
        protocol = dataclasses.replace(self.protocol, **alone)
        return train(
            self.graphs,
            self.columns,
            {'train': rows},
            protocol,
            self.element_features,
            seed=self.seed + index,
            features=self.features if protocol.needs_potential else None,
            checkpoint=None if self.checkpoint is None else self.checkpoint / f'network-{index}',
            resume=self.resume,
            stop=self.is_over,
            progress=lambda done, total: self._tell('network', index, done / total),
            device=self.device,
            threads=self.threads,
        )

    def boosting(self, index: int, rows: npt.NDArray[np.int64]) -> BoostingMember:
        """Train the boosting that does not see a fold, or read it where it is finished."""
        assert self.protocol.boosting is not None
        assert self.statistics is not None
        trees = []
        for number, (name, values) in enumerate(self.columns.items()):
            file = self._file(f'boosting-{index}-{name}')
            if self.resume and file is not None and file.exists():
                trees.append(_read_trees(file, self.mark))
                continue
            known = rows[np.isfinite(values[rows])]
            try:
                fitted = BoostedTrees.fit(
                    self.statistics[known],
                    values[known],
                    self.protocol.boosting,
                    seed=self.seed + index,
                    threads=self.threads,
                    stop=self.is_over,
                )
            except Stopped as stopped:
                raise Interrupted(f'the boosting of fold {index} was {stopped}', self.checkpoint) from stopped
            content = torch.from_numpy(np.frombuffer(fitted.content, dtype=np.uint8).copy())
            self._keep(file, {'trees': content})
            trees.append(fitted)
            self._tell('boosting', index, (number + 1) / len(self.columns))
        shape = (self.protocol.n_neighbors, None, self.protocol.orientation)
        return BoostingMember(tuple(trees), tuple(self.columns), self.element_table, *shape)

    def perceptron(self, index: int, rows: npt.NDArray[np.int64]) -> PerceptronMember:
        """Train the perceptron that does not see a fold, or read it where it is finished."""
        recipe, withheld = self.protocol.perceptron, self.protocol.responses_withheld
        assert recipe is not None
        assert self.statistics is not None
        normalizer, standardised = self._standardised(rows)
        responses = None if self.features is None else self.features.responses
        n_seen = 0 if withheld is None or responses is None else responses.shape[1]
        empty = Perceptron(self.statistics.shape[1], recipe.width, len(self.columns), n_responses=n_seen)
        fit = partial(
            fit_perceptron,
            self.statistics,
            standardised,
            rows,
            recipe,
            seed=self.seed + index,
            responses=responses,
            taught=self.protocol.responses_taught,
            withheld=withheld,
        )
        network = self._finished('perceptron', index, empty, fit)
        potential = None if not n_seen or self.features is None else self.features.potential
        shape = (self.protocol.n_neighbors, None, self.protocol.orientation, potential)
        return PerceptronMember(network, tuple(self.columns), normalizer, self.element_table, *shape)

    def readout(self, index: int, rows: npt.NDArray[np.int64]) -> ReadoutMember:
        """Train the readout that does not see a fold, or read it where it is finished."""
        recipe, features = self.protocol.readout, self.features
        assert recipe is not None
        assert features is not None
        normalizer, standardised = self._standardised(rows)
        empty = Readout(features.values.shape[1], features.responses.shape[1], recipe.width, len(self.columns))
        fit = partial(fit_readout, features, standardised, rows, recipe, seed=self.seed + index)
        network = self._finished('readout', index, empty, fit)
        return ReadoutMember(network, tuple(self.columns), normalizer, features.potential, self.protocol.n_neighbors)

    def _standardised(self, rows: npt.NDArray[np.int64]) -> tuple[Normalizer, npt.NDArray[np.float64]]:
        """Return what brings the targets of some rows to mean 0 and standard deviation 1, and (m, t) targets so."""
        values = np.stack(list(self.columns.values()), axis=1)
        normalizer = Normalizer.of(values[rows])
        return normalizer, normalizer.standardise(values)

    def _finished(self, kind: str, index: int, empty: Trained, fit: Callable[..., Trained]) -> Trained:
        """Train a partner, or fill an empty one where it is finished."""
        file = self._file(f'{kind}-{index}')
        if self.resume and file is not None and file.exists():
            return _read_network(file, self.mark, empty, kind)
        try:
            with torch_threads(self.threads):
                network = fit(stop=self.is_over, progress=lambda done, total: self._tell(kind, index, done / total))
        except Stopped as stopped:
            raise Interrupted(f'the {kind} of fold {index} was {stopped}', self.checkpoint) from stopped
        except Diverged as error:
            raise Diverged(f'the {kind} of fold {index}: {error}') from error
        self._keep(file, dict(network.state_dict()))
        return network

    def _file(self, name: str) -> Path | None:
        """Return where a partner is kept."""
        return None if self.checkpoint is None else self.checkpoint / f'{name}.safetensors'

    def _keep(self, file: Path | None, tensors: dict[str, torch.Tensor]) -> None:
        """Write what is finished."""
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, save_tensors(tensors, metadata={'fingerprint': self.mark}))

    def _tell(self, kind: str, index: int, fraction: float) -> None:
        """Say how far the training is, with a member halfway through."""
        if self.progress is not None:
            assert self.protocol.folds is not None
            step = len(self.kinds) * index + self.kinds.index(kind)
            self.progress(round(1000 * (step + fraction)), 1000 * len(self.kinds) * self.protocol.folds)


def remove_checkpoint(folder: Path, n_folds: int) -> None:
    """Remove what `train_blend` kept in a folder."""
    for index in range(n_folds):
        network = folder / f'network-{index}'
        (network / CHECKPOINT_FILE).unlink(missing_ok=True)
        if network.is_dir() and not any(network.iterdir()):
            network.rmdir()
        for kind in PARTNERS:
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


def _blended(members: Mapping[str, Sequence[AnyMember]], weights: Mapping[str, Mapping[str, float]]) -> ElasticModel:
    """Return the model of all members by kind, with the weight of each kind by target, so that their mean is 1."""
    return ElasticModel(
        [
            dataclasses.replace(member, weights=tuple(len(members) * weights[name][kind] for name in member.targets))
            for kind, of_kind in members.items()
            for member in of_kind
        ],
        {},
    )
