"""Features of crystals and their atoms, crystal by crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ['PotentialFeatures']


@dataclass(frozen=True)
class PotentialFeatures:
    """Numbers that describe ``m`` crystals and each of their ``a`` atoms.

    Attributes
    ----------
    potential : str
        Which potentials they are from; features of different potentials have nothing to do with each other.
    values : (a, f) float16
        Of the atoms.
    offsets : (m + 1,) int64
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``.
    responses : (m, r) float32
        How the crystal responds to strain (see `potentials.response`); a row of NaN where that is not known.
    residual_stresses : (m,) float32
        The largest absolute principal stress in the crystal as it is, GPa; NaN where that is not known.

    Raises
    ------
    ValueError
        If the values, the responses or the stresses are not as many as the offsets say.
    """

    potential: str
    values: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    responses: npt.NDArray[np.float32]
    residual_stresses: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != self.offsets[-1] or self.offsets[0] != 0:
            raise ValueError(f'{self.values.shape} features do not fit {self.offsets[-1]} atoms')
        if self.responses.ndim != 2 or len(self.responses) != len(self):
            raise ValueError(f'{self.responses.shape} responses do not fit {len(self)} crystals')
        if self.residual_stresses.shape != (len(self),):
            raise ValueError(f'{self.residual_stresses.shape} residual stresses do not fit {len(self)} crystals')

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_without_response(self) -> int:
        """Return how many crystals' responses are not known."""
        return int(np.isnan(self.responses).any(axis=1).sum())

    def select(self, rows: npt.ArrayLike) -> PotentialFeatures:
        """Return the features of some crystals, in the order of their rows."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts = (self.offsets[1:] - self.offsets[:-1])[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        # The atoms of each chosen crystal in turn: its first one, and then one after the other.
        atoms = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        stresses = self.residual_stresses[chosen]
        return PotentialFeatures(self.potential, self.values[atoms], offsets, self.responses[chosen], stresses)

    @classmethod
    def concatenate(cls, parts: Sequence[PotentialFeatures]) -> PotentialFeatures:
        """Return the features of the crystals of all parts; there is at least one, and all are of one potential.

        Raises
        ------
        ValueError
            If they are not of one potential.
        """
        potentials = {part.potential for part in parts}
        if len(potentials) != 1:
            raise ValueError(f'features of different potentials cannot be joined: {sorted(potentials)}')
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        values = np.concatenate([part.values for part in parts])
        responses = np.concatenate([part.responses for part in parts])
        stresses = np.concatenate([part.residual_stresses for part in parts])
        return cls(potentials.pop(), values, np.concatenate([[0], np.cumsum(counts)]), responses, stresses)
