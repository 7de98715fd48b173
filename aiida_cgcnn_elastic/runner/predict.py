"""`cgcnn-elastic predict`: elastic moduli of crystals by trained models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_cgcnn_elastic.runner.options import FILE, network_options, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run
from aiida_cgcnn_elastic.runner.status import STATUSES, listed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.screening import Criteria


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

    What is predicted is saved in the folder OUTPUT.parts while the run goes on; --resume continues from there.
    """
    from aiida_cgcnn_elastic.runner.features import needs_potential, reject_unknown, require_potential
    from aiida_cgcnn_elastic.runner.inference import NetworkSettings, predict_in_parts
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.predictions import prediction_table, write_table
    from aiida_cgcnn_elastic.runner.reading import (
        parse_source_options,
        read_crystals,
        require_crystals,
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
    result = read_crystals(run, crystals, source, options)
    if needs_potential(models):
        require_potential(models)
        result = reject_unknown(run, result)
    run.report['n_crystals'] = result.n_read
    write_rejections(run, rejections_file, result)
    require_crystals(result)

    with run.stage('filter'):
        known = result.table.describe()
        is_kept = _apply_filters(run, known, criteria, exclusions_file)
        kept = result.table if is_kept.all() else result.table.select(is_kept)
    predicted, parts = predict_in_parts(run, models, kept, NetworkSettings(**network), output)
    with run.stage('write'):
        table = prediction_table(predicted, known.filter(is_kept), thresholds)
        _check_counts(run, table.num_rows)
        write_table(output, table)
    parts.remove()
    if run.report['n_excluded']:
        counts = ', '.join(f'{count} {reason}' for reason, count in run.report['excluded_by_reason'].items())
        run.say(f'{run.report["n_excluded"]} of {result.n_read} crystals are excluded by the criteria ({counts})')


def _apply_filters(run: Run, known: pa.Table, criteria: Criteria, path: Path | None) -> NDArray[np.bool_]:
    """Return which crystals are kept; counts go to the report, and reasons to a file if asked."""
    import numpy as np
    import pyarrow as pa

    from aiida_cgcnn_elastic.runner.predictions import write_table
    from aiida_cgcnn_elastic.screening import exclusions, kept_unknown

    reasons = exclusions(known, criteria)
    is_kept = np.array([reason is None for reason in reasons], dtype=bool)
    excluded = pa.table(
        {
            'material_id': known.column('material_id').filter(~is_kept),
            'reason': pa.array(reasons[~is_kept], pa.string()),
        }
    )
    run.report['n_excluded'] = excluded.num_rows
    run.report['excluded_by_reason'] = dict(sorted(Counter(excluded.column('reason').to_pylist()).items()))
    unknown = kept_unknown(known, criteria)
    run.report['kept_unknown'] = {name: int((mask & is_kept).sum()) for name, mask in unknown.items()}
    if path is not None:
        write_table(path, excluded)
    return is_kept


def _check_counts(run: Run, n_predicted: int) -> None:
    """Raise RuntimeError unless every crystal that was read is predicted, excluded or rejected."""
    counts = {name: run.report[name] for name in ('n_crystals', 'n_predicted', 'n_excluded', 'n_rejected')}
    accounted = counts['n_predicted'] + counts['n_excluded'] + counts['n_rejected']
    if accounted != counts['n_crystals'] or n_predicted != counts['n_predicted']:
        raise RuntimeError(f'{n_predicted} rows to write, but the counts are {counts}')
