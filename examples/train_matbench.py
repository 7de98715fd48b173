#!/usr/bin/env python
"""Train a model of K and G on Matbench, as the study did, and compare with its errors.

    verdi run examples/train_matbench.py --test-fold 4
    verdi run examples/train_matbench.py --no-test --output FOLDER PATHS...

PATHS are matminer's files of matbench_log_gvrh and matbench_log_kvrh, or the folder that has both. Without, they are
taken from where matminer keeps its data sets; matminer downloads them if they are not there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from aiida_cgcnn_elastic.cli.inputs import ingest_builder
from aiida_cgcnn_elastic.cli.launch import DaemonNotRunningError, check_daemon, launch
from aiida_cgcnn_elastic.cli.releases import find_matbench, get_matbench
from aiida_cgcnn_elastic.cli.report import failure_text, metrics_table, reuse_text, stages_table
from aiida_cgcnn_elastic.cli.setup import load_default_profile, setup_localhost
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain

# Liu et al. 2025, tables S1 and S2: mean absolute errors of CGCNN in log10(GPa), on the study's own random parts.
STUDY = {
    'log10_g_vrh': {'train': 0.0773, 'validation': 0.0957, 'test': 0.0981},
    'log10_k_vrh': {'train': 0.0575, 'validation': 0.0724, 'test': 0.0790},
}


@click.command(help=__doc__)
@click.argument('paths', nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option('--protocol', default='paper', show_default=True, help='Protocol of the training.')
@click.option('--test-fold', type=click.IntRange(0, 4), help="Matbench's fold to test on; a random tenth if not given.")
@click.option('--no-test', is_flag=True, help='Keep no crystal for testing, as for the shipped models.')
@click.option('--seed', default=0, show_default=True, help='Seed of the split, the weights and the batches.')
@click.option('--output', type=click.Path(file_okay=False, path_type=Path), help='Write the model to this folder.')
@click.option('--daemon', is_flag=True, help='Submit to the daemon instead of running here.')
def main(
    paths: tuple[Path, ...],
    protocol: str,
    test_fold: int | None,
    no_test: bool,
    seed: int,
    output: Path | None,
    daemon: bool,
) -> None:
    """Train a model and print its errors."""
    if no_test and test_fold is not None:
        sys.exit('Error: --no-test and --test-fold exclude each other.')
    # 1. A profile, the computer `localhost`, the code `cgcnn-elastic`, and caching.
    profile = load_default_profile()
    if daemon:
        check_daemon()
    code = setup_localhost().code
    print(f'Profile {profile.name}, code {code.full_label}.')

    # 2. The crystals: G and K are in two files with the same crystals, joined row by row.
    if not paths:
        files = get_matbench()
    elif len(paths) == 1 and paths[0].is_dir():
        files = find_matbench(paths[0])
    else:
        files = list(paths)
    print(f'Data: {", ".join(str(path) for path in files)}.')
    start = time.perf_counter()
    ingest = launch(ingest_builder(code, files, source='matminer'), daemon=daemon)
    if not ingest.is_finished_ok:
        sys.exit(failure_text(ingest))
    stages = [('Reading crystals', time.perf_counter() - start, reuse_text(ingest))]
    crystals = ingest.outputs.crystals
    print(f'Crystals: {crystals.n_crystals:,} in node {crystals.pk}.')

    # 3. The training: a job that goes on from its checkpoint if it is stopped.
    split = None
    if test_fold is not None:
        split = {'method': 'column', 'column': 'matbench_fold', 'test': [test_fold], 'validation': 0.1}
    elif no_test:
        split = {'method': 'fraction', 'validation': 0.1, 'test': 0}
    builder = TrainWorkChain.get_builder_from_protocol(code, crystals, protocol, split=split, seed=seed)
    start = time.perf_counter()
    training = launch(builder, daemon=daemon)
    if not training.is_finished_ok:
        sys.exit(failure_text(training))
    stages.append(('Training', time.perf_counter() - start, reuse_text(training)))

    # 4. The model and its errors.
    model = training.outputs.model
    print(f'\nModel: node {model.pk}, made by {training.process_label} {training.pk}.\n')
    print(metrics_table(training.outputs.metrics.get_dict(), STUDY))
    print('\nWall time:')
    print(stages_table(stages))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        model.base.repository.copy_tree(output)
        print(f'\nWritten to {output}: {", ".join(sorted(model.FILENAMES))}.')
    print(f'\nScreen with it: verdi run examples/screen_gnome.py --model {model.pk}')


if __name__ == '__main__':
    try:
        main()
    except (DaemonNotRunningError, FileNotFoundError, ValueError) as error:
        sys.exit(f'Error: {error}')
