"""Features of atoms, crystal by crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ['AtomFeatures']


@dataclass(frozen=True)
class AtomFeatures:
    """Numbers that describe each atom of ``m`` crystals with ``a`` atoms in all.

    Attributes
    ----------
    potential : str
        Which potential they are from; features of different potentials have nothing to do with each other.
    values : (a, f) float16
    offsets : (m + 1,) int64
        Atoms of crystal i are ``offsets[i]:offsets[i + 1]``.

    Raises
    ------
    ValueError
        If the values are not as many as the offsets say.
    """

    potential: str
    values: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != self.offsets[-1] or self.offsets[0] != 0:
            raise ValueError(f'{self.values.shape} features do not fit {self.offsets[-1]} atoms')

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, rows: npt.ArrayLike) -> AtomFeatures:
        """Return the features of some crystals, in the order of their rows."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts = (self.offsets[1:] - self.offsets[:-1])[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        # The atoms of each chosen crystal in turn: its first one, and then one after the other.
        atoms = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return AtomFeatures(self.potential, self.values[atoms], offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[AtomFeatures]) -> AtomFeatures:
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
        return cls(potentials.pop(), values, np.concatenate([[0], np.cumsum(counts)]))
