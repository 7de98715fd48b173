"""What becomes of broken files, how long it takes and how much memory: ``python -m benchmarks.broken_input``.

Every file of `tests/crystals/broken_files.py` and as many mutations as asked for, made by hypothesis out of good
files, are read one after the other in one process, which does nothing else. Memory is that of the whole process. Ends
with status 1 if anything but a crystal or a rejection came out, or a file took too long.
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import signal
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

import hypothesis
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals import Crystal, Rejection
from aiida_cgcnn_elastic.crystals.checks import why_unusable
from aiida_cgcnn_elastic.crystals.cif import read_cif
from aiida_cgcnn_elastic.crystals.poscar import parse_poscar
from aiida_cgcnn_elastic.crystals.sources import read
from aiida_cgcnn_elastic.crystals.sources.files import FilesSource
from benchmarks.machine import describe
from tests.crystals.broken_files import GOOD, Case, broken_cifs, broken_poscars


class TooSlowError(BaseException):
    """A file took too much time; no `except Exception` hides it."""


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python passes them
    raise TooSlowError


def outcome(case: Case) -> str:
    if case.name.endswith('.vasp'):
        found = parse_poscar(case.content, 'x')
        if isinstance(found, Crystal) and (fault := why_unusable(found.lattice, found.frac_coords)):
            found = Rejection('x', *fault)
    else:
        found = read_cif(case.content, 'x')
    if isinstance(found, Crystal):
        return 'read' if case.may_be_read else 'READ THOUGH IT IS NO CRYSTAL'
    return str(found.reason)


def mutated(n_examples: int) -> Iterable[Case]:
    """Return mutations of good CIFs: pieces cut out, and others put in."""
    piece = st.binary(max_size=12) | st.sampled_from(
        [b'loop_', b"'", b'\n;\n', b'data_', b'nan', b'_cell_length_a', b'\0']
    )
    change = st.tuples(st.floats(0, 1), st.integers(0, 60), piece)
    cases: list[Case] = []

    @hypothesis.settings(max_examples=n_examples, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.sampled_from(sorted(GOOD)), st.lists(change, min_size=1, max_size=3))
    def collect(base: str, changes: list[tuple[float, int, bytes]]) -> None:
        content = GOOD[base].encode()
        for where, n_removed, inserted in changes:
            at = int(where * len(content))
            content = content[:at] + inserted + content[at + n_removed :]
        cases.append(Case(f'mutated/{base} {len(cases)}.cif', content))

    collect()
    return cases


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what: str, make: Callable[[], Iterable[Case]], limit: float) -> bool:
    counts: Counter[str] = Counter()
    slowest: list[tuple[float, str]] = []
    total, before = 0.0, peak_mib()
    for case in make():
        start = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, limit)
        try:
            result = outcome(case)
        except TooSlowError:
            result = f'TOO SLOW: {case.name}'
        except Exception as error:
            result = f'{type(error).__name__.upper()}: {case.name}'
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        seconds = time.process_time() - start
        total += seconds
        counts[result] += 1
        slowest = sorted([*slowest, (seconds, case.name)], reverse=True)[:3]
    print(f'{what}: {counts.total()} files in {total:.1f} s of CPU, peak memory {before:.0f} -> {peak_mib():.0f} MiB')
    for result, count in counts.most_common():
        print(f'  {count:5d}  {result}')
    for seconds, name in slowest:
        print(f'  slowest: {seconds:.2f} s, {name}')
    return not any(result.isupper() or result.split(':')[0].isupper() or 'THOUGH' in result for result in counts)


def read_packed(cases: list[Case]) -> bool:
    """Read all files as members of one archive, as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'broken.zip')
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for number, case in enumerate(cases):
                archive.writestr(f'{number:06}{Path(case.name).suffix}', case.content)
        start = time.process_time()
        result = read(FilesSource([path], processes=1))
    n_kept, n_rejected = len(result.table), len(result.rejections)
    print(
        f'packed: {result.n_read} of {len(cases)} files read in {time.process_time() - start:.1f} s of CPU, '
        f'{n_kept} kept and {n_rejected} rejected: {result.rejected_by_reason}'
    )
    return result.n_read == len(cases) == n_kept + n_rejected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mutations', type=int, default=2000)
    parser.add_argument('--limit', type=float, default=20, help='seconds of CPU for one file')
    arguments = parser.parse_args()
    faulthandler.enable()
    signal.signal(signal.SIGVTALRM, stop)
    print(describe('gemmi', 'pymatgen', 'hypothesis'))
    # Once before anything is measured: pymatgen is imported where it is needed first.
    outcome(Case('.cif', b'data_a _x'))
    outcome(Case('.vasp', b'x'))
    good = [
        measure('CIFs', broken_cifs, arguments.limit),
        measure('mutated CIFs', lambda: mutated(arguments.mutations), arguments.limit),
        measure('POSCARs', broken_poscars, arguments.limit),
    ]
    good.append(read_packed([*broken_cifs(), *broken_poscars()]))
    raise SystemExit(not all(good))


if __name__ == '__main__':
    main()
