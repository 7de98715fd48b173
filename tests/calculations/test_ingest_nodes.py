"""Crystals out of the nodes of a profile, and of archives."""

from __future__ import annotations

import io
from uuid import uuid4

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.orm import CifData, Dict, Group, Int, QueryBuilder, SinglefileData, StructureData, load_node
from aiida.tools.archive import create_archive, import_archive

from aiida_cgcnn_elastic.calculations.ingest_nodes import ingest_archive, ingest_group, ingest_query, read_nodes
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.structures import to_structure_data

pytestmark = pytest.mark.usefixtures('aiida_profile')

CELL = np.eye(3) * 4.0


def structure(label='', cell=CELL, pbc=(True, True, True), **kind) -> StructureData:
    node = StructureData(cell=cell, pbc=pbc, label=label)
    node.append_atom(position=(0, 0, 0), **(kind or {'symbols': 'Fe'}))
    return node


@pytest.fixture
def group(crystals) -> Group:
    """Return a group of good and bad structures, a CIF and a number."""
    text = to_pymatgen(crystals[1]).to(fmt='cif')
    # Lazy, since AiiDA's own parser is an extra of it that nothing here needs.
    cif = CifData(file=io.BytesIO(text.encode()), parse_policy='lazy', label='c-BN')
    nodes = [
        to_structure_data(crystals[0]),
        structure('slab', pbc=(True, True, False)),
        structure('alloy', symbols=['Fe', 'Ni'], weights=[0.5, 0.5]),
        structure('vacancies', symbols=['Fe'], weights=[0.9]),
        structure('dummy', symbols=['X']),
        cif,
        structure('twice'),
        structure('twice', cell=CELL * 1.1),
        structure(),
        Int(3),
    ]
    group = Group(f'mine-{uuid4()}').store()
    group.add_nodes([node.store() for node in nodes])
    nodes[0].base.extras.set_many({'gap': 5.5, 'dft': {'hull': 0.01}, 'note': 'text'})
    return group


def reasons(node: CrystalSetData) -> dict[str, str]:
    return {item.material_id: str(item.reason) for item in node.get_rejections()}


REASONS = {'slab': 'not_periodic', 'alloy': 'disordered', 'vacancies': 'disordered', 'dummy': 'unknown_species'}


def test_a_group_becomes_a_set_whose_rows_know_their_nodes(group, crystals):
    node = ingest_group(group.label, properties={'band_gap': 'gap', 'energy_above_hull': 'dft.hull', 'density': 'note'})
    table = node.get_table()
    members = sorted(group.nodes, key=lambda member: member.pk)
    kept = [members[place] for place in (0, 5, 6, 7, 8)]
    assert table.material_ids == ['diamond', 'c-BN', *(member.uuid for member in kept[2:])]
    assert table.column('source_uuid').tolist() == [member.uuid for member in kept]
    assert reasons(node) == REASONS
    assert node.base.attributes.get('n_read') == 9
    for place in (0, 1):
        # A CIF tells lengths and angles, not the orientation.
        lattices = table.crystal(place).lattice, crystals[place].lattice
        np.testing.assert_allclose(*(lattice @ lattice.T for lattice in lattices), atol=1e-6)
        np.testing.assert_allclose(table.crystal(place).frac_coords, crystals[place].frac_coords, atol=1e-6)
        assert table.crystal(place).atomic_numbers.tolist() == crystals[place].atomic_numbers.tolist()
    first = dict(table.crystal(0).properties)
    assert (first['band_gap'], first['energy_above_hull']) == (5.5, 0.01)
    assert np.isnan(table.column('band_gap')[1:]).all()
    origin = node.origin
    assert (origin['source'], origin['options']['group_uuid']) == ('aiida', group.uuid)
    assert [message.split(' passed over')[0] for message in origin['messages']] == [
        'keys that are no numbers, or not what their columns hold, were',
        '1 other nodes are no StructureData or CifData and were',
    ]


