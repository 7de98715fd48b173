"""Inputs of jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from tests.labelled import TINY_PROTOCOL, labelled_crystals


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
    """Return the labelled crystals as stored node."""
    return CrystalSetData.from_table(CrystalTable.from_crystals(labelled_crystals())).store()


@pytest.fixture
def tiny_parameters() -> Dict:
    """Return parameters of a training that takes a moment."""
    split = {'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0.2}
    return Dict({'protocol': TINY_PROTOCOL, 'split': split, 'seed': 3})


@pytest.fixture
def refined_model(aiida_profile) -> ElasticModelData:
    """Return the shipped model that needs a universal potential as stored node."""
    model = ElasticModelData.from_pretrained('refined')
    return model.find_stored() or model.store()


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
