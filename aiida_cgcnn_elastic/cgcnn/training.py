"""Train networks by a protocol, reproducibly and so that an interrupted training can go on."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .calibrate import calibrate_networks, why_not
from .cycle import Diverged, known_error
from .graphs import CrystalGraphs
from .inference import choose_device, predict_graphs
from .metrics import all_metrics
from .model import UNITS, ElasticModel, Member, Normalizer, write_atomically
from .network import CGCNN, Batch
from .protocol import PROTOCOLS, Protocol
from .response import ResponseHead, is_known, withhold
from .schedule import ema_decay, one_cycle
from .splits import PARTS, Split
from .threads import torch_threads

__all__ = [
    'CHECKPOINT_FILE',
    'PROTOCOLS',
    'CheckpointError',
    'Diverged',
    'Interrupted',
    'Protocol',
    'TrainingResult',
    'check_arguments',
    'evaluate_parts',
    'fingerprint',
    'n_taught',
    'require_same_training',
    'train',
    'versions',
    'with_target',
]

CHECKPOINT_FILE = 'checkpoint.safetensors'

CITATION = 'T. Xie and J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018)'
"""Of the network, for the cards of all models."""

OF_POTENTIALS = ('sevenn', 'phonopy', 'spglib')
"""Packages that decide what a potential knows of a crystal."""

CHECKPOINT_SECONDS = 30.0
"""A checkpoint is written at the end of an epoch if the last one is older than this."""


class Interrupted(Exception):  # noqa: N818 - an event, not an error
    """The training was stopped; ``checkpoint`` is the file to go on from, None where none was asked for."""

    def __init__(self, message: str, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class CheckpointError(ValueError):
    """The checkpoint is damaged or belongs to another training."""


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes
    ----------
    model : ElasticModel
    history : list of dict
        One entry for each epoch of each network: ``targets``, ``epoch`` (from 1), ``learning_rate``, ``train_loss`` (of
        the standardised targets, while training), ``train`` (``{target: {n, mae, rmse, r2}}`` of the predictions that
        were made while training, each batch before it was learned from), ``validation`` and ``test`` (``{target:
        metrics}`` at the end of the epoch), ``is_kept`` (so far).
    metrics : dict
        ``{target: {part: metrics}}`` of the model kept, in log10(GPa).
    predictions : dict
        ``{target: (m,) float64}`` of the model kept; NaN for crystals in no part.
    """

    model: ElasticModel
    history: list[dict[str, Any]]
    metrics: dict[str, dict[str, dict[str, Any]]]
    predictions: dict[str, npt.NDArray[np.float64]]


