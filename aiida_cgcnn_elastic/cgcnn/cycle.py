"""Train a small network by one cycle of the learning rate, and keep the moving average of its weights.

Of readouts and perceptrons, which are trained in seconds to minutes and kept when they are finished. `training` has the
networks on graphs, whose trainings are resumed from within.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.settings import Settings

from .schedule import ema_decay, one_cycle

__all__ = ['Cycle', 'Diverged', 'known_error', 'train_by_cycle']

Network = TypeVar('Network', bound=nn.Module)


class Diverged(Exception):  # noqa: N818 - named as in the contract of the runner's exit statuses
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Cycle(Settings):
    """How a network is trained: AdamW, one cycle of the learning rate.

    Attributes
    ----------
    width : int
        Of every layer.
    dropout : float
        Fraction of the features that are left out in a step of the training.
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

    def __post_init__(self) -> None:
        self._check_whole('width', 'epochs', 'batch_size')
        self._check_numbers('dropout', 'ema_decay', is_allowed=lambda x: 0 <= x < 1, expected='from 0 and below 1')
        self._check_numbers('learning_rate', is_allowed=lambda x: 0 < x < math.inf, expected='above 0')
        self._check_numbers('weight_decay', is_allowed=lambda x: 0 <= x < math.inf, expected='from 0')


def train_by_cycle(
    network: Network,
    recipe: Cycle,
    n_crystals: int,
    loss: Callable[[npt.NDArray[np.int64], int], Tensor],
    *,
    seed: int,
    more: Iterable[nn.Parameter] = (),
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Network:
    """Return the moving average of a network that is trained.

    Parameters
    ----------
    network : nn.Module
    n_crystals : int
        To learn from.
    loss : callable
        Called with the places of some of the crystals, and the number of the epoch from 0.
    seed : int
        Of the order of the crystals.
    more : iterable of nn.Parameter
        What is trained beside the network, and not kept.
    stop : callable, optional
        Asked after every batch.
    progress : callable, optional
        Called with the numbers of batches done and in all.

    Raises
    ------
    Stopped
        If ``stop`` said so.
    Diverged
        If the loss is no longer finite.
    """
    kept = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *more], lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    n_batches = -(-n_crystals // recipe.batch_size)
    total = n_batches * recipe.epochs
    network.train()
    for step in range(total):
        epoch, batch = divmod(step, n_batches)
        if batch == 0:
            order = np.random.default_rng([seed, epoch]).permutation(n_crystals)
        rate, decay = one_cycle(step, total)
        for group in optimizer.param_groups:
            group['lr'], group['betas'] = rate * recipe.learning_rate, (decay, 0.999)
        value = loss(order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size], epoch)
        if not math.isfinite(float(value.detach())):
            raise Diverged(
                f'the loss is {float(value.detach())} in batch {batch + 1} of epoch {epoch + 1}; '
                'a smaller learning rate may help'
            )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            for average, weight in zip(kept.parameters(), network.parameters(), strict=True):
                average.lerp_(weight, 1 - ema_decay(step, recipe.ema_decay))
        if progress is not None:
            progress(step + 1, total)
        if step + 1 < total and stop is not None and stop():
            raise Stopped(f'stopped after {step + 1} of {total} batches')
    return kept


def known_error(predicted: Tensor, true: Tensor, kind: str = 'l1') -> Tensor:
    """Return the mean absolute error of (m, t) values where the true ones are known, 0 where none is.

    With ``'mse'`` instead of ``'l1'`` it is the mean squared one.
    """
    is_known = torch.isfinite(true)
    errors = predicted[is_known] - true[is_known]
    # A batch of crystals without a target has no error, not one of NaN.
    return (errors.square() if kind == 'mse' else errors.abs()).sum() / max(len(errors), 1)
