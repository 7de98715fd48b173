"""Files that are either whole or not there, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there takes the place of `path` when the block ends well.

    A reader, or a run killed halfway, finds the old file or the new one, never a part. The content is on the disk
    before the name changes, so that this holds when the machine stops too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        with temporary.open('rb') as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically; NaN is not JSON and raises ValueError."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')


def sha256_of_files(*paths: Path) -> str:
    """Return one checksum of the contents of some files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f'{path.stat().st_size}:'.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sha256_of_json(content: Any) -> str:
    """Return a checksum of plain values that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
