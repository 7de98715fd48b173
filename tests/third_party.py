"""A package with sources of its own, as another group would install it: one that works and three that do not."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
"""Crystals as lines of text: id, element, edge of a cubic cell in Angstrom."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.crystals import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
from aiida_cgcnn_elastic.crystals.sources import Batch, Origin, Source, describe_file
from aiida_cgcnn_elastic.crystals.sources.base import usable_batch


class LinesSource(Source):
    name = 'lines'
    licence = 'CC0'

    def __init__(self, paths: Sequence[Path] = (), *, edge: float = 1.0) -> None:
        super().__init__(paths)
        self.edge = edge

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        return all(path.suffix == '.lines' for path in paths)

    def batches(self) -> Iterator[Batch]:
        for path in self.paths:
            yield usable_batch([self._crystal(line) for line in path.read_text().splitlines()])

    def _crystal(self, line: str) -> Crystal | Rejection:
        material_id, symbol, edge = line.split()
        if symbol not in ATOMIC_NUMBERS:
            return Rejection(material_id, Reason.UNKNOWN_SPECIES, symbol)
        lattice = np.eye(3) * float(edge) * self.edge
        return Crystal(material_id, lattice, np.array([ATOMIC_NUMBERS[symbol]]), np.zeros((1, 3)))

    def origin(self) -> Origin:
        return Origin(self.name, licence=self.licence, files=[describe_file(path) for path in self.paths])


class RudeSource(LinesSource):
    name = 'rude'

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        raise RuntimeError('none of your business')


class NoSource:
    pass
'''

ENTRY_POINTS = """[cgcnn_elastic.sources]
absent = no_such_module:Source
extra = lines_package:NoSource
files = lines_package:LinesSource
lines = lines_package:LinesSource
rude = lines_package:RudeSource
"""


def install(folder: Path) -> Path:
    """Install the package into a folder and return that; it must be put on the path of modules."""
    (folder / 'lines_package.py').write_text(MODULE)
    info = folder / 'lines_package-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: lines-package\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(ENTRY_POINTS)
    return folder
