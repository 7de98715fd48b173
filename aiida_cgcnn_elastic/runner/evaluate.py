"""`cgcnn-elastic evaluate`: how well predictions agree with known moduli."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_cgcnn_elastic.runner.options import FILE, network_options, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import STATUSES, Status, listed

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.screening import Criteria

SEEN_BY_CHANCE = 0.1
"""A smaller part of the crystals is not called seen in the training: where a model was calibrated with as few as 30
crystals, some per cent of those that it has not seen have novelty 0 too."""

IDS_SHOWN = 3


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
    help='JSON; measure how well these criteria find by predictions what they find by labels.  [default: the '
    'default thresholds, where both moduli are known]',
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

    Errors are in log10 of GPa: mean absolute error, root of the mean squared error, R2 and Spearman's rank correlation;
    where the model is calibrated, also the coverage of the 90 % intervals and their mean width. Of a screening:
    precision and recall of the candidates, the recall at a precision of 0.80 over all thresholds on a score, and how
    many times more true ones than at random are among the 1 % with the largest scores. All also by crystal system and
    by family of elements. Where CRYSTALS have no space_group_number it is found from their atoms; a prediction table
    must have it. The most important numbers are printed.

    Crystals that a model was trained on, which have a novelty of 0, are counted: errors of these are smaller than those
    of others.
    """
    from aiida_cgcnn_elastic.runner.files import write_json
    from aiida_cgcnn_elastic.runner.predictions import read_table
    from aiida_cgcnn_elastic.runner.settings import read_criteria
    from aiida_cgcnn_elastic.screening import DEFAULT

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
        if criteria is None and (both := _complete(table)) is not None and both.num_rows:
            criteria = DEFAULT.thresholds()
        if criteria is not None:
            metrics['screening'] = _screening(table, criteria)
        metrics |= _by_group(table, criteria)
        compared = _compared(table)
        counts = _n_without_symmetry(run, compared) | _n_seen_in_training(run, compared)
    run.report |= {'n_crystals': table.num_rows, **counts, 'metrics': metrics | counts}
    write_json(output, run.report['metrics'])
    if parts is not None:
        parts.remove()
    click.echo(_summary(metrics))


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
    import numpy as np

    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile
    from aiida_cgcnn_elastic.runner.features import needs_potential, reject_unknown, require_potential
    from aiida_cgcnn_elastic.runner.inference import NetworkSettings, predict_in_parts
    from aiida_cgcnn_elastic.runner.labels import with_labels
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.predictions import prediction_table
    from aiida_cgcnn_elastic.runner.reading import parse_source_options, read_crystals, require_crystals

    options = parse_source_options(source_options)
    models = load_models(run, model_names)
    result = read_crystals(run, crystals, source, options)
    if needs_potential(models):
        require_potential(models)
        result = reject_unknown(run, result)
    require_crystals(result)
    labelled = with_labels(run, result.table)
    # What has labels is little beside what is predicted elsewhere, and may stay in memory.
    content = io.BytesIO()
    labelled.write(content)
    with CrystalFile(content) as file:
        parts = predict_in_parts(run, models, file, labelled.sha256(), NetworkSettings(**network), output)
    made = list(parts)
    predicted = {name: np.concatenate([part[name] for part in made]) for name in made[0]}
    return prediction_table(predicted, _with_space_groups(run, labelled).describe()), parts


def _with_space_groups(run: Run, crystals: CrystalTable) -> CrystalTable:
    """Return the crystals with the space groups of those that have none found, null where that fails."""
    import numpy as np
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals.symmetry import find_space_groups

    given = crystals.column('space_group_number')
    numbers = np.full(len(crystals), np.nan) if given is None else given.astype(np.float64)
    rows = np.flatnonzero(np.isnan(numbers))
    if not len(rows):
        return crystals

    def progress(done: int, total: int) -> None:
        run.progress.update(done, total)
        if done < total:
            run.stop_if_asked('all crystals are predicted and saved; continue with --resume')

    with run.stage('symmetry', len(rows)):
        numbers[rows] = find_space_groups(crystals.select(rows).arrays(), processes=run.threads, progress=progress)
    return crystals.with_columns({'space_group_number': pa.array(numbers, pa.float64(), from_pandas=True)})


def _metrics(table: pa.Table) -> dict[str, Any]:
    """Return the metrics of each target with predictions and labels, and of its intervals where they are known.

    Raises
    ------
    RunFailed
        With `Status.TARGETS_MISSING` if none has.
    """
    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS

    metrics = _target_metrics(table)
    if not metrics:
        columns = ' or '.join(target + REFERENCE for target in TARGETS)
        raise RunFailed(
            Status.TARGETS_MISSING, f'nothing to compare: no row has a prediction and its label ({columns})'
        )
    return {'targets': metrics}


