"""How many CIFs are read in a second, unzipping included: ``python benchmarks/parsing.py ARCHIVE.zip``.

The archive's CIFs are repeated under other names until there are enough to measure. pymatgen's own parser reads a part
of them on one process, for comparison.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

from aiida_cgcnn_elastic.crystals.sources import read
from aiida_cgcnn_elastic.crystals.sources.files import FilesSource


def repeated(archive: Path, n_files: int, path: Path) -> None:
    """Write an archive of n_files CIFs, those of another archive in turn."""
    with zipfile.ZipFile(archive) as source:
        contents = [source.read(name) for name in source.namelist() if name.lower().endswith('.cif')]
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as target:
        for place in range(n_files):
            target.writestr(f'by_id/{place:010x}.CIF', contents[place % len(contents)])


def time_project(path: Path, processes: int) -> tuple[int, float]:
    start = time.perf_counter()
    result = read(FilesSource([path], processes=processes))
    return result.n_read, time.perf_counter() - start


def time_pymatgen(path: Path, n_files: int) -> tuple[int, float]:
    from pymatgen.io.cif import CifParser

    warnings.simplefilter('ignore')
    start = time.perf_counter()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist()[:n_files]:
            CifParser.from_str(archive.read(name).decode()).parse_structures(primitive=False)
    return n_files, time.perf_counter() - start


def show(what: str, n_read: int, seconds: float) -> None:
    print(f'{what}: {n_read} CIFs in {seconds:.1f} s, {n_read / seconds:,.0f} crystals/s')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('archive', type=Path, help='a zip archive of CIFs')
    parser.add_argument('--files', type=int, default=60_000, help='how many CIFs to read')
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--pymatgen-files', type=int, default=300, help='how many of them pymatgen reads')
    arguments = parser.parse_args()
    machine = f'{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}'
    print(f'{machine}, load average {os.getloadavg()[0]:.1f}')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'crystals.zip')
        repeated(arguments.archive, arguments.files, path)
        for processes in arguments.processes:
            show(f'this project, {processes} processes', *time_project(path, processes))
        show('pymatgen, 1 process', *time_pymatgen(path, arguments.pymatgen_files))


if __name__ == '__main__':
    main()
