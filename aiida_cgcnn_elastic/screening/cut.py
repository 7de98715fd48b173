"""Which predictions of a first stage are worth a second one."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.screening.columns import Columns, arrow_column, float_column, required
from aiida_cgcnn_elastic.screening.criteria import CriteriaError
from aiida_cgcnn_elastic.screening.ranking import hardest_first, hardness_of

HARDNESS_BELOW_CUT = 'hardness_below_cut'
BEYOND_FRACTION = 'beyond_fraction'
BEYOND_MAX_CRYSTALS = 'beyond_max_crystals'
NO_PREDICTION = 'no_prediction'


@dataclass(frozen=True)
class Cut:
    """What a crystal must have by its first prediction to be predicted again; what is None is not asked for.

    Attributes
    ----------
    fraction : float or None
        It is in this share of all predictions with the largest hardness, above 0 and at most 1.
    min_hardness : float or None
        Its hardness in GPa, by the law of the criteria.
    max_crystals : int or None
        It is among so many with the largest hardness.
    """

    fraction: float | None = None
    min_hardness: float | None = None
    max_crystals: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cut:
        """Return the cut that a dictionary describes.

        Raises
        ------
        CriteriaError
            If a key is unknown or a value cannot be; the message says what is allowed.
        """
        if not isinstance(values, Mapping):
            raise CriteriaError(f'a cut must be a mapping of its keys to values, not {values!r}')
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise CriteriaError(f'a cut has no {key!r}; it has: {", ".join(names)}')
        cut = cls(**values)
        if cut.fraction is not None and not (_is_number(cut.fraction) and 0 < cut.fraction <= 1):
            raise CriteriaError(f'fraction must be above 0 and at most 1 (0.03 is 3 %), not {cut.fraction!r}')
        if cut.min_hardness is not None and not (_is_number(cut.min_hardness) and cut.min_hardness >= 0):
            raise CriteriaError(f'min_hardness must be a number of GPa that is not negative, not {cut.min_hardness!r}')
        if cut.max_crystals is not None and not (
            _is_number(cut.max_crystals) and cut.max_crystals == int(cut.max_crystals) and cut.max_crystals >= 1
        ):
            raise CriteriaError(f'max_crystals must be a whole number of at least 1, not {cut.max_crystals!r}')
        return cut

    def to_dict(self) -> dict[str, Any]:
        """Return every key, as plain values; `Cut.from_dict(cut.to_dict()) == cut`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CutResult:
    """The crystals above a cut among m predictions.

    Attributes
    ----------
    rows : int array of shape (n_chosen,)
        Rows of those above it, hardest first.
    hardness : float array of shape (m,)
        In GPa; NaN without a usable prediction.
    not_chosen : dict
        How many rows each reason took away: `m == len(rows) + sum(not_chosen.values())`.
    """

    rows: NDArray[np.intp]
    hardness: NDArray[np.float64]
    not_chosen: dict[str, int]


def apply_cut(predictions: Columns, cut: Cut, hardness_law: str) -> CutResult:
    """Return which predictions are above a cut.

    Parameters
    ----------
    predictions : pyarrow.Table, pandas.DataFrame or mapping of arrays of shape (m,)
        With `material_id`, `log10_k_vrh` and `log10_g_vrh`.
    cut : Cut
    hardness_law : str
        A key of `elasticity.LAWS`.

    Returns
    -------
    CutResult

    Raises
    ------
    KeyError
        If a column is absent.
    """
    log10_k = required(float_column(predictions, 'log10_k_vrh'), 'log10_k_vrh', 'a cut')
    log10_g = required(float_column(predictions, 'log10_g_vrh'), 'log10_g_vrh', 'a cut')
    ids = required(arrow_column(predictions, 'material_id'), 'material_id', 'a cut').to_pylist()
    hardness = hardness_of(log10_k, log10_g, hardness_law)

    usable = np.flatnonzero(np.isfinite(hardness))
    not_chosen = Counter({NO_PREDICTION: len(ids) - len(usable)})
    # Only those above the threshold are sorted: that is a small part.
    hard = usable if cut.min_hardness is None else usable[hardness[usable] >= cut.min_hardness]
    not_chosen[HARDNESS_BELOW_CUT] = len(usable) - len(hard)
    ranked = hardest_first(hard.tolist(), hardness, log10_g, ids)
    for reason, limit in (
        (BEYOND_FRACTION, None if cut.fraction is None else math.ceil(cut.fraction * len(ids))),
        (BEYOND_MAX_CRYSTALS, cut.max_crystals),
    ):
        if limit is not None:
            not_chosen[reason] = len(ranked[limit:])
            ranked = ranked[:limit]
    return CutResult(
        np.array(ranked, dtype=np.intp), hardness, {reason: count for reason, count in not_chosen.items() if count}
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
