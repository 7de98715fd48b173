"""`sweep`: the sweeps of hyperparameters, and the members of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    import pandas as pd
    from aiida import orm

SHOWN = (('validation', 'mae'), ('test', 'mae'), ('test', 'r2'))
"""Parts and metrics of each target that the table has; the other formats have all."""


@click.command()
@arguments.PROCESS('process', required=False, metavar='[PK|UUID]')
@click.option('--sort-by', metavar='COLUMN', help='Sort by this column, such as log10_g_vrh_validation_mae.')
@click.option('--format', 'how', type=click.Choice(['table', 'csv', 'json']), default='table', show_default=True)
@click.option('--output', type=click.Path(dir_okay=False, path_type=Path), help='Write to this file.')
@decorators.with_dbenv()
def sweep(process: orm.ProcessNode | None, sort_by: str | None, how: str, output: Path | None) -> None:
    """List the members of a sweep with their errors, also while it runs; without a PK, list the sweeps.

    Errors are in log10(GPa). The formats csv and json have more columns than the table.
    """
    from aiida_cgcnn_elastic import query
    from aiida_cgcnn_elastic.cli.report import format_frame

    try:
        frame = query.sweeps() if process is None else query.sweep(process)
    except ValueError as error:
        echo.echo_critical(str(error))
    if sort_by is not None:
        if sort_by not in frame:
            echo.echo_critical(f'no column {sort_by!r}; there are: {", ".join(frame.columns)}')
        frame = frame.sort_values(sort_by, ignore_index=True, kind='stable')
    names = [] if process is None else query.swept_parameters(process)
    text = format_frame(frame, how, lambda rows: sweeps_table(rows) if process is None else members_table(rows, names))
    if output is None:
        echo.echo(text)
    else:
        output.write_text(text + '\n', encoding='utf-8')
        echo.echo_success(f'{len(frame):,} rows written to {output}')


def sweeps_table(frame: pd.DataFrame) -> str:
    """Return sweeps as a table (columns as `query.sweeps` gives them)."""
    from tabulate import tabulate

    if frame.empty:
        return 'No sweep.'
    rows = [
        {
            'PK': row['pk'],
            'Started': f'{row["time"]:%Y-%m-%d %H:%M}',
            'State': row['state'],
            **{name.capitalize(): _count(row[f'n_{name}']) for name in ('members', 'finished', 'reused', 'failed')},
        }
        for row in frame.to_dict('records')
    ]
    return tabulate(rows, headers='keys', tablefmt='simple', disable_numparse=True)


def members_table(frame: pd.DataFrame, parameters: list[str]) -> str:
    """Return the members of a sweep as a table, and below it why some failed.

    Parameters
    ----------
    frame
        Members, in the order wanted (columns as `query.sweep` gives them).
    parameters
        The hyperparameters of the sweep.
    """
    from tabulate import tabulate

    if frame.empty:
        return 'No member has been started.'
    rows = [
        {
            'Member': row['member'],
            **{name: _value(row[name]) for name in parameters},
            **{
                f'{target} {part} {metric.upper()}': _error(row, f'log10_{target.lower()}_vrh_{part}_{metric}')
                for target in 'GK'
                for part, metric in SHOWN
            },
            'Ended': _end(row),
            'PK': row['pk'],
        }
        for row in frame.to_dict('records')
    ]
    table = tabulate(rows, headers='keys', tablefmt='simple', disable_numparse=True)
    failed = frame[frame['message'].notna()]
    reasons = [f'{row["member"]} ({row["pk"]}): {row["message"]}' for row in failed.to_dict('records')]
    return '\n'.join([table, *(['', 'Failed:'] if reasons else []), *reasons])


def _end(row: dict[str, Any]) -> str:
    """Return how a member ended, or its state where it has not."""
    if row['message'] is not None:
        return 'failed' if _is_missing(row['exit_status']) else f'failed ({row["exit_status"]})'
    return 'reused' if row['reused'] and row['state'] == 'finished' else row['state']


def _value(value: Any) -> str:
    """Return a hyperparameter as text; pandas makes floats of integers where some are missing."""
    if _is_missing(value):
        return '-'
    return f'{value:g}' if isinstance(value, float) else str(value)


def _error(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return '-' if _is_missing(value) else f'{value:.4f}'


def _count(value: Any) -> str:
    return '-' if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    """Return whether pandas means by a value that there is none."""
    import pandas as pd

    return value is None or (not isinstance(value, (dict, list)) and pd.isna(value))
