"""`ingest-group`, `ingest-archive` and `mark-duplicates`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments
from aiida.cmdline.utils import decorators, echo

from aiida_cgcnn_elastic.cli.ingest_commands import tell_rejections

if TYPE_CHECKING:
    from aiida import orm


PROPERTIES = click.option(
    '--property',
    'properties',
    multiple=True,
    metavar='COLUMN=EXTRA',
    help="Make a column of an extra of the nodes that is a number, in the column's unit; dots lead into dictionaries.",
)
IDS = click.option(
    '--ids',
    type=click.Choice(['label', 'uuid']),
    default='label',
    show_default=True,
    help="What the crystals' ids are; a node whose label is empty or not its own gets its UUID.",
)


@click.command('ingest-group')
@arguments.GROUP()
@PROPERTIES
@IDS
@decorators.with_dbenv()
def ingest_group(group: orm.Group, properties: tuple[str, ...], ids: str) -> None:
    """Read the StructureData and CifData of GROUP into one node."""
    from aiida_cgcnn_elastic.calculations import ingest_nodes

    _show(ingest_nodes.ingest_group, group, properties, ids)


@click.command('ingest-archive')
@click.argument('archive', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option('--group', help='Only the nodes in the group of this label in the archive.')
@PROPERTIES
@IDS
@decorators.with_dbenv()
def ingest_archive(archive: Path, group: str | None, properties: tuple[str, ...], ids: str) -> None:
    """Read the StructureData and CifData in an AiiDA archive into one node, without importing them."""
    from aiida import orm

    from aiida_cgcnn_elastic.calculations import ingest_nodes
    from aiida_cgcnn_elastic.cli.inputs import stored_once

    _show(
        ingest_nodes.ingest_archive, stored_once(orm.SinglefileData(archive.absolute())), properties, ids, group=group
    )


def _show(function: Callable[..., Any], source: Any, pairs: tuple[str, ...], ids: str, **options: Any) -> None:
    """Read crystals and say how many there are."""
    columns: dict[str, str] = {}
    for pair in pairs:
        column, equals, extra = pair.partition('=')
        if not equals or not column or not extra:
            raise click.BadParameter(f'{pair!r} is not COLUMN=EXTRA', param_hint='--property')
        columns[column] = extra
    try:
        node = function(source, properties=columns, ids=ids, **options)
    except ValueError as error:
        echo.echo_critical(str(error))
    for message in node.origin['messages']:
        echo.echo(message)
    attributes = node.base.attributes
    echo.echo_success(
        f'crystal set {node.pk}: {attributes.get("n_read"):,} read, {attributes.get("n_crystals"):,} usable, '
        f'{attributes.get("n_rejected"):,} rejected'
    )
    for reason, count in attributes.get('rejected_by_reason').items():
        echo.echo(f'  {reason}: {count:,}')
    tell_rejections(node)


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
