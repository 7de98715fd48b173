"""The executable `cgcnn-elastic`."""

from __future__ import annotations

import click

import aiida_cgcnn_elastic
from aiida_cgcnn_elastic.runner.calibrate import calibrate
from aiida_cgcnn_elastic.runner.evaluate import evaluate
from aiida_cgcnn_elastic.runner.import_checkpoint import import_checkpoint
from aiida_cgcnn_elastic.runner.ingest import ingest
from aiida_cgcnn_elastic.runner.predict import predict
from aiida_cgcnn_elastic.runner.status import Status, listed
from aiida_cgcnn_elastic.runner.train import train


@click.group(
    epilog=listed(Status),
    context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 120, 'show_default': True},
)
@click.version_option(aiida_cgcnn_elastic.__version__, prog_name='cgcnn-elastic')
def main() -> None:
    """Predict elastic moduli of crystals with crystal graph convolutional networks: files in, files out."""


for command in (ingest, train, calibrate, predict, evaluate, import_checkpoint):
    main.add_command(command)
