"""`cgcnn-elastic import-checkpoint`: a model from checkpoints of the original CGCNN code."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_cgcnn_elastic.runner.options import FILE, runs
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import STATUSES, Status, listed


@click.command('import-checkpoint', epilog=listed(STATUSES['import-checkpoint']))
@click.argument('checkpoints', nargs=-1, required=True, type=FILE)
@click.option('--output', type=FILE, required=True, help='Folder for the model.')
@click.option(
    '--target',
    'targets',
    multiple=True,
    type=click.Choice(['log10_k_vrh', 'log10_g_vrh']),
    help='What a checkpoint predicts, log10 of GPa, once for each in their order; needed where they do not say.',
)
@click.option(
    '--atom-init', type=FILE, help='The table of elements of the training.  [default: the atom_init.json of the code]'
)
@click.option('--name', help='Name of the model.  [default: made of the names of the files]')
@runs('import-checkpoint')
def import_checkpoint(
    run: Run, checkpoints: tuple[Path, ...], output: Path, targets: tuple[str, ...], atom_init: Path | None, name: str
) -> None:
    """Turn CHECKPOINTS of the original CGCNN code (such as model_best.pth.tar) into one model.

    Give those of the bulk and the shear modulus together. Those of one modulus are averaged.
    """
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
    from aiida_cgcnn_elastic.cgcnn.original import CheckpointUnusable, TargetUnknown, read_atom_init, read_checkpoint

    if targets and len(targets) != len(checkpoints):
        raise RunFailed(Status.USAGE, f'{len(targets)} --target for {len(checkpoints)} checkpoints; give one for each')
    try:
        with run.timed('read'):
            features = None if atom_init is None else read_atom_init(atom_init)
            models = [
                read_checkpoint(path, targets[index] if targets else None, features)
                for index, path in enumerate(checkpoints)
            ]
    except TargetUnknown as error:
        raise RunFailed(Status.USAGE, f'{error}; use --target') from error
    except CheckpointUnusable as error:
        raise RunFailed(Status.MODEL_UNUSABLE, str(error)) from error
    names = list(dict.fromkeys(model.card['name'] for model in models))
    descriptions = ' '.join(dict.fromkeys(model.card['description'] for model in models))
    model = ElasticModel.join(models, {'name': name or ' + '.join(names), 'description': descriptions})
    with run.timed('write'):
        model.save(output)
    run.report |= {'targets': list(model.targets), 'n_members': len(model.members)}
