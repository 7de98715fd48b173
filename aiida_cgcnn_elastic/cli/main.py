"""`aiida-cgcnn-elastic`: what a person types."""

from __future__ import annotations

import click
from aiida.cmdline.groups.verdi import VerdiCommandGroup
from aiida.cmdline.params import options, types

from aiida_cgcnn_elastic import __version__
from aiida_cgcnn_elastic.cli.evaluate_commands import evaluate
from aiida_cgcnn_elastic.cli.export_commands import export
from aiida_cgcnn_elastic.cli.flag_commands import flag
from aiida_cgcnn_elastic.cli.import_commands import import_checkpoint
from aiida_cgcnn_elastic.cli.ingest_commands import ingest
from aiida_cgcnn_elastic.cli.process_commands import screen
from aiida_cgcnn_elastic.cli.result_commands import candidates, predictions, show
from aiida_cgcnn_elastic.cli.set_commands import ingest_archive, ingest_group, mark_duplicates
from aiida_cgcnn_elastic.cli.setup_commands import models, setup
from aiida_cgcnn_elastic.cli.sweep_commands import sweep
from aiida_cgcnn_elastic.cli.train_commands import train


@click.group('aiida-cgcnn-elastic', cls=VerdiCommandGroup, context_settings={'help_option_names': ['-h', '--help']})
@options.PROFILE(type=types.ProfileParamType(load_profile=True), expose_value=False)
@click.version_option(__version__, prog_name='aiida-cgcnn-elastic')
def main() -> None:
    """Predict elastic moduli of crystals, flag candidate hard materials, and find them again."""


for command in (
    setup,
    models,
    import_checkpoint,
    ingest,
    ingest_group,
    ingest_archive,
    mark_duplicates,
    train,
    evaluate,
    screen,
    flag,
    candidates,
    predictions,
    show,
    export,
    sweep,
):
    main.add_command(command)
