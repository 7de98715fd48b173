"""Find a source, open it on some paths, and read it whole with every crystal accounted for."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aiida_cgcnn_elastic.crystals.crystal import Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.base import Batch, OptionError, Origin, Source, SourceError
from aiida_cgcnn_elastic.crystals.table import CrystalTable

ENTRY_POINT_GROUP = 'cgcnn_elastic.sources'

# The more particular a source, the earlier it is asked; `files` reads almost anything, so it comes last.
_ORDER_OF_RECOGNITION = ('parquet', 'matminer', 'gnome')
_LAST = 'files'
_THIS_PACKAGE = 'aiida_cgcnn_elastic'

REJECTION_SCHEMA = pa.schema(
    [
        pa.field('material_id', pa.string(), nullable=False),
        pa.field('reason', pa.string(), nullable=False),
        pa.field('detail', pa.string(), nullable=False),
    ]
)


@dataclass
class Reading:
    """What became of a source's crystals: each is kept or rejected; what filters left out was not read."""

    rejections: list[Rejection]
    n_read: int
    origin: Origin

    @property
    def n_crystals(self) -> int:
        """How many crystals were kept."""
        return self.n_read - len(self.rejections)

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """How many crystals filters left out for each reason."""
        return self.origin.skipped_by_reason

    @property
    def rejected_by_reason(self) -> dict[str, int]:
        """How many crystals were turned away for each reason, in alphabetical order of the reasons."""
        counts: dict[str, int] = {}
        for rejection in self.rejections:
            counts[str(rejection.reason)] = counts.get(str(rejection.reason), 0) + 1
        return dict(sorted(counts.items()))


@dataclass
class ReadResult(Reading):
    """A source read whole: ``n_read == len(table) + len(rejections)``."""

    table: CrystalTable


def available() -> dict[str, type[Source]]:
    """Return the installed sources by name, without those that cannot be loaded."""
    found = {}
    for name, entry_point in _entry_points().items():
        with contextlib.suppress(SourceError):
            found[name] = _load(entry_point)
    return found


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points by name; where several packages give a source of one name, this package's counts."""
    entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    ours_last = sorted(entry_points, key=lambda item: (item.name, item.module.partition('.')[0] == _THIS_PACKAGE))
    return {entry_point.name: entry_point for entry_point in ours_last}


def _load(entry_point: importlib.metadata.EntryPoint) -> type[Source]:
    """Return a source.

    Raises
    ------
    SourceError
        If it cannot be loaded or is none: a package's that is broken must break nothing but itself.
    """
    # Loaded one by one where one is enough: a source may be slow to import.
    try:
        source = entry_point.load()
    except Exception as error:  # whatever the import of another package's module raises
        why = f'{type(error).__name__}: {error}'
    else:
        if isinstance(source, type) and issubclass(source, Source):
            return source
        why = f'{entry_point.value} does not derive from Source'
    package = f' of the package {entry_point.dist.name}' if entry_point.dist is not None else ''
    raise SourceError(f'the source {entry_point.name!r}{package} cannot be used: {why}')


def open_source(paths: Sequence[str | PathLike[str]] = (), name: str | None = None, **options: Any) -> Source:
    """Open a source on some paths.

    Parameters
    ----------
    paths : sequence of path
        What to read.
    name : str, optional
        The source's name; by default the first source that recognises the paths.
    **options
        The source's own options.

    Raises
    ------
    SourceError
        If there is no such source or option, it cannot be loaded, or no source recognises the paths.
    """
    resolved = [Path(path) for path in paths]
    source = find_source(recognise(resolved) if name is None else name)
    _check_options(source, options)
    return source(resolved, **options)


def find_source(name: str) -> type[Source]:
    """Return a source by its name.

    Raises
    ------
    SourceError
        If there is none of that name, or it cannot be loaded.
    """
    entry_points = _entry_points()
    if name not in entry_points:
        raise SourceError(f'there is no source {name!r}; the sources are: {", ".join(entry_points)}')
    return _load(entry_points[name])


def recognise(paths: Sequence[str | PathLike[str]]) -> str:
    """Return the name of the first source that recognises all of some paths.

    Raises
    ------
    SourceError
        If a path does not exist, or no source recognises them.
    """
    resolved = [Path(path) for path in paths]
    if not resolved:
        without = [name for name, source in available().items() if not source.needs_path]
        raise SourceError(f'nothing to read: give a path, or name a source that needs none ({", ".join(without)})')
    for path in resolved:
        if not path.exists():
            raise SourceError(f'no such file or folder: {path}')
    entry_points = _entry_points()
    first = [name for name in _ORDER_OF_RECOGNITION if name in entry_points]
    middle = [name for name in entry_points if name not in first and name != _LAST]
    last = [_LAST] if _LAST in entry_points else []
    tried = []
    for name in (*first, *middle, *last):
        try:
            recognised = _recognises(_load(entry_points[name]), resolved)
        except SourceError as error:
            tried.append(f'{name} ({error})')
            continue
        if recognised:
            return name
        tried.append(name)
    shown = ', '.join(str(path) for path in resolved[:5]) + (' ...' if len(resolved) > 5 else '')
    empty = [str(path) for path in resolved if path.is_file() and not path.stat().st_size]
    why = f'; empty: {", ".join(empty[:5])}' if empty else ''
    raise SourceError(f'no source recognises {shown}{why}; tried: {", ".join(tried)}')


