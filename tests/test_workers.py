"""Processes that share work are there for as long as the process that they work for."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiida_cgcnn_elastic.workers import worker_pool

SCRIPT = """
import os, sys, time
from aiida_cgcnn_elastic.workers import worker_pool
if __name__ == '__main__':
    pool = worker_pool(2)
    busy, _ = pool.submit(time.sleep, 600), pool.submit(os.getpid)
    print(pool.submit(os.getpid).result(), flush=True)
    busy.result()
"""


def test_workers_end_where_the_one_they_work_for_is_killed(tmp_path: Path) -> None:
    """Both the idle and the busy one: the pipe that all of them hold reaches its end."""
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.kill(worker, 0)  # it is there
    process.send_signal(signal.SIGKILL)
    assert process.communicate(timeout=60) == (b'', None)


def test_the_initializer_is_called_in_each_process_before_its_work() -> None:
    with worker_pool(2, _mark) as pool:
        assert set(pool.map(os.getenv, ['MARKED_BY_A_TEST'] * 8)) == {'yes'}
    assert 'MARKED_BY_A_TEST' not in os.environ


def _mark() -> None:
    os.environ['MARKED_BY_A_TEST'] = 'yes'


FAULTS = """
import resource, sys
import torch
from aiida_cgcnn_elastic.workers import keep_memory

if sys.argv[1] == 'keep':
    keep_memory()
for _ in range(20):  # until what is kept is enough
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc can be told to keep memory')
def test_memory_that_is_kept_is_not_asked_for_again():
    """Ten arrays of 64 MiB, one after the other, are 163,840 pages of 4 KiB if each comes from the system."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    asked = {}
    for how in ('keep', 'usual'):
        done = subprocess.run([sys.executable, '-c', FAULTS, how], check=True, capture_output=True, env=environment)
        asked[how] = int(done.stdout)
    assert asked['keep'] < asked['usual'] / 10
