"""The shipped models: one folder each, with ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

from pathlib import Path

__all__ = ['available', 'path']

_FOLDER = Path(__file__).parent


def available() -> list[str]:
    """Return the names of the shipped models, sorted."""
    return sorted(card.parent.name for card in _FOLDER.glob('*/model.json'))


def path(name: str) -> Path:
    """Return the folder of a shipped model.

    Raises
    ------
    KeyError
        If there is none of that name; the message lists those there are.
    """
    if name not in available():
        raise KeyError(f'no model {name!r} is shipped; there are {available()}')
    return _FOLDER / name
