"""`flag`: the predictions of a screening under other criteria."""

from __future__ import annotations

from pathlib import Path

import click
from aiida.cmdline.utils import decorators, echo


@click.command()
@click.argument('screening', metavar='SCREENING')
@click.option(
    '--criteria',
    'criteria_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help='JSON or YAML file of criteria.',
)
@click.option('--label', required=True, help='Label of the new set of candidates.')
@decorators.with_dbenv()
def flag(screening: str, criteria_file: Path, label: str) -> None:
    """Flag the predictions of SCREENING, a label, again under other criteria.

    Nothing is predicted or recorded again. Crystals that the screening itself had excluded have no prediction, so
    criteria that would let them in need a new screening.
    """
    from aiida_cgcnn_elastic.cli.inputs import read_criteria
    from aiida_cgcnn_elastic.cli.report import candidates_table, failure_text
    from aiida_cgcnn_elastic.query import candidates
    from aiida_cgcnn_elastic.workflows.flagging import excluded_before, flag_again

    try:
        process = flag_again(screening, read_criteria(criteria_file), label)
    except ValueError as error:
        echo.echo_critical(str(error))
    if not process.is_finished_ok:
        echo.echo_critical(failure_text(process))
    ranking = process.outputs.ranking
    echo.echo(candidates_table(candidates(label, limit=20)))
    echo.echo(
        f'\n{ranking["n_candidates"]:,} candidates among {ranking["n_predictions"]:,} predictions of {screening!r}'
    )
    for reason, count in ranking['failed'].items():
        echo.echo(f'  {reason}: {count:,}')
    excluded = excluded_before(process)
    if excluded:
        reasons = ', '.join(f'{count:,} {reason}' for reason, count in excluded.items())
        echo.echo_report(f'without prediction, since the screening had excluded them: {reasons}')
    echo.echo_success(f'aiida-cgcnn-elastic candidates --screening {label!r}')
