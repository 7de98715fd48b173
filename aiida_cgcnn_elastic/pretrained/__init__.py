"""The shipped models: one folder each, with ``model.safetensors`` and ``model.json``."""

from __future__ import annotations

from pathlib import Path

__all__ = ['HELD_OUT_MAE', 'available', 'path']

_FOLDER = Path(__file__).parent

HELD_OUT_MAE: dict[str, dict[str, float]] = {
    'accurate': {'log10_k_vrh': 0.0469, 'log10_g_vrh': 0.0674},
    'fast': {'log10_k_vrh': 0.0544, 'log10_g_vrh': 0.0753},
    'refined': {'log10_k_vrh': 0.0415, 'log10_g_vrh': 0.0546},
    'paper': {'log10_k_vrh': 0.0722, 'log10_g_vrh': 0.0960},
}
"""Mean absolute errors, log10(GPa), by which the shipped models compare with each other.

Each is of the model's protocol, trained on folds 1 to 3 of Matbench, on the 2,111 crystals of fold 4. The shipped
models learned from fold 4 as well, so their own errors there would tell nothing: see ``docs/background/accuracy.md``.
"""


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
