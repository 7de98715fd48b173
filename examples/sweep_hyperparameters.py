#!/usr/bin/env python
"""Train with the study's grid of hyperparameters and draw its figures S1, S2 and S3.

    verdi run examples/sweep_hyperparameters.py PATHS...
    verdi run examples/sweep_hyperparameters.py --small PATHS...

PATHS are matminer's files of matbench_log_gvrh and matbench_log_kvrh, or the folder that has both. Without, they are
taken from where matminer keeps its data sets; matminer downloads them if they are not there.

The study's grid takes some hours on two cores, the small one some minutes. Run again, it reuses the trainings that
finished, also after it was interrupted.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from aiida import orm
from aiida.engine import calcfunction

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.inputs import ingest_builder
from aiida_cgcnn_elastic.cli.launch import DaemonNotRunningError, check_daemon, launch
from aiida_cgcnn_elastic.cli.releases import find_matbench, get_matbench
from aiida_cgcnn_elastic.cli.report import failure_text
from aiida_cgcnn_elastic.cli.setup import load_default_profile, setup_localhost
from aiida_cgcnn_elastic.cli.sweep_commands import members_table
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.figures import heat_maps, learning_curves, parameter_effects
from aiida_cgcnn_elastic.workflows.sweep import SweepWorkChain

# Of the study, Liu et al. 2025.
RATE_OF_HEAT_MAPS = 1e-3

SMALL_GRID = {'n_convolutions': [1, 3], 'n_hidden': [1, 2], 'learning_rate': [1e-3, 1e-2]}
SMALL_EPOCHS, SMALL_CURVE_EPOCHS, SMALL_CRYSTALS = 6, 20, 1500
# With the study's 256, so few crystals are a few steps an epoch.
SMALL_BATCH_SIZE = 64


@calcfunction
def choose_crystals(crystals: CrystalSetData, number: orm.Int, seed: orm.Int) -> CrystalSetData:
    """Return so many crystals of a set, chosen at random."""
    import numpy as np

    table = crystals.get_table()
    rows = np.random.default_rng(seed.value).permutation(len(table))[: number.value]
    return CrystalSetData.from_table(table.select(np.sort(rows)), crystals.origin)


@click.command(help=__doc__)
@click.argument('paths', nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option('--small', is_flag=True, help='A grid of 8 short trainings on 1,500 crystals, to see how it works.')
@click.option('--crystals', 'n_crystals', type=click.IntRange(min=10), help='Only so many crystals, chosen at random.')
@click.option(
    '--epochs', type=click.IntRange(min=1), help="Epochs of the grid's trainings; the study's 30 if not given."
)
@click.option('--curve-epochs', type=click.IntRange(min=1), help='Epochs of the learning curves; 100 if not given.')
@click.option(
    '--learning-rate',
    'rates',
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    help="Only the part of the grid with these; the study's heat maps are of 0.001, a third of all.",
)
@click.option('--seed', default=0, show_default=True, help='Seed of the choice of crystals, the split and the weights.')
@click.option('--max-concurrent', type=click.IntRange(min=1), help='Trainings side by side; one a core if not given.')
@click.option(
    '--output',
    type=click.Path(file_okay=False, path_type=Path),
    default=Path('sweep'),
    show_default=True,
    help='Folder for the figures and tables.',
)
@click.option('--daemon', is_flag=True, help='Submit to the daemon instead of running here.')
def main(
    paths: tuple[Path, ...],
    small: bool,
    n_crystals: int | None,
    epochs: int | None,
    curve_epochs: int | None,
    rates: tuple[float, ...],
    seed: int,
    max_concurrent: int | None,
    output: Path,
    daemon: bool,
) -> None:
    """Run two sweeps and draw three figures."""
    grid = SMALL_GRID if small else SweepWorkChain.get_protocol_inputs('study')['grid']
    if rates:
        grid = {**grid, 'learning_rate': list(rates)}
    n_points = math.prod(len(values) for values in grid.values())
    if small:
        n_crystals = n_crystals or SMALL_CRYSTALS
        epochs, curve_epochs = epochs or SMALL_EPOCHS, curve_epochs or SMALL_CURVE_EPOCHS

    # 1. A profile, the computer `localhost`, the code `cgcnn-elastic`, and caching.
    profile = load_default_profile()
    if daemon:
        check_daemon()
    code = setup_localhost().code
    print(f'Profile {profile.name}, code {code.full_label}.')

    # 2. The crystals: G and K are in two files with the same crystals, joined row by row.
    crystals = read_crystals(code, paths, daemon)
    if n_crystals is not None and n_crystals < crystals.n_crystals:
        crystals = choose_crystals(crystals, orm.Int(n_crystals), orm.Int(seed))
    print(f'Crystals: {crystals.n_crystals:,} in node {crystals.pk}.')

    # 3. The sweeps: a training for each point, so many side by side, each on one core.
    shared: dict[str, Any] = {'max_concurrent': max_concurrent or len(os.sched_getaffinity(0))}
    recipe = {**({'epochs': epochs} if epochs else {}), **({'batch_size': SMALL_BATCH_SIZE} if small else {})}
    if recipe:
        shared['member'] = {'train': {'parameters': {'protocol': recipe}}}
    print(f'\nLearning curves (S1): one training of {curve_epochs or 100} epochs.')
    curves = run_sweep(
        code, crystals, 'study_epochs', shared, {'epochs': [curve_epochs]} if curve_epochs else None, seed, daemon
    )
    print(f'\nGrid (S2 and S3): {n_points} trainings of {epochs or 30} epochs.')
    sweep = run_sweep(code, crystals, 'study', shared, grid, seed, daemon)

    # 4. The tables and figures.
    output.mkdir(parents=True, exist_ok=True)
    frame = query.sweep(sweep)
    frame.to_csv(output / 'sweep.csv', index=False)
    curve = query.learning_curves(curves)
    curve.to_csv(output / 'learning_curves.csv', index=False)
    figures = {
        'S1_learning_curves': learning_curves(curve),
        'S2_hyperparameters': parameter_effects(frame),
        'S3_heat_maps': heat_maps(frame[frame['learning_rate'] == RATE_OF_HEAT_MAPS]),
    }
    for name, figure in figures.items():
        figure.savefig(output / f'{name}.png', dpi=150)
    print(f'\nWritten to {output}: {", ".join(sorted(path.name for path in output.iterdir()))}.')
    print(f'The table again: aiida-cgcnn-elastic sweep {sweep.pk} --sort-by log10_g_vrh_validation_mae')


def read_crystals(code: orm.InstalledCode, paths: tuple[Path, ...], daemon: bool) -> CrystalSetData:
    """Return Matbench's crystals with K and G."""
    if not paths:
        files = get_matbench()
    elif len(paths) == 1 and paths[0].is_dir():
        files = find_matbench(paths[0])
    else:
        files = list(paths)
    print(f'Data: {", ".join(str(path) for path in files)}.')
    ingest = launch(ingest_builder(code, files, source='matminer'), daemon=daemon)
    if not ingest.is_finished_ok:
        sys.exit(failure_text(ingest))
    return ingest.outputs.crystals


def run_sweep(
    code: orm.InstalledCode,
    crystals: CrystalSetData,
    protocol: str,
    overrides: dict[str, Any],
    grid: dict[str, list[Any]] | None,
    seed: int,
    daemon: bool,
) -> orm.WorkChainNode:
    """Run a sweep to its end and print its table."""
    start = time.perf_counter()
    builder = SweepWorkChain.get_builder_from_protocol(code, crystals, protocol, overrides, grid=grid, seed=seed)
    sweep = launch(builder, daemon=daemon)
    if not sweep.is_finished_ok:
        sys.exit(failure_text(sweep))
    table = sweep.outputs.table
    print(members_table(query.sweep(sweep), table['parameters']))
    print(
        f'{table["n_finished"]} of {table["n_members"]} trainings finished, {table["n_reused"]} of them reused, '
        f'{table["n_failed"]} failed; {time.perf_counter() - start:.0f} s.'
    )
    return sweep


if __name__ == '__main__':
    try:
        main()
    except (DaemonNotRunningError, FileNotFoundError, ValueError) as error:
        sys.exit(f'Error: {error}')
