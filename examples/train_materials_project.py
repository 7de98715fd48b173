#!/usr/bin/env python
"""Train a model of K and G on elastic moduli of the Materials Project.

    verdi run examples/train_materials_project.py --option 'energy_above_hull=[0, 0.1]' --protocol fast

Needs a key, which is free: https://materialsproject.org/api. It is read from MP_API_KEY or ~/.config/.pmgrc.yaml.
"""

from __future__ import annotations

import sys

import click

from aiida_cgcnn_elastic.cli.inputs import ingest_builder
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.process_commands import parsed_pairs
from aiida_cgcnn_elastic.cli.report import failure_text
from aiida_cgcnn_elastic.cli.setup import load_default_profile, setup_localhost
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain


@click.command(help=__doc__)
@click.option('--option', 'options', multiple=True, metavar='KEY=VALUE', help='A criterion of the Materials Project.')
@click.option('--protocol', default='fast', show_default=True, help='Protocol of the training.')
@click.option('--seed', default=0, show_default=True, help='Seed of the split, the weights and the batches.')
def main(options: tuple[str, ...], protocol: str, seed: int) -> None:
    """Ask for crystals with moduli, train on eight tenths of them, test on one."""
    load_default_profile()
    code = setup_localhost().code

    # 1. Crystals with sound moduli; the others are rejected with reasons.
    criteria = {**parsed_pairs(options), 'elasticity': 'only'}
    ingest = launch(ingest_builder(code, (), 'materials_project', criteria))
    if not ingest.is_finished_ok:
        sys.exit(failure_text(ingest))
    crystals = ingest.outputs.crystals
    print(f'Crystals: {crystals.n_crystals:,} of the Materials Project, database {crystals.origin["version"]}.')
    print('\n'.join(crystals.origin['messages']))

    # 2. The training.
    split = {'method': 'fraction', 'validation': 0.1, 'test': 0.1}
    training = launch(TrainWorkChain.get_builder_from_protocol(code, crystals, protocol, split=split, seed=seed))
    if not training.is_finished_ok:
        sys.exit(failure_text(training))
    model = training.outputs.model
    print(f'\nModel: node {model.pk}.\n')
    for target, parts in sorted(training.outputs.metrics.get_dict().items()):
        for part, errors in parts.items():
            print(f'{target} {part:10} {errors["n"]:7,} crystals, mean absolute error {errors["mae"]:.4f} log10(GPa)')
    print(f'\nScreen with it: verdi run examples/screen_gnome.py --model {model.pk}')


if __name__ == '__main__':
    try:
        main()
    except ValueError as error:
        sys.exit(f'Error: {error}')
