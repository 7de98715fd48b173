"""Sets of crystals as nodes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from aiida_cgcnn_elastic.crystals import CrystalTable, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources import Origin
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.packed import to_parquet

pytestmark = pytest.mark.usefixtures('aiida_profile')

REJECTIONS = [
    Rejection('mp-9', Reason.DISORDERED, 'site 1 is shared'),
    Rejection('12e3', Reason.UNREADABLE, 'no cell'),
    Rejection('mp-8', Reason.DISORDERED, 'site 2 is shared'),
]
ORIGIN = Origin('gnome', version='2023', licence='CC BY-NC 4.0', files=[{'name': 'a.zip', 'sha256': 'ab', 'bytes': 3}])


def test_content_and_summary(crystal_table, crystals):
    node = load_node(CrystalSetData.from_table(crystal_table, ORIGIN, REJECTIONS, label='nine').store().pk)
    attributes = node.base.attributes.all
    assert (attributes['n_read'], attributes['n_crystals'], attributes['n_rejected']) == (12, 9, 3)
    assert attributes['rejected_by_reason'] == {'disordered': 2, 'unreadable': 1}
    assert attributes['elements'] == sorted(['B', 'Br', 'C', 'Cl', 'K', 'Mg', 'N', 'Na', 'O', 'Si', 'Th', 'Ti'])
    assert attributes['columns'] == crystal_table.column_names
    assert node.origin == json.loads(json.dumps(ORIGIN.to_dict()))
    assert node.source == 'gnome'
    assert list(node.get_table()) == crystals
    assert node.get_material_ids() == crystal_table.material_ids
    assert node.get_rejections() == REJECTIONS
    assert len(node) == 9
    assert node.get_description() == '9 crystals of gnome (3 rejected)'


def test_rows_are_read_across_row_groups(crystals):
    crystal = crystals[0]
    many = CrystalTable.from_crystals(
        [type(crystal)(f'c{i}', crystal.lattice, crystal.atomic_numbers, crystal.frac_coords) for i in range(9000)]
    )
    node = CrystalSetData.from_table(many)
    for start, stop in ((0, 1), (4095, 4097), (4096, 4097), (4000, 8999), (0, 9000), (8999, 9000)):
        assert node.get_table((start, stop)).material_ids == [f'c{i}' for i in range(start, stop)]
    with pytest.raises(ValueError, match='9000 crystals'):
        node.get_table((0, 9001))


def test_equal_content_has_equal_hash_however_it_is_encoded(crystal_table):
    first = CrystalSetData.from_table(crystal_table, ORIGIN, REJECTIONS).store()
    rejections = first.read_bytes('rejections.parquet')
    recoded = to_parquet(crystal_table.arrow.select(sorted(crystal_table.column_names))) + b''
    second = CrystalSetData.from_files(recoded, rejections, ORIGIN.to_dict())
    second.base.attributes.set('columns', first.base.attributes.get('columns'))
    assert second.read_bytes('crystals.parquet') != first.read_bytes('crystals.parquet')
    assert second.base.caching._compute_hash() == first.base.caching.get_hash()
    for other in (
        CrystalSetData.from_table(crystal_table, ORIGIN),
        CrystalSetData.from_table(crystal_table, Origin('other'), REJECTIONS),
        CrystalSetData.from_table(crystal_table.slice(0, 8), ORIGIN, REJECTIONS),
    ):
        assert other.base.caching._compute_hash() != first.base.caching.get_hash()


@pytest.mark.parametrize(('material_id', 'space_group'), [('diamond', 'Fd-3m'), ('12e4567890', 'Fm-3m')])
def test_structures(crystal_set, crystal_table, material_id, space_group):
    structure = crystal_set.get_structure(material_id)
    assert SpacegroupAnalyzer(structure).get_space_group_symbol() == space_group
    node = crystal_set.get_structure_data(material_id).store()
    assert (node.label, node.description) == (material_id, crystal_table.find(material_id).formula)
    assert np.allclose(node.get_pymatgen().lattice.matrix, structure.lattice.matrix)
    assert node.get_pymatgen().matches(structure)
    with pytest.raises(KeyError, match='mp-404'):
        crystal_set.get_structure_data('mp-404')


def test_tampered_nodes_are_not_stored(crystal_table):
    def node():
        return CrystalSetData.from_table(crystal_table)

    spoiled = node()
    spoiled.base.attributes.set('n_crystals', 8)
    with pytest.raises(ValidationError, match='n_crystals'):
        spoiled.store()
    spoiled = node()
    spoiled.base.repository.put_object_from_bytes(spoiled.read_bytes('rejections.parquet'), 'crystals.parquet')
    with pytest.raises(ValidationError, match=r'checksum of `crystals.parquet`'):
        spoiled.store()
    spoiled = node()
    spoiled.base.repository.delete_object('rejections.parquet')
    with pytest.raises(ValidationError, match=r'holds \[.crystals.parquet.\]'):
        spoiled.store()
    with pytest.raises(ValidationError, match='from_'):
        CrystalSetData().store()


def test_files_that_are_no_crystals_are_refused(tmp_path, crystal_table):
    crystals, rejections = tmp_path / 'c.parquet', tmp_path / 'r.parquet'
    crystal_table.write(crystals)
    pq.write_table(crystal_table.arrow, rejections)
    with pytest.raises(ValueError, match=r'rejections.parquet` lacks the columns'):
        CrystalSetData.from_files(crystals, rejections, {'source': 'x'})
    with pytest.raises(ValueError, match='not a Parquet file'):
        CrystalSetData.from_files(b'', rejections, {'source': 'x'})
    with pytest.raises(ValueError, match='`source`'):
        CrystalSetData.from_files(crystals, rejections, {})
