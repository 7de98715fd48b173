"""Plain CIF and POSCAR files, folders of them, and zip archives of them."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from aiida_cgcnn_elastic.crystals.sources.base import Batch, Origin, Source, SourceError
from aiida_cgcnn_elastic.crystals.sources.members import Member, describe_path, list_folder, list_zip
from aiida_cgcnn_elastic.crystals.sources.parsing import is_cif, is_poscar, n_processes, parse

_POSCAR_STARTS = ('poscar', 'contcar')


class FilesSource(Source):
    """CIF and POSCAR files, in any mixture of files, folders (with all below them) and zip archives.

    A crystal's id is the file's name without its suffix: ``Si`` for ``Si.cif``, ``Si.vasp`` and ``POSCAR_Si``; a file named
    just ``POSCAR`` or ``CONTCAR`` takes the name of its folder. Where several files would have the same id, each of them
    takes its path instead, as in ``run/POSCAR`` and ``run/CONTCAR``.

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
        members: list[tuple[Path, Member]] = []
        for path in self.paths:
            found = self._list(path)
            if not found:
                raise SourceError(f'{path} holds no CIF or POSCAR file')
            members.extend((path, member) for member in found)
        self._jobs = [(member, material_id) for (_, member), material_id in zip(members, _ids(members), strict=True)]

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether every path is a folder, a zip archive or a file named as a CIF or POSCAR is."""
        return all(path.is_dir() or _is_crystal(path.name) or _is_zip(path) for path in paths)

    def _list(self, path: Path) -> list[Member]:
        if path.is_dir():
            members = []
            for member in list_folder(path):
                if member.name.lower().endswith('.zip'):
                    inside = list_zip(Path(member.container))
                    members += [(f'{member.name}/{item.name}', item) for item in inside]
                else:
                    members.append((member.name, member))
            kept = [member for _, member in members if _is_crystal(member.file_name)]
            self._n_other += len(members) - len(kept)
            return kept
        if _is_crystal(path.name):
            return [Member(str(path), path.name)]
        if _is_zip(path):
            listed = list_zip(path)
            kept = [member for member in listed if _is_crystal(member.file_name)]
            self._n_other += len(listed) - len(kept)
            return kept
        raise SourceError(f'{path} is no CIF, POSCAR, folder or zip archive')

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


def _ids(members: Sequence[tuple[Path, Member]]) -> list[str]:
    """Return an id for every member: short where that is unique, else its path, else its path below the one given."""
    short = [_short_id(path, member) for path, member in members]
    inner = [member.name if member.offset >= 0 else _inside(path, member) for path, member in members]
    whole = [f'{path.name}/{name}' for (path, _), name in zip(members, inner, strict=True)]
    n_short, n_inner = Counter(short), Counter(inner)
    ids = []
    for place, material_id in enumerate(short):
        if n_short[material_id] == 1:
            ids.append(material_id)
        elif n_inner[inner[place]] == 1:
            ids.append(inner[place])
        else:
            ids.append(whole[place])
    return ids


def _inside(path: Path, member: Member) -> str:
    return Path(member.container).relative_to(path).as_posix() if path.is_dir() else member.name


def _short_id(path: Path, member: Member) -> str:
    file_name = member.file_name
    lower = file_name.lower()
    if is_cif(file_name) or not lower.startswith(_POSCAR_STARTS):
        return PurePosixPath(file_name).stem
    start = next(start for start in _POSCAR_STARTS if lower.startswith(start))
    rest = file_name[len(start) :].lstrip('._-')
    if rest and rest.lower() not in ('vasp', 'poscar', 'contcar'):
        return PurePosixPath(rest).stem if rest.lower().endswith('.vasp') else rest
    folder = PurePosixPath(member.name).parent.name
    if folder:
        return folder
    return path.resolve().parent.name if path.is_file() and member.offset < 0 else path.resolve().stem
