"""A readout of elastic moduli from what a universal potential knows of the atoms.

Each atom's features, which tell its whole surroundings already, go through the same two layers; the mean over the atoms
goes through one more. There is nothing about the crystal's geometry to learn, so a few thousand crystals are enough.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.potentials.features import AtomFeatures
from aiida_cgcnn_elastic.settings import Settings

from .schedule import ema_decay, one_cycle

__all__ = ['Readout', 'ReadoutRecipe', 'fit_readout']

CRYSTALS_AT_ONCE = 512
"""Crystals that are evaluated together."""


@dataclass(frozen=True)
class ReadoutRecipe(Settings):
    """How a readout is trained: L1 loss of the standardised targets, AdamW, one cycle of the learning rate.

    Attributes
    ----------
    width : int
        Of every layer.
    dropout : float
        Fraction of the inputs of every layer but the output that are left out in a step of the training.
    epochs, batch_size : int
    learning_rate : float
        The largest of the cycle.
    weight_decay : float
    ema_decay : float
        For each step, of the moving average of the weights that is kept.
    """

    width: int = 256
    dropout: float = 0.1
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.995

    WHAT: ClassVar[str] = 'the readout'

    def __post_init__(self) -> None:
        self._check_whole('width', 'epochs', 'batch_size')
        self._check_numbers('dropout', 'ema_decay', is_allowed=lambda x: 0 <= x < 1, expected='from 0 and below 1')
        self._check_numbers('learning_rate', is_allowed=lambda x: 0 < x < math.inf, expected='above 0')
        self._check_numbers('weight_decay', is_allowed=lambda x: 0 <= x < math.inf, expected='from 0')


class Readout(nn.Module):
    """Network from (a, f) features of atoms to (m, t) standardised targets of crystals.

    Parameters
    ----------
    n_features, width, n_targets : int
    dropout : float
        While training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int, width: int, n_targets: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.dropout = dropout
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('scale', torch.ones(n_features))
        self.first = nn.Linear(n_features, width)
        self.second = nn.Linear(width, width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, n_targets)

    def forward(self, features: Tensor, crystals: Tensor, counts: Tensor) -> Tensor:
        """Return (m, t) targets; ``crystals`` has the crystal of every atom, ``counts`` the (m,) numbers of atoms."""
        atoms = functional.silu(self.first(self._thinned((features - self.mean) * self.scale)))
        atoms = functional.silu(self.second(self._thinned(atoms)))
        pooled = torch.zeros((len(counts), self.width)).index_add(0, crystals, atoms) / counts[:, None]
        return self.output(self._thinned(functional.silu(self.hidden(self._thinned(pooled)))))

    def _thinned(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)

    def predict(self, features: AtomFeatures) -> npt.NDArray[np.float64]:
        """Return (m, t) standardised predictions."""
        parts = [np.empty((0, self.output.out_features))]
        with torch.inference_mode():
            for start in range(0, len(features), CRYSTALS_AT_ONCE):
                rows = np.arange(start, min(start + CRYSTALS_AT_ONCE, len(features)))
                parts.append(self(*_batch(features, rows)).double().numpy())
        return np.concatenate(parts)


def fit_readout(
    features: AtomFeatures,
    standardised: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    recipe: ReadoutRecipe,
    *,
    seed: int,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Readout:
    """Return a readout trained on some of ``m`` crystals. The same arguments give the same weights.

    Parameters
    ----------
    features : AtomFeatures
        Of the ``m`` crystals.
    standardised : (m, t) float
        Targets of mean 0 and standard deviation 1; NaN where unknown.
    rows : (n,) int
        The crystals to learn from.
    stop : callable, optional
        Asked after every batch.
    progress : callable, optional
        Called with the numbers of batches done and in all.

    Raises
    ------
    Stopped
        If ``stop`` said so.
    """
    own = features.select(rows)
    targets = torch.from_numpy(standardised[rows].astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Readout(own.values.shape[1], recipe.width, targets.shape[1], recipe.dropout)
        _set_scale(network, own.values)
        kept = copy.deepcopy(network)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        n_batches = -(-len(own) // recipe.batch_size)
        total = n_batches * recipe.epochs
        network.train()
        for step in range(total):
            epoch, batch = divmod(step, n_batches)
            if batch == 0:
                order = np.random.default_rng([seed, epoch]).permutation(len(own))
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            rate, decay = one_cycle(step, total)
            for group in optimizer.param_groups:
                group['lr'], group['betas'] = rate * recipe.learning_rate, (decay, 0.999)
            true = targets[chosen]
            is_known = torch.isfinite(true)
            loss = (network(*_batch(own, chosen))[is_known] - true[is_known]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for average, weight in zip(kept.parameters(), network.parameters(), strict=True):
                    average.lerp_(weight, 1 - ema_decay(step, recipe.ema_decay))
            if progress is not None:
                progress(step + 1, total)
            if step + 1 < total and stop is not None and stop():
                raise Stopped(f'stopped after {step + 1} of {total} batches')
    return kept.eval()


def _set_scale(network: Readout, values: npt.NDArray[np.float16]) -> None:
    """Let a readout bring features to mean 0 and, those that vary, to standard deviation 1."""
    network.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
    # A feature that hardly varies is left small: its last digits are noise.
    network.scale.copy_(torch.from_numpy(1 / (values.std(axis=0, dtype=np.float64) + 1e-3)))


def _batch(features: AtomFeatures, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a readout takes of some crystals."""
    own = features.select(rows)
    counts = np.diff(own.offsets)
    crystals = np.repeat(np.arange(len(rows)), counts)
    return (
        torch.from_numpy(own.values.astype(np.float32)),
        torch.from_numpy(crystals),
        torch.from_numpy(counts.astype(np.float32)),
    )
