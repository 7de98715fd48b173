"""`cgcnn-elastic calibrate`: teach a blend what its errors are, from its out-of-fold predictions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_cgcnn_elastic.runner.options import FILE, device_option, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import STATUSES, Status, listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.potentials import PotentialFeatures

    Columns = dict[str, dict[str, NDArray[np.float64]]]


@click.command('calibrate', epilog=listed(STATUSES['calibrate']))
@click.argument('crystals', nargs=-1, required=True, type=FILE)
@click.option('--model', 'model_name', required=True, metavar='NAME_OR_DIR', help='The blend.')
@click.option('--out-of-fold', type=FILE, required=True, help='The out_of_fold.parquet of its training.')
@click.option('--output', type=FILE, required=True, help='Folder for the calibrated model; may be that of the model.')
@with_options(source_options)
@with_options([device_option])
@runs('calibrate')
def calibrate(
    run: Run,
    crystals: tuple[Path, ...],
    model_name: str,
    out_of_fold: Path,
    output: Path,
    source: str | None,
    source_options: tuple[str, ...],
    device: str,
) -> None:
    """Calibrate a blend that was trained before trainings did so, or anew, on the CRYSTALS of its training.

    Its predictions stay as they are.
    """
    import numpy as np

    from aiida_cgcnn_elastic.cgcnn.calibrate import calibrate_blend
    from aiida_cgcnn_elastic.cgcnn.inference import choose_device, needs_orientation
    from aiida_cgcnn_elastic.cgcnn.model import Member
    from aiida_cgcnn_elastic.runner.features import reject_unknown, require_potential, training_features
    from aiida_cgcnn_elastic.runner.labels import labels, with_labels
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.reading import parse_source_options, read_crystals, require_crystals
    from aiida_cgcnn_elastic.runner.training_steps import training_graphs

    try:
        chosen = str(choose_device(device))
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, str(error)) from error
    (model,) = load_models(run, [model_name])
    # Readouts need features too, but nothing is asked of them here.
    needs_features = any(isinstance(member, Member) and member.potential is not None for member in model.members)
    if needs_features:
        require_potential([model])
    result = read_crystals(run, crystals, source, parse_source_options(source_options))
    if needs_features:
        result = reject_unknown(run, result)
    require_crystals(result)
    labelled = with_labels(run, result.table)
    run.report['n_crystals'] = len(labelled)
    fold, predictions = _read_out_of_fold(out_of_fold, labelled)
    held_out = np.flatnonzero(fold >= 0)
    labelled, fold = labelled.select(held_out), fold[held_out]
    predictions = {
        target: {kind: values[held_out] for kind, values in kinds.items()} for target, kinds in predictions.items()
    }
    graphs = training_graphs(run, labelled, model.members[0].n_neighbors, needs_orientation([model]))
    targets = {name: values for name, values in labels(labelled).items() if name in predictions}
    made = output / 'calibration'
    features = training_features(run, labelled, made, chosen) if needs_features else None
    with run.stage('calibrate'):
        _require_own(model, graphs, features, fold, predictions, out_of_fold)
        try:
            model.calibration = calibrate_blend(
                model,
                graphs,
                targets,
                fold,
                predictions,
                device=device,
                threads=run.options.threads or 1,
                features=features,
            )
        except ValueError as error:
            raise RunFailed(Status.MODEL_UNUSABLE, f'the model {model_name!r} cannot be calibrated: {error}') from error
    model.card['training'] = [
        {**record, 'calibration': 'on the out-of-fold predictions'} for record in model.card.get('training', [])
    ]
    with run.stage('write'):
        model.save(output)
        if needs_features:
            shutil.rmtree(made)
    run.report['n_held_out'] = len(labelled)


def _require_own(
    model: ElasticModel,
    graphs: CrystalGraphs,
    features: PotentialFeatures | None,
    fold: NDArray[np.int64],
    predictions: Columns,
    path: Path,
) -> None:
    """Raise RunFailed unless the first network predicts for the first fold what is written there.

    Raises
    ------
    RunFailed
        With `Status.MODEL_UNUSABLE`.
    """
    import dataclasses

    import numpy as np

    from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel

    rows = np.flatnonzero(fold == 0)
    alone = ElasticModel([dataclasses.replace(model.members[0], weights=None)], {})
    own = None if features is None else features.select(rows)
    found = predict_graphs([alone], graphs.select(rows), features=own, device='cpu')
    for target, kinds in predictions.items():
        written = kinds.get('network', np.full(len(fold), np.nan))[rows]
        known = np.isfinite(written)
        if not known.any() or not np.allclose(found.get(target, written * np.nan)[known], written[known], atol=1e-3):
            raise RunFailed(Status.MODEL_UNUSABLE, f'{path} is not of the training of this model, or that is no blend')


def _read_out_of_fold(path: Path, crystals: CrystalTable) -> tuple[NDArray[np.int64], Columns]:
    """Return the fold of every crystal and its out-of-fold predictions, NaN where there are none.

    Raises
    ------
    RunFailed
        With `Status.INPUT_UNREADABLE` if the file is something else, `Status.TARGETS_MISSING` if it is of crystals or
        labels that are not given.
    """
    import numpy as np

    from aiida_cgcnn_elastic.runner.predictions import read_table

    table = read_table(path)
    first = ('material_id', 'fold', 'target', 'true')
    kinds = [name for name in table.column_names if name not in first]
    if missing := [name for name in (*first, 'blend') if name not in table.column_names]:
        raise RunFailed(Status.INPUT_UNREADABLE, f'{path} lacks the columns {missing} of out-of-fold predictions')
    frame = table.to_pandas()
    row_of = {material_id: row for row, material_id in enumerate(crystals.material_ids)}
    if unknown := sorted(set(frame['material_id']) - set(row_of)):
        raise RunFailed(
            Status.TARGETS_MISSING,
            f'{len(unknown)} crystals of {path}, such as {unknown[0]}, are not among those given, or have no label',
        )
    fold = np.full(len(crystals), -1, dtype=np.int64)
    predictions: Columns = {}
    for target, part in frame.groupby('target'):
        rows = part['material_id'].map(row_of).to_numpy()
        known = crystals.column(target)
        if known is None or not np.allclose(known[rows], part['true'].to_numpy()):
            raise RunFailed(Status.TARGETS_MISSING, f'{target} of the crystals is not what {path} was made from')
        fold[rows] = part['fold'].to_numpy()
        predictions[str(target)] = {}
        for kind in kinds:
            column = np.full(len(crystals), np.nan)
            column[rows] = part[kind].to_numpy()
            predictions[str(target)][kind] = column
    return fold, predictions
