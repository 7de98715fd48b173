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
    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile, CrystalWriter
    from aiida_cgcnn_elastic.runner.files import replacing
    from aiida_cgcnn_elastic.runner.reading import (
        parse_source_options,
        require_crystals,
        stream_crystals,
        write_rejections,
    )
    from aiida_cgcnn_elastic.runner.settings import read_criteria

    options, criteria = parse_source_options(source_options), read_criteria(criteria_file)
    with replacing(output) as temporary:
        with CrystalWriter(temporary) as writer:
            result = stream_crystals(run, writer.write, paths, source, options, criteria)
        run.report['n_crystals'] = result.n_crystals
        with run.stage('write'):
            write_rejections(run, rejections_file, result)
            require_crystals(result)
            with CrystalFile(temporary) as file:
                summary = file.summary()
        if summary['n_crystals'] != result.n_crystals:
            raise RuntimeError(f'{result.n_crystals} crystals kept, but {summary["n_crystals"]} written')
        run.report['elements'] = summary['elements']
        run.report['columns'] = summary['columns']
        run.report['content_sha256'] = summary['sha256']
