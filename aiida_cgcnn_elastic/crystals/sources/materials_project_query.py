"""Which materials of the Materials Project are wanted, checked against what its client can ask for."""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from aiida_cgcnn_elastic.crystals.sources.base import OptionError

_NOT_CRITERIA = frozenset(
    {'self', 'num_chunks', 'chunk_size', 'all_fields', 'fields', '_page', '_sort_fields', 'kwargs'}
)

OPTIONS = ('elasticity', 'endpoint', 'chunk_size', 'timeout', 'first_pause')
"""The options of the source that are no criteria."""

DEFAULTS: Mapping[str, Any] = {'deprecated': False, 'include_gnome': False}
"""What is asked for where nothing else is said: GNoME's crystals in the Materials Project are under another licence."""


@functools.cache
def allowed() -> dict[str, Any]:
    """Return the criteria that ``MPRester.materials.summary.search`` takes, with the types of their values."""
    from mp_api.client.routes.materials.summary import SummaryRester

    hints = typing.get_type_hints(SummaryRester.search)
    names = inspect.signature(SummaryRester.search).parameters
    return {name: hints[name] for name in sorted(names) if name not in _NOT_CRITERIA}


def check_criteria(criteria: Mapping[str, Any]) -> dict[str, Any]:
    """Return criteria with values of the types that the client takes.

    Parameters
    ----------
    criteria : mapping
        Values by the names of `allowed`, in plain JSON. A range is a list of its two ends, an end may be None where it
        is open; one number stands for a range of just that. Text with commas stands for a list.

    Raises
    ------
    OptionError
        If a criterion does not exist or cannot have this value; the message lists what is allowed.
    """
    return {name: _check(name, value) for name, value in criteria.items() if value is not None}


def _check(name: str, value: Any) -> Any:
    types = allowed()
    if name in ('api_key', 'key'):
        # An option is kept in reports and in the database; so would the key be.
        raise OptionError(
            'the key of the Materials Project is no option: it would be written down with the others. Set MP_API_KEY '
            'in the environment, or PMG_MAPI_KEY in ~/.config/.pmgrc.yaml, of the account that reads the crystals'
        )
    if name not in types:
        near = difflib.get_close_matches(name, types, n=3)
        hint = f' (did you mean {" or ".join(near)}?)' if near else ''
        raise OptionError(
            f'the Materials Project cannot be asked for {name!r}{hint}; criteria are: {", ".join(types)}; and options '
            f'of this source: {", ".join(OPTIONS)}'
        )
    kinds = typing.get_args(types[name]) or (types[name],)
    if any(typing.get_origin(kind) is tuple for kind in kinds):
        return _check_range(name, value)
    lists = [kind for kind in kinds if typing.get_origin(kind) is list]
    if lists and isinstance(value, str) and (',' in value or str not in kinds):
        value = [part.strip() for part in value.split(',')]
    # Where the client takes members of an enumeration or any text, the text is still one of the members'.
    strict = next((kind for kind in lists if _members(kind)), types[name])
    return _check_type(name, value, strict)


def _check_range(name: str, value: Any) -> Any:
    ends = value if isinstance(value, list | tuple) else (value, value)
    known = [end for end in ends if end is not None]
    if len(ends) != 2 or not known or any(isinstance(end, bool) or not isinstance(end, int | float) for end in known):
        raise OptionError(
            f'{name}={value!r}: give a number, or a range as [0, 0.05], [0.5, null] or [null, 20] (null is an open end)'
        )
    if len(known) == 2 and known[0] > known[1]:
        raise OptionError(f'{name}={value!r}: the range ends before it begins')
    return tuple(ends)


def _check_type(name: str, value: Any, kind: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        # In the client's own types: of some texts it wants the member of an enumeration.
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        members = _members(kind)
        faults = '; '.join(dict.fromkeys(str(fault['msg']) for fault in error.errors()))
        wanted = f'allowed are {", ".join(members)}' if members else faults
        raise OptionError(f'{name}={value!r} is no value of this criterion: {wanted}') from None


def _members(kind: Any) -> list[str]:
    """Return the values of the enumeration that a type is, or is a list of, or has among its alternatives."""
    for part in (kind, *typing.get_args(kind)):
        if isinstance(part, type) and issubclass(part, Enum):
            return [str(member.value) for member in part]
    return []
