"""`screen`, and what commands that run processes share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params import arguments, options, types
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from aiida import orm

CODE = options.CODE(
    required=False,
    type=types.CodeParamType(entry_point='cgcnn_elastic.predict'),
    help='Code of the executable cgcnn-elastic; the one on this machine if not given.',
)
DAEMON = click.option('--daemon', is_flag=True, help='Submit to the daemon and wait, instead of running here.')
INVALID = 'Error occurred validating port '
"""How AiiDA's error begins where a process refuses its inputs."""


class CrystalSetParamType(types.NodeParamType):
    """A set of crystals, given as PK, UUID or label."""

    name = 'CrystalSet'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:cgcnn_elastic.crystal_set',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node.

        Raises
        ------
        click.BadParameter
            If no set of crystals, or more than one, is meant; the message says what to do.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            why = str(error.message).partition(': No result')[0]
            raise click.BadParameter(f'{why}; give the PK that `aiida-cgcnn-elastic ingest` prints') from error


@click.command()
@arguments.NODES('crystals', required=True, metavar='CRYSTALS...')
@click.option(
    '--model', 'model_names', multiple=True, default=('accurate',), show_default=True, help='Shipped name or node.'
)
@click.option('--label', required=True, help='Label of the screening.')
@click.option(
    '--criteria',
    'criteria_file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON or YAML file of criteria; those of the protocol if not given.',
)
@click.option('--protocol', help='Protocol of the screening.')
@click.option(
    '--refine',
    'refine_names',
    multiple=True,
    metavar='MODEL',
    help='Add a second stage: predict the crystals above a cut again with this model, such as `refined`, and flag by '
    'that. Needs the extra refine.',
)
@click.option(
    '--cut',
    'cut',
    multiple=True,
    metavar='KEY=VALUE',
    help='What a crystal must have to be predicted again: min_hardness (GPa), fraction (0.03: it is among the hardest '
    '3 %), max_crystals. May be given many times; that of the protocol `refined` if not given.',
)
@click.option(
    '--refine-code',
    type=types.CodeParamType(entry_point='cgcnn_elastic.refine'),
    help='Code of the second stage, where the extra refine is installed; that of the first if not given.',
)
@click.option(
    '--no-reuse',
    is_flag=True,
    help='Predict all anew, also crystals that earlier screenings predicted by these models.',
)
@CODE
@DAEMON
@decorators.with_dbenv()
def screen(
    crystals: list[orm.Node],
    model_names: tuple[str, ...],
    label: str,
    criteria_file: Path | None,
    protocol: str | None,
    refine_names: tuple[str, ...],
    cut: tuple[str, ...],
    refine_code: orm.AbstractCode | None,
    no_reuse: bool,
    code: orm.AbstractCode,
    daemon: bool,
) -> None:
    """Screen crystal sets, given as PKs or UUIDs: predict, record, flag."""
    from aiida_cgcnn_elastic.cli.inputs import all_cores, check_potential, find_model, read_criteria
    from aiida_cgcnn_elastic.cli.report import candidates_table, counts_text, find_again_text
    from aiida_cgcnn_elastic.query import candidates
    from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

    local = code is None
    try:
        refining = {f'model_{number:02d}': find_model(name) for number, name in enumerate(refine_names)}
        builder = ScreenWorkChain.get_builder_from_protocol(
            code or local_code(),
            {f'set_{number:02d}': node for number, node in enumerate(crystals)},
            {f'model_{number:02d}': find_model(name) for number, name in enumerate(model_names)},
            label,
            protocol,
            # On this machine a job uses every core, so shards go one after the other.
            {**({'max_concurrent': 1} if local else {}), **({'reuse': False} if no_reuse else {})},
            all_cores() if local else None,
            criteria=read_criteria(criteria_file) if criteria_file else None,
            refine_models=refining or None,
            refine_code=refine_code,
            cut=parsed_pairs(cut, '--cut') if cut else None,
        )
        if local and refine_code is None and 'refine' in builder._inputs(prune=True):
            check_potential()
    except ValueError as error:
        echo.echo_critical(str(error))
    node = launched(builder, daemon)
    frame = candidates(label, limit=20)
    echo.echo(candidates_table(frame) + '\n\n' + counts_text(node.outputs.summary.get_dict()) + '\n')
    echo.echo(find_again_text(label, frame['structure_pk'].tolist()))


def local_code() -> orm.InstalledCode:
    """Return the code of this machine, set up if it is not yet."""
    from aiida_cgcnn_elastic.cli.setup import setup_localhost

    return setup_localhost().code


def launched(builder: Any, daemon: bool) -> Any:
    """Return the finished process, or end with its error."""
    from aiida_cgcnn_elastic.cli.launch import DaemonNotRunningError, launch
    from aiida_cgcnn_elastic.cli.report import failure_text

    try:
        node = launch(builder, daemon=daemon)
    except DaemonNotRunningError as error:
        echo.echo_critical(str(error))
    except ValueError as error:
        # Inputs that the process refuses are the user's, and no fault of the program.
        if not str(error).startswith(INVALID):
            raise
        echo.echo_critical(str(error).removeprefix(INVALID).partition(': ')[2])
    if not node.is_finished_ok:
        echo.echo_critical(failure_text(node))
    return node


def parsed_pairs(pairs: tuple[str, ...], option: str = '--option') -> dict[str, Any]:
    """Return options given as KEY=VALUE, where a value is read as YAML: a number, true, a list, or text."""
    import yaml

    parsed = {}
    for pair in pairs:
        key, separator, value = pair.partition('=')
        if not separator or not key:
            raise click.BadParameter(f'{pair!r} is not KEY=VALUE', param_hint=option)
        parsed[key] = yaml.safe_load(value)
    return parsed
