"""`cgcnn-elastic predict`: elastic moduli of crystals by trained models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_cgcnn_elastic.runner.options import FILE, network_options, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run
from aiida_cgcnn_elastic.runner.status import STATUSES, listed

if TYPE_CHECKING:
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals import CrystalTable, Rejection
    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile
    from aiida_cgcnn_elastic.runner.parts import Parts
    from aiida_cgcnn_elastic.screening import Criteria

DESCRIBED = ('formula', 'elements', 'n_atoms', 'volume_per_atom', 'density')
"""What follows from the geometry of a crystal: see `CrystalTable.describe`."""


@click.command('predict', epilog=listed(STATUSES['predict']))
@click.argument('crystals', nargs=-1, required=True, type=FILE)
@click.option(
    '--model',
    'model_names',
    multiple=True,
    required=True,
    metavar='NAME_OR_DIR',
    help='A shipped model or the folder of one. Given several times, models of one target are averaged.',
)
@click.option('--output', type=FILE, required=True, help='The prediction table: CSV if it ends in .csv, else Parquet.')
@click.option(
    '--criteria', 'criteria_file', type=FILE, help='JSON; crystals that its filters exclude are not predicted.'
)
@click.option(
    '--exclusions', 'exclusions_file', type=FILE, help='Write material_id and reason of the excluded here (Parquet).'
)
@click.option(
    '--rejections', 'rejections_file', type=FILE, help='Write the crystals that cannot be used here (Parquet).'
)
@with_options(source_options)
@with_options(network_options)
@runs('predict')
def predict(
    run: Run,
    crystals: tuple[Path, ...],
    model_names: tuple[str, ...],
    output: Path,
    criteria_file: Path | None,
    exclusions_file: Path | None,
    rejections_file: Path | None,
    source: str | None,
    source_options: tuple[str, ...],
    **network: Any,
) -> None:
    """Predict K and G of CRYSTALS (any files or folders that a source reads), in the order of the input.

    Without --criteria every crystal is predicted. Of the criteria, the filters (elements, band gap, energy above hull,
    number of atoms) decide what is predicted. The column p_candidate says how probable it is that K, G and hardness
    reach the thresholds, those of the default where the criteria have none; which crystals are candidates is a
    screening's to say. A criteria file that does not name a preset starts from the default, which excludes radioactive
    elements.

    What is predicted is saved in the folder OUTPUT.parts while the run goes on; --resume continues from there. The
    crystals are copied to the file OUTPUT.crystals until then, so that not all of them need be in memory.
    """
    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile, CrystalWriter
    from aiida_cgcnn_elastic.runner.features import needs_potential, require_potential
    from aiida_cgcnn_elastic.runner.inference import NetworkSettings, predict_in_parts
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.predictions import write_tables
    from aiida_cgcnn_elastic.runner.reading import (
        parse_source_options,
        require_crystals,
        stream_crystals,
        write_rejections,
    )
    from aiida_cgcnn_elastic.runner.settings import read_criteria
    from aiida_cgcnn_elastic.screening import DEFAULT

    given = read_criteria(criteria_file)
    criteria = given.filters()
    # The jobs of a screening are given filters only, so that their predictions serve any thresholds.
    thresholds = given if given.has_thresholds else DEFAULT
    run.report |= {'criteria': criteria.to_dict(), 'p_candidate': thresholds.thresholds().to_dict()}
    options = parse_source_options(source_options)
    models = load_models(run, model_names)
    if needs_potential(models):
        require_potential(models)
    sieve = _Sieve(criteria, needs_potential(models))
    working_copy = output.with_name(output.name + '.crystals')
    working_copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with CrystalWriter(working_copy) as writer:
            reading = stream_crystals(run, lambda table: writer.write(sieve.kept(table)), crystals, source, options)
        reading = replace(reading, rejections=[*reading.rejections, *sieve.rejections])
        run.report |= {'n_rejected': len(reading.rejections), 'rejected_by_reason': reading.rejected_by_reason}
        run.report['n_crystals'] = reading.n_read
        write_rejections(run, rejections_file, reading)
        require_crystals(reading)
        run.report |= sieve.counts()
        if exclusions_file is not None:
            write_tables(exclusions_file, [sieve.excluded()])
        with CrystalFile(working_copy) as file:
            with run.timed('check'):
                content = file.summary()['sha256']
            parts = predict_in_parts(run, models, file, content, NetworkSettings(**network), output)
            with run.stage('write', len(file)):
                n_written = write_tables(output, _tables(run, file, parts, thresholds))
        _check_counts(run, n_written)
    finally:
        working_copy.unlink(missing_ok=True)
    parts.remove()
    if run.report['n_excluded']:
        counts = ', '.join(f'{count} {reason}' for reason, count in run.report['excluded_by_reason'].items())
        run.say(f'{run.report["n_excluded"]} of {reading.n_read} crystals are excluded by the criteria ({counts})')


class _Sieve:
    """Leaves out the crystals that are not to be predicted, and counts them."""

    def __init__(self, criteria: Criteria, for_potential: bool) -> None:
        self._criteria = criteria
        self._for_potential = for_potential
        self._kept_unknown: Counter[str] = Counter()
        self._excluded: list[tuple[str, str]] = []
        self.rejections: list[Rejection] = []

    def kept(self, table: CrystalTable) -> CrystalTable:
        """Return the crystals that are to be predicted, with all that is known of them as properties."""
        import numpy as np

        from aiida_cgcnn_elastic.runner.features import split_unknown
        from aiida_cgcnn_elastic.screening import exclusions, kept_unknown

        if self._for_potential:
            table, rejections = split_unknown(table)
            self.rejections += rejections
        known = table.describe()
        reasons = exclusions(known, self._criteria)
        is_kept = np.array([reason is None for reason in reasons], dtype=bool)
        for name, mask in kept_unknown(known, self._criteria).items():
            self._kept_unknown[name] += int((mask & is_kept).sum())
        table = table.with_columns({name: known.column(name) for name in known.column_names if name in DESCRIBED})
        if is_kept.all():
            return table
        ids = known.column('material_id').filter(~is_kept).to_pylist()
        self._excluded += zip(ids, reasons[~is_kept].tolist(), strict=True)
        return table.select(is_kept)

    def counts(self) -> dict[str, Any]:
        """Return what the report says."""
        by_reason = Counter(reason for _, reason in self._excluded)
        return {
            'n_excluded': len(self._excluded),
            'excluded_by_reason': dict(sorted(by_reason.items())),
            'kept_unknown': dict(self._kept_unknown),
        }

    def excluded(self) -> pa.Table:
        """Return the crystals that the criteria exclude: ``material_id`` and ``reason``."""
        import pyarrow as pa

        ids, reasons = zip(*self._excluded, strict=True) if self._excluded else ((), ())
        return pa.table({'material_id': pa.array(ids, pa.string()), 'reason': pa.array(reasons, pa.string())})


def _tables(run: Run, crystals: CrystalFile, parts: Parts, thresholds: Criteria) -> Iterator[pa.Table]:
    """Yield the predictions part by part; at least one table, that of no crystal."""
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.crystals.table import GEOMETRY_SCHEMA
    from aiida_cgcnn_elastic.runner.predictions import prediction_table

    if not parts.n_saved:
        yield prediction_table({}, CrystalTable.empty().describe(), thresholds)
    start = 0
    for predicted, size in zip(parts, parts.sizes, strict=True):
        known = crystals.rows(start, start + size).arrow.drop_columns(GEOMETRY_SCHEMA.names[1:])
        start += size
        yield prediction_table(predicted, known, thresholds)
        run.progress.update(start)


def _check_counts(run: Run, n_predicted: int) -> None:
    """Raise RuntimeError unless every crystal that was read is predicted, excluded or rejected."""
    counts = {name: run.report[name] for name in ('n_crystals', 'n_predicted', 'n_excluded', 'n_rejected')}
    accounted = counts['n_predicted'] + counts['n_excluded'] + counts['n_rejected']
    if accounted != counts['n_crystals'] or n_predicted != counts['n_predicted']:
        raise RuntimeError(f'{n_predicted} rows to write, but the counts are {counts}')
