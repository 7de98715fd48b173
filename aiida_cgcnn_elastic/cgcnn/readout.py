"""A readout of elastic moduli from what universal potentials know of a crystal and its atoms.

Each atom's features, which tell its whole surroundings already, go through the same two layers, and the mean over the
atoms goes through one more. The crystal's response to strain joins them at the first layer and at the last but one.
There is nothing about the crystal's geometry to learn, so a few thousand crystals are enough.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .cycle import Cycle, known_error, train_by_cycle
from .response import TO_ATOMS, TO_CRYSTAL, ResponseEmbedding, withhold

__all__ = ['Readout', 'ReadoutRecipe', 'fit_readout']

LAYERS_VERSION = 2
"""Of the layers of a readout: one of another version cannot be built."""

CRYSTALS_AT_ONCE = 512
"""Crystals that are evaluated together."""

ALIKE = 3e-4
"""Atoms of a crystal whose features, standardised and projected on one random direction, differ by less are alike."""


@dataclass(frozen=True)
class ReadoutRecipe(Cycle):
    """How a readout is trained: see `Cycle`; L1 loss of the standardised targets.

    Attributes
    ----------
    withheld : float
        Fraction of the crystals whose responses to strain are left out in an epoch of the training, so that those
        without any are predicted too.
    """

    withheld: float = 0.25

    WHAT: ClassVar[str] = 'the readout'

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_numbers('withheld', is_allowed=lambda x: 0 <= x < 1, expected='from 0 and below 1')


class Readout(nn.Module):
    """Network from (a, f) features of atoms and (m, r) responses of crystals to (m, t) standardised targets.

    Parameters
    ----------
    n_features, n_responses, width, n_targets : int
    dropout : float
        While training; see `ReadoutRecipe`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_responses: int,
        width: int,
        n_targets: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.dropout = dropout
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('scale', torch.ones(n_features))
        self.first = nn.Linear(n_features, width)
        self.second = nn.Linear(width, width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, n_targets)
        self.response = ResponseEmbedding(n_responses, width, width)

    def forward(self, features: Tensor, crystals: Tensor, shares: Tensor, responses: Tensor) -> Tensor:
        """Return (m, t) targets of (a, f) features and (m, r) responses.

        Parameters
        ----------
        features : (a, f)
        crystals : (a,) int
            The crystal of every atom.
        shares : (a,)
            What part of its crystal's atoms every atom stands for; those of a crystal sum to 1.
        responses : (m, r)
            Rows of NaN where they are not known.
        """
        given = self.response(responses, TO_ATOMS).index_select(0, crystals)
        atoms = functional.silu(self.first(self._thinned((features - self.mean) * self.scale)) + given)
        atoms = functional.silu(self.second(self._thinned(atoms)))
        pooled = torch.zeros((len(responses), self.width)).index_add(0, crystals, atoms * shares[:, None])
        hidden = self.hidden(self._thinned(pooled)) + self.response(responses, TO_CRYSTAL)
        return self.output(self._thinned(functional.silu(hidden)))

    def _thinned(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)

    def predict(self, features: PotentialFeatures) -> npt.NDArray[np.float64]:
        """Return (m, t) standardised predictions."""
        parts = [np.empty((0, self.output.out_features))]
        with torch.inference_mode():
            for start in range(0, len(features), CRYSTALS_AT_ONCE):
                rows = np.arange(start, min(start + CRYSTALS_AT_ONCE, len(features)))
                parts.append(self(*_batch(features, rows)).double().numpy())
        return np.concatenate(parts)


