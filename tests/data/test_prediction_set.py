"""Sets of predictions as nodes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_cgcnn_elastic.data.packed import to_parquet
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

pytestmark = pytest.mark.usefixtures('aiida_profile')


def files(predictions: PredictionSetData, *, excluded: list[str], rejected: list[str]) -> tuple[bytes, bytes, bytes]:
    exclusions = pa.table(
        {'material_id': pa.array(excluded, pa.string()), 'reason': ['radioactive_element'] * len(excluded)}
    )
    rejections = pa.table({'material_id': rejected, 'reason': ['disordered'] * len(rejected), 'detail': rejected})
    return predictions.read_bytes('predictions.parquet'), to_parquet(exclusions), to_parquet(rejections)


def test_content_and_summary(make_prediction_set, crystal_table, paper_model):
    contents = files(make_prediction_set(crystal_table), excluded=['U', 'Pu'], rejected=['mp-1'])
    node = PredictionSetData.from_files(*contents, models={'any': paper_model}, source='gnome').store()
    attributes = load_node(node.pk).base.attributes.all
    counts = [attributes[f'n_{name}'] for name in ('crystals', 'predicted', 'excluded', 'rejected')]
    assert counts == [12, 9, 2, 1]
    assert attributes['excluded_by_reason'] == {'radioactive_element': 2}
    assert attributes['rejected_by_reason'] == {'disordered': 1}
    assert attributes['models'] == [
        {'name': 'paper', 'targets': paper_model.targets, 'content_sha256': paper_model.content_sha256}
    ]
    frame = node.get_frame().set_index('material_id')
    assert frame.loc['diamond', 'k_vrh'] == pytest.approx(443)
    assert frame.loc['diamond', 'formula'] == 'C'
    assert node.get_table().column_names[:3] == ['material_id', 'log10_k_vrh', 'log10_g_vrh']
    assert node.get_exclusions().column('material_id').to_pylist() == ['U', 'Pu']
    assert node.get_rejections().num_rows == 1
    assert node.get_description() == '9 of 12 crystals predicted by paper'


def test_equal_sets_are_found_whatever_their_hash(make_prediction_set, crystal_table):
    first = make_prediction_set(crystal_table).store()
    second = make_prediction_set(crystal_table).store()
    other = make_prediction_set(crystal_table.slice(0, 3)).store()
    assert first.base.caching.get_hash() == second.base.caching.get_hash() != other.base.caching.get_hash()
    # As after an import from an archive.
    first.base.extras.delete('_aiida_hash')
    assert {first.pk, second.pk} <= set(first.find_equal()) == set(second.find_equal())
    assert other.pk not in first.find_equal()


def test_what_contradicts_itself_is_refused(make_prediction_set, crystal_table, paper_model):
    predictions = make_prediction_set(crystal_table)
    twice = files(predictions, excluded=['diamond'], rejected=['mp-1'])
    with pytest.raises(ValueError, match='11 crystals have only 10 different ids'):
        PredictionSetData.from_files(*twice, models={'paper': paper_model})
    _, exclusions, rejections = files(predictions, excluded=[], rejected=['mp-1'])
    with pytest.raises(ValueError, match='lacks the columns'):
        PredictionSetData.from_files(exclusions, exclusions, rejections, models={'paper': paper_model})
    predictions.base.attributes.set('n_predicted', 8)
    with pytest.raises(ValidationError, match='n_predicted'):
        predictions.store()
