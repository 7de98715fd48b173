"""JSON files of settings: criteria, protocols, splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.screening import Criteria


def read_settings(path: Path, what: str) -> dict[str, Any]:
    """Return the dictionary in a JSON file.

    Raises
    ------
    RunFailed
        With `Status.SETTINGS_INVALID` if there is no such file, or it holds anything else.
    """
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise RunFailed(Status.SETTINGS_INVALID, f'the {what} in {path} cannot be read as JSON: {error}') from error
    if not isinstance(values, dict):
        raise RunFailed(
            Status.SETTINGS_INVALID, f'the {what} in {path} must be a JSON object, not {type(values).__name__}'
        )
    return values


def read_criteria(path: Path | None) -> Criteria:
    """Return the criteria in a JSON file, none at all without a file.

    Raises
    ------
    RunFailed
        With `Status.SETTINGS_INVALID`.
    """
    from aiida_cgcnn_elastic.screening import Criteria, CriteriaError

    if path is None:
        return Criteria()
    try:
        return Criteria.from_dict(read_settings(path, 'criteria'))
    except CriteriaError as error:
        raise RunFailed(Status.SETTINGS_INVALID, f'the criteria in {path}: {error}') from error
