"""What a crystal's response to strain adds to a network: seen by it, or told by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ['TO_ATOMS', 'TO_CRYSTAL', 'TO_STATISTICS', 'ResponseEmbedding', 'ResponseHead', 'is_known', 'withhold']

TO_ATOMS, TO_CRYSTAL = 0, 1
"""Where a response enters a network: at its first layer, that of the atoms, and at the first after the mean over them.
The former lets it decide how atoms are seen, which gains more; see the documentation, "Accuracy"."""

TO_STATISTICS = 0
"""Where it enters a perceptron: at its first layer, that of the statistics."""

FARTHEST = 4.0
"""Standard deviations from the mean beyond which a response counts as that far: an unstable crystal's may be absurd."""


class _Standardised(nn.Module):
    """Layers that know responses brought to mean 0 and standard deviation 1."""

    mean: Tensor
    scale: Tensor

    def __init__(self, n_responses: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(n_responses))
        self.register_buffer('scale', torch.ones(n_responses))

    def set_scale(self, responses: npt.NDArray[np.float32]) -> None:
        """Bring the (n, r) responses of some crystals, as far as they are known, to mean 0 and standard deviation 1."""
        known = responses[is_known(responses)].astype(np.float64)
        if len(known):
            self.mean.copy_(torch.from_numpy(known.mean(axis=0)))
            # What does not vary among the crystals is left small: its last digits are noise.
            self.scale.copy_(torch.from_numpy(1 / (known.std(axis=0) + 1e-3)))

    def standardised(self, responses: Tensor) -> tuple[Tensor, Tensor]:
        """Return (m, r) responses so, 0 where they are not known, and (m, 1) whether they are."""
        known = torch.isfinite(responses).all(dim=1, keepdim=True)
        values = ((responses - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST)
        return torch.where(known, values, 0.0), known.to(values.dtype)


class ResponseEmbedding(_Standardised):
    """Features of a crystal from its response to strain: layers without a bias, on the same standardised numbers.

    Parameters
    ----------
    n_responses : int
    *widths : int
        How many features are added at each place where the response enters, such as `TO_ATOMS` and `TO_CRYSTAL`.
    """

    def __init__(self, n_responses: int, *widths: int) -> None:
        super().__init__(n_responses)
        # One input more says whether the responses are known.
        self.layers = nn.ModuleList(nn.Linear(n_responses + 1, width, bias=False) for width in widths)

    def forward(self, responses: Tensor, place: int) -> Tensor:
        """Return features of (m, r) responses for a place; those not known are rows of NaN."""
        return self.layers[place](torch.cat(self.standardised(responses), dim=1))


class ResponseHead(_Standardised):
    """Tells the responses from the last hidden features of a network, while it is trained.

    What the atoms of a crystal are held by is what makes its moduli: a network that must tell both knows either better
    (Caruana, Machine Learning 28, 41 (1997)). The head is no part of the network, which needs no responses to predict.

    Parameters
    ----------
    n_responses, width : int
        Numbers that are told, and that they are told from.
    """

    def __init__(self, n_responses: int, width: int) -> None:
        super().__init__(n_responses)
        self.layer = nn.Linear(width, n_responses)

    def loss(self, features: Tensor, responses: Tensor) -> Tensor:
        """Return the mean absolute error of the standardised responses, 0 where none is known.

        Parameters
        ----------
        features : (m, w) Tensor
        responses : (m, r) Tensor
            Rows of NaN where they are not known.
        """
        values, known = self.standardised(responses)
        errors = (self.layer(features) - values).abs().mean(dim=1, keepdim=True)
        return (errors * known).sum() / known.sum().clamp(min=1)


def is_known(responses: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Say which of (m, r) responses are known."""
    return np.asarray(np.isfinite(responses).all(axis=1))


def withhold(responses: npt.NDArray[np.float32], fraction: float, seed: int | Sequence[int]) -> npt.NDArray[np.float32]:
    """Return responses without those of a random fraction of the crystals, so that a network learns to do without."""
    is_hidden = np.random.default_rng(seed).random(len(responses)) < fraction
    return np.where(is_hidden[:, None], np.float32(np.nan), responses)
