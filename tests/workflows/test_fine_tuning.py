"""The work chain of a training, with a parent model."""

from __future__ import annotations

from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain


def test_parent_is_fine_tuned_and_found_in_the_provenance(code, make_set, model):
    protocol = {'name': 'tiny', 'epochs': 2, 'folds': 2}
    overrides = {'train': {'parameters': {'protocol': protocol}}}
    builder = TrainWorkChain.get_builder_from_protocol(
        code, make_set(), overrides=overrides, seed=4, parent_model=model
    )
    assert builder.train.parameters.get_dict() == {'protocol': protocol, 'seed': 4}
    process = launch(builder)
    assert process.is_finished_ok, process.exit_message
    child = process.outputs.model
    assert child.creator.inputs.parent_model.uuid == model.uuid
    assert {process.outputs.metrics[target]['fine_tuning']['n'] for target in child.targets} == {9}


def test_defaults_with_a_parent(code, make_set, model):
    builder = TrainWorkChain.get_builder_from_protocol(code, make_set('Si'), parent_model=model)
    assert builder.train.parameters.get_dict() == {'protocol': 'fine_tune', 'seed': 0}
