"""`candidates`, `predictions` and `show`: find results again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    import pandas as pd

CONDITION = re.compile(r'\s*(?P<column>[a-z0-9_]+)\s*(?P<operator>>=|<=|==|!=|>|<|=)\s*(?P<value>\S.*?)\s*')

ROWS_UNASKED = 1000
"""Predictions that are listed where no limit is given: a million would fill the memory, and no one reads them."""

_OF_A_PAGE = ('limit', 'offset')
Result = TypeVar('Result')


def parse_condition(text: str) -> tuple[str, tuple[str, float | str]]:
    """Return column, operator and value of a condition such as ``log10_g_vrh>=2`` or ``formula==TiC``.

    A value is a float where it is a number, and text otherwise, which can be compared with ``==`` and ``!=`` only.

    Raises
    ------
    click.BadParameter
        If the text is no such condition.
    """
    from aiida_cgcnn_elastic.query import TEXT_COLUMNS

    match = CONDITION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f'{text!r} is not like log10_g_vrh>=2 or formula==TiC', param_hint='--where')
    column, value = match['column'], match['value']
    operator = '==' if match['operator'] == '=' else match['operator']
    if column not in TEXT_COLUMNS:  # the material id 12e4567890 is no number
        with contextlib.suppress(ValueError):
            return column, (operator, float(value))
    if operator not in ('==', '!='):
        raise click.BadParameter(f'{value!r} in {text!r} is not a number: use == or !=', param_hint='--where')
    return column, (operator, value)


def _conditions(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, tuple[str, float | str]]]:
    return [parse_condition(text) for text in texts]


def _symbols(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    from aiida_cgcnn_elastic.screening.elements import SYMBOLS

    symbols = [symbol for text in texts for symbol in re.split(r'[\s,]+', text) if symbol]
    for symbol in symbols:
        if symbol not in SYMBOLS:
            raise click.BadParameter(f'{symbol!r} is no element')
    return symbols


def selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that select rows and say how they are written."""
    for option in reversed(
        (
            click.option('--screening', metavar='LABEL', help='Only of this screening.'),
            click.option('--model', metavar='NAME', help='Only by this model.'),
            click.option(
                '--where',
                multiple=True,
                callback=_conditions,
                metavar='CONDITION',
                help="A condition on a column, such as 'log10_g_vrh>=2' or 'formula==TiC'; may be given many times.",
            ),
            click.option(
                '--elements',
                multiple=True,
                callback=_symbols,
                help='Only with all of these elements, such as B,C; may be given many times.',
            ),
            click.option('--without', multiple=True, callback=_symbols, help='Only with none of these elements.'),
            click.option('--limit', type=click.IntRange(min=1), help='At most so many rows.'),
            click.option(
                '--format', 'how', type=click.Choice(['table', 'csv', 'json']), default='table', show_default=True
            ),
            click.option('--output', type=click.Path(dir_okay=False, path_type=Path), help='Write to this file.'),
        )
    ):
        command = option(command)
    return command


@click.command()
@selection
@decorators.with_dbenv()
def candidates(model: str | None, how: str, output: Path | None, **options: Any) -> None:
    """List flagged candidates, best first."""
    from aiida_cgcnn_elastic import query
    from aiida_cgcnn_elastic.cli.report import candidates_table

    if model is not None:
        options['where'] = [*options['where'], ('model', ('==', model))]
    frame = _found(query.candidates, **options)
    _write(frame, how, output, candidates_table)


@click.command()
@click.option(
    '--first-stage',
    is_flag=True,
    help='Instead of the best predictions of a screening, what its first stage said of the crystals that its second '
    'stage refined.',
)
@click.option('--offset', type=click.IntRange(min=0), default=0, help='Pass over so many rows first, to see more.')
@selection
@decorators.with_dbenv()
def predictions(how: str, output: Path | None, **options: Any) -> None:
    """List recorded predictions, the largest shear modulus first.

    Without --limit, 1,000 at most; `export predictions` writes any number of them.
    """
    from aiida_cgcnn_elastic import query
    from aiida_cgcnn_elastic.cli.report import predictions_table

    is_limited = options['limit'] is not None
    frame = _found(query.predictions, **{**options, 'limit': options['limit'] or ROWS_UNASKED})
    _write(frame, how, output, predictions_table)
    if not is_limited and len(frame) == ROWS_UNASKED:
        n_all = _found(query.n_predictions, **{key: value for key, value in options.items() if key not in _OF_A_PAGE})
        if n_all > options['offset'] + len(frame):
            echo.echo_warning(
                f'{len(frame):,} of {n_all:,} predictions: --limit and --offset choose others, and '
                '`aiida-cgcnn-elastic export predictions FILE` writes all',
                err=True,
            )


def _found(search: Callable[..., Result], *, elements: list[str], without: list[str], **options: Any) -> Result:
    try:
        return search(elements=elements or None, not_elements=without or None, **options)
    except (KeyError, ValueError) as error:
        echo.echo_critical(str(error.args[0] if error.args else error))
        raise  # not reached, as the line above exits


def _write(frame: pd.DataFrame, how: str, output: Path | None, table: Callable[[pd.DataFrame], str]) -> None:
    from aiida_cgcnn_elastic.cli.report import format_frame

    text = format_frame(frame, how, table)
    if output is None:
        echo.echo(text)
    else:
        output.write_text(text + '\n', encoding='utf-8')
        echo.echo_success(f'{len(frame):,} rows written to {output}')


@click.command()
@click.argument('identifier', metavar='MATERIAL_ID|PK')
@click.option('--screening', metavar='LABEL', help='Only the prediction of this screening or set of candidates.')
@decorators.with_dbenv()
def show(identifier: str, screening: str | None) -> None:
    """Show all that is known of a prediction, and where it comes from.

    A material id may have several predictions (by other models, or from other crystals): all are shown. With
    --screening, or the PK of a candidate, p_candidate is about the criteria that it was flagged by.
    """
    from aiida_cgcnn_elastic.cli.report import prediction_text
    from aiida_cgcnn_elastic.query.identifiers import predictions_of

    found = predictions_of(identifier, screening)
    if not found:
        where = f' in the screening {screening!r}' if screening else ''
        echo.echo_critical(f'no prediction has the material id, or the PK, {identifier!r}{where}')
    echo.echo('\n\n'.join(prediction_text(node, candidates) for node, candidates in found))
