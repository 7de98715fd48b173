"""Submit a screening; pause it, play it, kill it, and submit it again; print what came of it.

Run by `verdi run` in a profile of its own; see test_daemon.py.
"""

from __future__ import annotations

import json
import time

import numpy as np
from aiida import orm
from aiida.engine import submit
from aiida.engine.processes import control
from aiida.manage import get_manager

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.setup import setup_localhost
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import PredictionsGroup
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

N_CRYSTALS, SHARD_SIZE = 8, 2
SECONDS_TO_FINISH = 300
SECONDS_PAUSED = 5


def rocksalt(number: int) -> Crystal:
    """Return a made-up rocksalt crystal, each of another lattice constant in Angstrom."""
    lattice = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * (4.2 + 0.05 * number)
    return Crystal(f'salt-{number:02d}', lattice, np.array([12, 8], np.uint8), np.array([[0.0] * 3, [0.5] * 3]), {})


def wait(until, seconds: float = SECONDS_TO_FINISH) -> None:
    """Wait until a condition holds, or fail, saying which processes there are."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            nodes = orm.QueryBuilder().append(orm.ProcessNode).all(flat=True)
            states = [(node.pk, node.process_label, node.process_state, node.paused) for node in nodes]
            raise TimeoutError(f'not within {seconds} s: {states}')
        time.sleep(0.1)


def shards(node: orm.WorkChainNode) -> list[orm.WorkChainNode]:
    """Return the shards of a screening that were started."""
    return [child for child in node.called if isinstance(child, orm.WorkChainNode)]


def most_side_by_side(nodes: list[orm.WorkChainNode]) -> int:
    """Return how many of some processes ran at the same time at most."""
    spans = [(node.ctime, node.mtime) for node in nodes]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


builder = ScreenWorkChain.get_builder_from_protocol(
    setup_localhost().code,
    {'salts': CrystalSetData.from_table(CrystalTable.from_crystals([rocksalt(n) for n in range(N_CRYSTALS)])).store()},
    {'paper': find_model('paper')},
    'paused',
    overrides={'shard_size': SHARD_SIZE, 'max_concurrent': 2},
)
get_manager().get_daemon_client().start_daemon(timeout=60)

first = submit(builder)
wait(lambda: len(shards(first)) == 2)
control.pause_processes([first], timeout=60)
wait(lambda: first.paused)
wait(lambda: all(shard.is_terminated for shard in shards(first)))
time.sleep(SECONDS_PAUSED)
n_while_paused = len(shards(first))
control.play_processes([first], timeout=60)
wait(lambda: len(shards(first)) == 4)
control.kill_processes([first], timeout=60)
wait(lambda: first.is_terminated and all(child.is_terminated for child in first.called_descendants))

again = submit(builder)
wait(lambda: again.is_terminated)
group = PredictionsGroup.collection.get(label='paused')
print(
    json.dumps(
        {
            'n_shards_while_paused': n_while_paused,
            'first_state': first.process_state.value,
            'states_of_its_shards': [shard.process_state.value for shard in shards(first)],
            'exit_status': again.exit_status,
            'ids': sorted(member.label for member in group.nodes),
            'n_crystals': N_CRYSTALS,
            'n_predictions': orm.QueryBuilder().append(ElasticPredictionData).count(),
            'most_side_by_side': max(most_side_by_side(shards(first)), most_side_by_side(shards(again))),
        }
    )
)