def _target_metrics(table: pa.Table) -> dict[str, Any]:
    """Return the metrics of each target that has both predictions and labels; empty where none has."""
    import numpy as np

    from aiida_cgcnn_elastic.cgcnn.metrics import all_metrics
    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening.columns import float_column
    from aiida_cgcnn_elastic.screening.evaluation import interval_metrics

    metrics: dict[str, Any] = {}
    for target in TARGETS:
        predicted, label = float_column(table, target), float_column(table, target + REFERENCE)
        if predicted is None or label is None:
            continue
        both = np.isfinite(predicted) & np.isfinite(label)
        if not both.any():
            continue
        metrics[target] = all_metrics(label[both], predicted[both])
        low, high = (float_column(table, f'{target}_{end}') for end in ('low', 'high'))
        if low is not None and high is not None and np.isfinite([low[both], high[both]]).all():
            metrics[target] |= interval_metrics(label[both], low[both], high[both])
    return metrics


def _compared(table: pa.Table) -> pa.Table:
    """Return the rows that have a prediction and its label, of either target."""
    import numpy as np

    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening.columns import float_column

    has_both = np.zeros(table.num_rows, dtype=bool)
    for target in TARGETS:
        predicted, label = float_column(table, target), float_column(table, target + REFERENCE)
        if predicted is not None and label is not None:
            has_both |= np.isfinite(predicted) & np.isfinite(label)
    return table.filter(has_both)


def _n_without_symmetry(run: Run, compared: pa.Table) -> dict[str, int]:
    """Return how many crystals are in no crystal system, and say which; nothing where the table has no space groups."""
    import numpy as np

    from aiida_cgcnn_elastic.screening.columns import arrow_column, float_column
    from aiida_cgcnn_elastic.screening.evaluation import crystal_systems

    space_groups = float_column(compared, 'space_group_number')
    if space_groups is None:
        run.say(
            'by_crystal_system needs the column space_group_number, which the predictions lack; evaluate the crystals '
            'themselves (--model and CRYSTALS), and it is found'
        )
        return {}
    has_none = np.array([system is None for system in crystal_systems(space_groups)], dtype=bool)
    n_without = int(has_none.sum())
    if n_without:
        ids = arrow_column(compared.filter(has_none).slice(0, IDS_SHOWN), 'material_id')
        more = ', ...' if n_without > IDS_SHOWN else ''
        shown = '' if ids is None else f' ({", ".join(map(str, ids.to_pylist()))}{more})'
        run.say(
            f'{n_without} of {compared.num_rows} crystals{shown} count in no crystal system: no space_group_number '
            'from 1 to 230 is given or found'
        )
    return {'n_without_symmetry': n_without}


def _n_seen_in_training(run: Run, compared: pa.Table) -> dict[str, int]:
    """Return how many crystals the model was trained on, and say so of many; nothing where novelty is not known."""
    from aiida_cgcnn_elastic.screening.columns import float_column
    from aiida_cgcnn_elastic.screening.evaluation import n_seen_in_training

    novelty = float_column(compared, 'novelty')
    n_seen = None if novelty is None else n_seen_in_training(novelty)
    if n_seen is None:
        return {}
    if n_seen > SEEN_BY_CHANCE * compared.num_rows:
        run.say(
            f'{n_seen} of {compared.num_rows} crystals were in the training of the model (novelty 0): the errors '
            'flatter it; evaluate crystals that it has not seen'
        )
    return {'n_seen_in_training': n_seen}