def test_every_structure_is_an_input_of_the_process(group, tmp_path, aiida_profile):
    node = ingest_group(group)
    inputs = node.creator.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all()
    linked = {link.node.uuid for link in inputs if link.link_label.startswith('node_')}
    assert linked == {member.uuid for member in group.nodes if not isinstance(member, Int)}
    create_archive([node], filename=tmp_path / 'set.aiida')
    uuid, row = node.uuid, node.get_table().column('source_uuid')[0]
    aiida_profile.reset_storage()
    import_archive(tmp_path / 'set.aiida')
    assert load_node(uuid).creator.is_finished_ok
    assert load_node(row).label == 'diamond'


def test_ids_can_be_the_uuids(group):
    table = ingest_group(group, ids='uuid').get_table()
    assert table.material_ids == table.column('source_uuid').tolist()


@pytest.mark.parametrize('projection', ['*', 'uuid', 'id'])
def test_the_result_of_a_query_is_read_in_its_order(group, projection):
    query = QueryBuilder().append(Group, filters={'id': group.pk}, tag='group')
    query.append(StructureData, with_group='group', filters={'label': {'in': ['diamond', 'slab']}}, project=projection)
    query.order_by({StructureData: {'id': 'desc'}})
    node = ingest_query(query)
    assert node.get_table().material_ids == ['diamond']
    assert reasons(node) == {'slab': 'not_periodic'}


def test_a_query_for_something_else_is_refused(group):
    with pytest.raises(ValueError, match='must project one thing'):
        ingest_query(QueryBuilder().append(StructureData, project=['uuid', 'label']))
    with pytest.raises(ValueError, match='no StructureData or CifData to read'):
        ingest_query(QueryBuilder().append(StructureData, filters={'label': 'nothing'}))


def test_an_archive_is_read_without_importing_it(group, tmp_path, aiida_profile):
    expected = ingest_group(group)
    path = tmp_path / 'mine.aiida'
    create_archive([group], filename=path)
    label = group.label
    aiida_profile.reset_storage()
    node = ingest_archive(path, group=label)
    assert node.get_table().sha256() == expected.get_table().sha256()
    assert reasons(node) == REASONS
    assert QueryBuilder().append(StructureData).count() == 0
    origin = node.origin
    assert (origin['source'], origin['files'][0]['name']) == ('aiida_archive', 'mine.aiida')
    assert ingest_archive(path).get_table().sha256() == expected.get_table().sha256()
    with pytest.raises(ValueError, match=r"no group 'yours'; its groups are: mine-"):
        ingest_archive(path, group='yours')


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / 'x.aiida').write_text('hello')
    with pytest.raises(ValueError, match='no archive of AiiDA'):
        ingest_archive(tmp_path / 'x.aiida')


@pytest.mark.parametrize(
    ('parameters', 'status', 'message'),
    [
        ({'ids': 'pk'}, 214, '`ids` must be one of label, uuid'),
        ({'properties': {'lattice': 'gap'}}, 214, 'columns of the geometry'),
        ({'sauce': 1}, 214, 'unknown keys'),
        ({}, 210, '1 nodes do not exist'),
    ],
)
def test_what_cannot_work_has_an_exit_code(parameters, status, message):
    nodes = SinglefileData.from_bytes(b'c0ffee00-0000-4000-8000-000000000000\n', filename='uuids.txt')
    _, process = read_nodes.run_get_node(nodes, Dict(parameters))
    assert process.exit_status == status
    assert message in process.exit_message


def test_nothing_usable_has_an_exit_code():
    group = Group(f'slabs-{uuid4()}').store()
    group.add_nodes([structure('slab', pbc=(True, True, False)).store()])
    with pytest.raises(ValueError, match='None of the 1 nodes is a crystal that can be used: 1 not_periodic'):
        ingest_group(group)
