"""A cross-fitted blend of networks with perceptrons, gradient boosting, or readouts of a potential's features.

The training part is divided at random into folds. For each fold a network and its partners learn from the rest and
predict it, so every crystal has a prediction by models that never saw it. From these out-of-fold predictions
alone follow the weights of the blend and its error (Wolpert, Neural Networks 5, 241 (1992)): trees fit their own
crystals far better than networks do, and would be trusted too much otherwise. The model is all of them together.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from aiida_cgcnn_elastic.baselines.features import structure_features
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .blend_training import BlendTraining
from .calibrate import calibrate_blend, why_not
from .graphs import CrystalGraphs
from .inference import choose_device, predict_graphs
from .metrics import all_metrics, mae
from .model import AnyMember, ElasticModel
from .protocol import Protocol
from .response import is_known
from .splits import Split
from .training import (
    CITATION,
    OF_POTENTIALS,
    TrainingResult,
    check_arguments,
    evaluate_parts,
    fingerprint,
    n_taught,
    versions,
    with_target,
)

__all__ = ['BlendResult', 'blend_weights', 'folds', 'train_blend']

Columns = dict[str, npt.NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class BlendResult(TrainingResult):
    """What came of a cross-fitted training.

    Attributes
    ----------
    fold : (m,) int64
        Of every crystal of the training part, -1 for others.
    out_of_fold : dict
        ``{target: {'network' | one of `PARTNERS` | 'blend': (m,) float64}}``: predictions by models that did not see
        the crystal; NaN outside the training part.
    """

    fold: npt.NDArray[np.int64]
    out_of_fold: dict[str, Columns]


def folds(n: int, n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each of ``n`` rows: as many in each as can be, at random."""
    result = np.empty(n, dtype=np.int64)
    result[np.random.default_rng([seed, n_folds]).permutation(n)] = np.arange(n) % n_folds
    return result


