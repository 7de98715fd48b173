"""Submit a screening, kill the worker and a job without warning, in both stages, and print what came of it.

Run by `verdi run` in a profile of its own; see test_daemon.py.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import psutil
import pyarrow.parquet as pq
from aiida import orm
from aiida.engine import submit
from aiida.engine.daemon.client import DaemonNotRunningException, DaemonTimeoutException
from aiida.manage import get_manager
from aiida.orm import ProcessNode

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.refine import RefineCalculation
from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.setup import find_executable, setup_localhost
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import PredictionsGroup
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

N_CRYSTALS, SHARD_SIZE, N_REFINED = 12, 4, 8
SECONDS_TO_FINISH = 300


def rocksalt(number: int) -> Crystal:
    """Return a made-up rocksalt crystal, each of another lattice constant in Angstrom."""
    lattice = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * (4.2 + 0.05 * number)
    return Crystal(f'salt-{number:02d}', lattice, np.array([12, 8], np.uint8), np.array([[0.0] * 3, [0.5] * 3]), {})


def n_recorded() -> int:
    """Return how many predictions are in the group of the screening."""
    groups = PredictionsGroup.collection.find({'label': 'killed'})
    return groups[0].count() if groups else 0


def wait(until, seconds: float, pause: float = 0.1) -> None:
    """Wait until a condition holds, or fail, saying which processes hang and what the broker and the daemon do."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            states = [
                (node.pk, node.process_label, node.process_state)
                for node in orm.QueryBuilder().append(ProcessNode).all(flat=True)
            ]
            status = get_manager().get_broker().probe_service_status()
            log = Path(daemon.daemon_log_file).read_text(encoding='utf-8')[-4000:]
            raise TimeoutError(f'not within {seconds} s: {states}\nbroker: {status}\ndaemon: {log}')
        time.sleep(pause)


def workers() -> list[int]:
    """Return the process ids of the workers of the daemon."""
    return [int(pid) for pid in daemon.get_worker_info(timeout=60)['info']]


def is_stopped() -> bool:
    """Ask the daemon to stop, and return whether it did: a busy one refuses, or does not answer in time."""
    with contextlib.suppress(DaemonNotRunningException, DaemonTimeoutException):
        return daemon.stop_daemon(wait=True, timeout=60)['status'] == 'ok'
    return not daemon.is_daemon_running


def kill_workers() -> None:
    """Kill the workers without warning, and restart the daemon once it has replaced them."""
    killed = workers()
    for pid in killed:
        psutil.Process(pid).kill()
    # The daemon refuses to be stopped while it puts another worker in place of the dead one, and for a moment after.
    wait(lambda: workers() and not set(workers()) & set(killed), SECONDS_TO_FINISH)
    wait(is_stopped, SECONDS_TO_FINISH, pause=1.0)
    daemon.start_daemon(timeout=60)


def refining() -> list[orm.CalcJobNode]:
    """Return the jobs of the second stage, in the order in which they were made."""
    return orm.QueryBuilder().append(RefineCalculation).order_by({RefineCalculation: 'id'}).all(flat=True)


def executables(job: orm.CalcJobNode) -> list[psutil.Process]:
    """Return the running executable of a job, if it runs."""
    folder, name = job.get_remote_workdir(), str(find_executable())
    running = psutil.process_iter(['cwd', 'cmdline']) if folder else ()
    return [found for found in running if found.info['cwd'] == folder and name in (found.info['cmdline'] or [])]


def n_parts(job: orm.CalcJobNode) -> int:
    """Return how many crystals a job has saved."""
    folder = job.get_remote_workdir()
    return len(list(Path(folder).glob('*.parts/part-*.npz'))) if folder else 0


code = setup_localhost().code
table = CrystalTable.from_crystals([rocksalt(n) for n in range(N_CRYSTALS)])
# What the second stage says undisturbed, meanwhile.
undisturbed = Path(mkdtemp())
table.write(undisturbed / 'crystals.parquet')
command = [find_executable(), 'predict', 'crystals.parquet', '--model', 'refined', '--output', 'predictions.parquet']
alone = subprocess.Popen(command, cwd=undisturbed, stderr=subprocess.DEVNULL)
builder = ScreenWorkChain.get_builder_from_protocol(
    code,
    {'salts': CrystalSetData.from_table(table).store()},
    {'paper': find_model('paper')},
    'killed',
    'refined',
    overrides={
        'shard_size': SHARD_SIZE,
        'max_concurrent': 1,
        'refine': {'shard': {'predict': {'parameters': {'chunk_size': 1}}}},
    },
    criteria={'min_log10_k_vrh': 1.0},
    cut={'max_crystals': N_REFINED},
)

daemon = get_manager().get_daemon_client()
daemon.start_daemon(timeout=60)
node = submit(builder)

# Halfway: the first shard is recorded, and the second is just being made; how far that is differs from run to run.
wait(lambda: n_recorded() >= SHARD_SIZE, SECONDS_TO_FINISH)
wait(lambda: len([child for child in node.called if isinstance(child, orm.WorkChainNode)]) >= 2, SECONDS_TO_FINISH)
n_when_killed = n_recorded()
kill_workers()

# In the second stage the executable, when it has saved a part of its crystals, and the worker while it runs again.
wait(lambda: refining() and n_parts(refining()[0]), SECONDS_TO_FINISH, pause=0.01)
for process in executables(refining()[0]):
    process.kill()
n_saved = n_parts(refining()[0])
wait(lambda: len(refining()) > 1 and executables(refining()[1]), SECONDS_TO_FINISH)
kill_workers()
# A process ends a moment before its node is sealed.
wait(lambda: node.is_sealed, SECONDS_TO_FINISH)

alone.wait(SECONDS_TO_FINISH)
expected = {row['material_id']: row for row in pq.read_table(undisturbed / 'predictions.parquet').to_pylist()}
best = query.predictions(screening='killed').set_index('material_id')
refined = best[best['model'] == 'refined']
differences = chain.from_iterable(
    abs(refined[target] - [expected[name][target] for name in refined.index])
    for target in ('log10_k_vrh', 'log10_g_vrh')
)
group = PredictionsGroup.collection.get(label='killed')
work_chains = orm.QueryBuilder().append(PredictWorkChain).all(flat=True)
print(
    json.dumps(
        {
            'n_crystals': N_CRYSTALS,
            'n_shards': N_CRYSTALS // SHARD_SIZE,
            'shards_recorded_when_killed': n_when_killed // SHARD_SIZE,
            'exit_status': node.exit_status,
            'ids': sorted(member.label for member in group.nodes),
            'n_predictions': orm.QueryBuilder().append(ElasticPredictionData).count(),
            'work_chain_states': [work_chain.process_state.value for work_chain in work_chains],
            'n_refined': N_REFINED,
            'refined_when_killed': n_saved,
            'refined': sorted(refined.index),
            'first_stage': sorted(query.predictions(screening='killed', first_stage=True)['material_id']),
            'largest_difference': max(differences),
            'exit_statuses_of_refining': [job.exit_status for job in refining()],
            'resumed': refining()[-1].outputs.report['resumed'],
            'not_ended': [
                f'{process.pk} {process.process_label} {process.process_state}'
                for process in node.called_descendants
                if not process.is_sealed
            ],
            'summary': node.outputs.summary.get_dict() if 'summary' in node.outputs else None,
        }
    )
)
