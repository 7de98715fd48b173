"""Jobs that predict, run by the real executable."""

from __future__ import annotations

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, List

from aiida_cgcnn_elastic.calculations.base import seconds_to_work, threads_of
from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def inputs(cgcnn_code, crystal_set, paper_model) -> dict:
    return {'code': cgcnn_code, 'crystals': crystal_set, 'models': {'paper': paper_model}}


def test_whole_set_and_slices(run_job, inputs, crystal_table, paper_model):
    node = run_job(PredictCalculation, **inputs)
    assert node.is_finished_ok, node.exit_message
    predictions = node.outputs.predictions
    whole = predictions.get_table()
    assert whole.column('material_id').to_pylist() == crystal_table.material_ids
    assert whole.column('log10_k_vrh_reference').to_pylist() == crystal_table.column('log10_k_vrh').tolist()
    assert np.isfinite(whole.column('hardness_chen').to_numpy()).all()
    assert predictions.base.attributes.get('source') == 'table'
    assert [model['content_sha256'] for model in predictions.models] == [paper_model.content_sha256]
    assert node.outputs.report['status'] == 'done'
    assert node.outputs.report['machine']['threads'] == 1

    parts = []
    for rows in ([0, 4], [4, 9]):
        node = run_job(PredictCalculation, **inputs, rows=List(rows))
        assert node.is_finished_ok, node.exit_message
        assert node.outputs.predictions.n_predicted == rows[1] - rows[0]
        # The slice itself is not kept a second time.
        assert 'crystals.parquet' not in node.base.repository.list_object_names()
        parts += node.outputs.predictions.get_table().column('log10_g_vrh').to_pylist()
    np.testing.assert_allclose(parts, whole.column('log10_g_vrh').to_numpy(), rtol=1e-5)


def test_criteria_and_parameters(run_job, inputs):
    """Of the criteria only the filters count before a prediction."""
    criteria = Dict({'min_log10_g_vrh': 4.0, 'max_band_gap': 6.0, 'unknown_band_gap': 'drop', 'max_atoms': 50})
    parameters = Dict({'dtype': 'float64', 'batch_edges': 24, 'chunk_size': 2, 'device': 'cpu'})
    node = run_job(PredictCalculation, **inputs, criteria=criteria, parameters=parameters)
    assert node.is_finished_ok, node.exit_message
    predictions = node.outputs.predictions
    reasons = dict(zip(*predictions.get_exclusions().to_pydict().values(), strict=True))
    assert reasons == {
        'ThC': 'radioactive_element',
        'c-BN': 'band_gap_too_large',
        'MgO': 'band_gap_too_large',
        '12e4567890': 'band_gap_unknown',
        'KBr': 'band_gap_unknown',
    }
    assert (predictions.n_predicted, predictions.base.attributes.get('n_crystals')) == (4, 9)
    arguments = node.base.repository.get_object_content('_aiidasubmit.sh')
    for text in ("'--dtype' 'float64'", "'--batch-edges' '24'", "'--threads' '1'"):
        assert text in arguments
    assert '--max-seconds' not in arguments


def test_stopped_job_is_continued(run_job, inputs, crystals):
    many = CrystalTable.concatenate(
        [CrystalTable.from_crystals([copy_of(crystal, i) for crystal in crystals]) for i in range(40)]
    )
    inputs['crystals'] = CrystalSetData.from_table(many).store()
    parameters = Dict({'chunk_size': 8})
    stopped = run_job(PredictCalculation, **inputs, parameters=parameters, options={'max_wallclock_seconds': 1})
    assert stopped.exit_status == PredictCalculation.exit_codes.ERROR_STOPPED.status
    assert 'time limit' in stopped.exit_message
    assert 'predictions' not in stopped.outputs
    finished = run_job(PredictCalculation, **inputs, parameters=parameters, parent_folder=stopped.outputs.remote_folder)
    assert finished.is_finished_ok, finished.exit_message
    assert finished.outputs.predictions.get_table().column('material_id').to_pylist() == many.material_ids
    assert '--resume' in finished.base.repository.get_object_content('_aiidasubmit.sh')


def copy_of(crystal, number: int):
    return type(crystal)(
        f'{crystal.material_id}_{number}', crystal.lattice, crystal.atomic_numbers, crystal.frac_coords
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rows': lambda: List([3, 3])}, 'rows must be'),
        ({'rows': lambda: List([0, 10])}, 'not within a set of 9'),
        ({'criteria': lambda: Dict({'min_hardnes': 3})}, 'did you mean'),
        ({'parameters': lambda: Dict({'dtype': 'float8'})}, 'float32 or float64'),
        ({'parameters': lambda: Dict({'batch_size': 8})}, 'unknown keys'),
        ({'parameters': lambda: Dict({'batch_edges': 0})}, 'positive integer'),
        ({'parameters': lambda: Dict({'chunk_size': True})}, 'positive integer'),
        ({'parameters': lambda: Dict({'device': 0})}, 'a text such as cpu'),
        ({'models': dict}, 'models'),
    ],
)
def test_what_cannot_work_is_refused_at_once(inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        run_get_node(PredictCalculation, **{**inputs, **{key: make() for key, make in changes.items()}})


def test_parent_folder_must_be_on_the_same_computer(inputs, aiida_computer_local):
    from aiida.orm import RemoteData

    elsewhere = RemoteData('/somewhere', computer=aiida_computer_local(label='elsewhere'))
    with pytest.raises(ValueError, match='elsewhere'):
        run_get_node(PredictCalculation, **inputs, parent_folder=elsewhere)


def test_only_successful_jobs_are_cached(run_job, inputs, paper_model, broken_model, crystal_table):
    with enable_caching():
        inputs['crystals'] = CrystalSetData.from_table(crystal_table.slice(0, 5), label='cached').store()
        first = run_job(PredictCalculation, **inputs)
        # Equal crystals in another node.
        inputs['crystals'] = CrystalSetData.from_table(crystal_table.slice(0, 5)).store()
        again = run_job(PredictCalculation, **inputs)
        assert again.base.caching.get_cache_source() == first.uuid
        assert again.outputs.predictions.find_equal() == first.outputs.predictions.find_equal()
        rows = run_job(PredictCalculation, **inputs, rows=List([0, 2]))
        assert not rows.base.caching.is_created_from_cache
        inputs['models'] = {'broken': broken_model}
        for _ in range(2):
            failed = run_job(PredictCalculation, **inputs)
            assert failed.exit_status == 212
            assert not failed.base.caching.is_created_from_cache


def test_time_is_left_to_save():
    assert seconds_to_work(86400) == 86400 - 300
    assert seconds_to_work(1200) == 1200 - 60
    assert seconds_to_work(60) == 45
    assert seconds_to_work(20) == 10


@pytest.mark.parametrize(
    ('resources', 'threads'),
    [
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1}, None),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 1}, 1),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 4}, 4),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2, 'num_cores_per_mpiproc': 3}, 6),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_machine': 8}, 8),
        ({'tot_num_mpiprocs': 1, 'parallel_env': 'smp'}, None),
    ],
)
def test_threads_are_those_of_the_resources(resources, threads):
    assert threads_of(resources) == threads
