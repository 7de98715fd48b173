"""Commands on sets of crystals: `mark-duplicates`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from aiida import orm


@click.command('mark-duplicates')
@arguments.NODES('crystals', required=True, metavar='CRYSTALS...')
@click.option(
    '--volume',
    type=click.FloatRange(min=0, min_open=True),
    help='Largest relative difference of volumes per atom of the same material; 0.1 if not given.',
)
@decorators.with_dbenv()
def mark_duplicates(crystals: list[orm.Node], volume: float | None) -> None:
    """Mark crystals of the sets CRYSTALS, given as PKs or UUIDs, that are the same material as an earlier one.

    The order of the sets says whose crystals stand for the others. Of a set with duplicates a new one is made, with the
    column `duplicate_of`; screen the sets that are listed in the end together, and every material is a candidate once.
    """
    from aiida import orm

    from aiida_cgcnn_elastic.calculations.mark_duplicates import mark_duplicates as mark

    sets = {f'set_{number:02d}': node for number, node in enumerate(crystals)}
    tolerances: dict[str, Any] = {} if volume is None else {'volume': volume}
    try:
        results, process = mark.run_get_node(orm.Dict(tolerances), **sets)
    except ValueError as error:
        echo.echo_critical(str(error))
    if not process.is_finished_ok:
        echo.echo_critical(str(process.exit_message))
    counts = results['duplicates'].get_dict()['sets']
    nodes = {key: results.get(key, node) for key, node in sets.items()}
    for key, node in nodes.items():
        what = f'{node.origin["source"]}: {counts[key]["n_crystals"]:,} crystals'
        echo.echo(f'crystal set {node.pk}, {what}, {counts[key]["n_duplicates"]:,} of them duplicates')
    pks = ' '.join(str(node.pk) for node in nodes.values())
    echo.echo_success(f'screen them together by `aiida-cgcnn-elastic screen {pks} --label LABEL`')
