"""What a model knows of its own errors, and what follows for new crystals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiida_cgcnn_elastic.uncertainty import (
    COVERAGE,
    ErrorModel,
    Novelty,
    Z,
    anonymous_formulas,
    crystals_with_unseen_elements,
)
from aiida_cgcnn_elastic.uncertainty.novelty import Space

from .graphs import CrystalGraphs

__all__ = ['Calibration', 'Teams', 'Unseen', 'disagreement']

Values = NDArray[np.float64]

LEAST_SHARE = 0.5
"""Of the standard deviation of one team: what averaging teams can leave at least."""


@dataclass(frozen=True)
class Teams:
    """What the teams of a blend predict for one target, (k, p, m), and the weights of its k kinds of members, (k,).

    A team is a network and its partners (perceptron, boosting, readout), which learned from the same folds.
    """

    values: Values
    weights: Values

    @property
    def disagreements(self) -> Values:
        """Return how far those of a team that differ most are from each other, (p, m)."""
        return disagreement(self.values)

    @property
    def variance(self) -> Values:
        """Return the variance of the teams about their mean, (m,)."""
        return np.asarray(np.tensordot(self.weights, self.values, axes=1).var(axis=0))


def disagreement(values: Values) -> Values:
    """Return how far the farthest of (k, ...) predictions are from each other, shape (...)."""
    return np.asarray(np.ptp(values, axis=0))


@dataclass(frozen=True)
class Unseen:
    """What may be new of some crystals, beside where a network places them.

    Attributes
    ----------
    elements : dict of int to tuple of str
        Symbols of unseen elements by crystal.
    formulas : list of str
        The anonymous formula of each.
    reaches : (m,) float64
        How far the farthest neighbor of an atom is, Angstrom.
    """

    elements: dict[int, tuple[str, ...]]
    formulas: list[str]
    reaches: Values

    @classmethod
    def join(cls, parts: Sequence[Unseen]) -> Unseen:
        """Return those of several sets of crystals, one after the other, as of one."""
        elements: dict[int, tuple[str, ...]] = {}
        formulas: list[str] = []
        for part in parts:
            elements |= {crystal + len(formulas): symbols for crystal, symbols in part.elements.items()}
            formulas += part.formulas
        return cls(elements, formulas, np.concatenate([np.empty(0), *(part.reaches for part in parts)]))


@dataclass(frozen=True)
class Calibration:
    """A model's errors on crystals that took no part in fitting.

    Attributes
    ----------
    errors : dict of str to ErrorModel
        By target.
    correlation : float or None
        Of the errors of log10 K and log10 G, where the model predicts both.
    novelty : Novelty
    network : int
        The member whose pooled features place a crystal.
    n_teams : int
        Of a blend, whose errors were measured one team at a time (see `Teams`); 0 for networks alone.
    held_out : str
        ``'out_of_fold'``, ``'validation'`` or, of a fine-tuning, ``'cross_validation'``: on which crystals.
    factors : dict of str to float
        By target, of all standard deviations; 1 where there is none. Of a fine-tuning: how much larger errors are than
        what the parent knows of its own says.
    """

    errors: dict[str, ErrorModel]
    correlation: float | None
    novelty: Novelty
    network: int
    n_teams: int
    held_out: str
    factors: dict[str, float] = field(default_factory=dict)

    def unseen(self, graphs: CrystalGraphs, symbols: Sequence[str]) -> Unseen:
        """Return what may be new of crystals; ``symbols`` are those of the elements by number."""
        return Unseen(
            crystals_with_unseen_elements(graphs.atomic_numbers, graphs.atom_offsets, self.novelty.elements, symbols),
            anonymous_formulas(graphs.atomic_numbers, graphs.multiplicities, graphs.atom_offsets),
            graphs.reaches,
        )

    def columns(
        self,
        predicted: Mapping[str, Values],
        teams: Mapping[str, Teams],
        points: NDArray[np.float32],
        unseen: Unseen,
    ) -> dict[str, NDArray[Any]]:
        """Return how sure the predictions for ``m`` crystals are.

        Parameters
        ----------
        predicted : mapping of str to (m,) float64
            By target.
        teams : mapping of str to Teams
            By target; empty for networks alone.
        points : (m, d) float32
            Where the network places the crystals, in `Novelty.space`.
        unseen : Unseen

        Returns
        -------
        dict
            ``<target>_std``, ``<target>_low``, ``<target>_high`` (log10(GPa)), ``novelty``, ``novelty_reason`` (text,
            empty where nothing is new) and, for both targets, ``log10_k_g_correlation``.
        """
        is_sparse = unseen.reaches > self.novelty.reach
        is_strange = is_sparse.copy()
        is_strange[list(unseen.elements)] = True
        novelty = self.novelty.values(points, is_strange)
        columns: dict[str, NDArray[Any]] = {}
        for target, model in self.errors.items():
            if self.n_teams:
                of_one = model.std(predicted[target], novelty, teams[target].disagreements)
                # The mean squared error of single teams is that of their mean and their variance together.
                variance = np.maximum(of_one**2 - teams[target].variance, (LEAST_SHARE * of_one) ** 2)
                std = np.sqrt(variance)
            else:
                std = model.std(predicted[target], novelty)
            std = std * self.factors.get(target, 1.0)
            columns[f'{target}_std'] = std
            columns[f'{target}_low'] = predicted[target] - Z * std
            columns[f'{target}_high'] = predicted[target] + Z * std
        if self.correlation is not None:
            columns['log10_k_g_correlation'] = np.full(len(points), self.correlation)
        reasons = self.novelty.reasons(novelty, unseen.elements, unseen.formulas, is_sparse)
        return columns | {
            'novelty': novelty,
            'novelty_reason': np.array([reason or '' for reason in reasons], dtype=str),
        }

    def describe(self) -> dict[str, Any]:
        """Return what the model's card says of it."""
        return {
            'coverage': COVERAGE,
            'held_out': self.held_out,
            'errors': {target: model.to_dict() for target, model in self.errors.items()},
            'correlation': self.correlation,
            'network': self.network,
            'n_teams': self.n_teams,
            **({'factors': self.factors} if self.factors else {}),
            'prototypes': sorted(self.novelty.prototypes),
            **({'reach': self.novelty.reach} if math.isfinite(self.novelty.reach) else {}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the card."""
        novelty = self.novelty
        arrays = {
            'mean': novelty.space.mean,
            'axes': novelty.space.axes,
            'points': novelty.points,
            'quantiles': novelty.quantiles,
            'elements': novelty.elements.astype(np.uint8),
        }
        return {name: torch.from_numpy(np.array(array, order='C')) for name, array in arrays.items()}

    @classmethod
    def from_parts(cls, entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Calibration:
        """Return what `describe` and `tensors` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or does not fit.
        """
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        novelty = Novelty(
            Space(arrays['mean'], arrays['axes']),
            arrays['points'],
            arrays['quantiles'],
            arrays['elements'].astype(bool),
            frozenset(entry['prototypes']),
            # Cards of calibrations that knew none have none.
            float(entry.get('reach', math.inf)),
        )
        return cls(
            errors={target: ErrorModel.from_dict(values) for target, values in entry['errors'].items()},
            correlation=entry['correlation'],
            novelty=novelty,
            network=entry['network'],
            # Cards were written with pairs when there were no larger teams.
            n_teams=entry['n_teams'] if 'n_teams' in entry else entry['n_pairs'],
            held_out=entry['held_out'],
            factors={target: float(factor) for target, factor in entry.get('factors', {}).items()},
        )
