"""Which predictions are candidates, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.screening import reasons
from aiida_cgcnn_elastic.screening.columns import Columns, arrow_column, float_column, n_rows, required
from aiida_cgcnn_elastic.screening.criteria import Criteria
from aiida_cgcnn_elastic.screening.filters import exclusions, kept_unknown


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
    failed: dict[str, int]
    kept_unknown: dict[str, int]

    @property
    def n_candidates(self) -> int:
        """Return the number of candidates."""
        return len(self.order)


def flag(predictions: Columns, criteria: Criteria) -> FlagResult:
    """Flag and rank the candidates of a prediction table.

    Both parts of the criteria are applied: the filters (so that a table predicted with looser ones can be flagged with
    stricter ones), then the thresholds on log10 K, log10 G and hardness. Rows without a finite prediction of both
    moduli are never candidates. Rank: hardness by `criteria.hardness_law`, largest first; ties by log10 G, largest
    first, then by `material_id`.

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
    with np.errstate(over='ignore', under='ignore'):
        hardness = LAWS[criteria.hardness_law](10.0**log10_k, 10.0**log10_g)

    why = exclusions(predictions, criteria)
    rules = [(reasons.NO_PREDICTION, ~np.isfinite(hardness))]
    if criteria.min_log10_k_vrh is not None:
        rules.append((reasons.LOG10_K_VRH_TOO_LOW, log10_k < criteria.min_log10_k_vrh))
    if criteria.min_log10_g_vrh is not None:
        rules.append((reasons.LOG10_G_VRH_TOO_LOW, log10_g < criteria.min_log10_g_vrh))
    if criteria.min_hardness is not None:
        rules.append((reasons.HARDNESS_TOO_LOW, hardness < criteria.min_hardness))
    is_candidate = np.array([reason is None for reason in why], dtype=bool)
    for reason, applies in rules:
        why[is_candidate & applies] = reason
        is_candidate &= ~applies

    ranked = sorted(np.flatnonzero(is_candidate), key=lambda row: (-hardness[row], -log10_g[row], material_ids[row]))
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
        failed={reason: failed[reason] for reason in reasons.REASONS if reason in failed},
        kept_unknown={name: int((mask & is_candidate).sum()) for name, mask in unknown.items()},
    )
