"""The tables that a training writes: what it predicts for the crystals of each part, and out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from aiida_cgcnn_elastic.runner.labels import labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.cgcnn.splits import Split
    from aiida_cgcnn_elastic.crystals import CrystalTable


def prediction_rows(predictions: Mapping[str, NDArray[np.float64]], crystals: CrystalTable, split: Split) -> pa.Table:
    """Return true and predicted values, one row for each crystal of a part and each target that it has."""
    known_values = labels(crystals)
    ids = crystals.arrow.column('material_id')
    tables = []
    for target, predicted in predictions.items():
        true = known_values[target]
        for part, rows in split.items():
            known = rows[np.isfinite(true[rows])]
            tables.append(
                pa.table(
                    {
                        'material_id': ids.take(pa.array(known)),
                        'part': pa.array([part] * len(known), pa.string()),
                        'target': pa.array([target] * len(known), pa.string()),
                        'true': true[known],
                        'predicted': predicted[known],
                    }
                )
            )
    return pa.concat_tables(tables)


def out_of_fold_rows(
    held_out: Mapping[str, Mapping[str, NDArray[np.float64]]], fold: NDArray[np.int64], crystals: CrystalTable
) -> pa.Table:
    """Return what was predicted for crystals by those that did not see them, one row for each target that it has.

    Parameters
    ----------
    held_out : mapping
        ``{target: {kind: (m,)}}``; each kind becomes a column.
    fold : (m,) int
        In which each crystal was held out, -1 for none.
    """
    known_values = labels(crystals)
    tables = []
    for target, kinds in held_out.items():
        true = known_values[target]
        rows = np.flatnonzero((fold >= 0) & np.isfinite(true))
        tables.append(
            pa.table(
                {
                    'material_id': crystals.arrow.column('material_id').take(pa.array(rows)),
                    'fold': pa.array(fold[rows], pa.int16()),
                    'target': pa.array([target] * len(rows), pa.string()),
                    'true': true[rows],
                    **{kind: values[rows] for kind, values in kinds.items()},
                }
            )
        )
    return pa.concat_tables(tables)
