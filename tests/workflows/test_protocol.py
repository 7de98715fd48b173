"""Protocols fit the ports and the recipes that they name."""

from __future__ import annotations

import pytest

from aiida_cgcnn_elastic.screening import Criteria
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.protocol import merge
from aiida_cgcnn_elastic.workflows.refine import RefineWorkChain
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain
from aiida_cgcnn_elastic.workflows.sweep import SweepWorkChain
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain

WORK_CHAINS = (PredictWorkChain, RefineWorkChain, ScreenWorkChain, SweepWorkChain, TrainWorkChain)


@pytest.mark.parametrize('work_chain', WORK_CHAINS)
def test_every_protocol_is_described_and_names_only_inputs_that_exist(work_chain):
    protocols = work_chain.get_available_protocols()
    assert work_chain.get_default_protocol() in protocols
    assert all(protocols.values())
    for name in protocols:
        assert set(work_chain.get_protocol_inputs(name)) <= set(work_chain.spec().inputs)


def test_training_protocols_are_those_of_the_network():
    from aiida_cgcnn_elastic.cgcnn.fine_tuning import FINE_TUNE
    from aiida_cgcnn_elastic.cgcnn.training import PROTOCOLS

    named = {
        TrainWorkChain.get_protocol_inputs(name)['train']['parameters']['protocol']
        for name in TrainWorkChain.get_available_protocols()
    }
    assert named == {*PROTOCOLS, FINE_TUNE.name}
    assert TrainWorkChain.get_default_protocol() == 'paper'


def test_criteria_of_the_screening_protocols():
    default = Criteria.from_dict(ScreenWorkChain.get_protocol_inputs()['criteria'])
    assert (default.min_log10_g_vrh, default.min_log10_k_vrh, default.min_hardness) == (2.0, 2.0, 20.0)
    paper = Criteria.from_dict(ScreenWorkChain.get_protocol_inputs('paper')['criteria'])
    assert (paper.min_band_gap, paper.max_band_gap) == (0.1, 3.0)


def test_unknown_protocol_lists_those_there_are():
    with pytest.raises(ValueError, match='fast, fine_tune, paper, refined'):
        TrainWorkChain.get_protocol_inputs('best')


def test_merge_is_deep_and_leaves_its_arguments_alone():
    left, right = {'a': {'b': 1, 'c': [1]}}, {'a': {'b': 2}}
    merged = merge(left, right)
    merged['a']['c'].append(2)
    assert merged == {'a': {'b': 2, 'c': [1, 2]}}
    assert left == {'a': {'b': 1, 'c': [1]}}
    assert right == {'a': {'b': 2}}
