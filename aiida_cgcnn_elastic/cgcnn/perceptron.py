"""A multilayer perceptron on statistics of structure and composition.

Two hidden layers on what `baselines.features` says of a crystal as a whole. It is wrong where a network is not, so the
mean of both is better than either; and it is trained in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .cycle import Cycle, absolute_error, train_by_cycle
from .response import ResponseHead

__all__ = ['Perceptron', 'PerceptronRecipe', 'fit_perceptron']

FARTHEST = 4.0
"""Standard deviations from the mean beyond which a statistic counts as that far."""


@dataclass(frozen=True)
class PerceptronRecipe(Cycle):
    """How a perceptron of two hidden layers is trained: see `Cycle`; L1 loss of the standardised targets."""

    epochs: int = 80
    batch_size: int = 64
    weight_decay: float = 5e-2

    WHAT: ClassVar[str] = 'the perceptron'


class Perceptron(nn.Module):
    """Network from (m, f) statistics of crystals to (m, t) standardised targets.

    Parameters
    ----------
    n_features, width, n_targets : int
    dropout : float
        While training; see `PerceptronRecipe`.
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
        self.output = nn.Linear(width, n_targets)

    def set_scale(self, statistics: npt.NDArray[np.float32]) -> None:
        """Bring the (n, f) statistics of some crystals, where they are known, to mean 0 and standard deviation 1."""
        values = np.ma.masked_invalid(statistics.astype(np.float64))
        self.mean.copy_(torch.from_numpy(values.mean(axis=0).filled(0.0)))
        # What does not vary among the crystals says nothing, whatever others have.
        deviation = values.std(axis=0).filled(0.0)
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)))

    def last_hidden(self, statistics: Tensor) -> Tensor:
        """Return (m, w) features of (m, f) statistics; one that is NaN counts as the mean."""
        scaled = ((statistics - self.mean) * self.scale).nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)
        features = functional.dropout(functional.silu(self.first(scaled)), self.dropout, self.training)
        return functional.dropout(functional.silu(self.second(features)), self.dropout, self.training)

    def forward(self, statistics: Tensor) -> Tensor:
        """Return (m, t) standardised targets of (m, f) statistics."""
        return self.output(self.last_hidden(statistics))

    def predict(self, statistics: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return (m, t) standardised predictions."""
        with torch.inference_mode():
            return self(torch.from_numpy(statistics)).double().numpy()


def fit_perceptron(
    statistics: npt.NDArray[np.float32],
    standardised: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    recipe: PerceptronRecipe,
    *,
    seed: int,
    responses: npt.NDArray[np.float32] | None = None,
    responses_weight: float = 1.0,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Perceptron:
    """Return a perceptron trained on some of ``m`` crystals. The same arguments give the same weights.

    Parameters
    ----------
    statistics : (m, f) float32
    standardised : (m, t) float
        Targets of mean 0 and standard deviation 1; NaN where unknown.
    rows : (n,) int
        The crystals to learn from.
    responses : (m, r) float32, optional
        How the crystals respond to strain, which the perceptron learns to tell as well (see `ResponseHead`); rows of
        NaN where that is not known.
    responses_weight : float
        Of that in the loss.
    stop : callable, optional
        Asked after every batch.
    progress : callable, optional
        Called with the numbers of batches done and in all.

    Raises
    ------
    Stopped
        If ``stop`` said so.
    """
    inputs = torch.from_numpy(statistics[rows])
    targets = torch.from_numpy(standardised[rows].astype(np.float32))
    told = None if responses is None else torch.from_numpy(responses[rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Perceptron(inputs.shape[1], recipe.width, targets.shape[1], recipe.dropout)
        network.set_scale(statistics[rows])
        head = None if told is None else ResponseHead(told.shape[1], recipe.width)
        if head is not None and responses is not None:
            head.set_scale(responses[rows])

        def loss(chosen: npt.NDArray[np.int64], _: int) -> Tensor:
            features = network.last_hidden(inputs[chosen])
            value = absolute_error(network.output(features), targets[chosen])
            return (
                value if head is None or told is None else value + responses_weight * head.loss(features, told[chosen])
            )

        more = () if head is None else head.parameters()
        kept = train_by_cycle(network, recipe, len(rows), loss, seed=seed, more=more, stop=stop, progress=progress)
    return kept.eval()
