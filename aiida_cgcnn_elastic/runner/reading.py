"""Read crystals for a subcommand: any paths that a source knows, one table in the order of the input."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.files import replacing
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.crystals.sources import Filters, Reading, ReadResult, Source
    from aiida_cgcnn_elastic.screening import Criteria


def parse_source_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return `KEY=VALUE` texts as a dictionary; a value is JSON where it can be, else text.

    Raises
    ------
    RunFailed
        With `Status.USAGE` for a text without a key or a key given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals or not key or key in options:
            raise RunFailed(Status.USAGE, f'--option {text!r}: write KEY=VALUE, each key once')
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def read_crystals(
    run: Run,
    paths: Sequence[Path],
    source: str | None = None,
    options: dict[str, Any] | None = None,
    criteria: Criteria | None = None,
) -> ReadResult:
    """Read all paths into one table, less what the filters of criteria leave out; counts and origin go to the report.

    Raises
    ------
    RunFailed
        With `Status.INPUT_UNREADABLE` if the input as a whole cannot be read, `Status.STOPPED` if the run must stop.
    """
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.crystals.sources import ReadResult

    tables: list[CrystalTable] = []
    reading = stream_crystals(run, tables.append, paths, source, options, criteria)
    return ReadResult(reading.rejections, reading.n_read, reading.origin, CrystalTable.concatenate(tables))


def stream_crystals(
    run: Run,
    keep: Callable[[CrystalTable], None],
    paths: Sequence[Path],
    source: str | None = None,
    options: dict[str, Any] | None = None,
    criteria: Criteria | None = None,
) -> Reading:
    """Read all paths batch by batch, as `read_crystals` does, and hand over the crystals of each batch.

    Raises
    ------
    RunFailed
        As `read_crystals`.
    """
    from aiida_cgcnn_elastic.crystals.sources import OptionError, SourceError, read_into

    def progress(done: int, total: int | None) -> None:
        run.progress.update(done, total)
        run.stop_if_asked(
            'what was downloaded is kept, and the same command goes on from there'
            if opened.is_online
            else 'reading is not kept and starts again, so allow more time'
        )

    with run.stage('read'):
        try:
            opened = _open(run, paths, source, options or {}, filters_of(criteria))
            result = read_into(opened, keep, progress=progress)
        except OptionError as error:
            raise RunFailed(Status.SETTINGS_INVALID, str(error)) from error
        except (SourceError, OSError) as error:
            raise RunFailed(Status.INPUT_UNREADABLE, str(error)) from error
    for note in opened.notes():
        run.say(note)
    run.report |= {
        'n_read': result.n_read,
        'n_skipped': sum(result.skipped_by_reason.values()),
        'skipped_by_reason': result.skipped_by_reason,
        'n_rejected': len(result.rejections),
        'rejected_by_reason': result.rejected_by_reason,
        'origin': result.origin.to_dict(),
    }
    return result


def write_rejections(run: Run, path: Path | None, result: Reading) -> None:
    """Say how many crystals are rejected, and write which and why where that is asked for."""
    from aiida_cgcnn_elastic.crystals.sources import write_rejections as write

    if result.rejections:
        where = 'give --rejections FILE to see which and why' if path is None else f'{path} tells which and why'
        run.say(f'{len(result.rejections)} of {result.n_read} crystals are rejected ({_counts(result)}); {where}')
    if path is not None:
        with replacing(path) as temporary:
            write(temporary, result.rejections)


def require_crystals(result: Reading) -> None:
    """Raise RunFailed with `Status.NO_USABLE_CRYSTAL` if nothing is left of the input."""
    if result.n_crystals:
        return
    if not result.n_read and result.skipped_by_reason:
        n_skipped = sum(result.skipped_by_reason.values())
        raise RunFailed(Status.NO_USABLE_CRYSTAL, f'the filters leave none of the {n_skipped} crystals of the input')
    if not result.n_read:
        raise RunFailed(Status.NO_USABLE_CRYSTAL, 'the input holds no crystals')
    raise RunFailed(
        Status.NO_USABLE_CRYSTAL, f'all {result.n_read} crystals of the input are rejected: {_counts(result)}'
    )


def _counts(result: Reading) -> str:
    return ', '.join(f'{count} {reason}' for reason, count in result.rejected_by_reason.items())


def filters_of(criteria: Criteria | None) -> Filters | None:
    """Return what criteria say of crystals before they are predicted as filters of a source, None where nothing."""
    from aiida_cgcnn_elastic.crystals.sources import Filters
    from aiida_cgcnn_elastic.screening import Criteria, exclusions

    filters = Criteria() if criteria is None else criteria.filters()
    if filters == Criteria():
        return None
    return Filters(filters.to_dict(), lambda table: exclusions(table, filters))


def _open(
    run: Run, paths: Sequence[Path], source: str | None, options: dict[str, Any], filters: Filters | None
) -> Source:
    """Open all paths with one source where one knows them all, else neighbors of one kind together."""
    from aiida_cgcnn_elastic.crystals.sources import SourceError, recognise
    from aiida_cgcnn_elastic.runner.chain import ChainedSource

    if source is not None:
        return _open_one(run, paths, source, options, filters)
    try:
        return _open_one(run, paths, recognise(paths), options, filters)
    except SourceError:
        if len(paths) < 2:
            raise
    groups = groupby(paths, key=lambda path: recognise([path]))
    return ChainedSource([_open_one(run, list(group), name, options, filters) for name, group in groups])


def _open_one(run: Run, paths: Sequence[Path], name: str, options: dict[str, Any], filters: Filters | None) -> Source:
    """Open a source; one that parses in parallel uses as many processes as the run may."""
    from aiida_cgcnn_elastic.crystals.sources import FilteredSource, find_source, open_source

    if 'processes' in inspect.signature(find_source(name)).parameters:
        options = {'processes': run.threads, **options}
    opened = open_source(paths, name, **options)
    if opened.licence:
        no_commerce = ': not for commercial use' if '-NC' in opened.licence else ''
        run.say(f'the crystals of {opened.name} are under the licence {opened.licence}{no_commerce}')
    return opened if filters is None else FilteredSource(opened, filters)