def train(
    graphs: CrystalGraphs,
    targets: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    element_features: npt.NDArray[Any],
    *,
    seed: int,
    features: PotentialFeatures | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str = 'auto',
    threads: int = 1,
    card: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    start: Member | None = None,
) -> TrainingResult:
    """Train a model.

    The same arguments give the same bytes on the same machine, with the same number of threads; a training that was
    interrupted and resumed gives the bytes of one that was not.

    Parameters
    ----------
    graphs : CrystalGraphs
        Of ``m`` crystals.
    targets : mapping of (m,) float
        Names and values of the targets, log10(GPa); NaN where unknown. An unknown value is left out of the loss.
    split : dict
        Rows of the parts ``train``, ``validation`` and ``test``; the last may be empty or absent. Only the training
        part decides the standardisation of the targets and the weights, only the validation part the epoch that is
        kept. Crystals without a target play no part, but in a training part with ``responses_taught`` that of their
        response.
    protocol : Protocol
    element_features : (119, f) array
        Kept in the model.
    seed : int
        Of the initial weights, the order of the crystals and which responses are withheld.
    features : PotentialFeatures, optional
        What a potential knows of the ``m`` crystals; needed if and only if the protocol has ``responses_withheld`` or
        ``responses_taught``.
    checkpoint : Path, optional
        Folder for the checkpoint.
    resume : bool
        Go on from the checkpoint if there is one.
    max_seconds : float, optional
        Stop after that wall time.
    stop : callable, optional
        Asked after each batch whether to stop.
    progress : callable, optional
        Called with the numbers of batches done and in all.
    device : str
        See `predict`.
    threads : int
        CPU threads that share the work of a batch. More than one gain little on batches of a few hundred small
        crystals, and lose much where other work competes for the cores.
    card : mapping, optional
        Entries of the model's card such as ``name``, ``description`` and ``citation``.
    record : mapping, optional
        What is to be said of the data in the card's training record, such as ``data`` and ``split``.
    start : Member, optional
        A trained network to continue from, of the same targets and the protocol's architecture. Its element features
        and normaliser are kept, and the averages of its batch normalisation: those of a few crystals are no better.

    Raises
    ------
    ValueError
        If the arguments do not fit together.
    CheckpointError
        If the checkpoint to resume from is damaged or belongs to other arguments.
    Interrupted
        If `stop` said so or `max_seconds` are over. The checkpoint is written first.
    Diverged
        If the loss is no longer finite.
    """
    columns, split = check_arguments(graphs, targets, split, protocol)
    if protocol.needs_potential != (features is not None) or (features is not None and len(features) != len(graphs)):
        raise ValueError(
            "a protocol whose networks see responses or are taught them, and no other, needs a potential's features of "
            'all crystals'
        )
    seen = None if protocol.responses_withheld is None else features
    groups = [tuple(columns)] if protocol.joint_targets else [(name,) for name in columns]
    if start is not None:
        if start.potential != (None if seen is None else seen.potential):
            raise ValueError(f'the network to start from needs the potential {start.potential}, and no other')
        if groups != [tuple(columns)] or set(start.targets) != set(columns):
            raise ValueError(f'the network to start from predicts {start.targets}, the training has {groups}')
        groups = [start.targets]
    file = None if checkpoint is None else Path(checkpoint) / CHECKPOINT_FILE
    deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
    target_device = choose_device(device)
    with torch_threads(threads), _deterministic(target_device):
        trainings = [
            _Training(
                graphs,
                {name: columns[name] for name in group},
                split,
                protocol,
                element_features,
                seed,
                target_device,
                start,
                features,
            )
            for group in groups
        ]
        mark = fingerprint(graphs, columns, split, protocol, element_features, seed, start=start, features=features)
        if resume and file is not None and file.exists():
            _read_checkpoint(file, mark, trainings)
        total = sum(training.n_batches for training in trainings)
        written = time.monotonic()

        def after_batch() -> None:
            nonlocal written
            now = time.monotonic()
            is_over = now >= deadline or (stop is not None and stop())
            if file is not None and (is_over or now - written >= CHECKPOINT_SECONDS):
                _write_checkpoint(file, mark, trainings)
                written = time.monotonic()
            done = sum(training.n_batches_done for training in trainings)
            if progress is not None:
                progress(done, total)
            if is_over and done < total:
                raise Interrupted(f'the training was stopped after {done} of {total} batches', file)

        for training in trainings:
            training.run(after_batch)
        if file is not None:
            # Of a training that is complete, so that one which consists of several is not begun again.
            _write_checkpoint(file, mark, trainings)
        return _result(trainings, columns, split, protocol, seed, mark, target_device, card or {}, record or {})


