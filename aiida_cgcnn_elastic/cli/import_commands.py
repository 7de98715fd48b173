"""`import-checkpoint`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData


@click.command('import-checkpoint')
@click.argument('checkpoints', nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '--target',
    'targets',
    multiple=True,
    type=click.Choice(['log10_k_vrh', 'log10_g_vrh']),
    help='What a checkpoint predicts, log10 of GPa, once for each in their order; needed where they do not say.',
)
@click.option(
    '--atom-init',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='The table of elements of the training; that of the original code if not given.',
)
@click.option('--label', help='Name of the model and label of its node; made of the names of the files if not given.')
@decorators.with_dbenv()
def import_checkpoint(
    checkpoints: tuple[Path, ...], targets: tuple[str, ...], atom_init: Path | None, label: str | None
) -> None:
    """Make one model node of CHECKPOINTS of the original CGCNN code, such as model_best.pth.tar.

    Give those of the bulk and the shear modulus together. A checkpoint that was imported before gives the same node.
    """
    try:
        node = model_of_checkpoints(checkpoints, targets, atom_init, label)
    except ValueError as error:
        echo.echo_critical(str(error))
    echo.echo_success(f'model {node.pk}: {node.get_description()}')


def model_of_checkpoints(
    checkpoints: tuple[Path, ...],
    targets: tuple[str, ...] = (),
    atom_init: Path | None = None,
    label: str | None = None,
) -> ElasticModelData:
    """Return a stored model node with the networks of checkpoints.

    Raises
    ------
    ValueError
        If they cannot be imported; the message says why.
    """
    from aiida_cgcnn_elastic.cli.setup import find_executable
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

    with TemporaryDirectory() as folder:
        # The executable reads them, so that no command of this process has to import torch.
        command = [str(find_executable()), 'import-checkpoint', *map(str, checkpoints), '--output', folder]
        command += [text for target in targets for text in ('--target', target)]
        command += ['--atom-init', str(atom_init)] if atom_init else []
        command += ['--name', label] if label else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f'cgcnn-elastic ended with the status {done.returncode}']
            raise ValueError(lines[-1])
        node = ElasticModelData.from_directory(folder)
    return node.find_stored() or node.store()
