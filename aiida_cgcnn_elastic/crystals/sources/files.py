"""Plain CIF and POSCAR files, folders of them, and zip archives of them."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError
from aiida_cgcnn_elastic.crystals.sources.members import Member, describe_path, list_folder, list_zip
from aiida_cgcnn_elastic.crystals.sources.parsing import POSCAR_SUFFIXES, is_cif, is_poscar, n_processes, parse

_POSCAR_STARTS = ('poscar', 'contcar')


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, the path it was found under, and where it lies below that."""

    path: Path
    inner_path: str
    member: Member


class FilesSource(Source):
    """CIF and POSCAR files, in any mixture of files, folders (with all below them) and zip archives.

    A crystal's id is the file's name without its suffix: ``Si`` for ``Si.cif``, ``Si.vasp`` and ``POSCAR_Si``; a file
    named just ``POSCAR`` or ``CONTCAR`` takes the name of its folder. Where several files would have the same id, each
    of them takes its path instead, as in ``run/POSCAR`` and ``run/CONTCAR``.

    Parameters
    ----------
    paths : sequence of Path
        Files, folders and zip archives. In a folder or an archive, files of other kinds are passed over and counted.
    processes : int, optional
        How many processes parse; by default all processors.

    Raises
    ------
    SourceError
        If a path is of another kind, or holds no CIF or POSCAR.
    """

    name: ClassVar[str] = 'files'

    def __init__(self, paths: Sequence[Path] = (), *, processes: int | None = None) -> None:
        super().__init__(paths)
        self.processes = n_processes(processes)
        self._n_other = 0
        found: list[_Found] = []
        for path in self.paths:
            here = self._list(path)
            if not here:
                raise SourceError(f'{path} holds no CIF or POSCAR file')
            found.extend(here)
        self._jobs = [(item.member, material_id) for item, material_id in zip(found, _ids(found), strict=True)]

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether every path is a folder, a zip archive or a file named as a CIF or POSCAR is."""
        return all(path.is_dir() or _is_crystal(path.name) or _is_zip(path) for path in paths)

    def _list(self, path: Path) -> list[_Found]:
        if path.is_dir():
            listed = list(_in_folder(path))
        elif _is_crystal(path.name):
            listed = [_Found(path, path.name, Member(str(path), path.name))]
        elif _is_zip(path):
            listed = [_Found(path, member.name, member) for member in list_zip(path)]
        else:
            raise SourceError(f'{path} is no CIF, POSCAR, folder or zip archive')
        kept = [item for item in listed if _is_crystal(item.member.file_name)]
        self._n_other += len(listed) - len(kept)
        return kept

    @property
    def n_expected(self) -> int:
        """The number of CIF and POSCAR files."""
        return len(self._jobs)

    def batches(self) -> Iterator[Batch]:
        """Parse the files in the order of the paths; in a folder, in alphabetical order."""
        yield from parse(self._jobs, self.processes)

    def origin(self) -> Origin:
        """Return the checksums of the paths."""
        files: list[dict[str, Any]] = [entry for path in self.paths for entry in describe_path(path)]
        messages = [f'{self._n_other} files are no CIF or POSCAR and were passed over'] if self._n_other else []
        return Origin(self.name, files=files, messages=messages)


def _is_crystal(file_name: str) -> bool:
    return is_cif(file_name) or is_poscar(file_name)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == '.zip' or (path.is_file() and zipfile.is_zipfile(path))


def _in_folder(folder: Path) -> Iterator[_Found]:
    for member in list_folder(folder):
        if member.name.lower().endswith('.zip'):
            for packed in list_zip(Path(member.container)):
                yield _Found(folder, f'{member.name}/{packed.name}', packed)
        else:
            yield _Found(folder, member.name, member)


def _ids(found: Sequence[_Found]) -> list[str]:
    """Return an id for every file: short where that is unique, else its path, else its path and where that starts."""
    choices = [(_short_id(item), item.inner_path, f'{item.path.name}/{item.inner_path}') for item in found]
    short, inner = (Counter(choice[place] for choice in choices) for place in (0, 1))
    return [
        choice[0] if short[choice[0]] == 1 else choice[1] if inner[choice[1]] == 1 else choice[2] for choice in choices
    ]


def _short_id(found: _Found) -> str:
    file_name = found.member.file_name
    lower = file_name.lower()
    start = next((start for start in _POSCAR_STARTS if lower.startswith(start)), None)
    if is_cif(file_name) or start is None:
        return PurePosixPath(file_name).stem
    rest = file_name[len(start) :].lstrip('._-')
    if rest and f'.{rest.lower()}' not in POSCAR_SUFFIXES:
        return PurePosixPath(rest).stem if rest.lower().endswith(POSCAR_SUFFIXES) else rest
    folder = PurePosixPath(found.inner_path).parent
    if folder.name:
        return folder.stem if folder.suffix.lower() == '.zip' else folder.name
    path = found.path.resolve()
    return path.name if path.is_dir() else path.stem if _is_zip(path) else path.parent.name