def blend_weights(true: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weights, from 0 and of sum 1, for which the weighted mean of predictions has the least absolute error.

    A linear program: of the weights, and of how far the mean of every crystal is above and below the true value.

    Parameters
    ----------
    true : (n,) float64
    predicted : (k, n) float64

    Returns
    -------
    (k,) float64
    """
    n_kinds, n = predicted.shape
    if (predicted == predicted[0]).all():
        return np.full(n_kinds, 1 / n_kinds)
    errors = sparse.identity(n, format='csr')
    means = sparse.hstack([sparse.csr_array(predicted.T), -errors, errors])
    total = sparse.csr_array(([1.0] * n_kinds, ([0] * n_kinds, range(n_kinds))), shape=(1, n_kinds + 2 * n))
    solution = linprog(
        np.concatenate([np.zeros(n_kinds), np.ones(2 * n)]),
        A_eq=sparse.vstack([means, total]),
        b_eq=np.append(true, 1.0),
        method='highs',
    )
    if not solution.success:
        raise RuntimeError(f'no weights of the blend were found: {solution.message}')
    weights = np.clip(solution.x[:n_kinds], 0.0, None)
    return np.asarray(weights / weights.sum())


def train_blend(
    graphs: CrystalGraphs,
    targets: Mapping[str, npt.NDArray[np.float64]],
    split: Split,
    protocol: Protocol,
    element_features: npt.NDArray[Any],
    element_table: npt.NDArray[np.float64],
    *,
    features: PotentialFeatures | None = None,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str = 'auto',
    threads: int = 1,
    card: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> BlendResult:
    """Train a cross-fitted blend.

    Only the training part decides anything; the validation and test parts are evaluated.

    Parameters
    ----------
    element_table : (119, p) array
        See `baselines.features.property_table`; kept in the model.
    features : PotentialFeatures, optional
        What a potential knows of the crystals; needed by a protocol with a readout, or whose networks see responses or
        are taught them.
    checkpoint : Path, optional
        Folder for what is finished: a folder for each network, a file for each of the others.
    progress : callable, optional
        Called with the numbers of steps done and in all: a thousand for each network and each of the others.

    The other parameters, and what is raised, are those of `train`.
    """
    if protocol.folds is None:
        raise ValueError('the protocol has no folds: it is not one of a blend')
    if protocol.needs_potential != (features is not None) or (features is not None and len(features) != len(graphs)):
        raise ValueError(
            'a protocol with a readout, or whose networks see responses or are taught them, and no other, needs a '
            "potential's features of all crystals"
        )
    columns, split = check_arguments(graphs, targets, split, protocol)
    rows = with_target(split['train'], columns)
    if len(rows) < 2 * protocol.folds:
        raise ValueError(f'{len(rows)} crystals with targets are too few for {protocol.folds} folds')
    fold = np.full(len(graphs), -1, dtype=np.int64)
    fold[rows] = folds(len(rows), protocol.folds, seed)

    deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
    statistics = None
    if protocol.perceptron is not None or protocol.boosting is not None:
        seen = graphs if protocol.orientation else graphs.without_orientations()
        statistics = structure_features(seen, element_table)[1]
    mark = fingerprint(graphs, columns, split, protocol, element_features, seed, element_table, features=features)
    run = BlendTraining(
        graphs,
        columns,
        protocol,
        element_features,
        element_table,
        statistics,
        features,
        mark,
        seed,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        is_over=lambda: time.monotonic() >= deadline or (stop is not None and stop()),
        progress=progress,
        device=device,
        threads=threads,
    )
    # Networks and perceptrons may be taught by crystals without a target: none of these is predicted out of fold.
    others = rows[:0]
    if protocol.responses_taught is not None and features is not None:
        others = np.setdiff1d(split['train'][is_known(features.responses[split['train']])], rows)
    n_told = n_taught(protocol, None if features is None else features.responses, split['train'], rows)
    # Whoever predicts needs none of what is taught only.
    features = features if protocol.sees_potential else None
    members, history, out_of_fold = _cross_fitted(run, rows, fold, others, features)
    blend = _weighed(columns, run.kinds, out_of_fold, rows)
    model = _blended(members, {name: entry['weights'] for name, entry in blend.items()})
    predictions, metrics = evaluate_parts(
        model, graphs, columns, split, device=device, threads=threads, features=features
    )
    for name, values in columns.items():
        known = rows[np.isfinite(values[rows])]
        metrics[name]['out_of_fold'] = all_metrics(values[known], out_of_fold[name]['blend'][known])
    n_held_out = {name: int(np.isfinite(values[rows]).sum()) for name, values in columns.items()}
    reason = why_not(n_held_out, 'out-of-fold')
    if reason is None:
        model.calibration = calibrate_blend(
            model, graphs, columns, fold, out_of_fold, device=device, threads=threads, features=features
        )
    model.card = {
        'name': protocol.name,
        'citation': CITATION,
        **(card or {}),
        'training': [
            {
                **(record or {}),
                'protocol': protocol.to_dict(),
                'seed': seed,
                'n_crystals': {part: len(with_target(own, columns)) for part, own in split.items()},
                **n_told,
                'blend': blend,
                'calibration': reason or 'on the out-of-fold predictions',
                'metrics': metrics,
                'fingerprint': mark,
                'device': choose_device(device).type,
                'threads': threads,
                'versions': versions(*_packages(protocol)),
            }
        ],
    }
    return BlendResult(model, history, metrics, predictions, fold, out_of_fold)


def _cross_fitted(
    run: BlendTraining,
    rows: npt.NDArray[np.int64],
    fold: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    features: PotentialFeatures | None,
) -> tuple[dict[str, list[AnyMember]], list[dict[str, Any]], dict[str, Columns]]:
    """Return the members by kind, the history of the networks, and what was predicted for the fold of each.

    ``rows`` are in a fold; ``others`` teach networks and perceptrons in every one. ``features`` are for predictions.
    """
    protocol = run.protocol
    members: dict[str, list[AnyMember]] = {kind: [] for kind in run.kinds}
    history: list[dict[str, Any]] = []
    empty = np.full(len(run.graphs), np.nan)
    out_of_fold: dict[str, Columns] = {name: {kind: empty.copy() for kind in run.kinds} for name in run.columns}
    for index in range(fold.max() + 1):
        inside, outside = rows[fold[rows] != index], rows[fold[rows] == index]
        taught = np.concatenate([inside, others])
        trained = run.network(index, taught)
        history += [{'fold': index, **entry} for entry in trained.history]
        members['network'] += trained.model.members
        if protocol.perceptron is not None:
            members['perceptron'].append(run.perceptron(index, taught))
        if protocol.boosting is not None:
            members['boosting'].append(run.boosting(index, inside))
        if protocol.readout is not None:
            members['readout'].append(run.readout(index, inside))
        held_out = run.graphs.select(outside)
        own = None if features is None else features.select(outside)
        for kind, of_kind in members.items():
            model = ElasticModel(of_kind[-1:], {})
            predicted = predict_graphs([model], held_out, features=own, device=run.device, threads=run.threads)
            for name, values in out_of_fold.items():
                values[kind][outside] = predicted[name]
    return members, history, out_of_fold


def _weighed(
    columns: Columns, kinds: Sequence[str], out_of_fold: dict[str, Columns], rows: npt.NDArray[np.int64]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return by target the weights of the kinds, and their errors; the blend joins the out-of-fold predictions."""
    blend = {}
    for name, values in columns.items():
        found = out_of_fold[name]
        known = rows[np.isfinite(values[rows])]
        of_kinds = np.stack([found[kind] for kind in kinds])
        weights = blend_weights(values[known], of_kinds[:, known])
        found['blend'] = weights @ of_kinds
        blend[name] = {
            'weights': dict(zip(kinds, weights.tolist(), strict=True)),
            'out_of_fold_mae': {kind: mae(values[known], predicted[known]) for kind, predicted in found.items()},
        }
    return blend


def _packages(protocol: Protocol) -> list[str]:
    """Return the packages that decide a training, beside those of every one."""
    return [
        *(['xgboost'] if protocol.boosting is not None else []),
        *(OF_POTENTIALS if protocol.needs_potential else []),
    ]


def _blended(members: Mapping[str, Sequence[AnyMember]], weights: Mapping[str, Mapping[str, float]]) -> ElasticModel:
    """Return the model of all members by kind, with the weight of each kind by target, so that their mean is 1."""
    return ElasticModel(
        [
            dataclasses.replace(member, weights=tuple(len(members) * weights[name][kind] for name in member.targets))
            for kind, of_kind in members.items()
            for member in of_kind
        ],
        {},
    )
