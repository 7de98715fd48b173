"""Jobs that predict again with a model that needs a universal potential, run by the real executable."""

from __future__ import annotations

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import Dict, List

from aiida_cgcnn_elastic.calculations.refine import RefineCalculation
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from tests.labelled import rock_salt

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def inputs(cgcnn_code, crystal_set, refined_model) -> dict:
    return {'code': cgcnn_code, 'crystals': crystal_set, 'models': {'refined': refined_model}}


def test_crystals_are_predicted_and_those_the_potential_does_not_know_are_rejected(run_job, inputs, crystal_table):
    polonium = CrystalTable.from_crystals([rock_salt('PoO', 'Po', 'O', 5.0)])
    inputs['crystals'] = CrystalSetData.from_table(CrystalTable.concatenate([crystal_table, polonium])).store()
    node = run_job(RefineCalculation, **inputs, rows=List([5, 10]), criteria=Dict({'no_radioactive': False}))
    assert node.is_finished_ok, node.exit_message
    predictions = node.outputs.predictions
    assert predictions.get_table().column('material_id').to_pylist() == crystal_table.material_ids[5:]
    assert [row['material_id'] for row in predictions.get_rejections().to_pylist()] == ['PoO']
    assert predictions.base.attributes.get('rejected_by_reason') == {'unknown_species': 1}
    assert predictions.common_attributes()['model'] == 'refined'


def test_stopped_job_is_continued(run_job, inputs):
    table = CrystalTable.from_crystals([rock_salt(f'm{i}', 'Mg', 'O', 4 + 0.1 * i) for i in range(5)])
    inputs['crystals'] = CrystalSetData.from_table(table).store()
    parameters = Dict({'chunk_size': 2})
    stopped = run_job(RefineCalculation, **inputs, parameters=parameters, options={'max_wallclock_seconds': 1})
    assert stopped.exit_status == RefineCalculation.exit_codes.ERROR_STOPPED.status
    finished = run_job(RefineCalculation, **inputs, parameters=parameters, parent_folder=stopped.outputs.remote_folder)
    assert finished.is_finished_ok, finished.exit_message
    predicted = finished.outputs.predictions.get_table()
    assert predicted.column('material_id').to_pylist() == table.material_ids
    bulk = predicted.column('log10_k_vrh').to_numpy()
    # The wider the lattice (that of MgO has 4.21 Angstrom), the softer; by steps well above its noise.
    assert (np.diff(bulk) < 0).all()
    whole = run_job(RefineCalculation, **inputs, parameters=parameters).outputs.predictions.get_table()
    assert bulk == pytest.approx(whole.column('log10_k_vrh').to_numpy(), abs=1e-5)


def test_models_without_a_potential_are_refused(inputs, paper_model):
    with pytest.raises(ValueError, match=r'none of the models \(paper\) needs a universal potential'):
        run_get_node(RefineCalculation, **{**inputs, 'models': {'paper': paper_model}})
    with pytest.raises(ValueError, match='models'):
        run_get_node(RefineCalculation, **{**inputs, 'models': {}})