def _groups(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the group of each crystal by division; one that the table says nothing of is absent."""
    from aiida_cgcnn_elastic.screening.columns import arrow_column, float_column
    from aiida_cgcnn_elastic.screening.evaluation import crystal_systems, element_families

    divisions = {}
    space_groups, elements = float_column(table, 'space_group_number'), arrow_column(table, 'elements')
    if space_groups is not None:
        divisions['by_crystal_system'] = crystal_systems(space_groups)
    if elements is not None:
        divisions['by_element_family'] = element_families(elements.to_pylist())
    return divisions


def _by_group(table: pa.Table, criteria: Criteria | None) -> dict[str, Any]:
    """Return the same measures for each crystal system and family of elements, where they are known."""
    measures: dict[str, Any] = {}
    for division, group_of in _groups(table).items():
        names = sorted({name for name in group_of if name is not None})
        parts = {name: table.filter(group_of == name) for name in names}
        measures[division] = {
            name: {'targets': metrics, **({} if criteria is None else {'screening': _screening(part, criteria)})}
            for name, part in parts.items()
            if (metrics := _target_metrics(part))
        }
    return measures


def _complete(table: pa.Table) -> pa.Table | None:
    """Return the rows with both predictions and both labels; None where a column is absent."""
    import numpy as np

    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening.columns import float_column

    names = [name for target in TARGETS for name in (target, target + REFERENCE)]
    columns = [values for name in names if (values := float_column(table, name)) is not None]
    return None if len(columns) < len(names) else table.filter(np.all(np.isfinite(columns), axis=0))


def _screening(table: pa.Table, criteria: Criteria) -> dict[str, Any]:
    """Return how the candidates by prediction compare with the candidates by label, and what rankings find.

    Only crystals with both predictions and both labels are compared.
    """
    import dataclasses

    from aiida_cgcnn_elastic.runner.predictions import REFERENCE, TARGETS
    from aiida_cgcnn_elastic.screening import candidate_probability, flag
    from aiida_cgcnn_elastic.screening.evaluation import precision_and_recall

    compared = _complete(table)
    if compared is None:
        names = ', '.join(name for target in TARGETS for name in (target, target + REFERENCE))
        raise RunFailed(Status.TARGETS_MISSING, f'to measure a screening the columns {names} are needed')
    by_label = compared
    for target in TARGETS:
        by_label = by_label.set_column(by_label.column_names.index(target), target, by_label.column(target + REFERENCE))
    # A label is certain, whatever a model and a potential make of the crystal.
    certain = dataclasses.replace(criteria, min_p_candidate=None, max_novelty=None, max_residual_stress=None)
    found, true = flag(compared, criteria), flag(by_label, certain)
    measures: dict[str, Any] = {
        'n_compared': compared.num_rows,
        **precision_and_recall(found.is_candidate, true.is_candidate),
        'criteria': criteria.to_dict(),
    }
    if compared.num_rows and criteria.min_hardness is not None:
        is_hard = true.hardness >= criteria.min_hardness
        hardness_only = dataclasses.replace(criteria, min_log10_k_vrh=None, min_log10_g_vrh=None)
        scores = {'hardness': found.hardness, 'p_hard': candidate_probability(compared, hardness_only)}
        measures['hard'] = {'n_by_label': int(is_hard.sum()), **_rankings(scores, is_hard)}
    if compared.num_rows and criteria.has_thresholds:
        passes = flag(by_label, certain.thresholds_on_moduli()).is_candidate
        measures['passing'] = {
            'n_by_label': int(passes.sum()),
            **_rankings({'p_candidate': found.p_candidate}, passes),
        }
    return measures


def _rankings(scores: dict[str, NDArray[Any]], true: NDArray[Any]) -> dict[str, Any]:
    """Return what rankings by scores find; one that is not known for any crystal is left out."""
    import numpy as np

    from aiida_cgcnn_elastic.screening.evaluation import ranking_metrics

    return {name: ranking_metrics(values, true) for name, values in scores.items() if np.isfinite(values).any()}


def _summary(metrics: dict[str, Any]) -> str:
    """Return the most important of the metrics as a table to print, a dash for what is not known."""
    names = {'mae': 'MAE', 'rmse': 'RMSE', 'r2': 'R2', 'spearman': 'Spearman', 'coverage': 'in 90 % interval'}
    lines = [f'{"log10(GPa)":<11}  {"n":>7}  ' + '  '.join(f'{title:>8}' for title in names.values())]
    for target, values in metrics['targets'].items():
        cells = (f'{_digits(values.get(name)):>{max(8, len(title))}}' for name, title in names.items())
        lines.append(f'{target:<11}  {values["n"]:>7,}  ' + '  '.join(cells))
    screening = metrics.get('screening')
    if screening is not None:
        lines.append(
            f'candidates of {screening["n_compared"]:,}: {screening["n_candidates_by_label"]:,} by label, '
            f'{screening["n_candidates"]:,} by prediction, precision {_digits(screening["precision"])}, '
            f'recall {_digits(screening["recall"])}'
        )
        for which in ('hard', 'passing'):
            rankings = {name: of for name, of in screening.get(which, {}).items() if name != 'n_by_label'}
            for name, of in rankings.items():
                found = of['at_precision']
                lines.append(
                    f'recall at precision {found["wanted"]:.2f} of the {screening[which]["n_by_label"]:,} {which}, '
                    f'by {name}: {_digits(found["recall"])}'
                )
    return '\n'.join(lines)


def _digits(value: float | None) -> str:
    return '-' if value is None else f'{value:.4f}'
