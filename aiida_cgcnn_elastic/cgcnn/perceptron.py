"""A multilayer perceptron on statistics of structure and composition.

Two hidden layers on what `baselines.features` says of a crystal as a whole, and on its response to strain where that is
to be seen. It is wrong where a network is not, so the mean of both is better than either; and it is trained in seconds.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .cycle import Cycle, known_error, train_by_cycle
from .response import TO_STATISTICS, ResponseEmbedding, ResponseHead, withhold

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
    """Network from (m, f) statistics, and (m, r) responses, of crystals to (m, t) standardised targets.

    Parameters
    ----------
    n_features, width, n_targets : int
    dropout : float
        While training; see `PerceptronRecipe`.
    n_responses : int
        Of a crystal to strain; 0 where it sees none.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int, width: int, n_targets: int, dropout: float = 0.0, n_responses: int = 0) -> None:
        super().__init__()
        self.width = width
        self.dropout = dropout
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('scale', torch.ones(n_features))
        self.first = nn.Linear(n_features, width)
        self.second = nn.Linear(width, width)
        self.output = nn.Linear(width, n_targets)
        self.response = ResponseEmbedding(n_responses, width) if n_responses else None

    def set_scale(self, statistics: npt.NDArray[np.float32]) -> None:
        """Bring the (n, f) statistics of some crystals, where they are known, to mean 0 and standard deviation 1."""
        values = np.ma.masked_invalid(statistics.astype(np.float64))
        self.mean.copy_(torch.from_numpy(values.mean(axis=0).filled(0.0)))
        # What does not vary among the crystals says nothing, whatever others have.
        deviation = values.std(axis=0).filled(0.0)
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)))

    def last_hidden(self, statistics: Tensor, responses: Tensor | None = None) -> Tensor:
        """Return (m, w) features of (m, f) statistics, one that is NaN counts as the mean, and (m, r) responses."""
        scaled = ((statistics - self.mean) * self.scale).nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)
        features = self.first(scaled)
        if self.response is not None:
            features = features + self.response(responses, TO_STATISTICS)
        features = functional.dropout(functional.silu(features), self.dropout, self.training)
        return functional.dropout(functional.silu(self.second(features)), self.dropout, self.training)

    def forward(self, statistics: Tensor, responses: Tensor | None = None) -> Tensor:
        """Return (m, t) standardised targets of (m, f) statistics and, if it sees them, (m, r) responses."""
        return self.output(self.last_hidden(statistics, responses))

    def predict(
        self, statistics: npt.NDArray[np.float32], responses: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return (m, t) standardised predictions; responses that are not known are rows of NaN."""
        with torch.inference_mode():
            seen = None if responses is None else torch.from_numpy(responses)
            return self(torch.from_numpy(statistics), seen).double().numpy()


def fit_perceptron(
    statistics: npt.NDArray[np.float32],
    standardised: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    recipe: PerceptronRecipe,
    *,
    seed: int,
    responses: npt.NDArray[np.float32] | None = None,
    taught: float | None = None,
    withheld: float | None = None,
    kind: str = 'l1',
    start: Perceptron | None = None,
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
        How the crystals respond to strain; rows of NaN where that is not known. Needed for the two that follow.
    taught : float, optional
        The perceptron learns to tell the responses as well (see `ResponseHead`): the weight of that in the loss.
    withheld : float, optional
        It sees the responses, of all but this fraction of the crystals in an epoch.
    kind : str
        Of the error of the targets: ``'l1'`` or ``'mse'``.
    start : Perceptron, optional
        A trained one to go on from, which is left as it is; the recipe's width plays no part, and what brings the
        statistics to mean 0 stays.

    ``stop``, ``progress`` and what is raised are those of `train_by_cycle`.
    """
    inputs = torch.from_numpy(statistics[rows])
    targets = torch.from_numpy(standardised[rows].astype(np.float32))
    own = np.empty((len(rows), 0), dtype=np.float32) if responses is None else responses[rows]
    told = torch.from_numpy(own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start is None:
            n_seen = 0 if withheld is None else own.shape[1]
            network = Perceptron(inputs.shape[1], recipe.width, targets.shape[1], recipe.dropout, n_seen)
            network.set_scale(statistics[rows])
            if network.response is not None:
                network.response.set_scale(own)
        else:
            network = copy.deepcopy(start)
            network.dropout = recipe.dropout
        head = None if taught is None else ResponseHead(own.shape[1], recipe.width)
        if head is not None:
            head.set_scale(own)

        def loss(chosen: npt.NDArray[np.int64], epoch: int) -> Tensor:
            shown = None if network.response is None else seen(epoch)[chosen]
            features = network.last_hidden(inputs[chosen], shown)
            value = known_error(network.output(features), targets[chosen], kind)
            return value if head is None or taught is None else value + taught * head.loss(features, told[chosen])

        @functools.lru_cache(maxsize=1)
        def seen(epoch: int) -> Tensor:
            return torch.from_numpy(withhold(own, withheld or 0.0, [seed, epoch, 1]))

        more = () if head is None else head.parameters()
        kept = train_by_cycle(network, recipe, len(rows), loss, seed=seed, more=more, stop=stop, progress=progress)
    return kept.eval()
