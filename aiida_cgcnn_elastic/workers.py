"""Processes that share work, and end with the process that they work for."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

__all__ = ['keep_memory', 'worker_pool']

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def worker_pool(processes: int, initializer: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of processes.

    They are spawned, not forked: the caller may have threads (of Arrow, of torch) whose locks a fork would copy. Where
    the caller is killed they end too; those of the standard library would wait for work for ever.

    Parameters
    ----------
    processes : int
    initializer : callable, optional
        Called in each process before its first work.
    """
    context = multiprocessing.get_context('spawn')
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(initializer,))


def keep_memory() -> None:
    """Let this process keep the memory that it frees, instead of giving it back to the system and asking for it anew.

    What a potential is evaluated with are arrays of many megabytes, taken and freed again hundreds of times a second;
    each time their pages cost a fault. For processes of a pool only: one keeps the most that it ever needed, and
    somewhat more. Where the C library is not glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
