"""Recording predictions as nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aiida.manage.caching import enable_caching
from aiida.orm import CalcFunctionNode, QueryBuilder, load_node
from aiida.tools.archive import create_archive, import_archive
from aiida.tools.archive.exceptions import ExportValidationError

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.storage import finish_interrupted

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture
def prediction_set(make_prediction_set, crystal_table) -> PredictionSetData:
    return make_prediction_set(crystal_table).store()


def test_a_record_for_each_row(prediction_set):
    _, process = record_predictions.run_get_node(prediction_set)
    assert process.is_finished_ok, process.exit_message
    pks = query.recorded(prediction_set)
    records = [load_node(pk) for pk in pks]
    rows = prediction_set.get_table().to_pylist()
    assert [record.label for record in records] == [row['material_id'] for row in rows]
    for index, (record, row) in enumerate(zip(records, rows, strict=True)):
        expected = {
            key: pytest.approx(value, rel=1e-13) if isinstance(value, float) else value for key, value in row.items()
        }
        assert record.get_dict() == {**expected, **prediction_set.common_attributes()}
        assert record.creator == process
        assert process.outputs[f'p_{index}'] == record
        assert record.base.caching.get_hash() == record.base.caching.compute_hash()


def test_equal_predictions_are_recorded_once(prediction_set, make_prediction_set, crystal_table):
    assert query.recorded(prediction_set) == []
    with enable_caching():
        _, first = record_predictions.run_get_node(prediction_set)
        _, second = record_predictions.run_get_node(prediction_set)
    # A cached process would have cloned its records, one by one.
    assert not second.base.caching.is_created_from_cache
    equal = make_prediction_set(crystal_table).store()
    assert query.recorded(equal) == query.recorded(prediction_set)
    assert {load_node(pk).creator for pk in query.recorded(equal)} == {first}
    assert query.recorded(make_prediction_set(crystal_table.slice(0, 2)).store()) == []


def test_records_are_found_after_an_import(prediction_set, tmp_path, aiida_profile):
    record_predictions(prediction_set)
    uuid = prediction_set.uuid
    create_archive(None, filename=tmp_path / 'a.aiida')
    aiida_profile.reset_storage()
    import_archive(tmp_path / 'a.aiida')
    assert len(query.recorded(load_node(uuid))) == 9


def test_killed_after_the_commit(prediction_set, aiida_profile, tmp_path):
    script = tmp_path / 'killed.py'
    script.write_text(KILLED_AFTER)
    process = subprocess.run(
        [sys.executable, str(script), aiida_profile.name, str(prediction_set.pk)], capture_output=True, text=True
    )
    assert process.returncode == -9, process.stderr
    pks = query.recorded(prediction_set)
    assert len(pks) == 9
    creator = load_node(pks[0]).creator
    assert not creator.is_terminated
    with pytest.raises(ExportValidationError):
        create_archive([load_node(pks[0])], filename=tmp_path / 'a.aiida')
    assert finish_interrupted(creator)
    assert not finish_interrupted(creator)
    assert load_node(creator.pk).is_finished_ok
    create_archive([load_node(pks[0])], filename=tmp_path / 'a.aiida')


KILLED_AFTER = """
import os, signal, sys
from aiida import load_profile, orm
load_profile(sys.argv[1])
from aiida_cgcnn_elastic.calculations import record_predictions as module

store_outputs = module.store_outputs

def killed_after(*arguments, **options):
    store_outputs(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

module.store_outputs = killed_after
module.record_predictions(orm.load_node(int(sys.argv[2])))
"""

KILLED = """
import os, signal, sys
from aiida import load_profile, orm
load_profile(sys.argv[1])
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData

attributes_of = ElasticPredictionData.attributes_of

def killed_after(number):
    def attributes(table, common):
        for index, row in enumerate(attributes_of(table, common)):
            if index == number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield row
    return attributes

ElasticPredictionData.attributes_of = staticmethod(killed_after(int(sys.argv[3])))
record_predictions(orm.load_node(int(sys.argv[2])))
"""


def test_killed_halfway_leaves_nothing(make_prediction_set, crystals, aiida_profile, tmp_path):
    from aiida_cgcnn_elastic.crystals import CrystalTable

    crystal = crystals[0]
    many = CrystalTable.from_crystals(
        [
            type(crystal)(f'c{i}', crystal.lattice, crystal.atomic_numbers, crystal.frac_coords, crystal.properties)
            for i in range(3000)
        ]
    )
    prediction_set = make_prediction_set(many).store()
    script = tmp_path / 'killed.py'
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), aiida_profile.name, str(prediction_set.pk), '2500']
    process = subprocess.run(arguments, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert process.returncode == -9, process.stderr
    assert QueryBuilder().append(CalcFunctionNode).count() == 1
    assert QueryBuilder().append(ElasticPredictionData).count() == 0
    assert query.recorded(prediction_set) == []
    record_predictions(prediction_set)
    assert len(query.recorded(prediction_set)) == 3000
