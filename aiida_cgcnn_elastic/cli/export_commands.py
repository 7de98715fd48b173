"""`export`: results into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators, echo

from aiida_cgcnn_elastic.cli.result_commands import _conditions, _symbols

OUTPUT = click.argument('output', type=click.Path(dir_okay=False, path_type=Path))
WHERE = (
    click.option('--where', multiple=True, callback=_conditions, metavar='CONDITION', help="Such as 'log10_g_vrh>=2'."),
    click.option('--elements', multiple=True, callback=_symbols, help='Only with all of these elements, such as B,C.'),
    click.option('--without', multiple=True, callback=_symbols, help='Only with none of these elements.'),
)


def _selection(command: Any) -> Any:
    for option in reversed(WHERE):
        command = option(command)
    return command


@click.group()
def export() -> None:
    """Write results into files, of any number of rows."""


@export.command('predictions')
@OUTPUT
@click.option('--screening', metavar='LABEL', help='Only of this screening.')
@_selection
@decorators.with_dbenv()
def predictions(output: Path, **options: Any) -> None:
    """Write recorded predictions into OUTPUT, a CSV or Parquet file, in the order in which they were recorded."""
    from aiida_cgcnn_elastic.export import export_predictions

    _export(export_predictions, output, **options)


@export.command('candidates')
@OUTPUT
@click.option('--screening', metavar='LABEL', help='Only of this screening.')
@click.option('--limit', type=click.IntRange(min=1), help='At most so many rows.')
@_selection
@decorators.with_dbenv()
def candidates(output: Path, **options: Any) -> None:
    """Write candidates into OUTPUT, a CSV or Parquet file, best first."""
    from aiida_cgcnn_elastic.export import export_candidates

    _export(export_candidates, output, **options)


def _export(write: Any, output: Path, *, elements: list[str], without: list[str], **options: Any) -> None:
    try:
        n_rows = write(output, elements=elements or None, not_elements=without or None, **options)
    except ValueError as error:
        echo.echo_critical(str(error))
    echo.echo_success(f'{n_rows:,} rows written to {output}')


@export.command('archive')
@click.argument('screening', metavar='SCREENING')
@OUTPUT
@click.option('--limit', type=click.IntRange(min=1), help='Only so many of the best candidates.')
@click.option('--source-files', is_flag=True, help='With the files that the crystals were read from.')
@decorators.with_dbenv()
def archive(screening: str, output: Path, limit: int | None, source_files: bool) -> None:
    """Write the candidates of SCREENING, a label, with their provenance into OUTPUT, an AiiDA archive.

    The records of the other predictions stay out of it; what was predicted is in the prediction sets.
    """
    from aiida_cgcnn_elastic.export import write_archive

    if output.exists():
        echo.echo_critical(f'{output} exists already')
    try:
        n_candidates = write_archive(output, screening, limit=limit, source_files=source_files)
    except ValueError as error:
        echo.echo_critical(str(error))
    echo.echo_success(f'{n_candidates:,} {"candidate" if n_candidates == 1 else "candidates"} written to {output}')
