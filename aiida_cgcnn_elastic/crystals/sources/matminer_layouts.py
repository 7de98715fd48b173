"""The layouts in which pandas, and so matminer, writes a table with structures as JSON."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida_cgcnn_elastic.crystals.sources.base import SourceError

SUFFIXES = ('.json', '.json.gz')

# What follows from here is looked at to recognise a file; the column of structures may come after others.
_HEAD = 2**20
_SPLIT = re.compile(r'^\s*\{\s*"(?:index|columns|data|schema)"\s*:\s*[\[{]')
_ANY_LAYOUT = re.compile(r'^\s*[\[{]')
_STRUCTURES = re.compile(r'"(?:structure|lattice)\\*"\s*:')

_MAGIC_OF_GZIP = b'\x1f\x8b'

LAYOUTS = (
    'pandas\' layouts "split" (index, columns and data), "records", "columns", "index" and "table" are read; '
    'write the table as DataFrame.to_json(orient="split") does'
)


@dataclass(frozen=True)
class JsonTable:
    """A table as a file holds it.

    Parameters
    ----------
    index : list
        What the file calls each row: numbers or texts; where it has no index, the row's number from 0.
    is_indexed : bool
        Whether the index is the file's own.
    columns : dict of list
        The values of each column by its name, as many as there are rows; None where a row has none.
    faults : dict of int to str
        What is wrong with the rows that cannot be used, by their place.
    """

    index: list[Any]
    is_indexed: bool
    columns: dict[str, list[Any]]
    faults: dict[int, str]


def looks_like_split_table(path: Path) -> bool:
    """Say whether a file begins as pandas writes a table in the layout "split" or "table"."""
    head = _head(path, 256)
    return head is None or _SPLIT.match(head) is not None


def looks_like_table(path: Path) -> bool:
    """Say whether a file begins as a table in any of the layouts, with structures in it, does."""
    head = _head(path, _HEAD)
    if head is None or _SPLIT.match(head):
        return True
    return _ANY_LAYOUT.match(head) is not None and _STRUCTURES.search(head) is not None


def has_suffix(path: Path) -> bool:
    """Say whether a path is named as a JSON file is, compressed or not."""
    return path.name.lower().endswith(SUFFIXES)


def _head(path: Path, size: int) -> str | None:
    """Return what a file begins with, None where it is damaged: reading it then says what is wrong."""
    try:
        with path.open('rb') as handle:
            is_compressed = handle.read(2) == _MAGIC_OF_GZIP
        with gzip.open(path) if is_compressed else path.open('rb') as handle:
            return handle.read(size).decode('utf-8-sig', errors='replace')
    except (OSError, EOFError, zlib.error):
        return None


def read_table(path: Path, structure: str) -> JsonTable:
    """Read a file.

    Parameters
    ----------
    path : Path
    structure : str
        The name of the column of structures, by which layouts are told apart.

    Raises
    ------
    SourceError
        If it is not JSON, in no layout that has names for its columns, or could be in two of them.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(_MAGIC_OF_GZIP) else content
        found = _parse(content)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise SourceError(f'{path} is not a readable JSON file: {error}') from error
    if (
        isinstance(found, dict)
        and str(found.get('@module')).startswith('pandas')
        and isinstance(found.get('data'), str)
    ):
        is_series = found.get('@class') == 'Series'
        found = _of_monty(path, found['data'])
        if is_series and isinstance(found, dict):
            return JsonTable(_keys(list(found)), True, {structure: list(found.values())}, {})
    if isinstance(found, list):
        return _records(path, found, structure)
    if isinstance(found, dict):
        return _of_object(path, found, structure)
    raise SourceError(f'{path} is no table of crystals but a single {type(found).__name__}; {LAYOUTS}')


def _parse(content: bytes) -> Any:
    """Return what JSON says; of a file with an object a line, which is JSON in each line only, the list of them."""
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        lines = [line for line in content.splitlines() if line.strip()]
        if not error.msg.startswith('Extra data') or len(lines) < 2:
            raise
        records = [_parse_line(line) for line in lines]
        if not isinstance(records[0], dict):
            raise
        return records


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        return f'a line that is no JSON: {error}'


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of crystals with the same key JSON would keep the last without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f'the key {twice!r} occurs twice in one object, so one of the two would be lost')
    return found


