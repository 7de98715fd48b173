"""Calibrate a trained model on crystals that took no part in fitting."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.potentials.features import PotentialFeatures
from aiida_cgcnn_elastic.uncertainty import (
    LEAST_CRYSTALS,
    ErrorModel,
    Novelty,
    Z,
    anonymous_formulas,
    elements_in,
    rank_correlation,
)
from aiida_cgcnn_elastic.uncertainty.errors import conformal_quantile
from aiida_cgcnn_elastic.uncertainty.novelty import N_QUANTILES, Space, nearest_distances, rank_of, rounded

from .calibration import Calibration, disagreement
from .graphs import CrystalGraphs
from .inference import pooled_features, predict_graphs
from .model import ElasticModel, Member, is_blend

__all__ = ['calibrate_blend', 'calibrate_networks', 'calibrate_tuned', 'why_not', 'with_crystals']

Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def why_not(n_held_out: Mapping[str, int], which: str) -> str | None:
    """Return why a model cannot be calibrated on so many crystals for each target, None where it can be."""
    least = min(n_held_out.values(), default=0)
    if least >= LEAST_CRYSTALS:
        return None
    return f'none: {least} {which} crystals with a target are too few, {LEAST_CRYSTALS} are needed'


def calibrate_blend(
    model: ElasticModel,
    graphs: CrystalGraphs,
    targets: Mapping[str, Values],
    fold: Rows,
    out_of_fold: Mapping[str, Mapping[str, Values]],
    *,
    device: str = 'auto',
    threads: int = 1,
    features: PotentialFeatures | None = None,
) -> Calibration:
    """Return the calibration of a cross-fitted blend by its out-of-fold predictions.

    Parameters
    ----------
    model : ElasticModel
        First the networks, then their partners, kind by kind; those of the same place learned from the same folds.
    graphs : CrystalGraphs
        Of ``m`` crystals.
    targets : mapping of (m,) float
        Log10(GPa), NaN where unknown.
    fold : (m,) int
        In which each crystal was held out, -1 where it was in no fold.
    out_of_fold : mapping
        ``{target: {'network' | one of `PARTNERS` | 'blend': (m,)}}``, as in `BlendResult`.
    features : PotentialFeatures, optional
        Of all crystals, for a model whose networks see responses.

    Raises
    ------
    ValueError
        If the model is no such blend, or there are too few crystals.
    """
    networks = [member for member in model.members if isinstance(member, Member)]
    n_teams = int(fold.max()) + 1
    if not n_teams or not is_blend(model.members, n_teams):
        raise ValueError(f'{len(networks)} networks, {len(model.members)} members and {n_teams} folds are no blend')
    rows = np.flatnonzero(fold >= 0)
    graphs, fold = graphs.select(rows), fold[rows]
    own = None if features is None else features.select(rows)
    novelty = np.empty(len(rows))
    kept = None
    for index, network in enumerate(networks):
        latents = pooled_features(network, graphs, features=own, device=device, threads=threads)
        inside, outside = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        space = Space.of(latents[inside])
        novelty[outside], distances = _held_out_novelty(space, latents, graphs, inside, outside)
        if kept is None:
            # All crystals are training crystals of the blend, though not of this network.
            kept = _novelty(space, latents, distances, graphs)
    assert kept is not None
    errors, standardised = {}, {}
    for name, values in targets.items():
        true, found = values[rows], {kind: column[rows] for kind, column in out_of_fold[name].items()}
        known = np.isfinite(true)
        predicted = found.pop('blend')
        apart = disagreement(np.stack(list(found.values())))
        errors[name] = ErrorModel.fit((true - predicted)[known], predicted[known], novelty[known], apart[known])
        standardised[name] = (true - predicted) / errors[name].std(predicted, novelty, apart[None])
    return Calibration(errors, _correlation(standardised), kept, 0, n_teams, 'out_of_fold')


def calibrate_networks(
    model: ElasticModel,
    graphs: CrystalGraphs,
    targets: Mapping[str, Values],
    train: Rows,
    held_out: Rows,
    *,
    device: str = 'auto',
    threads: int = 1,
    features: PotentialFeatures | None = None,
) -> Calibration:
    """Return the calibration of networks by crystals that decided nothing in their training.

    Parameters
    ----------
    train, held_out : (n,) int
        Rows of the crystals that were learned from, and of those that were not.
    features : PotentialFeatures, optional
        Of all crystals, for a model that needs them.

    Raises
    ------
    ValueError
        If there are too few held-out crystals.
    """
    rows = np.concatenate([train, held_out])
    graphs = graphs.select(rows)
    inside, outside = np.arange(len(train)), np.arange(len(train), len(rows))
    of_all = None if features is None else features.select(rows)
    latents = pooled_features(model.members[0], graphs, features=of_all, device=device, threads=threads)
    space = Space.of(latents[inside])
    novelty, distances = _held_out_novelty(space, latents, graphs, inside, outside)
    kept = _novelty(space, latents[inside], distances, graphs.select(inside))
    own = None if features is None else features.select(held_out)
    predictions = predict_graphs([model], graphs.select(outside), features=own, device=device, threads=threads)
    errors, standardised = {}, {}
    for name, values in targets.items():
        true, predicted = values[held_out], predictions[name]
        known = np.isfinite(true)
        errors[name] = ErrorModel.fit((true - predicted)[known], predicted[known], novelty[known])
        standardised[name] = (true - predicted) / errors[name].std(predicted, novelty)
    return Calibration(errors, _correlation(standardised), kept, 0, 0, 'validation')


def with_crystals(
    model: ElasticModel,
    calibration: Calibration,
    graphs: CrystalGraphs,
    *,
    features: PotentialFeatures | None = None,
    device: str = 'auto',
    threads: int = 1,
) -> Calibration:
    """Return what a parent knows of its errors for a model that learned from ``n`` crystals more: they are not novel.

    Parameters
    ----------
    model : ElasticModel
        Members in the order of the parent's.
    calibration : Calibration
        The parent's.
    graphs : CrystalGraphs
        Of the crystals.
    features : PotentialFeatures, optional
        Of the crystals, for a model whose networks see responses.
    """
    known, network = calibration.novelty, model.members[calibration.network]
    needed = None if network.potential is None else features
    latents = pooled_features(network, graphs, features=needed, device=device, threads=threads)
    formulas = anonymous_formulas(graphs.atomic_numbers, graphs.multiplicities, graphs.atom_offsets)
    novelty = dataclasses.replace(
        known,
        points=np.concatenate([known.points, rounded(known.space.place(latents))]),
        elements=known.elements | elements_in(graphs.atomic_numbers),
        prototypes=known.prototypes | frozenset(formulas),
        reach=max(known.reach, _reach(graphs)),
    )
    return dataclasses.replace(calibration, novelty=novelty, held_out='cross_validation')


def calibrate_tuned(
    calibration: Calibration, targets: Mapping[str, Values], predicted: Mapping[str, Values], std: Mapping[str, Values]
) -> Calibration:
    """Return the calibration of a fine-tuned model: standard deviations times what makes intervals hold 90 %.

    The shape of the errors, how they grow with modulus and novelty, is the parent's: tens of crystals do not tell it.
    Their conformal quantile tells the size.

    Parameters
    ----------
    calibration : Calibration
        Of `with_crystals`.
    targets : mapping of (m,) float
        Log10(GPa), NaN where unknown; a modulus without any value is left out, and keeps the parent's errors.
    predicted, std : mapping of (m,) float
        By models that did not learn from the crystal, and what they say of their errors.
    """
    factors = {}
    for name, values in targets.items():
        known = np.isfinite(values)
        scores = np.abs(values - predicted[name])[known] / std[name][known]
        factors[name] = conformal_quantile(scores) / Z
    return dataclasses.replace(calibration, factors=factors)


def _held_out_novelty(
    space: Space, latents: npt.NDArray[np.float32], graphs: CrystalGraphs, inside: Rows, outside: Rows
) -> tuple[Values, Values]:
    """Return the novelty of held-out crystals among themselves, and their distances to the training crystals."""
    points = space.place(latents)
    distances = nearest_distances(points[inside], points[outside])
    novelty = rank_of(distances, np.quantile(distances, np.linspace(0, 1, N_QUANTILES)))
    seen = elements_in(graphs.select(inside).atomic_numbers)
    held_out = graphs.select(outside)
    crystal = np.repeat(np.arange(len(outside)), np.diff(held_out.atom_offsets))
    novelty[crystal[~seen[held_out.atomic_numbers]]] = 1.0
    novelty[held_out.reaches > _reach(graphs.select(inside))] = 1.0
    return novelty, distances


def _novelty(space: Space, latents: npt.NDArray[np.float32], distances: Values, graphs: CrystalGraphs) -> Novelty:
    formulas = anonymous_formulas(graphs.atomic_numbers, graphs.multiplicities, graphs.atom_offsets)
    return Novelty.of(space, latents, distances, elements_in(graphs.atomic_numbers), formulas, _reach(graphs))


def _reach(graphs: CrystalGraphs) -> float:
    """Return how far the farthest neighbor of an atom is, a little more for what rounding makes of equal crystals."""
    return round(float(graphs.reaches.max(initial=0.0)) + 0.005, 2)


def _correlation(standardised: Mapping[str, Values]) -> float | None:
    """Return the correlation of the errors of two targets, None where there is one or too few crystals have both."""
    if len(standardised) != 2:
        return None
    first, second = standardised.values()
    both = np.isfinite(first) & np.isfinite(second)
    return rank_correlation(first[both], second[both]) if both.sum() > 2 else None
