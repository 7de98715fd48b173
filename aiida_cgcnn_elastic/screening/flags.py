"""Which predictions are candidates, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aiida_cgcnn_elastic.elasticity import poisson_ratio
from aiida_cgcnn_elastic.screening import reasons
from aiida_cgcnn_elastic.screening.columns import Columns, arrow_column, float_column, n_rows, required
from aiida_cgcnn_elastic.screening.criteria import Criteria
from aiida_cgcnn_elastic.screening.filters import exclusions, kept_unknown
from aiida_cgcnn_elastic.screening.probability import UNCERTAIN, candidate_probability
from aiida_cgcnn_elastic.screening.ranking import hardest_first, hardness_of

FLAG_COLUMNS = (
    'material_id',
    *UNCERTAIN,
    'novelty',
    'residual_stress',
    'elements',
    'n_atoms',
    'band_gap',
    'energy_above_hull',
    'duplicate_of',
)
"""The columns that any criteria ask for: more of a prediction table need not be read to flag it."""


@dataclass(frozen=True)
class FlagResult:
    """The candidates among m predictions.

    Attributes
    ----------
    is_candidate : bool array of shape (m,)
    order : int array of shape (n_candidates,)
        Rows of the candidates, best first.
    reasons : object array of shape (m,)
        Why a row is no candidate (the first that applies, in the order of `reasons.REASONS`); `None` for candidates.
    hardness : float array of shape (m,)
        By the law of the criteria, in GPa; NaN without a usable prediction.
    p_candidate : float array of shape (m,)
        Probability that K, G and hardness reach the thresholds; NaN where the errors are not known.
    failed : dict
        How many rows each reason took away: `m == n_candidates + sum(failed.values())`.
    kept_unknown : dict
        How many candidates lack `band_gap` or `energy_above_hull`, for what the criteria ask for and keep where
        unknown.
    """

    is_candidate: NDArray[np.bool_]
    order: NDArray[np.intp]
    reasons: NDArray[np.object_]
    hardness: NDArray[np.float64]
    p_candidate: NDArray[np.float64]
    failed: dict[str, int]
    kept_unknown: dict[str, int]

    @property
    def n_candidates(self) -> int:
        """Return the number of candidates."""
        return len(self.order)


def flag(predictions: Columns, criteria: Criteria) -> FlagResult:
    """Flag and rank the candidates of a prediction table.

    Both parts of the criteria are applied: the filters (so that a table predicted with looser ones can be flagged
    with stricter ones), then the thresholds on log10 K, log10 G and hardness, or, where the criteria have
    `min_p_candidate`, that on the probability to reach them, then those on Poisson's ratio, novelty and residual
    stress (which only models with a potential know). Rows without a finite prediction of both moduli are never
    candidates. Rank: hardness by `criteria.hardness_law`, largest first; ties by log10 G, largest first, then by
    `material_id`.

    Where the criteria want every material `once` and the column `duplicate_of` tells that some of these are one
    material, the one that the others are duplicates of stays, or the best ranked where that is not among them.

    Parameters
    ----------
    predictions : pyarrow.Table, pandas.DataFrame or mapping of arrays of shape (m,)
        With `material_id`, `log10_k_vrh` and `log10_g_vrh`, and the columns that the filters ask for.
    criteria : Criteria

    Returns
    -------
    FlagResult

    Raises
    ------
    KeyError
        If a column is absent.
    """
    log10_k = required(float_column(predictions, 'log10_k_vrh'), 'log10_k_vrh', 'a screening')
    log10_g = required(float_column(predictions, 'log10_g_vrh'), 'log10_g_vrh', 'a screening')
    material_ids = required(arrow_column(predictions, 'material_id'), 'material_id', 'a ranking').to_pylist()
    hardness = hardness_of(log10_k, log10_g, criteria.hardness_law)

    why = exclusions(predictions, criteria)
    rules = [(reasons.NO_PREDICTION, ~np.isfinite(hardness))]
    p_candidate = candidate_probability(predictions, criteria)
    if criteria.min_p_candidate is not None:
        rules.append((reasons.P_CANDIDATE_UNKNOWN, np.isnan(p_candidate)))
        rules.append((reasons.P_CANDIDATE_TOO_LOW, p_candidate < criteria.min_p_candidate))
    else:
        rules += _point_rules(log10_k, log10_g, hardness, criteria)
    if criteria.min_poisson_ratio is not None:
        ratio = poisson_ratio(10**log10_k, 10**log10_g)
        rules.append((reasons.POISSON_RATIO_TOO_LOW, ratio < criteria.min_poisson_ratio))
    if criteria.max_novelty is not None:
        novelty = float_column(predictions, 'novelty')
        novelty = np.full(len(hardness), np.nan) if novelty is None else novelty
        rules.append((reasons.NOVELTY_UNKNOWN, np.isnan(novelty)))
        rules.append((reasons.NOVELTY_TOO_HIGH, novelty > criteria.max_novelty))
    if criteria.max_residual_stress is not None:
        stress = float_column(predictions, 'residual_stress')
        if stress is not None:
            rules.append((reasons.RESIDUAL_STRESS_TOO_LARGE, stress > criteria.max_residual_stress))
    is_candidate = np.array([reason is None for reason in why], dtype=bool)
    for reason, applies in rules:
        why[is_candidate & applies] = reason
        is_candidate &= ~applies

    ranked = hardest_first(np.flatnonzero(is_candidate).tolist(), hardness, log10_g, material_ids)
    if criteria.duplicates == 'once':
        repeated = _repeated(predictions, material_ids, ranked)
        why[sorted(repeated)] = reasons.DUPLICATE_OF_CANDIDATE
        is_candidate[sorted(repeated)] = False
        ranked = [row for row in ranked if row not in repeated]
    order = np.array(ranked[: criteria.max_candidates], dtype=np.intp)
    beyond = np.array(ranked[len(order) :], dtype=np.intp)
    why[beyond] = reasons.BEYOND_MAX_CANDIDATES
    is_candidate[beyond] = False

    failed = dict(Counter(reason for reason in why if reason is not None))
    if len(order) + sum(failed.values()) != n_rows(predictions) or is_candidate.sum() != len(order):
        raise RuntimeError(f'{n_rows(predictions)} rows, but {len(order)} candidates and these failed: {failed}')
    unknown = kept_unknown(predictions, criteria)
    return FlagResult(
        is_candidate=is_candidate,
        order=order,
        reasons=why,
        hardness=hardness,
        p_candidate=p_candidate,
        failed={reason: failed[reason] for reason in reasons.REASONS if reason in failed},
        kept_unknown={name: int((mask & is_candidate).sum()) for name, mask in unknown.items()},
    )


def _repeated(predictions: Columns, material_ids: list[str], ranked: Sequence[int]) -> set[int]:
    """Return which candidates, given best first, are materials that another candidate stands for."""
    column = arrow_column(predictions, 'duplicate_of')
    if column is None:
        return set()
    marks = column.take(pa.array(ranked, pa.int64())).to_pylist()
    kept: dict[str, int] = {}
    repeated: set[int] = set()
    for row, mark in zip(ranked, marks, strict=True):
        material = mark or material_ids[row]
        if material not in kept:
            kept[material] = row
        elif mark is None:
            repeated.add(kept[material])
            kept[material] = row
        else:
            repeated.add(row)
    return repeated


def _point_rules(
    log10_k: NDArray[np.float64], log10_g: NDArray[np.float64], hardness: NDArray[np.float64], criteria: Criteria
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return what the thresholds take away by the predictions themselves."""
    rules = []
    if criteria.min_log10_k_vrh is not None:
        rules.append((reasons.LOG10_K_VRH_TOO_LOW, log10_k < criteria.min_log10_k_vrh))
    if criteria.min_log10_g_vrh is not None:
        rules.append((reasons.LOG10_G_VRH_TOO_LOW, log10_g < criteria.min_log10_g_vrh))
    if criteria.min_hardness is not None:
        rules.append((reasons.HARDNESS_TOO_LOW, hardness < criteria.min_hardness))
    return rules
