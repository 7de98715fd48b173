"""Submit a screening, kill the worker without warning, restart the daemon, and print what came of it.

Run by `verdi run` in a profile of its own; see test_daemon.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import psutil
from aiida import orm
from aiida.engine import submit
from aiida.manage import get_manager
from aiida.orm import ProcessNode

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.setup import setup_localhost
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import PredictionsGroup
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

N_CRYSTALS, SHARD_SIZE = 12, 4
SECONDS_TO_FINISH = 300


def rocksalt(number: int) -> Crystal:
    """Return a made-up rocksalt crystal, each of another lattice constant in Angstrom."""
    lattice = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * (4.2 + 0.05 * number)
    return Crystal(f'salt-{number:02d}', lattice, np.array([12, 8], np.uint8), np.array([[0.0] * 3, [0.5] * 3]), {})


def n_recorded() -> int:
    """Return how many predictions are in the group of the screening."""
    groups = PredictionsGroup.collection.find({'label': 'killed'})
    return groups[0].count() if groups else 0


def wait(until, seconds: float) -> None:
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
        time.sleep(0.1)


def workers() -> list[int]:
    """Return the process ids of the workers of the daemon."""
    return [int(pid) for pid in daemon.get_worker_info(timeout=60)['info']]


code = setup_localhost().code
crystals = CrystalSetData.from_table(CrystalTable.from_crystals([rocksalt(n) for n in range(N_CRYSTALS)])).store()
builder = ScreenWorkChain.get_builder_from_protocol(
    code,
    {'salts': crystals},
    {'paper': find_model('paper')},
    'killed',
    overrides={'shard_size': SHARD_SIZE, 'max_concurrent': 1},
)

daemon = get_manager().get_daemon_client()
daemon.start_daemon(timeout=60)
node = submit(builder)

# Halfway: the first shard is recorded, and the second is just being made; how far that is differs from run to run.
wait(lambda: n_recorded() >= SHARD_SIZE, SECONDS_TO_FINISH)
killed = workers()
wait(lambda: len([child for child in node.called if isinstance(child, orm.WorkChainNode)]) >= 2, SECONDS_TO_FINISH)
for pid in killed:
    psutil.Process(pid).kill()
n_when_killed = n_recorded()
# The daemon refuses to be stopped, and does not say so, just while it puts another worker in place of the dead one.
wait(lambda: workers() and not set(workers()) & set(killed), SECONDS_TO_FINISH)
stopped = daemon.stop_daemon(wait=True, timeout=60)
if stopped['status'] != 'ok':
    raise RuntimeError(f'the daemon was not stopped: {stopped}')
daemon.start_daemon(timeout=60)
wait(lambda: node.is_terminated, SECONDS_TO_FINISH)

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
            'summary': node.outputs.summary.get_dict() if 'summary' in node.outputs else None,
        }
    )
)
