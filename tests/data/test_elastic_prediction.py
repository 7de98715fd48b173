"""The prediction for one crystal as node."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData

pytestmark = pytest.mark.usefixtures('aiida_profile')

COMMON = {'model': 'a+b', 'model_content': 'x+y', 'source': 'gnome'}


def table(**columns) -> pa.Table:
    return pa.table({'material_id': ['12e4567890'], 'log10_k_vrh': [2.0], 'log10_g_vrh': [1.0], **columns})


def test_attributes_keep_their_types():
    rows = table(
        band_gap=[math.nan],
        poisson_ratio=[-0.0],
        density=pa.array([5], pa.float32()),
        hull=pa.array([None], pa.float64()),
        n_atoms=pa.array([2], pa.int32()),
        elements=[['C']],
        is_metal=[True],
        third=[1 / 3],
    )
    (attributes,) = ElasticPredictionData.attributes_of(rows, COMMON)
    assert attributes['log10_k_vrh'] == 2.0
    assert type(attributes['log10_k_vrh']) is type(attributes['density']) is float
    assert type(attributes['n_atoms']) is int
    assert attributes['band_gap'] is attributes['hull'] is None
    assert math.copysign(1, attributes['poisson_ratio']) == 1
    assert attributes['is_metal'] is True
    assert attributes['elements'] == ['C']
    assert {key: attributes[key] for key in COMMON} == COMMON
    node = load_node(ElasticPredictionData(attributes).store().pk)
    assert node.get_dict() == attributes
    assert {key: type(value) for key, value in node.get_dict().items()} == {
        key: type(value) for key, value in attributes.items()
    }
    assert node.label == node.material_id == '12e4567890'
    assert node.base.caching.get_hash() == ElasticPredictionData.hash_of(attributes)


def test_many_rows_come_in_order():
    n = 25_000
    rows = pa.table({'material_id': [str(i) for i in range(n)], 'log10_k_vrh': [1.0] * n, 'log10_g_vrh': [1.0] * n})
    ids = [attributes['material_id'] for attributes in ElasticPredictionData.attributes_of(rows, {})]
    assert ids == [str(i) for i in range(n)]


def test_prediction_needs_an_id():
    with pytest.raises(ValidationError, match='material_id'):
        ElasticPredictionData().store()


def test_a_modulus_may_be_missing():
    (attributes,) = ElasticPredictionData.attributes_of(table(log10_g_vrh=pa.array([None], pa.float64())), COMMON)
    node = ElasticPredictionData(attributes).store()
    assert node.get_description() == '12e4567890: log10(K/GPa) = 2.000, log10(G/GPa) unknown'
