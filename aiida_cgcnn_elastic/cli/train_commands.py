"""`train`: a model from crystals with known moduli, or one that goes on from another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments
from aiida.cmdline.utils import decorators, echo

from aiida_cgcnn_elastic.cli.process_commands import CODE, DAEMON, CrystalSetParamType, launched, local_code

if TYPE_CHECKING:
    from aiida import orm

FINE_TUNING = 'fine_tuning'
"""The key of the verdict, which stands among the parts of a target in the metrics of a fine-tuning."""


@click.command()
@arguments.NODE('crystals', metavar='CRYSTALS', type=CrystalSetParamType())
@click.option(
    '--protocol',
    metavar='NAME_OR_FILE',
    help='A protocol by name, or a JSON file of one.  [default: paper; with --parent: fine_tune]',
)
@click.option(
    '--parent',
    metavar='MODEL',
    help='Fine-tune this model, shipped name or node, on all of the crystals, some tens, instead of training one from '
    'nothing.',
)
@click.option(
    '--split',
    'split_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON file: {"method": "fraction", "validation": 0.1, "test": 0.1} (the default), or {"method": "column", '
    '"column": NAME, "test": [VALUES], "validation": FRACTION or [VALUES], "train": [VALUES] or null}.',
)
@click.option(
    '--seed', type=click.IntRange(min=0), help='Of weights, batches and split; that of the protocol if not given.'
)
@click.option('--label', help="Label of the model's node; the name in its card if not given.")
@CODE
@DAEMON
@decorators.with_dbenv()
def train(
    crystals: orm.Node,
    protocol: str | None,
    parent: str | None,
    split_file: Path | None,
    seed: int | None,
    label: str | None,
    code: orm.AbstractCode | None,
    daemon: bool,
) -> None:
    """Train a model on those of the set CRYSTALS, given as PK, UUID or label, that have known moduli.

    A protocol in a JSON file says in what it differs from the one that it names as base:
    {"base": "fast", "epochs": 200}.

    With --parent there is no split: cross-validation tells whether the fine-tuning helped.
    """
    from aiida_cgcnn_elastic.cli.inputs import all_cores, find_model
    from aiida_cgcnn_elastic.cli.report import labels_text, metrics_table, reuse_text
    from aiida_cgcnn_elastic.runner.run import RunFailed
    from aiida_cgcnn_elastic.runner.settings import read_settings
    from aiida_cgcnn_elastic.workflows.train import TrainWorkChain

    if parent is not None and split_file is not None:
        raise click.UsageError('--parent learns from all crystals and is judged by cross-validation: no --split')
    local = code is None
    try:
        _check_label(label)
        name, recipe = _find_protocol(protocol, is_fine_tuning=parent is not None)
        builder = TrainWorkChain.get_builder_from_protocol(
            code or local_code(),
            crystals,
            name,
            {'train': {'parameters': {'protocol': recipe}}} if recipe is not None else None,
            all_cores() if local else None,
            split=None if split_file is None else read_settings(split_file, 'split'),
            seed=seed,
            parent_model=None if parent is None else find_model(parent),
        )
    except (RunFailed, ValueError) as error:
        echo.echo_critical(str(error))
    node = launched(builder, daemon)
    model = node.outputs.model
    # One that was reused has the label of the earlier model.
    model.label = label or model.name
    echo.echo(f'{node.process_label} {node.pk}: {reuse_text(node)}')
    echo.echo(labels_text(node.outputs.report) + '\n')
    parts = {
        target: {part: values for part, values in measured.items() if part != FINE_TUNING}
        for target, measured in node.outputs.metrics.get_dict().items()
    }
    echo.echo('Errors in log10(GPa), by target and part of the crystals:\n')
    echo.echo(metrics_table(parts) + '\n')
    # Of a fine-tuning also the verdict, a sentence a target.
    for message in node.outputs.report['messages']:
        echo.echo(message)
    echo.echo_success(f'model {model.pk}, label {model.label!r}: {model.get_description()}')


def _check_label(label: str | None) -> None:
    """Raise where the model could not be found by that label afterwards, before hours of training."""
    from aiida import orm

    from aiida_cgcnn_elastic import pretrained
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

    if label is None:
        return
    if label in pretrained.available():
        raise ValueError(f'--label: {label!r} is the name of a shipped model: choose another')
    found = orm.QueryBuilder().append(ElasticModelData, filters={'label': label}).first(flat=True)
    if found is not None:
        raise ValueError(f'--label: {label!r} is the label of the model {found.pk} already: choose another')


def _find_protocol(protocol: str | None, *, is_fine_tuning: bool) -> tuple[str | None, dict[str, Any] | None]:
    """Return the name of a protocol, or the content of a file of one.

    What a protocol may hold is known to the executable alone.
    """
    from aiida_cgcnn_elastic.runner.settings import read_settings
    from aiida_cgcnn_elastic.workflows.train import FINE_TUNE, TrainWorkChain

    names = [name for name in TrainWorkChain.get_available_protocols() if (name == FINE_TUNE) == is_fine_tuning]
    if protocol is None or protocol in names:
        return protocol, None
    path = Path(protocol)
    if path.is_file():
        return None, read_settings(path, 'protocol')
    if protocol == FINE_TUNE:
        raise ValueError(f'the protocol {protocol} needs a model to start from: --parent')
    purpose = ' for fine-tuning (--parent)' if is_fine_tuning else ''
    raise ValueError(f'no protocol {protocol!r}{purpose}: it is no file, and the names are {", ".join(names)}')
