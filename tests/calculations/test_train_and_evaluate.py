"""Jobs that train and evaluate, run by the real executable."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.evaluate import EvaluateCalculation
from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.calculations.train import TrainCalculation
from tests.labelled import TINY_PROTOCOL

pytestmark = pytest.mark.usefixtures('aiida_profile')

# Beside the executable: as soon as it trains, ask it to stop, as a scheduler does.
STOP_IN_TRAINING = """
(
  until grep -q '"stage": "train"' progress.json 2>/dev/null; do sleep 0.02; done
  pkill -TERM -P $$ -f 'cgcnn-elastic train'
) &
"""


def test_model_is_trained_and_measured(run_job, cgcnn_code, labelled_set, tiny_parameters):
    node = run_job(TrainCalculation, code=cgcnn_code, crystals=labelled_set, parameters=tiny_parameters)
    assert node.is_finished_ok, node.exit_message
    model = node.outputs.model
    assert model.targets == ['log10_g_vrh', 'log10_k_vrh']
    (record,) = model.base.attributes.get('training')
    assert record['seed'] == 3
    assert record['n_crystals'] == {'train': 38, 'validation': 10, 'test': 12}
    assert record['data']['content_sha256'] == labelled_set.get_table().sha256()
    assert record['split']['column'] == 'matbench_fold'
    assert len(node.outputs.history['epochs']) == 3

    table = pq.read_table(io.BytesIO(node.outputs.predictions.content)).to_pandas()
    test = table[(table.part == 'test') & (table.target == 'log10_k_vrh')]
    fold = dict(
        zip(labelled_set.get_table().material_ids, labelled_set.get_table().column('matbench_fold'), strict=True)
    )
    assert {fold[material_id] for material_id in test.material_id} == {4}
    mae = np.abs(test.true - test.predicted).mean()
    assert node.outputs.metrics['log10_k_vrh']['test']['mae'] == pytest.approx(mae)

    inputs = {'code': cgcnn_code, 'crystals': labelled_set, 'models': {'tiny': model}}
    evaluated = run_job(EvaluateCalculation, **inputs)
    assert evaluated.is_finished_ok, evaluated.exit_message
    metrics = evaluated.outputs.metrics['targets']['log10_k_vrh']
    both = table[table.target == 'log10_k_vrh']
    assert metrics['n'] == 60
    assert metrics['mae'] == pytest.approx(np.abs(both.true - both.predicted).mean(), rel=1e-5)
    predicted = run_job(PredictCalculation, **inputs)
    assert predicted.is_finished_ok, predicted.exit_message


def test_a_blend_keeps_what_it_predicted_out_of_fold_and_knows_its_errors(run_job, cgcnn_code, labelled_set):
    boosting = {'n_trees': 20, 'max_depth': 2, 'learning_rate': 0.3}
    protocol = {**TINY_PROTOCOL, 'keep': 'last', 'folds': 2, 'boosting': boosting}
    parameters = Dict({'protocol': protocol, 'split': {'method': 'column', 'column': 'matbench_fold', 'test': [4]}})
    node = run_job(TrainCalculation, code=cgcnn_code, crystals=labelled_set, parameters=parameters)
    assert node.is_finished_ok, node.exit_message
    frame = pq.read_table(io.BytesIO(node.outputs.out_of_fold.content)).to_pandas()
    k = frame[frame.target == 'log10_k_vrh']
    assert len(k) == node.outputs.report['n_by_part']['train']
    error = np.abs(k.true - k.blend).mean()
    assert node.outputs.metrics['log10_k_vrh']['out_of_fold']['mae'] == pytest.approx(error)

    models = {'blend': node.outputs.model}
    criteria = Dict({'min_hardness': 5.0, 'min_log10_g_vrh': None, 'min_log10_k_vrh': None})
    inputs = {'code': cgcnn_code, 'crystals': labelled_set, 'models': models}
    evaluated = run_job(EvaluateCalculation, **inputs, criteria=criteria)
    assert evaluated.is_finished_ok, evaluated.exit_message
    metrics = evaluated.outputs.metrics.get_dict()
    assert 0 <= metrics['targets']['log10_k_vrh']['coverage'] <= 1
    assert metrics['screening']['criteria']['min_hardness'] == 5.0
    # The crystals come without space groups, but are all of rock salt.
    assert set(metrics['by_crystal_system']) == {'cubic'}
    assert (metrics['n_without_symmetry'], metrics['n_seen_in_training']) == (
        0,
        node.outputs.report['n_by_part']['train'],
    )
    assert set(metrics['by_element_family']) == {'oxides', 'chalcogenides', 'halides', 'carbides', 'nitrides'}
    predicted = run_job(PredictCalculation, **inputs)
    table = predicted.outputs.predictions.get_table()
    assert table['p_candidate'].null_count == 0


def test_stopped_training_is_continued_to_the_same_end(run_job, cgcnn_code, labelled_set):
    parameters = Dict({'protocol': {**TINY_PROTOCOL, 'epochs': 60}, 'seed': 1})
    inputs = {'code': cgcnn_code, 'crystals': labelled_set, 'parameters': parameters}
    stopped = run_job(TrainCalculation, **inputs, options={'prepend_text': STOP_IN_TRAINING})
    assert stopped.exit_status == TrainCalculation.exit_codes.ERROR_STOPPED.status, stopped.exit_message
    assert 'checkpoint' in stopped.outputs.remote_folder.listdir()
    finished = run_job(TrainCalculation, **inputs, parent_folder=stopped.outputs.remote_folder)
    assert finished.is_finished_ok, finished.exit_message
    assert finished.outputs.report['resumed'] is True
    assert 'checkpoint' in stopped.outputs.remote_folder.listdir()
    straight = run_job(TrainCalculation, **inputs)
    assert straight.outputs.report['resumed'] is False
    for filename in ('model.safetensors', 'predictions.parquet'):
        contents = [
            node.outputs.retrieved.base.repository.get_object_content(filename, 'rb') for node in (finished, straight)
        ]
        assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'seeds': 1}, 'unknown keys'),
        ({'seed': -1}, 'at least 0'),
        ({'split': 'random'}, 'dictionary'),
        ({'protocol': 1}, 'name'),
    ],
)
def test_what_cannot_work_is_refused_at_once(cgcnn_code, labelled_set, parameters, message):
    with pytest.raises(ValueError, match=message):
        run_get_node(TrainCalculation, code=cgcnn_code, crystals=labelled_set, parameters=Dict(parameters))
