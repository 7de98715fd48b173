"""Run a sweep of two trainings and print what came of it; with `kill`, be killed as the second begins.

Run by `verdi run` in a profile of its own; see test_sweep.py.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from aiida import orm
from aiida.cmdline.utils.common import get_workchain_report

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.setup import find_executable, setup_localhost
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.sweep import SweepWorkChain

folder = Path(sys.argv[1])
script, pid = folder / 'cgcnn-elastic', folder / 'pid'
if 'kill' in sys.argv:
    pid.write_text(str(os.getpid()))
    script.write_text(f"""#!/bin/sh
if [ -e {folder}/first ] && [ -e {pid} ]; then kill -9 $(cat {pid}); rm {pid}; exit 1; fi
touch {folder}/first
exec {find_executable()} "$@"
""")
    script.chmod(0o755)
    computer = setup_localhost().code.computer
    orm.InstalledCode(label='killing', computer=computer, filepath_executable=str(script)).store()

cell = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
crystals = [
    Crystal(
        f'salt-{number:02d}',
        cell * (4.0 + 0.05 * number),
        np.array([12, 8], np.uint8),
        np.array([[0.0] * 3, [0.5] * 3]),
        {'log10_k_vrh': 2.2 - 0.02 * number, 'log10_g_vrh': 2.0 - 0.03 * number},
    )
    for number in range(24)
]
builder = SweepWorkChain.get_builder_from_protocol(
    'killing',
    CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store(),
    overrides={
        'max_concurrent': 1,
        'member': {'train': {'parameters': {'protocol': {'atom_width': 8, 'hidden_width': 8}}}},
    },
    grid={'epochs': [1, 2]},
)
node = launch(builder)

first = query.sweeps()['pk'].min()
killed_sweep = query.sweep(int(first))
print(
    json.dumps(
        {
            'exit_status': node.exit_status,
            **{name: value for name, value in node.outputs.table.get_dict().items() if name.startswith('n_')},
            'reports': get_workchain_report(node, 'REPORT'),
            'members_of_killed_sweep': killed_sweep['member'].tolist(),
            'states_of_killed_sweep': killed_sweep['state'].tolist(),
        }
    )
)
