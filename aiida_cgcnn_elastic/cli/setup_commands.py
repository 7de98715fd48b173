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


@click.command()
def models() -> None:
    """List the shipped models and how far off they are."""
    from tabulate import tabulate

    from aiida_cgcnn_elastic import pretrained

    rows = []
    for name in sorted(pretrained.available(), key=lambda name: pretrained.HELD_OUT_MAE[name]['log10_g_vrh']):
        card = json.loads((pretrained.path(name) / 'model.json').read_text(encoding='utf-8'))
        errors = pretrained.HELD_OUT_MAE[name]
        rows.append(
            {
                'Name': name,
                'MAE of log10 K': f'{errors["log10_k_vrh"]:.4f}',
                'MAE of log10 G': f'{errors["log10_g_vrh"]:.4f}',
                'Members': len(card['members']),
                'Trained on': f'{max(record["n_crystals"]["train"] for record in card["training"]):,} crystals',
            }
        )
    align = ('left', 'right', 'right', 'right', 'right')
    echo.echo(tabulate(rows, headers='keys', tablefmt='simple', colalign=align, disable_numparse=True))
    echo.echo(
        '\nMean absolute errors in log10(GPa) of the same protocols, trained on three of the folds of Matbench, on the '
        '2,111\ncrystals of a fourth. An error of 0.06 is 15 %, one of 0.10 is 26 %. More: docs/background/accuracy.md.'
    )
