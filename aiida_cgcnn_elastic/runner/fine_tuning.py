"""`cgcnn-elastic train --from`: a model fine-tuned on a few crystals, and whether that helped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status
from aiida_cgcnn_elastic.runner.training_steps import (
    check_machine,
    remove_empty,
    training_failures,
    training_graphs,
    training_record,
)

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.fine_tuning import FineTuning

DEFAULT_PROTOCOL = 'fine_tune'


def fine_tune_model(
    run: Run,
    crystals: tuple[Path, ...],
    output: Path,
    parent_name: str,
    protocol_name: str | None,
    seed: int,
    checkpoint: Path | None,
    source: str | None,
    source_options: tuple[str, ...],
    device: str,
) -> None:
    """Fine-tune a model on those of the crystals that have a modulus which it predicts.

    Writes what a training writes, and out_of_fold.parquet: what the parent and the models that did not see a crystal
    predict for it.
    """
    from aiida_cgcnn_elastic.cgcnn.fine_tuning import TUNED, fine_tune, remove_checkpoint
    from aiida_cgcnn_elastic.cgcnn.inference import needs_orientation
    from aiida_cgcnn_elastic.runner.features import FOLDER, reject_unknown, require_potential, training_features
    from aiida_cgcnn_elastic.runner.files import write_json
    from aiida_cgcnn_elastic.runner.labels import labels, with_labels
    from aiida_cgcnn_elastic.runner.models import load_models
    from aiida_cgcnn_elastic.runner.predictions import write_table
    from aiida_cgcnn_elastic.runner.reading import parse_source_options, read_crystals, require_crystals
    from aiida_cgcnn_elastic.runner.training_tables import out_of_fold_rows, prediction_rows
    from aiida_cgcnn_elastic.screening.evaluation import n_seen_in_training

    recipe = read_recipe(protocol_name or DEFAULT_PROTOCOL)
    run.report |= {'protocol': recipe.to_dict(), 'seed': seed}
    options = parse_source_options(source_options)
    (parent,) = load_models(run, [parent_name])
    if not any(isinstance(member, TUNED) for member in parent.members):
        raise RunFailed(Status.MODEL_UNUSABLE, f'the model {parent_name!r} has nothing that could be fine-tuned')
    if parent.potential is not None:
        require_potential([parent])
    result = read_crystals(run, crystals, source, options)
    if parent.potential is not None:
        result = reject_unknown(run, result)
    require_crystals(result)
    labelled = with_labels(run, result.table)
    graphs = training_graphs(run, labelled, parent.members[0].n_neighbors, needs_orientation([parent]))
    folder = checkpoint or output / 'checkpoint'
    threads = check_machine(run, device, folder)
    features = None
    if parent.potential is not None:
        features = training_features(run, labelled, folder / FOLDER, run.report['machine']['device'])
    with run.stage('train'), training_failures(run):
        tuned = fine_tune(
            parent,
            graphs,
            labels(labelled),
            recipe,
            seed=seed,
            features=features,
            checkpoint=folder,
            resume=run.options.resume,
            stop=run.stop,
            progress=run.progress.update,
            device=device,
            threads=threads,
            parent_record={'sha256': run.report['models'][0]['sha256']},
            record=training_record(result, labelled),
        )
    run.report |= {
        'n_crystals': len(labelled),
        'n_by_part': {'train': int((tuned.fold >= 0).sum())},
        'metrics': tuned.metrics,
        'fine_tuning': {target: parts['fine_tuning'] for target, parts in tuned.metrics.items()},
    }
    n_seen = n_seen_in_training(tuned.parent_novelty[tuned.fold >= 0])
    if n_seen is not None:
        run.report['n_seen_in_training'] = n_seen
    if n_seen:
        run.say(
            f'{n_seen} of {int((tuned.fold >= 0).sum())} crystals were in the training of the parent (novelty 0): its '
            'error before is too small, and the verdict too harsh'
        )
    for target, comparison in run.report['fine_tuning'].items():
        run.say(verdict_in_words(target, comparison))
    with run.stage('write'):
        output.mkdir(parents=True, exist_ok=True)
        tuned.model.save(output)
        write_json(output / 'history.json', tuned.history)
        parts = {'train': (tuned.fold >= 0).nonzero()[0]}
        write_table(output / 'predictions.parquet', prediction_rows(tuned.predictions, labelled, parts))
        write_table(output / 'out_of_fold.parquet', out_of_fold_rows(tuned.held_out, tuned.fold, labelled))
        remove_checkpoint(folder)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        remove_empty(folder)


def read_recipe(name: str) -> FineTuning:
    """Return the recipe of that name or JSON file.

    Raises
    ------
    RunFailed
        With `Status.SETTINGS_INVALID`.
    """
    from aiida_cgcnn_elastic.cgcnn.fine_tuning import FINE_TUNE, FineTuning
    from aiida_cgcnn_elastic.runner.settings import read_settings

    if name == FINE_TUNE.name:
        return FINE_TUNE
    path = Path(name)
    if not path.is_file():
        raise RunFailed(
            Status.SETTINGS_INVALID,
            f'no protocol {name!r} for fine-tuning: it is no file, and the only name is {FINE_TUNE.name}',
        )
    try:
        return FineTuning.from_dict(read_settings(path, 'protocol'))
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, f'the protocol in {path}: {error}') from error


def verdict_in_words(target: str, comparison: dict[str, Any]) -> str:
    """Return whether fine-tuning helped, as a sentence."""
    return (
        f'{target}: {comparison["verdict"]}; the mean absolute error of {comparison["n"]} held-out crystals went from '
        f'{comparison["mae_before"]:.4f} to {comparison["mae_after"]:.4f} (95 % interval of the difference: '
        f'{comparison["low"]:+.4f} to {comparison["high"]:+.4f})'
    )
