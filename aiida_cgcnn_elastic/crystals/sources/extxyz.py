"""Extended XYZ files, many crystals a file, read by ASE."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from numbers import Real
from pathlib import Path
from typing import ClassVar, TextIO

from aiida_cgcnn_elastic.crystals.checks import MAX_ATOMS
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.atoms import ID_KEY, NumericProperties, crystal_of_atoms
from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError, describe_file, usable_batch

SUFFIXES = ('.xyz', '.extxyz')
FRAMES_AT_ONCE = 512

# Taken from the text: a parser that looks for numbers would read 12e4567890 as one.
_ID = re.compile(rf'(?:^|\s){ID_KEY}=(?:"([^"]*)"|\'([^\']*)\'|(\S+))')

_Frame = list[str] | tuple[Reason, str]
"""The lines of a frame, or why it is no crystal."""


class ExtxyzSource(Source):
    """Extended XYZ files: every frame that is periodic in three directions is a crystal.

    The comment line of a frame gives the lattice (``Lattice="..."``, Angstrom) and its properties: keys with numbers
    become columns of their names. A crystal's id is ``material_id`` of the comment line where that is given, else the
    file's stem, with the number of the frame, from 0, where the file has several: ``relaxed-0``, ``relaxed-1``.

    Parameters
    ----------
    paths : sequence of Path
        Files.
    properties : mapping of str to str, optional
        Keys whose columns have other names, by column: ``{'band_gap': 'gap'}``. No units are converted.

    Raises
    ------
    SourceError
        If a path is no file, or `properties` is no mapping.
    """

    name: ClassVar[str] = 'extxyz'

    def __init__(self, paths: Sequence[Path] = (), *, properties: Mapping[str, str] | None = None) -> None:
        super().__init__(paths)
        for path in self.paths:
            if not path.is_file():
                raise SourceError(f'{path} is no extended XYZ file')
        self._properties = NumericProperties(properties)
        self._options = {} if properties is None else {'properties': dict(properties)}

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether every path is a file that ends in ``.xyz`` or ``.extxyz``."""
        return all(path.is_file() and path.suffix.lower() in SUFFIXES for path in paths)

    def batches(self) -> Iterator[Batch]:
        """Read the frames in the order of the files."""
        found = (item for path in self.paths for item in self._crystals(path))
        while piece := list(islice(found, FRAMES_AT_ONCE)):
            yield usable_batch(piece)

    def _crystals(self, path: Path) -> Iterator[Crystal | Rejection]:
        with path.open(encoding='utf-8', errors='replace') as handle:
            frames = _frames(handle)
            first = list(islice(frames, 2))
            for number, frame in enumerate(chain(first, frames)):
                name = path.stem if len(first) == 1 else f'{path.stem}-{number}'
                yield Rejection(name, *frame) if isinstance(frame, tuple) else self._crystal(frame, name)

    def _crystal(self, lines: list[str], name: str) -> Crystal | Rejection:
        from ase.io import read

        given = _ID.search(lines[1])
        material_id = next((text for text in given.groups() if text), name) if given else name
        try:
            atoms = read(io.StringIO(''.join(lines)), format='extxyz')
        except Exception as error:  # ASE raises whatever its parsing stumbles on
            return Rejection(material_id, Reason.UNREADABLE, f'{type(error).__name__}: {error}')
        # ASE takes energies and the like out of the comment line and into a calculator.
        results = {} if atoms.calc is None else atoms.calc.results
        numbers = {key: value for key, value in results.items() if isinstance(value, Real)}
        return crystal_of_atoms(atoms, material_id, self._properties.of({**numbers, **atoms.info}))

    def origin(self) -> Origin:
        """Return the checksums of the files."""
        return Origin(
            self.name,
            files=[describe_file(path) for path in self.paths],
            options=self._options,
            messages=self._properties.messages(),
        )


def _frames(handle: TextIO) -> Iterator[_Frame]:
    """Cut a file into frames, so that one that cannot be read does not stop the others."""
    line = handle.readline()
    while line:
        if not line.strip():
            line = handle.readline()
            continue
        if not line.strip().isdecimal():
            # Nothing tells where the next frame begins.
            shown = line.strip()[:40]
            yield Reason.UNREADABLE, f'a number of atoms is expected, not {shown!r}; what follows is not read'
            return
        n_atoms = int(line)
        body = islice(handle, n_atoms + 1)
        if n_atoms > MAX_ATOMS:
            for _ in body:
                pass
            yield Reason.TOO_MANY_ATOMS, f'{n_atoms} atoms; at most {MAX_ATOMS} are read'
            line = handle.readline()
            continue
        lines = [line, *body]
        if len(lines) < n_atoms + 2:
            yield Reason.UNREADABLE, f'the file ends before the last of {n_atoms} atoms'
            return
        # Cell vectors can follow as if they were atoms.
        line = handle.readline()
        while line.lstrip().startswith('VEC'):
            lines.append(line)
            line = handle.readline()
        yield lines
