"""`cgcnn-elastic ingest`: crystals of any source into one table."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_cgcnn_elastic.runner.options import FILE, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run
from aiida_cgcnn_elastic.runner.status import STATUSES, listed


@click.command('ingest', epilog=listed(STATUSES['ingest']))
@click.argument('paths', nargs=-1, type=FILE)
@click.option('--output', type=FILE, required=True, help='The crystal table (Parquet).')
@click.option(
    '--rejections', 'rejections_file', type=FILE, help='Write the crystals that cannot be used here (Parquet).'
)
@click.option(
    '--criteria',
    'criteria_file',
    type=FILE,
    help='JSON file of criteria; crystals that their filters exclude are skipped, before they are parsed where the '
    'source knows enough of them.',
)
@with_options(source_options)
@runs('ingest')
def ingest(
    run: Run,
    paths: tuple[Path, ...],
    output: Path,
    rejections_file: Path | None,
    criteria_file: Path | None,
    source: str | None,
    source_options: tuple[str, ...],
) -> None:
    """Read PATHS (files or folders that a source reads; none for a source that needs none) into a crystal table.

    A crystal that cannot be used is rejected with its reason and counted; it stops nothing. Reading is fast and leaves
    nothing to continue from: --resume is accepted and starts again.
    """
    from aiida_cgcnn_elastic.runner.files import replacing
    from aiida_cgcnn_elastic.runner.reading import (
        parse_source_options,
        read_crystals,
        require_crystals,
        write_rejections,
    )
    from aiida_cgcnn_elastic.runner.settings import read_criteria

    result = read_crystals(run, paths, source, parse_source_options(source_options), read_criteria(criteria_file))
    run.report['n_crystals'] = len(result.table)
    with run.stage('write'):
        write_rejections(run, rejections_file, result)
        require_crystals(result)
        run.report['elements'] = result.table.elements
        run.report['columns'] = result.table.column_names
        run.report['content_sha256'] = result.table.sha256()
        with replacing(output) as temporary:
            result.table.write(temporary)
