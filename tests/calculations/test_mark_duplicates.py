"""Marking the same materials in sets of several sources."""

from __future__ import annotations

import pytest
from aiida.orm import Dict

from aiida_cgcnn_elastic.calculations.mark_duplicates import mark_duplicates
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources import Origin
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.screening import DEFAULT, flag

pytestmark = pytest.mark.usefixtures('aiida_profile')


def renamed(crystal, material_id, scale=1.0) -> Crystal:
    numbers, coords = crystal.atomic_numbers[::-1], crystal.frac_coords[::-1] + 0.1
    return Crystal(material_id, crystal.lattice * scale, numbers, coords, crystal.properties)


@pytest.fixture
def sets(crystals) -> dict[str, CrystalSetData]:
    first = CrystalTable.from_crystals(crystals[:5])
    again = [renamed(crystals[0], 'mp-66', 1.005), renamed(crystals[5], 'mp-1265'), renamed(crystals[2], 'mp-8062')]
    rejections = [Rejection('mp-1', Reason.DISORDERED, 'a site is shared')]
    second = CrystalSetData.from_table(CrystalTable.from_crystals(again), Origin('files', licence='CC0'), rejections)
    return {'a_known': CrystalSetData.from_table(first).store(), 'b_files': second.store()}


def test_later_sets_are_marked_and_keep_all_else(sets):
    results, process = mark_duplicates.run_get_node(**sets)
    assert process.is_finished_ok, process.exit_message
    assert results['duplicates'].get_dict() == {
        'sets': {
            'a_known': {'n_crystals': 5, 'n_duplicates': 0},
            'b_files': {'n_crystals': 3, 'n_duplicates': 2},
        }
    }
    assert 'a_known' not in results
    marked, given = results['b_files'], sets['b_files']
    assert marked.get_table().column('duplicate_of').tolist() == ['diamond', None, '3C-SiC']
    assert marked.get_table().without_columns(['duplicate_of']).sha256() == given.get_table().sha256()
    assert marked.get_rejections() == given.get_rejections()
    assert marked.origin['licence'] == 'CC0'
    assert marked.origin['messages'] == ['2 crystals are marked as duplicates, in the column duplicate_of']
    assert marked.creator == process


def test_a_screening_of_both_names_each_material_once(sets, make_prediction_set):
    import pyarrow as pa

    results = mark_duplicates(**sets)
    tables = [sets['a_known'].get_table(), results['b_files'].get_table()]
    predictions = [make_prediction_set(table).get_table() for table in tables]
    both = pa.concat_tables(predictions, promote_options='permissive')
    result = flag(both, DEFAULT)
    assert both['material_id'].take(result.order).to_pylist() == ['diamond', 'c-BN', '3C-SiC', 'TiC', 'mp-1265']
    assert result.failed['duplicate_of_candidate'] == 2


@pytest.mark.parametrize(
    ('tolerances', 'message'),
    [
        ({'volumes': 0.1}, "none called 'volumes'; allowed are volume, symprec"),
        ({'volume': -0.1}, 'volume must be a positive number'),
        ({'nearly_equal': [0.1, 0.1]}, 'nearly_equal must be three positive numbers'),
    ],
)
def test_tolerances_are_checked(sets, tolerances, message):
    _, process = mark_duplicates.run_get_node(Dict(tolerances), **sets)
    assert process.exit_status == 214
    assert message in process.exit_message


def test_tolerances_are_used(sets):
    results = mark_duplicates(Dict({'volume': 0.001, 'nearly_equal': [0.02, 0.03, 1.0]}), **sets)
    assert results['b_files'].get_table().column('duplicate_of').tolist() == [None, None, '3C-SiC']
