"""Make this machine ready: the computer, the code and caching. Doing it again changes nothing."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida import orm
    from aiida.manage.configuration import Profile

EXECUTABLE = 'cgcnn-elastic'
COMPUTER_LABEL = 'localhost'
CODE_LABEL = 'cgcnn-elastic'
CACHED_PROCESSES = tuple(
    f'aiida.calculations:cgcnn_elastic.{name}' for name in ('ingest', 'predict', 'refine', 'train', 'evaluate')
)


@dataclass
class Setup:
    """What `setup_localhost` found or made.

    Attributes
    ----------
    code
        The code to give to the work chains of this plugin.
    changes
        What was changed, a sentence each; empty where everything was in place.
    notes
        What the user should know, a sentence each.
    """

    code: orm.InstalledCode
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_default_profile() -> Profile:
    """Return the loaded profile; load the default one where none is loaded yet.

    Raises
    ------
    ValueError
        If there is no profile; the message says how to make one.
    """
    from aiida.common.exceptions import ConfigurationError
    from aiida.manage import get_manager, load_profile

    profile = get_manager().get_profile()
    if profile is not None:
        return profile
    try:
        return load_profile()
    except ConfigurationError as error:
        raise ValueError('there is no AiiDA profile; make one with: verdi presto') from error


def setup_localhost() -> Setup:
    """Ensure that the loaded profile has the computer, the code and the caching that the plugin needs on this machine.

    Raises
    ------
    FileNotFoundError
        Where the executable `cgcnn-elastic` is not installed beside this Python.
    """
    executable = find_executable()
    changes: list[str] = []
    computer = _ensure_computer(changes)
    code = _ensure_code(computer, executable, changes)
    notes = _ensure_caching(changes)
    return Setup(code, changes, notes)


def find_executable() -> Path:
    """Return the path of the executable that was installed with this Python environment."""
    # The path of the interpreter is not resolved: in a virtual environment it is a link to Python's own folder.
    folders = [Path(sys.executable).absolute().parent, Path(sysconfig.get_path('scripts'))]
    for folder in folders:
        if (folder / EXECUTABLE).is_file():
            return folder / EXECUTABLE
    raise FileNotFoundError(
        f'the executable `{EXECUTABLE}` is not in {" or ".join(sorted({str(folder) for folder in folders}))}: '
        'install aiida-cgcnn-elastic into the Python environment that runs AiiDA'
    )


def _ensure_computer(changes: list[str]) -> orm.Computer:
    """Return a computer that reaches this machine by `core.local`; an existing one keeps its settings."""
    from aiida import orm
    from aiida.common.exceptions import NotExistent
    from aiida.manage.configuration import get_config

    for label in (COMPUTER_LABEL, f'{COMPUTER_LABEL}-{CODE_LABEL}'):
        try:
            computer = orm.Computer.collection.get(label=label)
        except NotExistent:
            profile = orm.User.collection.backend.profile.name
            computer = orm.Computer(
                label=label,
                hostname='localhost',
                description='This machine',
                transport_type='core.local',
                scheduler_type='core.direct',
                workdir=str(Path(get_config().dirpath) / 'scratch' / profile),
            ).store()
            computer.set_minimum_job_poll_interval(1)
            computer.set_default_mpiprocs_per_machine(1)
            changes.append(f'created the computer {label}')
        if computer.transport_type == 'core.local':
            break
    else:
        raise ValueError(f'the computers localhost and {label} both exist and neither uses the transport core.local')

    if not computer.is_configured:
        computer.configure(safe_interval=0)
        changes.append(f'configured the computer {computer.label}')
    return computer


def _ensure_code(computer: orm.Computer, executable: Path, changes: list[str]) -> orm.InstalledCode:
    """Return the code of this executable; where another executable has its label, count on until one is free."""
    from aiida import orm

    existing = {
        code.label: code
        for (code,) in orm.QueryBuilder()
        .append(orm.Computer, filters={'id': computer.pk}, tag='computer')
        .append(orm.InstalledCode, with_computer='computer', filters={'label': {'like': f'{CODE_LABEL}%'}})
        .all()
    }
    number = 1
    while True:
        label = CODE_LABEL if number == 1 else f'{CODE_LABEL}-{number}'
        code = existing.get(label)
        if code is None:
            break
        if code.filepath_executable == executable:
            return code
        number += 1

    code = orm.InstalledCode(
        label=label,
        computer=computer,
        filepath_executable=str(executable),
        description='Ingest crystals, train and apply crystal graph networks',
        default_calc_job_plugin='cgcnn_elastic.predict',
        with_mpi=False,
    ).store()
    changes.append(f'created the code {code.full_label} for {executable}')
    return code


def _ensure_caching(changes: list[str]) -> list[str]:
    """Let AiiDA reuse the results of this plugin's jobs, unless the profile says otherwise; return notes."""
    from aiida.manage import get_manager
    from aiida.manage.configuration import get_config

    profile = get_manager().get_profile()
    config = get_config()
    enabled = list(config.get_option('caching.enabled_for', scope=profile.name))
    disabled = config.get_option('caching.disabled_for', scope=profile.name)

    notes = [f'caching stays off for {name}, as the profile says' for name in CACHED_PROCESSES if name in disabled]
    missing = [name for name in CACHED_PROCESSES if name not in enabled and name not in disabled]
    if not missing:
        return notes

    config.set_option('caching.enabled_for', enabled + missing, scope=profile.name)
    config.store()
    changes.append(f'enabled caching of the jobs of this plugin in the profile {profile.name}')
    if profile.process_control_backend and get_manager().get_daemon_client().is_daemon_running:
        notes.append('the daemon is running and learns of the caching only when restarted: verdi daemon restart')
    return notes