def _recognises(source: type[Source], paths: Sequence[Path]) -> bool:
    try:
        return source.recognises(paths)
    except Exception as error:  # another package's source must not keep those after it from being asked
        raise SourceError(f'it failed to look at the paths: {type(error).__name__}: {error}') from error


def _check_options(source: type[Source], options: dict[str, Any]) -> None:
    parameters = inspect.signature(source).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # such a source knows better what it takes, and says so
    accepted = [name for name in parameters if name != 'paths']
    for option in options:
        if option not in accepted:
            allowed = ', '.join(accepted) if accepted else 'none'
            raise OptionError(f'the source {source.name!r} has no option {option!r}; its options are: {allowed}')


def read(source: Source, *, progress: Callable[[int, int | None], None] | None = None) -> ReadResult:
    """Read a source whole.

    Parameters
    ----------
    source : Source
        An open source.
    progress : callable, optional
        Called with the number of crystals read or skipped so far and the number expected (None where unknown).

    Raises
    ------
    SourceError
        If the input as a whole cannot be read.
    RuntimeError
        If a crystal was neither kept nor rejected; that is a fault of the source.
    """
    tables: list[CrystalTable] = []
    reading = read_into(source, tables.append, progress=progress)
    table = CrystalTable.concatenate(tables)
    return ReadResult(reading.rejections, reading.n_read, reading.origin, table)


def read_into(
    source: Source,
    keep: Callable[[CrystalTable], None],
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> Reading:
    """Read a source batch by batch, so that not all of its crystals are in memory at once.

    Parameters
    ----------
    source : Source
        An open source.
    keep : callable
        Called with the usable crystals of each batch, in their order; no id occurs twice among all of them.
    progress : callable, optional
        As for :func:`read`.

    Raises
    ------
    SourceError
        If the input as a whole cannot be read.
    RuntimeError
        If a crystal was neither kept nor rejected; that is a fault of the source.
    """
    rejections: list[Rejection] = []
    seen: set[str] = set()
    n_read = n_kept = n_skipped = 0
    for batch in source.batches():
        n_read += batch.n_read
        n_skipped += batch.skipped.total()
        table, duplicates = _without_duplicates(batch.table, seen)
        keep(table)
        n_kept += len(table)
        rejections.extend(batch.rejections)
        rejections.extend(duplicates)
        if progress is not None:
            progress(n_read + n_skipped, source.n_expected)
    if n_read != n_kept + len(rejections):
        raise RuntimeError(f'{source.name}: {n_read} read, but {n_kept} kept and {len(rejections)} rejected')
    expected = source.n_expected
    if expected is not None and expected != n_read + n_skipped:
        raise RuntimeError(f'{source.name}: {expected} crystals expected, but {n_read} read and {n_skipped} skipped')
    origin = source.origin()
    if sum(origin.skipped_by_reason.values()) != n_skipped:
        raise RuntimeError(f'{source.name}: {n_skipped} crystals skipped, but {origin.skipped_by_reason} recorded')
    return Reading(rejections, n_read, origin)


def _without_duplicates(table: CrystalTable, seen: set[str]) -> tuple[CrystalTable, list[Rejection]]:
    """Keep the first crystal of every id; `seen` gains the ids of this table."""
    keep = np.ones(len(table), dtype=bool)
    duplicates = []
    for row, material_id in enumerate(table.material_ids):
        if material_id in seen:
            keep[row] = False
            duplicates.append(Rejection(material_id, Reason.DUPLICATE_ID, 'an earlier crystal has the same id'))
        seen.add(material_id)
    return (table if keep.all() else table.select(keep)), duplicates


def write_rejections(path: str | PathLike[str], rejections: Iterable[Rejection]) -> None:
    """Write rejections as Parquet with the columns ``material_id``, ``reason`` and ``detail``."""
    rows = [{'material_id': item.material_id, 'reason': str(item.reason), 'detail': item.detail} for item in rejections]
    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTION_SCHEMA), path, compression='zstd')


def read_rejections(path: str | PathLike[str]) -> list[Rejection]:
    """Read rejections back.

    Raises
    ------
    ValueError
        If the file is no Parquet file of rejections.
    """
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f'{path} is not a Parquet file: {error}') from error
    missing = [name for name in REJECTION_SCHEMA.names if name not in table.column_names]
    if missing:
        raise ValueError(f'{path} is not a table of rejections: it lacks {", ".join(missing)}')
    return [
        Rejection(row['material_id'], Reason(row['reason']), row['detail'])
        for row in table.select(REJECTION_SCHEMA.names).to_pylist()
    ]


__all__ = [
    'Batch',
    'ReadResult',
    'Reading',
    'available',
    'find_source',
    'open_source',
    'read',
    'read_into',
    'read_rejections',
    'recognise',
    'write_rejections',
]