def _of_monty(path: Path, text: str) -> Any:
    """Return what monty has written of a frame or a column of it: JSON within JSON."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SourceError(f'{path} is not a readable JSON file: its data are no JSON: {error}') from error


def _of_object(path: Path, found: dict[str, Any], structure: str) -> JsonTable:
    if isinstance(found.get('data'), list) and isinstance(found.get('schema'), dict):
        return _table(path, found, structure)
    if isinstance(found.get('data'), list) or isinstance(found.get('columns'), list):
        return _split(path, found)
    if _is_structure(found):
        return _records(path, [found], structure)
    rows_have_it = any(isinstance(row, dict) and (structure in row or _is_structure(row)) for row in found.values())
    if structure not in found:
        if rows_have_it:
            return _by_index(found, structure)
        if found and all(isinstance(values, dict | list) for values in found.values()):
            return _by_column(path, found)
        raise SourceError(f'{path} is not a table of crystals: it has no {structure!r}; {LAYOUTS}')
    others = [row for key, row in found.items() if key != structure]
    if _is_structure(found[structure]) and not any(isinstance(row, dict) for row in others):
        return _records(path, [found], structure)
    if rows_have_it:
        raise SourceError(
            f'{path} can be read in two ways, as {structure!r} is a column or the name of a row: write it in the '
            'layout "split", as DataFrame.to_json(orient="split") does'
        )
    return _by_column(path, found)


def _split(path: Path, found: dict[str, Any]) -> JsonTable:
    names, rows = found.get('columns'), found.get('data')
    if not isinstance(names, list) or not isinstance(rows, list):
        raise SourceError(f'{path} is not a table in pandas\' "split" layout: it needs index, columns and data')
    names = [_name(name) for name in names]
    if len(set(names)) != len(names):
        raise SourceError(f'{path} has a column twice; its columns are: {", ".join(names)}')
    index = found.get('index', list(range(len(rows))))
    if not isinstance(index, list) or len(rows) != len(index):
        raise SourceError(f'{path} is damaged: index, columns and data do not belong together')
    columns: dict[str, list[Any]] = {name: [] for name in names}
    faults = {}
    for place, row in enumerate(rows):
        is_whole = isinstance(row, list) and len(row) == len(names)
        if not is_whole:
            what = f'{len(row)} values' if isinstance(row, list) else f'a {type(row).__name__}'
            faults[place] = f'the row is {what}, but the table has {len(names)} columns'
        for name, value in zip(names, row if is_whole else [None] * len(names), strict=True):
            columns[name].append(value)
    if faults and len(faults) == len(rows):
        raise SourceError(f'{path} is damaged: index, columns and data do not belong together')
    return JsonTable([_index(value) for value in index], 'index' in found, columns, faults)


def _records(path: Path, found: list[Any], structure: str) -> JsonTable:
    if found and all(isinstance(row, list) for row in found):
        raise SourceError(f'{path} has no names of columns (pandas\' layout "values"); {LAYOUTS}')
    if found and not any(isinstance(row, dict) for row in found):
        raise SourceError(f'{path} is a list of {type(found[0]).__name__}, not of crystals; {LAYOUTS}')
    rows, faults = _rows(found, structure)
    index = _take_index(rows, 'index', faults)
    return JsonTable(list(range(len(rows))) if index is None else index, index is not None, _columns(rows), faults)


def _table(path: Path, found: dict[str, Any], structure: str) -> JsonTable:
    """Read the layout "table", whose rows hold the index under the name that the schema calls primary key."""
    table = _records(path, found['data'], structure)
    keys = found['schema'].get('primaryKey')
    if table.is_indexed or not isinstance(keys, list) or len(keys) != 1 or keys[0] not in table.columns:
        return table
    columns = dict(table.columns)
    index = [place if value is None else _index(value) for place, value in enumerate(columns.pop(keys[0]))]
    return JsonTable(index, True, columns, table.faults)


def _by_index(found: dict[str, Any], structure: str) -> JsonTable:
    rows, faults = _rows(list(found.values()), structure)
    return JsonTable(_keys(list(found)), True, _columns(rows), faults)


def _by_column(path: Path, found: dict[str, Any]) -> JsonTable:
    if all(isinstance(values, list) for values in found.values()):
        sizes = {name: len(values) for name, values in found.items()}
        if len(set(sizes.values())) != 1:
            shown = ', '.join(f'{name} {size}' for name, size in sizes.items())
            raise SourceError(f'{path} is damaged: its columns are not of one length ({shown})')
        return JsonTable(list(range(next(iter(sizes.values())))), False, found, {})
    wrong = [name for name, values in found.items() if not isinstance(values, dict)]
    if wrong:
        raise SourceError(f'{path} is damaged: its column {wrong[0]!r} is not a value for each row; {LAYOUTS}')
    keys = list(dict.fromkeys(key for values in found.values() for key in values))
    return JsonTable(_keys(keys), True, {name: [values.get(key) for key in keys] for name, values in found.items()}, {})


def _rows(found: list[Any], structure: str) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return rows as objects, and what is wrong with those that are none; a structure stands for a row of its own."""
    rows: list[dict[str, Any]] = []
    faults = {}
    for place, row in enumerate(found):
        if not isinstance(row, dict):
            what = row if isinstance(row, str) and row.startswith('a line that is no JSON') else type(row).__name__
            faults[place] = f'not an object with a structure but {what}'
            rows.append({})
        else:
            rows.append({structure: row} if _is_structure(row) and structure not in row else row)
    return rows, faults


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _take_index(rows: list[dict[str, Any]], name: str, faults: dict[int, str]) -> list[Any] | None:
    """Return the index that ``reset_index`` has made a column, out of the rows, or None where there is none."""
    given = [row.get(name) for place, row in enumerate(rows) if place not in faults]
    if not given or any(type(value) not in (int, str) for value in given) or len(set(given)) != len(given):
        return None
    index = [place if place in faults else _index(row[name]) for place, row in enumerate(rows)]
    for place, row in enumerate(rows):
        rows[place] = {key: value for key, value in row.items() if key != name}
    return index


def _keys(keys: list[str]) -> list[Any]:
    """Return the keys of an object, which are texts, as the numbers that they were."""
    if all(key.isascii() and key.isdigit() and str(int(key)) == key for key in keys):
        return [int(key) for key in keys]
    return list(keys)


def _index(value: Any) -> Any:
    return value if type(value) in (int, str) else _name(value)


def _name(value: Any) -> str:
    """Return a name as text; of several levels, all of them."""
    return '-'.join(map(str, value)) if isinstance(value, list) else str(value)


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) and 'lattice' in value and 'sites' in value
