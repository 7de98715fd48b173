"""Predictions saved chunk by chunk, so that a killed run continues where it was."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_cgcnn_elastic.runner.files import replacing, write_json
from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status

Predicted = dict[str, NDArray[Any]]


class Parts:
    """A folder of numbered parts and what they were made from.

    A part appears under its name only when it is whole, and parts are made in order; so whatever moment a run is
    killed at, those that are there are the first ones, and the same inputs give the others.

    Parameters
    ----------
    folder : Path
    made_from : mapping
        Plain JSON values that decide what the parts hold and where they are cut; parts made from anything else are not
        continued.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self._folder = folder
        self._made_from = dict(made_from)
        self._sizes: list[int] = []

    @property
    def folder(self) -> Path:
        """Return where the parts are."""
        return self._folder

    @property
    def n_saved(self) -> int:
        """Return how many crystals the parts hold."""
        return sum(self._sizes)

    @property
    def sizes(self) -> list[int]:
        """Return how many crystals each part holds."""
        return list(self._sizes)

    def start(self, *, resume: bool) -> None:
        """Take over the parts that an earlier run left, or remove them.

        Raises
        ------
        RunFailed
            With `Status.SETTINGS_INVALID` if they were made from other inputs, `Status.INPUT_UNREADABLE` if one is
            damaged.
        """
        if resume and self._manifest.is_file():
            self._require_same_inputs()
            while (path := self._path(len(self._sizes))).is_file():
                self._sizes.append(_n_crystals(_load(path)))
            return
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)
        write_json(self._manifest, self._made_from)

    def save(self, predicted: Predicted) -> None:
        """Save the next part."""
        with replacing(self._path(len(self._sizes))) as temporary, temporary.open('wb') as handle:
            np.savez(handle, allow_pickle=False, **predicted)
        self._sizes.append(_n_crystals(predicted))

    def __iter__(self) -> Iterator[Predicted]:
        """Read the parts one after the other."""
        for number in range(len(self._sizes)):
            yield _load(self._path(number))

    def remove(self) -> None:
        """Remove the folder; the manifest goes first, so that a half-removed folder is not continued."""
        self._manifest.unlink()
        shutil.rmtree(self._folder)

    @property
    def _manifest(self) -> Path:
        return self._folder / 'made_from.json'

    def _path(self, number: int) -> Path:
        return self._folder / f'part-{number:06d}.npz'

    def _require_same_inputs(self) -> None:
        earlier = json.loads(self._manifest.read_text(encoding='utf-8'))
        differing = sorted(key for key in {*earlier, *self._made_from} if earlier.get(key) != self._made_from.get(key))
        if differing:
            raise RunFailed(
                Status.SETTINGS_INVALID,
                f'cannot continue from {self._folder}: it was made from other inputs ({", ".join(differing)} differ). '
                'Give the same inputs and settings, or leave --resume away to start again.',
            )


def _n_crystals(part: Predicted) -> int:
    return len(next(iter(part.values())))


def _load(path: Path) -> Predicted:
    try:
        with np.load(path, allow_pickle=False) as part:
            return {name: part[name] for name in part.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunFailed(
            Status.INPUT_UNREADABLE,
            f'{path} is damaged ({error}); remove it and those after it, or leave --resume away',
        ) from error
