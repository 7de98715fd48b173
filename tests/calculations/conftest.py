"""Inputs of jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from tests.conftest import FCC, ROCK_SALT

TINY_PROTOCOL = {
    'name': 'tiny',
    'n_convolutions': 1,
    'n_hidden': 1,
    'atom_width': 8,
    'hidden_width': 8,
    'joint_targets': True,
    'epochs': 3,
    'batch_size': 16,
}


@pytest.fixture
def run_job() -> Callable[..., CalcJobNode]:
    """Return a function that runs a job on one thread and returns its node.

    Signature: ``(process_class, *, options: dict = {}, **inputs) -> CalcJobNode``.
    """

    def run(process_class: type, *, options: dict[str, Any] | None = None, **inputs: Any) -> CalcJobNode:
        resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 1}
        inputs['metadata'] = {'options': {'resources': resources, **(options or {})}}
        _, node = run_get_node(process_class, **inputs)
        return node

    return run


@pytest.fixture
def labelled_set(aiida_profile) -> CrystalSetData:
    """Return 60 rock-salt crystals that are the stiffer the smaller they are, as stored node."""
    crystals = []
    for i, cation in enumerate((3, 11, 19, 12, 20, 21, 22, 23, 24, 28, 40, 41)):
        for j, anion in enumerate((8, 16, 9, 6, 7)):
            edge = 4.0 + 0.1 * i + 0.2 * j
            log_k = 2.6 - 0.2 * (edge - 4.0)
            properties = {'log10_k_vrh': log_k, 'log10_g_vrh': log_k - 0.1, 'matbench_fold': (5 * i + j) % 5}
            lattice = np.array(FCC) * edge
            numbers = np.array([cation, anion], dtype=np.uint8)
            crystals.append(Crystal(f'{cation}-{anion}', lattice, numbers, np.array(ROCK_SALT), properties))
    return CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store()


@pytest.fixture
def tiny_parameters() -> Dict:
    """Return parameters of a training that takes a moment."""
    split = {'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0.2}
    return Dict({'protocol': TINY_PROTOCOL, 'split': split, 'seed': 3})


@pytest.fixture
def broken_model(paper_model: ElasticModelData) -> ElasticModelData:
    """Return a model that looks like one until its network is built."""
    return with_another_width(paper_model)


def with_another_width(model: ElasticModelData) -> ElasticModelData:
    """Return a stored model whose card does not fit its weights."""
    weights, card = model.read_bytes('model.safetensors'), model.get_card()
    card['members'][0]['architecture']['atom_width'] = 7
    card['weights_sha256'] = hashlib.sha256(weights).hexdigest()
    return ElasticModelData.from_bytes(weights, json.dumps(card).encode()).store()
