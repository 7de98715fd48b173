"""How probable it is that a crystal is a candidate, given how uncertain its prediction is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.screening.columns import Columns, float_column, n_rows
from aiida_cgcnn_elastic.screening.criteria import Criteria
from aiida_cgcnn_elastic.uncertainty import pass_probability

UNCERTAIN = ('log10_k_vrh', 'log10_g_vrh', 'log10_k_vrh_std', 'log10_g_vrh_std', 'log10_k_g_correlation')
"""The columns that it follows from."""


def candidate_probability(predictions: Columns, criteria: Criteria) -> NDArray[np.float64]:
    """Return the probability that K, G and hardness reach the thresholds of the criteria.

    Only these thresholds are looked at, not the filters, novelty or the number of candidates.

    Parameters
    ----------
    predictions : pyarrow.Table, pandas.DataFrame or mapping of arrays of shape (m,)
        With the columns `UNCERTAIN`.
    criteria : Criteria

    Returns
    -------
    array of shape (m,)
        NaN where a column is absent or its value missing.
    """
    columns = [float_column(predictions, name) for name in UNCERTAIN]
    known = [values for values in columns if values is not None]
    if len(known) < len(columns):
        return np.full(n_rows(predictions), np.nan)
    return pass_probability(
        *known,
        min_log10_k=criteria.min_log10_k_vrh,
        min_log10_g=criteria.min_log10_g_vrh,
        min_hardness=criteria.min_hardness,
        law=criteria.hardness_law,
    )
