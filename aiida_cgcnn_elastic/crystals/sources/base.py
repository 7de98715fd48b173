"""What every source of crystals is and gives."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiida_cgcnn_elastic.crystals.checks import find_faults_of
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Rejection
from aiida_cgcnn_elastic.crystals.table import CrystalTable


class SourceError(ValueError):
    """The input as a whole cannot be read: a missing file, a foreign format."""


class OptionError(SourceError):
    """An option that the source does not have, or that cannot have this value; the message lists what is allowed."""


@dataclass
class Batch:
    """Some crystals as they were read, in the order of the input, and those turned away among them.

    Parameters
    ----------
    table : CrystalTable
        The crystals that can be used.
    rejections : list of Rejection
        Those that cannot.
    skipped : Counter
        How many were left out because filters do not want them, by reason, whether they were parsed or not.
    """

    table: CrystalTable
    rejections: list[Rejection] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def n_read(self) -> int:
        """How many crystals were read: kept or rejected."""
        return len(self.table) + len(self.rejections)

    @property
    def n_done(self) -> int:
        """How many crystals of the input this batch accounts for: read or skipped."""
        return self.n_read + self.skipped.total()


@dataclass(frozen=True)
class Filters:
    """Which crystals are not wanted, as told by their properties.

    Parameters
    ----------
    settings : mapping
        The filters as plain values: for the record, and for a source that can ask for less in its own language. The
        keys are those of :class:`~aiida_cgcnn_elastic.screening.Criteria`.
    why_unwanted : callable
        Takes a table with the columns ``n_atoms``, ``elements`` and any known properties, and returns for each row why
        that crystal is not wanted, None where it is.
    """

    settings: Mapping[str, Any]
    why_unwanted: Callable[[pa.Table], npt.NDArray[np.object_]]


def usable_batch(found: Sequence[Crystal | Rejection]) -> Batch:
    """Return a batch of what was found in the input, those crystals turned away that cannot be used."""
    faults = find_faults_of([item for item in found if isinstance(item, Crystal)])
    crystals: list[Crystal] = []
    rejections: list[Rejection] = []
    n_crystals = 0
    for item in found:
        if isinstance(item, Rejection):
            rejections.append(item)
            continue
        fault = faults.get(n_crystals)
        n_crystals += 1
        if fault is None:
            crystals.append(item)
        else:
            rejections.append(Rejection(item.material_id, *fault))
    return Batch(CrystalTable.from_crystals(crystals, allow_duplicate_ids=True), rejections)


@dataclass
class Origin:
    """Where crystals come from: enough to find the same bytes again and to give credit.

    Parameters
    ----------
    source : str
        The source's name.
    version : str or None
        The version of the data set, where the data tell it.
    licence, citation : str or None
        How the data may be used, and whom to cite.
    files : list of dict
        ``name``, ``sha256`` and ``bytes`` of every file read.
    options : dict
        The options that the source was opened with.
    messages : list of str
        What a person should know about this input.
    filters : dict
        The settings of the filters, empty where there were none.
    skipped_by_reason : dict
        How many crystals the filters left out, by reason.
    """

    source: str
    version: str | None = None
    licence: str | None = None
    citation: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    skipped_by_reason: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


class Source(ABC):
    """A source of crystals: opened on paths with options, read batch by batch.

    Parameters
    ----------
    paths : sequence of Path
        What to read; empty for a source that needs no file.

    Raises
    ------
    SourceError
        If the paths do not exist or are not what this source reads.
    """

    name: ClassVar[str]
    licence: ClassVar[str | None] = None
    citation: ClassVar[str | None] = None
    needs_path: ClassVar[bool] = True

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = tuple(Path(path) for path in paths)
        if self.needs_path and not self.paths:
            raise SourceError(f'the source {self.name!r} needs at least one path')
        for path in self.paths:
            if not path.exists():
                raise SourceError(f'no such file or folder: {path}')

    @classmethod
    @abstractmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether these paths look like this source's, without reading them whole."""

    @property
    def is_online(self) -> bool:
        """Whether crystals come over a network, so that what is read now may differ from what is read later."""
        return False

    @property
    def n_expected(self) -> int | None:
        """How many crystals the input has, those that filters leave out included, where known before reading."""
        return None

    def skip_unwanted(self, filters: Filters) -> None:  # noqa: B027 - most sources have nothing to do
        """Let the source leave out, before it parses them, crystals of which it knows that filters do not want them.

        They are counted in ``Batch.skipped``. A source that knows no properties before parsing does nothing here:
        :class:`~aiida_cgcnn_elastic.crystals.sources.filtering.FilteredSource` applies the filters to what it reads.
        """

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Read the crystals in the order of the input."""

    def notes(self) -> list[str]:
        """Say what a person may like to know of this reading: it is printed, and kept only if `origin` has it too."""
        return []

    @abstractmethod
    def origin(self) -> Origin:
        """Say where the crystals come from; complete once the batches have been read."""


def describe_file(path: Path, name: str | None = None) -> dict[str, Any]:
    """Return a file's name, SHA-256 and size in bytes."""
    digest = hashlib.sha256()
    with path.open('rb') as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return {'name': name or path.name, 'sha256': digest.hexdigest(), 'bytes': path.stat().st_size}