class _Training:
    """The training of one network: where it is, and how it takes the next step."""

    def __init__(
        self,
        graphs: CrystalGraphs,
        columns: Mapping[str, npt.NDArray[np.float64]],
        split: Split,
        protocol: Protocol,
        element_features: npt.NDArray[Any],
        seed: int,
        device: torch.device,
        start: Member | None = None,
        features: PotentialFeatures | None = None,
    ) -> None:
        self.targets = tuple(columns)
        self.protocol = protocol
        self.seed = seed
        self.device = device
        self.graphs = graphs
        seen = None if protocol.responses_withheld is None else features
        self.features = seen
        self.responses = None if seen is None else seen.responses
        self.told = None if features is None or protocol.responses_taught is None else features.responses
        self.values = np.stack([columns[name] for name in self.targets], axis=1)
        has_target = np.asarray(np.isfinite(self.values).any(axis=1))
        self.rows = {part: rows[has_target[rows]] for part, rows in split.items()}
        labelled = self.rows['train']
        if self.told is not None:
            self.rows['train'] = split['train'][(has_target | is_known(self.told))[split['train']]]
        evaluated = [part for part in ('validation', 'test') if len(self.rows[part])]
        self.evaluated = {part: graphs.select(self.rows[part]) for part in evaluated}
        self.evaluated_features = {part: None if seen is None else seen.select(self.rows[part]) for part in evaluated}
        self.has_fixed_statistics = start is not None
        if start is None:
            self.normalizer = Normalizer.of(self.values[labelled])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                n_responses = 0 if seen is None else seen.responses.shape[1]
                self.network = CGCNN(protocol.architecture(len(self.targets), n_responses), element_features)
            if self.network.arrangement is not None:
                self.network.arrangement.set_scale(graphs.select(self.rows['train']))
            if self.network.response is not None and seen is not None:
                self.network.response.set_scale(seen.responses[self.rows['train']])
            self.network.to(device)
        else:
            self.normalizer = start.normalizer
            self.network = copy.deepcopy(start.network).to(device)
        self.head: ResponseHead | None = None
        if self.told is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.head = ResponseHead(self.told.shape[1], self.network.architecture.hidden_width)
            self.head.set_scale(self.told[self.rows['train']])
            self.head.to(device)
        self.standardised = self.normalizer.standardise(self.values)
        self.average = copy.deepcopy(self.network) if protocol.ema_decay is not None else None
        kind = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[protocol.optimizer]
        of_head = [] if self.head is None else list(self.head.parameters())
        self.optimizer = kind(
            [*self.network.parameters(), *of_head],
            lr=protocol.learning_rate,
            weight_decay=protocol.weight_decay,
            fused=True,
        )
        self.epoch = 0
        self.batch = 0
        self.loss_sum = 0.0
        self.loss_count = 0
        self.train_sums = _no_sums(len(self.targets))
        self.history: list[dict[str, Any]] = []
        self.least_error = math.inf
        self.kept = self._state()

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches in an epoch; the last may be smaller."""
        return -(-len(self.rows['train']) // self.protocol.batch_size)

    @property
    def n_batches(self) -> int:
        """Return the number of batches in the whole training."""
        return self.protocol.epochs * self.batches_per_epoch

    @property
    def n_batches_done(self) -> int:
        """Return the number of batches done so far."""
        return self.epoch * self.batches_per_epoch + self.batch

    def run(self, after_batch: Callable[[], None]) -> None:
        """Train to the end, from where this training is."""
        while self.epoch < self.protocol.epochs:
            # The order follows from the seed and the epoch alone, so a checkpoint needs no state of a generator.
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows['train'])
            if self.features is not None and self.protocol.responses_withheld is not None:
                drawn = [self.seed, self.epoch, 1]
                self.responses = withhold(self.features.responses, self.protocol.responses_withheld, drawn)
            while self.batch < self.batches_per_epoch:
                first = self.batch * self.protocol.batch_size
                self._step(order[first : first + self.protocol.batch_size])
                self.batch += 1
                after_batch()
            self._end_epoch()

    def model(self) -> ElasticModel:
        """Return the weights that are kept, as a model without a card."""
        network = copy.deepcopy(self.network).cpu()
        network.load_state_dict(self.kept)
        potential = None if self.features is None else self.features.potential
        return ElasticModel([Member(network.eval(), self.targets, self.normalizer, potential=potential)], {})

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that `load_state` needs, as plain values and tensors."""
        tensors = {f'network.{name}': tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f'kept.{name}': tensor for name, tensor in self.kept.items()}
        if self.head is not None:
            tensors |= {f'head.{name}': tensor for name, tensor in self.head.state_dict().items()}
        if self.average is not None:
            tensors |= {f'average.{name}': tensor for name, tensor in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()['state'].items():
            tensors |= {f'optimizer.{index}.{name}': tensor for name, tensor in moments.items()}
        values = {
            'epoch': self.epoch,
            'batch': self.batch,
            'loss_sum': self.loss_sum,
            'loss_count': self.loss_count,
            'train_sums': self.train_sums.tolist(),
            'history': self.history,
            'least_error': self.least_error if math.isfinite(self.least_error) else None,
        }
        return values, {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}

    def load_state(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go to the place that `state` described."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part('network.'))
        self.kept = part('kept.')
        if self.head is not None:
            self.head.load_state_dict(part('head.'))
        if self.average is not None:
            self.average.load_state_dict(part('average.'))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part('optimizer.').items():
            index, moment = name.split('.')
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), 'state': moments})
        self.epoch, self.batch = values['epoch'], values['batch']
        self.loss_sum, self.loss_count = values['loss_sum'], values['loss_count']
        self.train_sums = np.array(values.get('train_sums', self.train_sums))
        self.history = values['history']
        self.least_error = math.inf if values['least_error'] is None else values['least_error']

    def _step(self, rows: npt.NDArray[np.int64]) -> None:
        """Learn from one batch."""
        responses = None if self.responses is None else self.responses[rows]
        batch = Batch.from_graphs(self.graphs.select(rows), self.device, responses=responses)
        true = torch.from_numpy(self.standardised[rows]).to(self.device, torch.float32)
        has_value = torch.isfinite(true)
        rate, decay = self._rate_and_decay(self.n_batches_done)
        for group in self.optimizer.param_groups:
            group['lr'], group['betas'] = rate, (decay, group['betas'][1])
        self.network.train(not self.has_fixed_statistics)
        features = self.network.last_hidden(self.network.pooled(batch), batch.responses)
        predicted = self.network.output(features)
        n_labelled = int(has_value.any(dim=1).sum())
        loss = known_error(predicted, true, self.protocol.loss)
        value = float(loss.detach())
        if self.head is not None and self.told is not None and self.protocol.responses_taught is not None:
            told = torch.from_numpy(self.told[rows]).to(self.device)
            loss = loss + self.protocol.responses_taught * self.head.loss(features, told)
        if not math.isfinite(float(loss.detach())):
            names = ' and '.join(self.targets)
            raise Diverged(
                f'the loss of {names} is {float(loss.detach())} in batch {self.batch + 1} of epoch {self.epoch + 1}; '
                'a smaller learning rate may help'
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self._update_average()
        self.loss_sum += value * n_labelled
        self.loss_count += n_labelled
        self.train_sums += _sums(predicted.detach(), true, has_value)

    def _rate_and_decay(self, step: int) -> tuple[float, float]:
        """Return the learning rate and the decay of Adam's first moment for a batch of this training."""
        if self.protocol.schedule == 'constant':
            return self.protocol.learning_rate, 0.9
        rate, decay = one_cycle(step, self.n_batches)
        return rate * self.protocol.learning_rate, decay

    def _update_average(self) -> None:
        """Move the averaged weights towards the present ones, faster in the beginning."""
        assert self.average is not None
        assert self.protocol.ema_decay is not None
        decay = ema_decay(self.n_batches_done, self.protocol.ema_decay)
        with torch.no_grad():
            present = self.network.state_dict()
            for name, tensor in self.average.state_dict().items():
                tensor.lerp_(present[name], 1 - decay)

    def _end_epoch(self) -> None:
        """Evaluate the network, keep it if the protocol says so, and write the history."""
        present = self._state()
        previous, self.kept = self.kept, present
        model = self.model()
        metrics = {part: self._evaluate(model, part) for part in self.evaluated}
        # Targets are weighed by their spread, so that a joint network is judged on all of them alike.
        error = (
            float(
                np.mean(
                    [
                        metrics['validation'][name]['mae'] / std
                        for name, std in zip(self.targets, self.normalizer.std, strict=True)
                    ]
                )
            )
            if 'validation' in metrics
            else math.inf
        )
        is_best = error < self.least_error or self.protocol.keep == 'last'
        if is_best:
            self.least_error = error
        else:
            self.kept = previous
        self.history.append(
            {
                'targets': list(self.targets),
                'epoch': self.epoch + 1,
                'learning_rate': self._rate_and_decay(self.n_batches_done - 1)[0],
                'train_loss': self.loss_sum / self.loss_count,
                'train': {
                    name: _metrics_of_sums(sums, std)
                    for name, sums, std in zip(self.targets, self.train_sums.T, self.normalizer.std, strict=True)
                },
                **metrics,
                'is_kept': is_best,
            }
        )
        self.epoch += 1
        self.batch, self.loss_sum, self.loss_count = 0, 0.0, 0
        self.train_sums = _no_sums(len(self.targets))

    def _evaluate(self, model: ElasticModel, part: str) -> dict[str, dict[str, Any]]:
        """Return the metrics of every target in a part."""
        own = self.evaluated_features[part]
        predictions = predict_graphs([model], self.evaluated[part], features=own, device=str(self.device))
        true = self.values[self.rows[part]]
        result = {}
        for column, name in enumerate(self.targets):
            is_known = np.isfinite(true[:, column])
            predicted = predictions[name][is_known]
            if not np.isfinite(predicted).all():
                raise Diverged(
                    f'the network of {name} gives predictions that are not finite after epoch {self.epoch + 1}'
                )
            result[name] = all_metrics(true[is_known, column], predicted)
        return result

    def _state(self) -> dict[str, Tensor]:
        """Return a copy of the weights that would be kept now."""
        source = self.network if self.average is None else self.average
        return {name: tensor.detach().cpu().clone() for name, tensor in source.state_dict().items()}


def _no_sums(n_targets: int) -> npt.NDArray[np.float64]:
    """Return what `_sums` gives for no crystal."""
    return np.zeros((5, n_targets))


def _sums(predicted: Tensor, true: Tensor, is_known: Tensor) -> npt.NDArray[np.float64]:
    """Return number, absolute and squared errors, values and squared values, each summed for every target."""
    value = torch.where(is_known, true, 0).double()
    error = torch.where(is_known, predicted.double(), 0) - value
    terms = [is_known.double(), error.abs(), error.square(), value, value.square()]
    return torch.stack([term.sum(dim=0) for term in terms]).cpu().numpy()


def _metrics_of_sums(sums: npt.NDArray[np.float64], std: float) -> dict[str, float | int | None]:
    """Return the metrics of a target, in its unit, from sums over its standardised values."""
    n, absolute, squared, value, squared_value = sums
    spread = squared_value - value**2 / n
    return {
        'n': int(n),
        'mae': float(absolute / n * std),
        'rmse': float(np.sqrt(squared / n) * std),
        'r2': float(1 - squared / spread) if spread > 0 else None,
    }


def versions(*more: str) -> dict[str, str]:
    """Return the versions of what decides a training, for its record."""
    packages = ('aiida-cgcnn-elastic', 'numpy', 'pymatgen', 'torch', *more)
    return {'python': platform.python_version(), **{name: version(name) for name in packages}}


def check_arguments(
    graphs: CrystalGraphs, targets: Mapping[str, Any], split: Mapping[str, Any], protocol: Protocol
) -> tuple[dict[str, npt.NDArray[np.float64]], Split]:
    """Return the targets in a fixed order and the split with all parts, or raise ValueError where they do not fit."""
    if graphs.n_neighbors != protocol.n_neighbors:
        raise ValueError(f'the graphs have {graphs.n_neighbors} neighbors, the protocol {protocol.n_neighbors}')
    if protocol.orientation and not graphs.has_orientations:
        raise ValueError('the protocol needs graphs with orientations')
    if not targets or (unknown := sorted(set(targets) - set(UNITS))):
        raise ValueError(f'unknown targets {unknown}; known are {sorted(UNITS)}' if targets else 'there are no targets')
    columns = {name: np.asarray(targets[name], dtype=np.float64) for name in UNITS if name in targets}
    if unknown := sorted(set(split) - set(PARTS)):
        raise ValueError(f'unknown parts of the split: {unknown}; known are {PARTS}')
    parts = {part: np.asarray(split.get(part, ()), dtype=np.int64) for part in PARTS}
    rows = np.concatenate(list(parts.values()))
    if len(rows) and (rows.min() < 0 or rows.max() >= len(graphs)):
        raise ValueError(f'the split names rows from {rows.min()} to {rows.max()}, but there are {len(graphs)}')
    if len(np.unique(rows)) < len(rows):
        raise ValueError('the parts of the split overlap')
    is_needed = {'train': True, 'validation': protocol.keep == 'best', 'test': False}
    for name, values in columns.items():
        if values.shape != (len(graphs),):
            raise ValueError(f'{name} has the shape {values.shape} but there are {len(graphs)} crystals')
        for part, members in parts.items():
            if (is_needed[part] or len(members)) and not np.isfinite(values[members]).any():
                raise ValueError(f'no crystal of the {part} part has a value of {name}')
    return columns, parts


def fingerprint(
    graphs: CrystalGraphs,
    columns: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    element_features: npt.NDArray[Any],
    seed: int,
    element_table: npt.NDArray[Any] | None = None,
    start: Member | None = None,
    features: PotentialFeatures | None = None,
) -> str:
    """Return a checksum of all that decides the result of a training."""
    digest = hashlib.sha256(json.dumps([protocol.to_dict(), seed], sort_keys=True).encode())
    arrays = [getattr(graphs, item.name) for item in fields(graphs) if item.name != 'n_neighbors']
    for name, array in [
        *((str(index), array) for index, array in enumerate(arrays)),
        *columns.items(),
        *split.items(),
        ('element_features', np.asarray(element_features)),
        *(() if element_table is None else [('element_table', np.asarray(element_table))]),
        *(() if features is None else [(f'features of {features.potential}', features.responses)]),
        *(() if start is None else [(f'start {name}', tensor.numpy()) for name, tensor in start.tensors().items()]),
    ]:
        digest.update(f'{name} {array.dtype} {array.shape}'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def require_same_training(file: Path, found: str, mark: str) -> None:
    """Raise CheckpointError unless what a file says of its training, ``found``, is the fingerprint of this one."""
    if found != mark:
        raise CheckpointError(
            f'{file} belongs to a training with another protocol, seed, split or other data; remove it to start anew'
        )


def _write_checkpoint(file: Path, mark: str, trainings: Sequence[_Training]) -> None:
    """Write the state of all networks as one file, in one step."""
    states = [training.state() for training in trainings]
    tensors = {f'{index}.{name}': tensor for index, (_, part) in enumerate(states) for name, tensor in part.items()}
    text = json.dumps({'fingerprint': mark, 'trainings': [values for values, _ in states]})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, save_tensors(tensors, metadata={'state': text}))


def _read_checkpoint(file: Path, mark: str, trainings: Sequence[_Training]) -> None:
    """Put all networks where the checkpoint says."""
    try:
        with safetensors.safe_open(file, framework='pt') as opened:
            state = json.loads((opened.metadata() or {})['state'])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        found = state['fingerprint']
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{file} is no checkpoint of a training, or is damaged: {error}') from error
    require_same_training(file, found, mark)
    for index, (training, values) in enumerate(zip(trainings, state['trainings'], strict=True)):
        prefix = f'{index}.'
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        training.load_state(values, own)


def with_target(rows: npt.NDArray[np.int64], columns: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    """Return those of the rows that have one of the targets at least."""
    return rows[np.isfinite([values[rows] for values in columns.values()]).any(axis=0)]


def n_taught(
    protocol: Protocol,
    responses: npt.NDArray[np.float32] | None,
    train: npt.NDArray[np.int64],
    labelled: npt.NDArray[np.int64],
) -> dict[str, dict[str, int]]:
    """Return, for the card, of how many training crystals networks learned the response; nothing where of none.

    Those among them that had no target are counted by themselves.
    """
    if protocol.responses_taught is None or responses is None:
        return {}
    n_learned = int(is_known(responses[train]).sum())
    return {
        'responses_taught': {
            'n_crystals': n_learned,
            'n_without_target': n_learned - int(is_known(responses[labelled]).sum()),
        }
    }


def evaluate_parts(
    model: ElasticModel,
    graphs: CrystalGraphs,
    columns: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    *,
    device: str,
    threads: int | None = None,
    features: PotentialFeatures | None = None,
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, dict[str, dict[str, Any]]]]:
    """Return predictions and metrics as `TrainingResult` has them."""
    used = np.sort(np.concatenate(list(split.values())))
    own = None if features is None else features.select(used)
    predicted = predict_graphs([model], graphs.select(used), features=own, device=device, threads=threads)
    predictions: dict[str, npt.NDArray[np.float64]] = {}
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    for name, values in columns.items():
        predictions[name] = np.full(len(graphs), np.nan)
        predictions[name][used] = predicted[name]
        metrics[name] = {}
        for part, rows in split.items():
            known = rows[np.isfinite(values[rows])]
            if len(known):
                metrics[name][part] = all_metrics(values[known], predictions[name][known])
    return predictions, metrics


def _result(
    trainings: Sequence[_Training],
    columns: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    seed: int,
    mark: str,
    device: torch.device,
    card: Mapping[str, Any],
    record: Mapping[str, Any],
) -> TrainingResult:
    """Evaluate what was kept and write the card."""
    model = ElasticModel([member for training in trainings for member in training.model().members], {})
    graphs, features = trainings[0].graphs, trainings[0].features
    predictions, metrics = evaluate_parts(model, graphs, columns, split, device=str(device), features=features)
    labelled = {part: with_target(rows, columns) for part, rows in split.items()}
    history = [entry for training in trainings for entry in training.history]
    calibration = _calibrate(model, graphs, columns, labelled, protocol, device, features)
    model.card = {
        'name': protocol.name,
        'citation': CITATION,
        **card,
        'training': [
            {
                **record,
                'protocol': protocol.to_dict(),
                'seed': seed,
                'n_crystals': {part: len(rows) for part, rows in labelled.items()},
                **n_taught(protocol, trainings[0].told, split['train'], labelled['train']),
                'kept_epochs': {
                    name: max(entry['epoch'] for entry in training.history if entry['is_kept'])
                    for training in trainings
                    for name in training.targets
                },
                'calibration': calibration,
                'metrics': metrics,
                'fingerprint': mark,
                'device': device.type,
                'threads': torch.get_num_threads(),
                'versions': versions(*(OF_POTENTIALS if protocol.needs_potential else ())),
            }
        ],
    }
    return TrainingResult(model, history, metrics, predictions)


def _calibrate(
    model: ElasticModel,
    graphs: CrystalGraphs,
    columns: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    device: torch.device,
    features: PotentialFeatures | None,
) -> str:
    """Calibrate the model where there are crystals that decided nothing; return on which, or why not."""
    if protocol.keep == 'best':
        return 'none: the validation part chose the epoch, so errors on it are too small'
    held_out = split['validation']
    n_held_out = {name: int(np.isfinite(values[held_out]).sum()) for name, values in columns.items()}
    reason = why_not(n_held_out, 'validation')
    if reason is None:
        threads = torch.get_num_threads()
        model.calibration = calibrate_networks(
            model, graphs, columns, split['train'], held_out, device=str(device), threads=threads, features=features
        )
    return reason or 'on the validation part, which decided nothing'


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Have a GPU add in a fixed order too; a CPU does so anyway."""
    if device.type == 'cpu':
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    # cuBLAS reads this when it is first used.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
