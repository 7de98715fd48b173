"""How long it takes to find the same materials in two sources, and how it grows with the number of crystals.

The first source is made of real crystals (CIFs, in any number of zips or folders), again and again with other elements
on their sites; the second of some of those, strained and shaken a little and moved, in another order. So the number of
materials that are in both is known. Unless `--grouping-only` is given, all is done that marking duplicates takes: what
shares formula and volume is compared, and both tables get their column. Seconds are of the processor, those of other
processes included, but for the wall time. The largest memory is that of this process, which holds all crystals, from
the start on, and of as many others as compare, each taken for the largest. Run it as

    python benchmarks/duplicates.py path/to/gnome/by_id.zip path/to/mp/cifs.zip --crystals 10000 --crystals 30000
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals import duplicates as module
from aiida_cgcnn_elastic.crystals.sources import open_source, read

STRAIN, NOISE = 0.005, 0.005
"""Of the second source: largest component of the strain; standard deviation of displacements, in Angstrom."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path)
    parser.add_argument('--crystals', type=int, action='append', required=True, help='in both sources together')
    parser.add_argument(
        '--shared', type=float, default=0.1, help='the part of all crystals that are in the second source'
    )
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--grouping-only', action='store_true')
    arguments = parser.parse_args()
    real = CrystalTable.concatenate([_geometry(read(open_source([path])).table) for path in arguments.paths])
    print(f'{len(real)} real crystals')
    print('| crystals | to compare | found of shared | wrong | grouping | all | wall | ms each | largest memory |')
    print('|---|---|---|---|---|---|---|---|---|')
    for n_crystals in arguments.crystals:
        measure(real, n_crystals, arguments.shared, arguments.processes, grouping_only=arguments.grouping_only)


def measure(real: CrystalTable, n_crystals: int, shared: float, processes: int, *, grouping_only: bool) -> None:
    random = np.random.default_rng(0)
    n_second = round(shared * n_crystals)
    first = many(real, n_crystals - n_second, random)
    second, original = shaken(first, n_second, random)
    start = time.process_time()
    n_compared = len(module._candidates([first, second], module.Tolerances().volume)[0])
    grouping = time.process_time() - start
    found = wrong = 0
    start, start_of_children, start_of_wall = time.process_time(), _cpu_of_children(), time.perf_counter()
    if not grouping_only:
        tables = [first, second]
        columns = module.find_duplicates(tables, processes=processes)
        marked = [table.with_columns({module.COLUMN: column}) for table, column in zip(tables, columns, strict=True)]
        marks = marked[1].arrow.column(module.COLUMN).to_pylist()
        found = sum(mark is not None for mark in marks)
        wrong = sum(mark is not None and mark != material_id for mark, material_id in zip(marks, original, strict=True))
    seconds = time.process_time() - start + _cpu_of_children() - start_of_children
    wall = time.perf_counter() - start_of_wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if processes > 1:
        memory += processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    each = f'{1000 * seconds / n_compared:.1f}' if n_compared and not grouping_only else '-'
    counts = f'{n_crystals:,} | {n_compared:,} | {found:,} of {n_second:,} | {wrong:,}'
    times = f'{grouping:.1f} s | {seconds:.1f} s | {wall:.1f} s'
    print(f'| {counts} | {times} | {each} | {memory / 1024:,.0f} MiB |', flush=True)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _geometry(table: CrystalTable) -> CrystalTable:
    return table.without_columns(table.property_names)


def many(real: CrystalTable, n_crystals: int, random: np.random.Generator) -> CrystalTable:
    """Return so many crystals: the real ones, then the same with other elements."""
    arrays, ids = real.arrays(), real.material_ids
    tables = []
    for copy in range(-(-n_crystals // len(real))):
        elements = np.arange(119, dtype=np.uint8)
        if copy:
            elements[1:95] = random.permutation(94).astype(np.uint8) + 1
        table = _table([f'{item}-{copy}' for item in ids], arrays.lattices, elements[arrays.atomic_numbers], real)
        tables.append(table.slice(0, n_crystals - copy * len(real)))
    return CrystalTable.concatenate(tables)


def shaken(table: CrystalTable, n_crystals: int, random: np.random.Generator) -> tuple[CrystalTable, list[str]]:
    """Return some of the crystals, strained, shaken and moved, and the ids of those that they were."""
    chosen = table.select(random.choice(len(table), n_crystals, replace=False))
    arrays = chosen.arrays()
    strain = random.uniform(-STRAIN, STRAIN, (n_crystals, 3, 3))
    lattices = arrays.lattices @ (np.eye(3) + (strain + strain.transpose(0, 2, 1)) / 2)
    crystal_of = np.repeat(np.arange(n_crystals), np.diff(arrays.offsets))
    noise = np.einsum(
        'ai,aij->aj', random.normal(0, NOISE, arrays.frac_coords.shape), np.linalg.inv(lattices)[crystal_of]
    )
    coords = arrays.frac_coords + noise + random.random((n_crystals, 3))[crystal_of]
    ids = [f'again-{item}' for item in chosen.material_ids]
    return _table(ids, lattices, arrays.atomic_numbers, chosen, coords), chosen.material_ids


def _table(
    ids: list[str],
    lattices: np.ndarray,
    atomic_numbers: np.ndarray,
    like: CrystalTable,
    frac_coords: np.ndarray | None = None,
) -> CrystalTable:
    arrays = like.arrays()
    coords = arrays.frac_coords if frac_coords is None else frac_coords
    offsets = pa.array(arrays.offsets.astype(np.int32))
    columns = {
        'material_id': pa.array(ids),
        'lattice': pa.FixedSizeListArray.from_arrays(pa.array(lattices.ravel()), 9),
        'atomic_numbers': pa.ListArray.from_arrays(offsets, pa.array(atomic_numbers, pa.uint8())),
        'frac_coords': pa.ListArray.from_arrays(
            pa.array(arrays.offsets.astype(np.int32) * 3), pa.array(coords.ravel())
        ),
    }
    return CrystalTable.from_arrow(pa.table(columns))


if __name__ == '__main__':
    main()
