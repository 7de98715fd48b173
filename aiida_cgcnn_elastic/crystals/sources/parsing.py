"""Parse files of one crystal each, on several processes where there are many."""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pyarrow as pa

from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.base import Batch, SourceError, usable_batch
from aiida_cgcnn_elastic.crystals.sources.members import Member, MemberError, read_members
from aiida_cgcnn_elastic.crystals.table import CrystalTable
from aiida_cgcnn_elastic.workers import worker_pool

FILES_AT_ONCE = 512
"""Files that make one batch, and one piece of work for a process."""

FILES_WORTH_A_POOL = 8192
"""Starting processes takes about as long as parsing this many files."""

POSCAR_SUFFIXES = ('.vasp', '.poscar', '.contcar')
_POSCAR_NAMES = ('poscar', 'contcar')

Job = tuple[Member, str]


def n_processes(processes: int | None) -> int:
    """Return a number of processes: as asked for, else as many as there are processors to use.

    Raises
    ------
    SourceError
        If less than one is asked for.
    """
    if processes is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    if processes < 1:
        raise SourceError(f'processes must be at least 1, not {processes}')
    return processes


def is_cif(file_name: str) -> bool:
    """Say whether a file's name is that of a CIF."""
    return file_name.lower().endswith('.cif')


def is_poscar(file_name: str) -> bool:
    """Say whether a file's name is that of a POSCAR: ``POSCAR``, ``CONTCAR``, ``POSCAR_x``, ``x.vasp``, ..."""
    name = file_name.lower()
    if name.endswith(POSCAR_SUFFIXES) or name in _POSCAR_NAMES:
        return True
    return any(name.startswith(start + mark) for start in _POSCAR_NAMES for mark in '._-')


def parse(jobs: Sequence[Job], processes: int | None = None) -> Iterator[Batch]:
    """Parse members into batches, in their order.

    Parameters
    ----------
    jobs : sequence of (Member, str)
        The files, and the ids of their crystals.
    processes : int, optional
        How many processes; one where there are too few files to be worth more.

    Raises
    ------
    SourceError
        If the processes cannot be started.
    """
    pieces = (jobs[start : start + FILES_AT_ONCE] for start in range(0, len(jobs), FILES_AT_ONCE))
    yield from parse_pieces(pieces, len(jobs), processes)


def parse_pieces(pieces: Iterable[Sequence[Job]], n_jobs: int, processes: int | None = None) -> Iterator[Batch]:
    """Parse members as :func:`parse` does, in pieces that may come while others are parsed.

    An empty piece gives an empty batch, at once: a sign of life of whoever makes the pieces.
    """
    workers = min(n_processes(processes), -(-n_jobs // FILES_AT_ONCE))
    if workers < 2 or n_jobs < FILES_WORTH_A_POOL:
        yield from map(parse_piece, pieces)
        return
    executor = worker_pool(workers, _collect_garbage_seldom)
    try:
        waiting: deque[Future[tuple[bytes, list[Rejection]]]] = deque()
        for piece in pieces:
            if not piece:
                yield usable_batch([])
                continue
            waiting.append(executor.submit(_parse_packed, piece))
            if len(waiting) > 4 * workers:
                yield _unpacked(*waiting.popleft().result())
        while waiting:
            yield _unpacked(*waiting.popleft().result())
    except BrokenProcessPool as error:
        raise SourceError(
            'a process that parses files ended at once: it was killed, or the calling script lacks the guard '
            "if __name__ == '__main__'; processes=1 parses without further processes"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def parse_piece(jobs: Sequence[Job]) -> Batch:
    """Parse some members here and now."""
    contents = read_members([job[0] for job in jobs])
    found = [
        _parse_one(member, material_id, content) for (member, material_id), content in zip(jobs, contents, strict=True)
    ]
    return usable_batch(found)


def _parse_one(member: Member, material_id: str, content: bytes | MemberError) -> Crystal | Rejection:
    if not material_id.strip():
        return Rejection(member.name, Reason.NO_ID, 'the name of the file leaves no id')
    if isinstance(content, MemberError):
        return Rejection(material_id, Reason.UNREADABLE, str(content))
    if content.isspace() or not content:
        return Rejection(material_id, Reason.UNREADABLE, 'the file is empty')
    try:
        # Imported here, so that naming a source does not load a parser.
        if is_cif(member.file_name):
            from aiida_cgcnn_elastic.crystals.cif import parse_cif

            return parse_cif(content, material_id)
        from aiida_cgcnn_elastic.crystals.poscar import parse_poscar

        return parse_poscar(content, material_id)
    except MemoryError:
        raise
    except Exception as error:
        # One file that nobody thought of must not stop half a million others, nor vanish among them.
        return Rejection(material_id, Reason.UNREADABLE, f'unforeseen {type(error).__name__}: {str(error)[:500]}')


def _collect_garbage_seldom() -> None:
    """Let a process of the pool search for cyclic garbage seldom: parsing makes little of it, and many short lists."""
    gc.freeze()
    gc.set_threshold(100_000)


def _parse_packed(jobs: Sequence[Job]) -> tuple[bytes, list[Rejection]]:
    """Parse some members in a process of the pool; Arrow's own format is the cheapest to send back."""
    batch = parse_piece(jobs)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.table.arrow.schema) as writer:
        writer.write_table(batch.table.arrow)
    return sink.getvalue().to_pybytes(), batch.rejections


def _unpacked(packed: bytes, rejections: list[Rejection]) -> Batch:
    with pa.ipc.open_stream(packed) as reader:
        table = reader.read_all()
    return Batch(CrystalTable.from_arrow(table, allow_duplicate_ids=True), rejections)
