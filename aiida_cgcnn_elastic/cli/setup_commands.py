"""`setup` and `models`."""

from __future__ import annotations

import json

import click
from aiida.cmdline.utils import decorators, echo


@click.command()
@decorators.with_dbenv()
def setup() -> None:
    """Make this machine ready: computer, code and caching.

    Doing it again changes nothing.
    """
    from aiida_cgcnn_elastic.cli.setup import setup_localhost

    try:
        result = setup_localhost()
    except (FileNotFoundError, ValueError) as error:
        echo.echo_critical(str(error))
    for change in result.changes:
        echo.echo_success(change)
    for note in result.notes:
        echo.echo_warning(note)
    echo.echo_report(f'the code is {result.code.full_label}, PK {result.code.pk}')


PARTS_TO_JUDGE_BY = ('test', 'validation', 'out_of_fold', 'train')
"""Parts of a training set, from those that tell most of a model's error to those that tell least."""


@click.command()
def models() -> None:
    """List the shipped models with their errors, on crystals that they were not trained on where there are any."""
    from tabulate import tabulate

    from aiida_cgcnn_elastic import pretrained

    names = pretrained.available()
    if not names:
        echo.echo_report('no model is shipped')
        return
    rows = []
    for name in names:
        card = json.loads((pretrained.path(name) / 'model.json').read_text(encoding='utf-8'))
        for training in card['training']:
            for target, parts in training['metrics'].items():
                # The most telling part there is; only a model without any other is shown with its training error.
                part = next(name for name in PARTS_TO_JUDGE_BY if name in parts)
                rows.append(
                    {
                        'Name': name,
                        'Target': target,
                        'Protocol': training['protocol']['name'],
                        'Crystals': training['n_crystals'].get('train'),
                        'Judged on': part,
                        'MAE': f'{parts[part]["mae"]:.4f}',
                        'R2': f'{parts[part]["r2"]:.4f}',
                    }
                )
    echo.echo(tabulate(rows, headers='keys', tablefmt='simple', disable_numparse=True))
