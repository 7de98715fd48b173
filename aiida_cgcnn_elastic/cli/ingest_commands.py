"""`ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_cgcnn_elastic.cli.process_commands import CODE, DAEMON, launched, local_code, parsed_pairs

if TYPE_CHECKING:
    from aiida import orm

    from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData


@click.command()
@click.argument('paths', nargs=-1, metavar='[SOURCE] [PATHS]...')
@click.option('--source', help='Name of the source, as an option; found out from the files if not given.')
@click.option('--option', 'source_options', multiple=True, metavar='KEY=VALUE', help='An option of the source.')
@click.option(
    '--criteria',
    'criteria_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON or YAML file of criteria; crystals that their filters exclude are skipped and counted, before they are '
    'downloaded or parsed where the source knows enough of them.',
)
@CODE
@DAEMON
@decorators.with_dbenv()
def ingest(
    paths: tuple[str, ...],
    source: str | None,
    source_options: tuple[str, ...],
    criteria_file: Path | None,
    code: orm.AbstractCode,
    daemon: bool,
) -> None:
    """Read the crystals of files or folders, or of a source, into one node.

    `ingest gnome` downloads what it needs of GNoME's release; `ingest gnome FOLDER` or `ingest FOLDER` reads one on
    disk. A source that makes its crystals itself, such as `prototypes`, needs no PATHS either. A file or folder that
    has the name of a source is read as such; give its path as ./NAME to say so.
    """
    from aiida import orm

    from aiida_cgcnn_elastic.cli.inputs import ingest_builder, read_criteria

    source, files = _source_and_files(paths, source)
    try:
        builder = ingest_builder(code or local_code(), files, source, parsed_pairs(source_options, '--option'))
        if criteria_file is not None:
            builder.criteria = orm.Dict(read_criteria(criteria_file))
    except ValueError as error:
        echo.echo_critical(str(error))
    node = launched(builder, daemon)
    for message in node.outputs.report['messages']:
        echo.echo(message)
    crystals = node.outputs.crystals
    attributes = crystals.base.attributes
    echo.echo_success(
        f'crystal set {crystals.pk}: {attributes.get("n_read"):,} read, {attributes.get("n_crystals"):,} usable, '
        f'{attributes.get("n_rejected"):,} rejected, {attributes.get("n_skipped"):,} skipped by filters'
    )
    for title, counts in (
        ('rejected', attributes.get('rejected_by_reason')),
        ('skipped', crystals.origin['skipped_by_reason']),
    ):
        for reason, count in counts.items():
            echo.echo(f'  {title}: {reason}: {count:,}')
    tell_rejections(crystals)


def tell_rejections(crystals: CrystalSetData) -> None:
    """Say how to see which crystals were rejected and why, where some were."""
    name = crystals.FILE_REJECTIONS
    if crystals.base.attributes.get('n_rejected'):
        echo.echo(
            f'which, and why: load_node({crystals.pk}).get_rejections() in `verdi shell`, or '
            f'`verdi node repo cat {crystals.pk} {name} > {name}`'
        )


def _source_and_files(paths: tuple[str, ...], source: str | None) -> tuple[str | None, list[Path]]:
    """Tell the name of a source before the paths from a path."""
    from aiida_cgcnn_elastic.crystals.sources import available

    if source is None and paths and not Path(paths[0]).exists() and paths[0] in available():
        source, *paths = paths  # type: ignore[assignment]
    if not paths and source is None:
        raise click.UsageError('give at least one path, or the name of a source that needs none')
    files = [Path(path) for path in paths]
    for path in files:
        if not path.exists():
            known = f', and no source: {", ".join(available())}' if path == files[0] and source is None else ''
            raise click.UsageError(f'there is no file or folder {str(path)!r}{known}')
    return source, files
