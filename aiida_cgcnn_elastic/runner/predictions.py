"""The prediction table: what is predicted, what follows from it, and what was known before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from aiida_cgcnn_elastic.elasticity import derived_columns
from aiida_cgcnn_elastic.runner.files import replacing
from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status
from aiida_cgcnn_elastic.screening import DEFAULT, Criteria, candidate_probability
from aiida_cgcnn_elastic.screening.probability import UNCERTAIN
from aiida_cgcnn_elastic.uncertainty import hardness_interval

TARGETS = ('log10_k_vrh', 'log10_g_vrh')
UNCERTAINTIES = ('std', 'low', 'high', 'spread')
REFERENCE = '_reference'
KNOWN_FIRST = (
    'formula',
    'elements',
    'n_atoms',
    'space_group_number',
    'band_gap',
    'energy_above_hull',
    'formation_energy',
    'density',
    'volume_per_atom',
    'matbench_fold',
)
ROW_GROUP_SIZE = 16_384


def prediction_table(predicted: Mapping[str, NDArray[Any]], known: pa.Table, criteria: Criteria = DEFAULT) -> pa.Table:
    """Return the prediction table of m crystals.

    Parameters
    ----------
    predicted : mapping of arrays of shape (m,)
        As `runner.inference.predict_in_parts` has them; what no model predicts, or is sure of, is absent and becomes
        null.
    known : pyarrow.Table
        `CrystalTable.describe()` of the same crystals. A property with the name of a predicted or derived column is a
        reference value: its name gets `_reference` appended.
    criteria : Criteria
        Whose thresholds `p_candidate` is about.

    Raises
    ------
    RunFailed
        With `Status.INPUT_UNREADABLE` if the crystals have both a property and a reference of its name.
    """
    nothing = np.full(known.num_rows, np.nan)
    values = {target: predicted.get(target, nothing) for target in TARGETS}
    names_of = [f'{target}_{kind}' for kind in UNCERTAINTIES for target in TARGETS]
    values |= {name: predicted.get(name, nothing) for name in names_of}
    values |= derived_columns(*(values[target] for target in TARGETS))
    values['log10_k_g_correlation'] = predicted.get('log10_k_g_correlation', nothing)
    ends = hardness_interval(*(values[name] for name in UNCERTAIN), law='chen')
    values['hardness_chen_low'], values['hardness_chen_high'] = ends
    values['p_candidate'] = candidate_probability(values, criteria)
    values['novelty'] = predicted.get('novelty', nothing)
    columns: dict[str, pa.ChunkedArray | pa.Array] = {'material_id': known.column('material_id')}
    columns |= {name: pa.array(array, pa.float64(), from_pandas=True) for name, array in values.items()}
    reasons = predicted.get('novelty_reason', np.full(known.num_rows, ''))
    columns['novelty_reason'] = pa.array([str(reason) or None for reason in reasons], pa.string())
    stresses = np.asarray(predicted.get('residual_stress', nothing), dtype=np.float64)
    columns['residual_stress'] = pa.array(stresses, pa.float64(), from_pandas=True)

    names = [name for name in known.column_names if name != 'material_id']
    renamed = {name: name + REFERENCE if name in columns else name for name in names}
    if len(set(renamed.values())) < len(names):
        twice = next(name for name in names if name + REFERENCE in names and name in columns)
        raise RunFailed(
            Status.INPUT_UNREADABLE, f'the crystals have both {twice} and {twice + REFERENCE}; drop one of them'
        )
    first = [name for name in KNOWN_FIRST if name in names]
    others = [name for name in names if name not in first]
    references = [name for name in others if renamed[name].endswith(REFERENCE)]
    for name in (*first, *(name for name in others if name not in references), *references):
        columns[renamed[name]] = known.column(name)
    return pa.table(columns)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table atomically: CSV where the name ends in .csv (lists as words separated by spaces), else Parquet."""
    write_tables(path, [table])


def write_tables(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write tables of the same columns, at least one, below each other as `write_table` does; return how many rows.

    They are written as they come; the bytes do not depend on how the rows are cut into tables.
    """
    n_rows = 0
    is_text = path.suffix.lower() == '.csv'
    with replacing(path) as temporary:
        writer = None
        for rows in _cut_anew(tables):
            table = _without_lists(rows) if is_text else rows
            if writer is None:
                if is_text:
                    writer = pyarrow.csv.CSVWriter(temporary, table.schema)
                else:
                    writer = pyarrow.parquet.ParquetWriter(temporary, table.schema, compression='zstd')
            writer.write_table(table)
            n_rows += table.num_rows
        if writer is None:
            raise ValueError('there is no table to write')
        writer.close()
    return n_rows


def _cut_anew(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables as tables of ROW_GROUP_SIZE rows, and one of those that are left or of none at all."""
    waiting: list[pa.Table] = []
    n_waiting = n_yielded = 0
    for table in tables:
        waiting.append(table)
        n_waiting += table.num_rows
        while n_waiting >= ROW_GROUP_SIZE:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP_SIZE).combine_chunks()
            waiting = [joined.slice(ROW_GROUP_SIZE)]
            n_waiting -= ROW_GROUP_SIZE
            n_yielded += 1
    if n_waiting or (waiting and not n_yielded):
        yield pa.concat_tables(waiting).combine_chunks()


def read_table(path: Path) -> pa.Table:
    """Read what `write_table` wrote; ids in CSV stay text, whatever they look like.

    Raises
    ------
    RunFailed
        With `Status.INPUT_UNREADABLE`.
    """
    try:
        if path.suffix.lower() == '.csv':
            as_text = pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in ('material_id', 'elements', 'novelty_reason')},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            )
            table = pyarrow.csv.read_csv(path, convert_options=as_text)
            return _with_lists(table)
        return pyarrow.parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise RunFailed(Status.INPUT_UNREADABLE, f'{path} cannot be read as a table of predictions: {error}') from error


def _without_lists(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            words = pc.binary_join(table.column(index).cast(pa.list_(pa.string())), ' ')
            table = table.set_column(index, field.name, words)
    return table


def _with_lists(table: pa.Table) -> pa.Table:
    if 'elements' not in table.column_names:
        return table
    index = table.column_names.index('elements')
    return table.set_column(index, 'elements', pc.split_pattern(table.column(index), ' '))
