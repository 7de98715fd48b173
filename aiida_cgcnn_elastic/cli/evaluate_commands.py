"""`evaluate`: how well predictions of models agree with known moduli."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments
from aiida.cmdline.utils import decorators, echo

from aiida_cgcnn_elastic.cli.process_commands import CODE, DAEMON, CrystalSetParamType, launched, local_code

if TYPE_CHECKING:
    from aiida import orm


@click.command()
@arguments.NODE('crystals', metavar='CRYSTALS', type=CrystalSetParamType())
@click.option(
    '--model',
    'model_names',
    multiple=True,
    required=True,
    help='Shipped name or node. May be given many times: where several predict the same, the mean is taken.',
)
@click.option(
    '--criteria',
    'criteria_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON or YAML file of criteria of the screening that is measured; the default thresholds if not given.',
)
@CODE
@DAEMON
@decorators.with_dbenv()
def evaluate(
    crystals: orm.Node,
    model_names: tuple[str, ...],
    criteria_file: Path | None,
    code: orm.AbstractCode | None,
    daemon: bool,
) -> None:
    """Compare what models predict with the known moduli of the set CRYSTALS, given as PK, UUID or label.

    On crystals that a model was trained on, errors are smaller than on others.
    """
    from aiida import orm

    from aiida_cgcnn_elastic.calculations.evaluate import EvaluateCalculation
    from aiida_cgcnn_elastic.cli.inputs import all_cores, find_model, read_criteria
    from aiida_cgcnn_elastic.cli.report import labels_text, reuse_text

    try:
        builder = EvaluateCalculation.get_builder()
        builder.models = {f'model_{number:02d}': find_model(name) for number, name in enumerate(model_names)}
        if criteria_file is not None:
            builder.criteria = orm.Dict(read_criteria(criteria_file))
        builder.code = code or local_code()
        builder.crystals = crystals
        if code is None:
            builder.metadata.options = all_cores()
    except ValueError as error:
        echo.echo_critical(str(error))
    node = launched(builder, daemon)
    metrics = node.outputs.metrics
    echo.echo(f'{node.process_label} {node.pk}: {reuse_text(node)}')
    echo.echo(labels_text(node.outputs.report) + '\n')
    echo.echo('Errors and widths of intervals in log10(GPa):\n')
    echo.echo(errors_table(metrics['targets']) + '\n')
    meant = 'default thresholds' if criteria_file is None else f'criteria of {criteria_file}'
    if 'screening' in metrics.get_dict():
        echo.echo(found_text(metrics['screening'], meant) + '\n')
    else:
        echo.echo('No screening is measured: no crystal has both moduli known and predicted.\n')
    for message in node.outputs.report['messages']:
        echo.echo(message)
    echo.echo_success(
        f'metrics {metrics.pk}, also of rankings, by crystal system and by family of elements: '
        f'verdi data core.dict show {metrics.pk}'
    )


def errors_table(targets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the errors of predictions, target by target, and what part of the 90 % intervals hold where there are any.

    Parameters
    ----------
    targets
        As the metrics of an evaluation have them under `targets`.
    """
    from tabulate import tabulate

    from aiida_cgcnn_elastic.cli.report import digits, error_columns

    rows = [
        {
            'Target': target,
            **error_columns(values),
            'Coverage of 90 %': digits(values.get('coverage')),
            'Mean width': digits(values.get('mean_width')),
        }
        for target, values in sorted(targets.items())
    ]
    align = ('left', *['right'] * 7)
    return tabulate(rows, headers='keys', tablefmt='simple', colalign=align, disable_numparse=True)


def found_text(screening: Mapping[str, Any], meant: str) -> str:
    """Return what a screening finds by predictions of what it finds by the known moduli.

    Parameters
    ----------
    screening
        As the metrics of an evaluation have it under `screening`.
    meant
        The criteria, in words.
    """
    from aiida_cgcnn_elastic.cli.report import share

    lines = [
        ('candidates by prediction', f'{screening["n_candidates"]:,}'),
        ('candidates by label', f'{screening["n_candidates_by_label"]:,}'),
        ('both', f'{screening["n_true_positives"]:,}'),
        ('precision', share(screening['precision'])),
        ('recall', share(screening['recall'])),
    ]
    return '\n'.join(
        [
            f'Screening by the {meant}, {screening["n_compared"]:,} crystals with both moduli:',
            *(f'  {name:<25}{value:>9}' for name, value in lines),
        ]
    )
