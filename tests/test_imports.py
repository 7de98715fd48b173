"""What is imported when AiiDA loads the plugin: `verdi` must stay fast."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from importlib.metadata import entry_points

GROUPS = ('aiida.calculations', 'aiida.data', 'aiida.groups', 'aiida.parsers', 'aiida.workflows')
loaded = [
    entry_point.load()
    for group in GROUPS
    for entry_point in entry_points(group=group)
    if entry_point.name.startswith('cgcnn_elastic.')
]
import aiida_cgcnn_elastic.query
import aiida_cgcnn_elastic.cli.main
print(len(loaded))
print(*sorted({name.partition('.')[0] for name in sys.modules}))
"""


def test_entry_points_import_nothing_heavy():
    process = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True, check=True)
    count, modules = process.stdout.splitlines()
    assert int(count) == 27
    heavy = {'torch', 'xgboost', 'matplotlib', 'sklearn', 'pymatgen', 'ase', 'matminer', 'mp_api', 'spglib', 'scipy'}
    assert heavy.isdisjoint(modules.split())
