"""Jobs that fine-tune a model, run by the real executable."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.calculations.train import TrainCalculation

pytestmark = pytest.mark.usefixtures('aiida_profile')

RECIPE = {'name': 'tiny', 'epochs': 4, 'folds': 3}


def test_model_is_fine_tuned_and_judged(run_job, cgcnn_code, labelled_set, paper_model):
    inputs = {'code': cgcnn_code, 'crystals': labelled_set}
    parameters = Dict({'protocol': RECIPE, 'seed': 2})
    node = run_job(TrainCalculation, **inputs, parameters=parameters, parent_model=paper_model)
    assert node.is_finished_ok, node.exit_message
    model = node.outputs.model
    assert model.name == 'paper, fine-tuned'
    assert model.creator.inputs.parent_model.uuid == paper_model.uuid
    assert model.base.attributes.get('training')[:-1] == paper_model.base.attributes.get('training')
    for target in model.targets:
        comparison = node.outputs.metrics[target]['fine_tuning']
        assert comparison['verdict'] in ('helped', 'no difference', 'hurt')
        assert comparison['n'] == 60
        assert comparison == node.outputs.report['fine_tuning'][target]
    held_out = pq.read_table(io.BytesIO(node.outputs.retrieved.get_object_content('out_of_fold.parquet', 'rb')))
    assert held_out.num_rows == 2 * 60

    predicted = run_job(PredictCalculation, **inputs, models={'child': model})
    assert predicted.is_finished_ok, predicted.exit_message


def test_there_is_no_split(cgcnn_code, labelled_set, paper_model, tiny_parameters):
    inputs = {'crystals': labelled_set, 'parameters': tiny_parameters, 'parent_model': paper_model}
    with pytest.raises(ValueError, match='no `split`'):
        run_get_node(TrainCalculation, code=cgcnn_code, **inputs)
