"""Make a release in GNoME's layout with as many crystals as wanted, of one with a few thousand.

    python benchmarks/large_release.py GNOME_FOLDER --crystals 381000 --output SCRATCH_FOLDER

Writes `by_id.zip` and `stable_materials_summary.csv`. The crystals of the small release are taken in turn; each copy
has a name of its own and a cell that is scaled by up to 3 % in length, so that no two are equal while their symmetry,
and with it the work that they make, stays what it was. Bond lists stay as they are. The same numbers give the same
release: the first crystals of a larger release are those of a smaller one.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ARCHIVE, SUMMARY, ID_COLUMN = 'by_id.zip', 'stable_materials_summary.csv', 'MaterialId'
LENGTH = re.compile(r'^(_cell_length_[abc]\s+)([0-9.]+)', re.MULTILINE)
VOLUME = re.compile(r'^(_cell_volume\s+)([0-9.]+)', re.MULTILINE)
LARGEST_STRAIN = 0.03
# Odd, so that its multiples modulo 2**40 are all different: ids of 10 hexadecimal digits, as GNoME's are.
STEP = 0x9E3779B97F
MADE = (2024, 1, 1, 0, 0, 0)


def material_id(number: int) -> str:
    return f'{(number + 1) * STEP % 2**40:010x}'


def scaled(cif: str, scale: float) -> str:
    """Return a CIF whose cell is scaled in length."""
    cif = LENGTH.sub(lambda found: f'{found[1]}{float(found[2]) * scale:.8f}', cif)
    return VOLUME.sub(lambda found: f'{found[1]}{float(found[2]) * scale**3:.8f}', cif)


def scales(seed: int) -> Iterator[float]:
    generator = random.Random(seed)
    while True:
        yield 1 + generator.uniform(-LARGEST_STRAIN, LARGEST_STRAIN)


def make_release(source: Path, n_crystals: int, folder: Path, seed: int = 0) -> None:
    """Write a release of so many crystals."""
    with zipfile.ZipFile(source / ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith('.cif')]
        cifs = [archive.read(name).decode() for name in names]
    with (source / SUMMARY).open(encoding='utf-8', newline='') as handle:
        rows = list(csv.DictReader(handle))
    columns = list(rows[0])
    row_of = {row[ID_COLUMN]: row for row in rows}
    folder.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(folder / ARCHIVE, 'w', zipfile.ZIP_DEFLATED) as archive,
        (folder / SUMMARY).open('w', encoding='utf-8', newline='') as handle,
    ):
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        for number, scale in zip(range(n_crystals), scales(seed), strict=False):
            place = number % len(cifs)
            new_id = material_id(number)
            info = zipfile.ZipInfo(f'by_id/{new_id}.CIF', MADE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, scaled(cifs[place], scale))
            row = row_of.get(PurePosixPath(names[place]).stem)
            if row is not None:
                volume = {'Volume': f'{float(row["Volume"]) * scale**3:.4f}'} if row.get('Volume') else {}
                density = {'Density': f'{float(row["Density"]) / scale**3:.4f}'} if row.get('Density') else {}
                writer.writerow({**row, columns[0]: number, ID_COLUMN: new_id, **volume, **density})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help=f'a folder with {ARCHIVE} and {SUMMARY}')
    parser.add_argument('--crystals', type=int, required=True)
    parser.add_argument('--output', type=Path, required=True, help='a folder, outside the repository')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    make_release(options.source, options.crystals, options.output, options.seed)
    size = (options.output / ARCHIVE).stat().st_size / 1e6
    print(f'{options.crystals:,} crystals, {size:,.0f} MB, in {time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    main()
