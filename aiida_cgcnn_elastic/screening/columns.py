"""Columns of a table of crystals or predictions, whichever library holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Columns = Any
"""A `pyarrow.Table`, a `pandas.DataFrame`, or a mapping of column names to sequences of one length."""


def arrow_column(columns: Columns, name: str) -> pa.Array | None:
    """Return a column as one Arrow array, missing values as nulls; `None` if the table has no such column."""
    if isinstance(columns, pa.Table):
        if name not in columns.column_names:
            return None
        chunks = columns.column(name).combine_chunks()
        return pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks
    if name not in columns:
        return None
    values = columns[name]
    return values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)


def float_column(columns: Columns, name: str) -> NDArray[np.float64] | None:
    """Return a column as float64 of shape (m,), NaN where missing; `None` if the table has no such column."""
    column = arrow_column(columns, name)
    if column is None:
        return None
    return column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)


def required(column: Any, name: str, needed_for: str) -> Any:
    """Return the column, or raise KeyError naming what is absent and which criterion asked for it."""
    if column is None:
        raise KeyError(f'the table has no column {name!r}, which {needed_for} needs')
    return column


def n_rows(columns: Columns) -> int:
    """Return the number of rows."""
    if isinstance(columns, pa.Table):
        return columns.num_rows
    if isinstance(columns, Mapping):
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f'the columns differ in length: {lengths}')
        return next(iter(lengths.values()), 0)
    return len(columns)
