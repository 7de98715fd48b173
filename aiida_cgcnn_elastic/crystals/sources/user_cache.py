"""Where downloads are kept between runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = 'CGCNN_ELASTIC_CACHE'
"""The environment variable that puts the cache elsewhere."""


def cache_folder(*names: str) -> Path:
    """Return a folder of the user's cache, made if it is not there.

    It lies in the folder that the environment variable ``CGCNN_ELASTIC_CACHE`` names, else in that of this package in
    ``$XDG_CACHE_HOME``, else in ``~/.cache``.

    Parameters
    ----------
    *names : str
        The folder's name, and those of folders in it.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """
    if chosen := os.environ.get(VARIABLE):
        root = Path(chosen).expanduser()
    else:
        root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'aiida-cgcnn-elastic'
    folder = root.joinpath(*names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there takes its place when the block ends well.

    Whoever reads the cache, also after a kill, finds a whole file or none.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
