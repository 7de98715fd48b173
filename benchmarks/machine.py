"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe(*packages: str) -> str:
    """Return one line: processor, usable cores, load, Python and the versions of packages."""
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.exists():
        names = {
            line.split(':', 1)[1].strip() for line in info.read_text().splitlines() if line.startswith('model name')
        }
        model = ', '.join(sorted(names)) or model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    versions = ', '.join(f'{name} {version(name)}' for name in packages)
    return f'{model}, {cores} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}'
