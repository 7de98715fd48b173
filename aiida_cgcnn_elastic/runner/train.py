"""`cgcnn-elastic train`: a model from crystals with known moduli."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_cgcnn_elastic.runner.fine_tuning import fine_tune_model
from aiida_cgcnn_elastic.runner.options import FILE, device_option, runs, source_options, with_options
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import STATUSES, Status, listed
from aiida_cgcnn_elastic.runner.training_steps import (
    check_machine,
    remove_empty,
    training_failures,
    training_graphs,
    training_record,
)

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs
    from aiida_cgcnn_elastic.cgcnn.splits import Split
    from aiida_cgcnn_elastic.cgcnn.training import Protocol, TrainingResult
    from aiida_cgcnn_elastic.crystals import CrystalTable


@click.command('train', epilog=listed(STATUSES['train']))
@click.argument('crystals', nargs=-1, required=True, type=FILE)
@click.option('--output', type=FILE, required=True, help='Folder for the model, history.json and predictions.parquet.')
@click.option(
    '--protocol',
    'protocol_name',
    help='A protocol by name, or a JSON file of one.  [default: paper; with --from: fine_tune]',
)
@click.option(
    '--from',
    'parent_name',
    metavar='NAME_OR_DIR',
    help='Fine-tune this model, shipped or in a folder, instead of training one from nothing.',
)
@click.option(
    '--split',
    'split_file',
    type=FILE,
    help='JSON: {"method": "fraction", "validation": 0.1, "test": 0.1} (the default), or {"method": "column", '
    '"column": NAME, "test": [VALUES], "validation": FRACTION or [VALUES], "train": [VALUES] or null}.',
)
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Of weights, batches and split.')
@click.option('--checkpoint', type=FILE, help='Folder for the checkpoint.  [default: OUTPUT/checkpoint]')
@with_options(source_options)
@with_options([device_option])
@runs('train')
def train(
    run: Run,
    crystals: tuple[Path, ...],
    output: Path,
    protocol_name: str | None,
    parent_name: str | None,
    split_file: Path | None,
    seed: int,
    checkpoint: Path | None,
    source: str | None,
    source_options: tuple[str, ...],
    device: str,
) -> None:
    """Train on those of CRYSTALS that have log10_k_vrh or log10_g_vrh.

    Where the protocol has networks taught how crystals respond to strain (`responses_taught`, as `accurate` has), those
    without either modulus are learned from too: give files of such CRYSTALS as well.

    Writes model.safetensors, model.json, history.json and predictions.parquet (material_id, part, target, true,
    predicted) in OUTPUT; of a cross-fitted blend also out_of_fold.parquet, the predictions by members that did not see
    the crystal. The checkpoint is removed when all is written.

    With --from all of the CRYSTALS, some tens, are learned from, and cross-validation tells whether that helped: the
    report has it under `fine_tuning`, out_of_fold.parquet crystal by crystal.
    """
    if parent_name is not None:
        if split_file is not None:
            raise RunFailed(
                Status.USAGE, 'fine-tuning learns from all crystals and is judged by cross-validation: no --split'
            )
        given = (parent_name, protocol_name, seed, checkpoint, source, source_options, device)
        fine_tune_model(run, crystals, output, *given)
        return

    import numpy as np

    from aiida_cgcnn_elastic.cgcnn.blend import BlendResult
    from aiida_cgcnn_elastic.runner.features import reject_unknown, require_potential
    from aiida_cgcnn_elastic.runner.files import write_json
    from aiida_cgcnn_elastic.runner.labels import with_labels, with_others
    from aiida_cgcnn_elastic.runner.predictions import write_table
    from aiida_cgcnn_elastic.runner.reading import parse_source_options, read_crystals, require_crystals
    from aiida_cgcnn_elastic.runner.settings import read_settings
    from aiida_cgcnn_elastic.runner.splitting import DEFAULT_SPLIT, check_split, split_crystals
    from aiida_cgcnn_elastic.runner.training_tables import out_of_fold_rows, prediction_rows

    protocol = _protocol(protocol_name or 'paper')
    spec = check_split(DEFAULT_SPLIT if split_file is None else read_settings(split_file, 'split'))
    run.report |= {'protocol': protocol.to_dict(), 'split': spec, 'seed': seed}
    if protocol.needs_potential:
        require_potential()
    result = read_crystals(run, crystals, source, parse_source_options(source_options))
    if protocol.sees_potential:
        result = reject_unknown(run, result)
    require_crystals(result)
    labelled = with_labels(run, result.table)
    split = split_crystals(spec, labelled, seed)
    run.report |= {'n_crystals': len(labelled), 'n_by_part': {part: len(rows) for part, rows in split.items()}}
    learned = labelled
    if protocol.responses_taught is not None:
        learned = with_others(labelled, result.table)
        split = {**split, 'train': np.append(split['train'], np.arange(len(labelled), len(learned)))}

    graphs = training_graphs(run, learned, protocol.n_neighbors, protocol.orientation)
    folder = checkpoint or output / 'checkpoint'
    trained = _train(
        run, graphs, learned, split, protocol, seed, device, folder, training_record(result, labelled, spec)
    )
    run.report['metrics'] = trained.metrics
    with run.stage('write'):
        output.mkdir(parents=True, exist_ok=True)
        trained.model.save(output)
        write_json(output / 'history.json', trained.history)
        write_table(output / 'predictions.parquet', prediction_rows(trained.predictions, learned, split))
        if isinstance(trained, BlendResult):
            rows = out_of_fold_rows(trained.out_of_fold, trained.fold, learned)
            write_table(output / 'out_of_fold.parquet', rows)
        _remove_checkpoint(folder, protocol)


def _protocol(name: str) -> Protocol:
    """Return the protocol of that name or JSON file."""
    from aiida_cgcnn_elastic.cgcnn.training import PROTOCOLS, Protocol
    from aiida_cgcnn_elastic.runner.settings import read_settings

    if name in PROTOCOLS:
        return Protocol.from_name(name)
    path = Path(name)
    if not path.is_file():
        if name == 'fine_tune':
            raise RunFailed(Status.SETTINGS_INVALID, f'the protocol {name} needs a model to start from: --from')
        known = ', '.join(PROTOCOLS)
        raise RunFailed(Status.SETTINGS_INVALID, f'no protocol {name!r}: it is no file, and the names are {known}')
    try:
        return Protocol.from_dict(read_settings(path, 'protocol'))
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, f'the protocol in {path}: {error}') from error


def _train(
    run: Run,
    graphs: CrystalGraphs,
    crystals: CrystalTable,
    split: Split,
    protocol: Protocol,
    seed: int,
    device: str,
    folder: Path,
    record: dict[str, Any],
) -> TrainingResult:
    """Train by the protocol."""
    from aiida_cgcnn_elastic.runner.features import FOLDER, training_features
    from aiida_cgcnn_elastic.runner.labels import labels

    threads = check_machine(run, device, folder)
    features = {}
    if protocol.needs_potential:
        features = {'features': training_features(run, crystals, folder / FOLDER, run.report['machine']['device'])}
    with run.stage('train'), training_failures(run):
        return _trainer(protocol)(
            graphs,
            labels(crystals),
            split,
            protocol,
            seed=seed,
            checkpoint=folder,
            resume=run.options.resume,
            stop=run.stop,
            progress=run.progress.update,
            device=device,
            threads=threads,
            record=record,
            **features,
        )


def _trainer(protocol: Protocol) -> Callable[..., TrainingResult]:
    """Return what trains by the protocol, given what is known of the elements."""
    from aiida_cgcnn_elastic.cgcnn.training import train as train_network
    from aiida_cgcnn_elastic.crystals.elements import element_features, more_element_properties

    of_elements = element_features()
    if protocol.folds is None:
        return partial(train_network, element_features=of_elements)

    from aiida_cgcnn_elastic.baselines.features import property_table
    from aiida_cgcnn_elastic.cgcnn.blend import train_blend

    return partial(train_blend, element_features=of_elements, element_table=property_table(more_element_properties()))


def _remove_checkpoint(folder: Path, protocol: Protocol) -> None:
    """Remove the checkpoint of a training that is complete, and its folder where nothing else is in it."""
    from aiida_cgcnn_elastic.cgcnn.training import CHECKPOINT_FILE

    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    if protocol.folds is not None:
        from aiida_cgcnn_elastic.cgcnn.blend_training import remove_checkpoint

        remove_checkpoint(folder, protocol.folds)
    if protocol.needs_potential:
        from aiida_cgcnn_elastic.runner.features import FOLDER

        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    remove_empty(folder)