def fit_readout(
    features: PotentialFeatures,
    standardised: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    recipe: ReadoutRecipe,
    *,
    seed: int,
    kind: str = 'l1',
    start: Readout | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Readout:
    """Return a readout trained on some of ``m`` crystals. The same arguments give the same weights.

    Parameters
    ----------
    features : PotentialFeatures
        Of the ``m`` crystals.
    standardised : (m, t) float
        Targets of mean 0 and standard deviation 1; NaN where unknown.
    rows : (n,) int
        The crystals to learn from.
    kind : str
        Of the error: ``'l1'`` or ``'mse'``.
    start : Readout, optional
        A trained one to go on from, which is left as it is; the recipe's width plays no part, and what brings the
        features to mean 0 stays.

    ``stop``, ``progress`` and what is raised are those of `train_by_cycle`.
    """
    own, shares = _distinct(features.select(rows))
    targets = torch.from_numpy(standardised[rows].astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start is None:
            sizes = (own.values.shape[1], own.responses.shape[1], recipe.width, targets.shape[1])
            network = Readout(*sizes, recipe.dropout)
            _set_scale(network, features, rows)
        else:
            network = copy.deepcopy(start)
            network.dropout = recipe.dropout

        def loss(chosen: npt.NDArray[np.int64], epoch: int) -> Tensor:
            return known_error(network(*_batch(withheld(epoch), chosen, shares)), targets[chosen], kind)

        @functools.lru_cache(maxsize=1)
        def withheld(epoch: int) -> PotentialFeatures:
            return dataclasses.replace(own, responses=withhold(own.responses, recipe.withheld, [seed, epoch, 1]))

        kept = train_by_cycle(network, recipe, len(own), loss, seed=seed, stop=stop, progress=progress)
    return kept.eval()


def _set_scale(network: Readout, features: PotentialFeatures, rows: npt.NDArray[np.int64]) -> None:
    """Let a readout bring features to mean 0 and, those that vary, to standard deviation 1."""
    own = features.select(rows)
    values = own.values
    network.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
    # A feature that hardly varies is left small: its last digits are noise.
    network.scale.copy_(torch.from_numpy(1 / (values.std(axis=0, dtype=np.float64) + 1e-3)))
    network.response.set_scale(own.responses)


def _distinct(features: PotentialFeatures) -> tuple[PotentialFeatures, npt.NDArray[np.float32]]:
    """Return one of the atoms of each crystal that are alike, and what part of the crystal's atoms it stands for.

    More than half of the atoms of usual crystals are images of others under symmetry, with the same features but for
    rounding. Learning from one of them is learning from all.
    """
    n_features = features.values.shape[1]
    direction = np.random.default_rng(0).standard_normal(n_features, dtype=np.float32) / np.sqrt(n_features)
    scale = np.asarray(features.values.std(axis=0, dtype=np.float64) + 1e-3, dtype=np.float32)
    places = np.concatenate([block.astype(np.float32) @ (direction / scale) for block in _blocks(features.values)])
    crystals = np.repeat(np.arange(len(features)), np.diff(features.offsets))
    order = np.lexsort((places, crystals))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(places[order]) > ALIKE) | (np.diff(crystals[order]) != 0)
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(order)))
    own = crystals[order[starts]]
    offsets = np.searchsorted(own, np.arange(len(features) + 1))
    shares = np.asarray(counts / np.diff(features.offsets)[own], dtype=np.float32)
    return dataclasses.replace(features, values=features.values[order[starts]], offsets=offsets), shares


def _blocks(values: npt.NDArray[np.float16], rows: int = 8192) -> Iterator[npt.NDArray[np.float16]]:
    """Yield the rows of a large array some at a time."""
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


def _batch(
    features: PotentialFeatures, rows: npt.NDArray[np.int64], shares: npt.NDArray[np.float32] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what a readout takes of some crystals; all atoms count the same if ``shares`` are not given."""
    own = features.select(rows)
    counts = np.diff(own.offsets)
    if shares is None:
        of_rows = np.repeat(1 / counts, counts).astype(np.float32)
    else:
        of_rows = np.concatenate([shares[features.offsets[row] : features.offsets[row + 1]] for row in rows])
    return (
        torch.from_numpy(own.values.astype(np.float32)),
        torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
        torch.from_numpy(of_rows),
        torch.from_numpy(own.responses),
    )
