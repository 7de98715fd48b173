"""Profiles of AiiDA in a folder, thrown away with it; with a PostgreSQL server of their own where one is wanted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def postgresql(folder: Path) -> Iterator[dict[str, Any]]:
    """Run a PostgreSQL server with its own defaults, data in a folder; give what AiiDA must know of it."""
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'))
    on_path = shutil.which('initdb')
    if not found and on_path is None:
        raise SystemExit('the server binaries of PostgreSQL (initdb) are absent')
    binaries = (found[-1] if found else Path(str(on_path))).parent
    folder.mkdir()
    # PostgreSQL refuses to run as root.
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {'user': 'nobody', 'group': 'nogroup', 'extra_groups': []}
        shutil.chown(folder, 'nobody', 'nogroup')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    data, log = str(folder / 'data'), folder / 'log'

    def run(program: str, *arguments: str) -> None:
        # Not a pipe: the server would keep it open.
        with log.open('ab') as output:
            command = [str(binaries / program), *arguments]
            done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, **as_user)
        if done.returncode:
            raise RuntimeError(log.read_text())

    run('initdb', '-D', data, '-U', 'aiida', '-A', 'trust', '-E', 'UTF8', '--locale=C')
    run('pg_ctl', '-D', data, '-o', f'-p {port} -k {folder} -c listen_addresses=127.0.0.1', '-w', 'start')
    try:
        run('createdb', '-h', '127.0.0.1', '-p', str(port), '-U', 'aiida', 'aiida')
        yield {
            'database_engine': 'postgresql_psycopg',
            'database_hostname': '127.0.0.1',
            'database_port': port,
            'database_username': 'aiida',
            'database_password': 'any',
            'database_name': 'aiida',
        }
    finally:
        run('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop')


def load_temporary_profile(folder: Path, database: dict[str, Any] | None = None) -> None:
    """Make a profile in a folder and load it: with SQLite, or with the database that is given."""
    from aiida import load_profile
    from aiida.manage.configuration import create_profile, get_config, reset_config
    from aiida.manage.configuration.settings import AiiDAConfigDir

    reset_config()
    AiiDAConfigDir.set(folder / '.aiida')
    if database is None:
        storage = {'storage_backend': 'core.sqlite_dos', 'storage_config': {'filepath': str(folder / 'storage')}}
    else:
        uri = (folder / 'storage').as_uri()
        storage = {'storage_backend': 'core.psql_dos', 'storage_config': {**database, 'repository_uri': uri}}
    profile = create_profile(get_config(create=True), name='benchmark', email='benchmark@localhost', **storage)
    load_profile(profile.name, allow_switch=True)
