"""Processes that share work, and end with the process that they work for."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

__all__ = ['worker_pool']


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


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
