"""How the members of a cross-fitted blend are trained, one after the other, and kept until all are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import save as save_tensors

from aiida_cgcnn_elastic.baselines.boosting import BoostedTrees, Stopped
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .cycle import Diverged
from .graphs import CrystalGraphs
from .model import BoostingMember, Member, Normalizer, PerceptronMember, ReadoutMember, write_atomically
from .perceptron import Perceptron, fit_perceptron
from .precision import rounded
from .protocol import PARTNERS, Protocol
from .readout import Readout, fit_readout
from .threads import torch_threads
from .training import CHECKPOINT_FILE, CheckpointError, Interrupted, TrainingResult, require_same_training, train

__all__ = ['BlendTraining', 'remove_checkpoint']

Columns = dict[str, npt.NDArray[np.float64]]

Trained = TypeVar('Trained', Perceptron, Readout)


@dataclasses.dataclass(frozen=True)
class BlendTraining:
    """What the trainings of all members have in common, and where what is finished is kept.

    Parameters are those of `blend.train_blend`; ``statistics`` (m, f) are what perceptrons and boosting learn from, and
    ``mark`` tells this training from all others.
    """

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
        trained = train(
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
        for member in trained.model.members:
            assert isinstance(member, Member)
            rounded(member.network)
        return trained

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
                fitted = fit(stop=self.is_over, progress=lambda done, total: self._tell(kind, index, done / total))
        except Stopped as stopped:
            raise Interrupted(f'the {kind} of fold {index} was {stopped}', self.checkpoint) from stopped
        except Diverged as error:
            raise Diverged(f'the {kind} of fold {index}: {error}') from error
        network = rounded(fitted)
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
