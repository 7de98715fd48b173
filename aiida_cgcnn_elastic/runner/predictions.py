"""The prediction table: what is predicted, what follows from it, and what was known before."""

from __future__ import annotations

from collections.abc import Mapping
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
ROW_GROUP_SIZE = 65_536


def prediction_table(predicted: Mapping[str, NDArray[Any]], known: pa.Table, criteria: Criteria = DEFAULT) -> pa.Table:
    """Return the prediction table of m crystals.

    Parameters
    ----------
    predicted : mapping of arrays of shape (m,)
        As `cgcnn.inference.predict` returns; what no model predicts, or is sure of, is absent and becomes null.
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
    with replacing(path) as temporary:
        if path.suffix.lower() == '.csv':
            pyarrow.csv.write_csv(_without_lists(table), temporary)
        else:
            pyarrow.parquet.write_table(table, temporary, compression='zstd', row_group_size=ROW_GROUP_SIZE)


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
