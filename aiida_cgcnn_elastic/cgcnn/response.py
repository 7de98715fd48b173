"""What a crystal's response to strain adds to a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ['ResponseEmbedding', 'withhold']

FARTHEST = 4.0
"""Standard deviations from the mean beyond which a response counts as that far: an unstable crystal's may be absurd."""


class ResponseEmbedding(nn.Module):
    """Features of a crystal from its response to strain: one layer without a bias, on standardised numbers.

    Parameters
    ----------
    n_responses, width : int
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_responses: int, width: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(n_responses))
        self.register_buffer('scale', torch.ones(n_responses))
        # One input more says whether the responses are known.
        self.layer = nn.Linear(n_responses + 1, width, bias=False)

    def set_scale(self, responses: npt.NDArray[np.float32]) -> None:
        """Bring the (n, r) responses of some crystals, as far as they are known, to mean 0 and standard deviation 1."""
        known = responses[np.isfinite(responses).all(axis=1)].astype(np.float64)
        if len(known):
            self.mean.copy_(torch.from_numpy(known.mean(axis=0)))
            # What does not vary among the crystals is left small: its last digits are noise.
            self.scale.copy_(torch.from_numpy(1 / (known.std(axis=0) + 1e-3)))

    def forward(self, responses: Tensor) -> Tensor:
        """Return (m, width) features of (m, r) responses, of which those that are not known are rows of NaN."""
        is_known = torch.isfinite(responses).all(dim=1, keepdim=True)
        standardised = ((responses - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST)
        inputs = [torch.where(is_known, standardised, 0.0), is_known.to(standardised.dtype)]
        return self.layer(torch.cat(inputs, dim=1))


def withhold(responses: npt.NDArray[np.float32], fraction: float, seed: int | Sequence[int]) -> npt.NDArray[np.float32]:
    """Return responses without those of a random fraction of the crystals, so that a network learns to do without."""
    is_hidden = np.random.default_rng(seed).random(len(responses)) < fraction
    return np.where(is_hidden[:, None], np.float32(np.nan), responses)
