"""The points of a sweep: which hyperparameters each of its members has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

__all__ = ('JOB_PARAMETERS', 'expand_grid', 'member_parameters', 'name_members', 'what_is_wrong')

JOB_PARAMETERS = ('protocol', 'split', 'seed', 'device')
"""Parameters of the job itself; all others are settings of its protocol."""


def expand_grid(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values, the last parameter by name changing fastest.

    The parameters are taken by name, because not every database keeps their order.
    """
    names = sorted(grid)
    return [dict(zip(names, values, strict=True)) for values in product(*(grid[name] for name in names))]


def name_members(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the points by the names of the members: ``member_000``, ``member_001``, ..."""
    return {f'member_{number:03d}': dict(point) for number, point in enumerate(points)}


def member_parameters(parameters: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a training with a point put over them.

    Parameters
    ----------
    parameters
        Those of `TrainCalculation` that all members share.
    point
        Hyperparameters: `protocol`, `split`, `seed` and `device` replace those of the job, any other is a setting of
        its protocol.
    """
    merged = {**parameters, **{name: value for name, value in point.items() if name in JOB_PARAMETERS}}
    settings = {name: value for name, value in point.items() if name not in JOB_PARAMETERS}
    if settings:
        protocol = merged.get('protocol', 'paper')
        merged['protocol'] = {**({'base': protocol} if isinstance(protocol, str) else protocol), **settings}
    return merged


def what_is_wrong(points: Sequence[Any]) -> str | None:
    """Return what is wrong with the points of a sweep, None where nothing is."""
    if not points:
        return 'the sweep has no point'
    seen: dict[str, int] = {}
    for number, point in enumerate(points):
        if not isinstance(point, Mapping) or not point:
            return f'point {number} must map hyperparameters to values, but is {point!r}'
        first = seen.setdefault(json.dumps(point, sort_keys=True), number)
        if first != number:
            return f'points {first} and {number} are the same: {dict(point)}'
    return None
