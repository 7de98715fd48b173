"""`cgcnn-elastic evaluate`: how well predictions agree with known moduli."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_cgcnn_elastic.runner.options import FILE, network_options, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import STATUSES, Status, listed

if TYPE_CHECKING:
    import pyarrow as pa

    from aiida_cgcnn_elastic.screening import Criteria


@click.command('evaluate', epilog=listed(STATUSES['evaluate']))
@click.argument('crystals', nargs=-1, type=FILE)
@click.option(
    '--model',
    'model_names',
    multiple=True,
    metavar='NAME_OR_DIR',
    help='A shipped model or the folder of one, to predict CRYSTALS with. May be given several times.',
)
@click.option(
    '--predictions', 'predictions_file', type=FILE, help='A prediction table instead of --model and CRYSTALS.'
)
@click.option('--output', type=FILE, required=True, help='The metrics (JSON).')
@click.option(
    '--criteria',
    'criteria_file',
    type=FILE,
    help='JSON; measure also how well these criteria find by predictions what they find by labels.',
)
@with_options(source_options)
@with_options(network_options)
@runs('evaluate')
def evaluate(
    run: Run,
    crystals: tuple[Path, ...],
    model_names: tuple[str, ...],
    predictions_file: Path | None,
    output: Path,
    criteria_file: Path | None,
    source: str | None,
    source_options: tuple[str, ...],
    **network: Any,
) -> None:
    """Compare predicted log10 K and log10 G with the labels of CRYSTALS, or within a prediction table.

    Errors are in log10 of GPa: mean absolute error, root of the mean squared error, R2 and Spearman's rank correlation.
    """
    from aiida_cgcnn_elastic.runner.files import write_json
    from aiida_cgcnn_elastic.runner.predictions import read_table
    from aiida_cgcnn_elastic.runner.settings import read_criteria

    if bool(predictions_file) == bool(model_names and crystals) or (predictions_file and (model_names or crystals)):
        raise RunFailed(Status.USAGE, 'give either --model and CRYSTALS, or --predictions')
    criteria = None if criteria_file is None else read_criteria(criteria_file)
    parts = None
    if predictions_file is not None:
        with run.stage('read'):
            table = read_table(predictions_file)
    else:
        table, parts = _predict(run, crystals, model_names, source, source_options, output, network)
    with run.stage('evaluate'):
        metrics = _metrics(table)
        if criteria is not None:
            metrics['screening'] = _screening(table, criteria)
    run.report |= {'n_crystals': table.num_rows, 'metrics': metrics}
    write_json(output, metrics)
    if parts is not None:
        parts.remove()


def _predict(
    run: Run,
    crystals: tuple[Path, ...],
    model_names: tuple[str, ...],
    source: str | None,
    source_options: tuple[str, ...],
    output: Path,
    network: dict[str, Any],
) -> tuple[pa.Table, Any]:
    """Return the prediction table of the crystals that have a label, and the parts it was made from."""
    from aiida_cgcnn_elastic.runner.inference import NetworkSettings, predict_in_parts
    from aiida_cgcnn_elastic.runner.labels import with_labels
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.predictions import prediction_table
    from aiida_cgcnn_elastic.runner.reading import parse_source_options, read_crystals, require_crystals

    options = parse_source_options(source_options)
    models = load_models(run, model_names)
    result = read_crystals(run, crystals, source, options)
    require_crystals(result)
    labelled = with_labels(run, result.table)
    predicted, parts = predict_in_parts(run, models, labelled, NetworkSettings(**network), output)
    return prediction_table(predicted, labelled.describe()), parts


def _metrics(table: pa.Table) -> dict[str, Any]:
    """Return the metrics of each target that has both predictions and labels.

    Raises
    ------
    RunFailed
        With `Status.TARGETS_MISSING` if none has.
    """
    import numpy as np

    from aiida_cgcnn_elastic.cgcnn.metrics import all_metrics
    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening.columns import float_column

    metrics: dict[str, Any] = {}
    for target in TARGETS:
        predicted, label = float_column(table, target), float_column(table, target + REFERENCE)
        if predicted is None or label is None:
            continue
        both = np.isfinite(predicted) & np.isfinite(label)
        if both.any():
            metrics[target] = all_metrics(label[both], predicted[both])
    if not metrics:
        columns = ' or '.join(target + REFERENCE for target in TARGETS)
        raise RunFailed(
            Status.TARGETS_MISSING, f'nothing to compare: no row has a prediction and its label ({columns})'
        )
    return {'targets': metrics}


def _screening(table: pa.Table, criteria: Criteria) -> dict[str, Any]:
    """Return how the candidates by prediction compare with the candidates by label.

    Only crystals with both predictions and both labels are compared.
    """
    import numpy as np

    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening import flag
    from aiida_cgcnn_elastic.screening.columns import float_column

    names = [name for target in TARGETS for name in (target, target + REFERENCE)]
    columns = [values for name in names if (values := float_column(table, name)) is not None]
    if len(columns) < len(names):
        raise RunFailed(Status.TARGETS_MISSING, f'to measure a screening the columns {", ".join(names)} are needed')
    complete = np.all(np.isfinite(columns), axis=0)
    compared = table.filter(complete)
    by_label = compared
    for target in TARGETS:
        by_label = by_label.set_column(by_label.column_names.index(target), target, by_label.column(target + REFERENCE))
    found, true = (flag(side, criteria).is_candidate for side in (compared, by_label))
    n_found, n_true, n_both = int(found.sum()), int(true.sum()), int((found & true).sum())
    return {
        'n_compared': compared.num_rows,
        'n_candidates': n_found,
        'n_candidates_by_label': n_true,
        'n_true_positives': n_both,
        'precision': n_both / n_found if n_found else None,
        'recall': n_both / n_true if n_true else None,
        'criteria': criteria.to_dict(),
    }
