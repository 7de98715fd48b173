"""Nodes written in bulk are those that AiiDA would have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiida.cmdline.commands import cmd_node
from aiida.common.links import LinkType
from aiida.orm import CalcFunctionNode, Group, Int, Node, QueryBuilder, StructureData, load_node
from aiida.tools import delete_nodes
from aiida.tools.archive import create_archive, import_archive
from click.testing import CliRunner

from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.structures import structure_attributes
from aiida_cgcnn_elastic.storage import NewNode, add_to_group, store_outputs
from aiida_cgcnn_elastic.storage.rows import AnyRows, DataRow, Link, rows_of

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')

COLUMNS = ('node_type', 'process_type', 'label', 'description', 'attributes', 'extras', 'repository_metadata')
ATTRIBUTES = {
    'material_id': 'mp-1',
    'log10_k_vrh': 2.0,
    'log10_g_vrh': 0.1 + 0.2,
    'log10_g_vrh_std': None,
    'k_vrh': 100.0,
    'poisson_ratio': -0.0,
    'formula': 'NaCl',
    'elements': ['Cl', 'Na'],
    'n_atoms': 2,
    'space_group_number': 225,
    'is_metal': False,
    'model': 'paper',
}


@pytest.fixture
def creator() -> CalcFunctionNode:
    return CalcFunctionNode().store()


def new_predictions(n: int) -> list[NewNode]:
    nodes = [ElasticPredictionData({**ATTRIBUTES, 'material_id': f'mp-{i}', 'k_vrh': 100.0 + i}) for i in range(n)]
    return [
        NewNode(
            node.base.attributes.all,
            f'p_{i}',
            node.label,
            node.description,
            hash=ElasticPredictionData.hash_of(node.get_dict()),
        )
        for i, node in enumerate(nodes)
    ]


def awkward_nodes() -> list[NewNode]:
    """Return nodes whose texts mean something to a database, to an array of it or to JSON."""
    nodes = []
    for number, awkward in enumerate(
        ['a"b', "it's", 'a\\b', '{x,y}', 'NULL', '', 'two\nlines', '\t\u03b1\U0001f642', '%s :x']
    ):
        known = {'material_id': awkward or 'none', 'log10_g_vrh': 1e-12, 'poisson_ratio': 0.0}
        attributes = {**ATTRIBUTES, **known, f'key {awkward}': [awkward, {'in': awkward}, None]}
        nodes.append(
            NewNode(
                attributes,
                f'q_{number}',
                awkward,
                awkward,
                extras={'extra': awkward},
                hash=ElasticPredictionData.hash_of(attributes),
            )
        )
    return nodes


def check_awkward_nodes(creator: CalcFunctionNode) -> None:
    """Store awkward nodes in bulk, and check that each is what it would be, stored alone."""
    new = awkward_nodes()
    for pk, node in zip(store_outputs(ElasticPredictionData, new, creator=creator), new, strict=True):
        alone = ElasticPredictionData(node.attributes)
        alone.base.extras.set_many(node.extras)
        # What a prediction is called is set with its attributes.
        alone.label, alone.description = node.label, node.description
        assert row(load_node(pk)) == row(alone.store())
        assert creator.outputs[node.link_label].pk == pk


def row(node: Node) -> dict:
    """Return all columns of a node that do not have to differ."""
    values = QueryBuilder().append(Node, filters={'id': node.pk}, project=list(COLUMNS)).one()
    return dict(zip(COLUMNS, values, strict=True)) | {'user': node.user.pk, 'computer': node.computer}


def links(node: Node) -> list[tuple]:
    return [(link.node.pk, link.link_type, link.link_label) for link in node.base.links.get_incoming().all()]


def test_prediction_equals_one_stored_alone(creator):
    (pk,) = store_outputs(ElasticPredictionData, new_predictions(1), creator=creator)
    alone = ElasticPredictionData({**ATTRIBUTES, 'material_id': 'mp-0'})
    alone.base.links.add_incoming(creator, LinkType.CREATE, 'alone')
    alone.store()
    bulk = load_node(pk)
    assert row(bulk) == row(alone)
    assert links(bulk) == [(creator.pk, LinkType.CREATE, 'p_0')]
    assert bulk.base.caching.get_hash() == bulk.base.caching.compute_hash() == alone.base.caching.get_hash()
    assert bulk.uuid != alone.uuid
    assert bulk.ctime.tzinfo is not None
    assert abs((bulk.ctime - alone.ctime).total_seconds()) < 60
    assert type(bulk.base.attributes.get('log10_k_vrh')) is float
    assert bulk.base.attributes.get('log10_g_vrh') == 0.3


def test_awkward_texts_stay_what_they_are(creator):
    check_awkward_nodes(creator)


def test_every_way_to_insert_writes_the_same(creator):
    backend, group, written = creator.backend, Group(label='all').store(), []
    new = [DataRow(node.label, node.description, json.dumps(node.attributes), '{}') for node in awkward_nodes()]
    for number, way in enumerate((rows_of(backend), AnyRows(backend))):
        with backend.transaction():
            pks = way.insert_data(new, node_type=ElasticPredictionData.class_node_type)
            way.insert_links([Link(creator.pk, pks[0], f'p_{number}')], link_type=LinkType.CREATE.value)
            way.insert_members(group.pk, pks)
            assert way.insert_data([], node_type='') == []
            way.insert_links([], link_type=LinkType.CREATE.value)
            way.insert_members(group.pk, [])
        assert pks == sorted(pks)
        assert links(load_node(pks[0])) == [(creator.pk, LinkType.CREATE, f'p_{number}')]
        written.append([row(load_node(pk)) for pk in pks])
    assert written[0] == written[1]
    assert group.count() == 2 * len(new)


def test_structure_equals_one_stored_alone(creator, crystals):
    from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen

    new = [NewNode(structure_attributes(crystal), f's_{i}', crystal.material_id) for i, crystal in enumerate(crystals)]
    pks = store_outputs(StructureData, new, creator=creator)
    for pk, crystal in zip(pks, crystals, strict=True):
        bulk = load_node(pk)
        alone = StructureData(pymatgen=to_pymatgen(crystal), label=crystal.material_id).store()
        assert row(bulk) == row(alone)
        assert bulk.base.caching.get_hash() == bulk.base.caching.compute_hash()
        assert bulk.get_pymatgen().matches(to_pymatgen(crystal))


def test_order_and_links_of_many(creator):
    pks = store_outputs(ElasticPredictionData, new_predictions(1003), creator=creator)
    labels = QueryBuilder().append(ElasticPredictionData, project=['id', 'label']).all()
    assert [dict(labels)[pk] for pk in pks] == [f'mp-{i}' for i in range(1003)]
    assert creator.outputs.p_1002.pk == pks[1002]


def test_group_and_further_inputs(creator):
    group = Group(label='all').store()
    used = Int(1).store()
    pks = store_outputs(
        ElasticPredictionData, new_predictions(3), creator=creator, group=group, inputs={'used': used.pk}
    )
    assert {node.pk for node in group.nodes} == set(pks)
    assert creator.inputs.used == used
    assert add_to_group(group, [*pks, used.pk, used.pk]) == 1
    assert group.count() == 4


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda node: NewNode(node.attributes, 'p_0'), 'two nodes'),
        (lambda node: NewNode(node.attributes, 'not-valid'), 'alphanumeric'),
        (lambda node: NewNode(node.attributes, 'last', label='m' * 256), '256 characters'),
    ],
)
def test_all_or_nothing(creator, spoil, message):
    new = new_predictions(600)
    with pytest.raises(ValueError, match=message):
        store_outputs(ElasticPredictionData, [*new, spoil(new[0])], creator=creator, group=Group(label='g').store())
    assert QueryBuilder().append(ElasticPredictionData).count() == 0
    assert not creator.base.links.get_outgoing().all()


def test_creator_must_be_an_unfinished_calculation(creator):
    with pytest.raises(ValueError, match='not stored'):
        store_outputs(ElasticPredictionData, new_predictions(1), creator=CalcFunctionNode())
    creator.seal()
    with pytest.raises(ValueError, match='sealed'):
        store_outputs(ElasticPredictionData, new_predictions(1), creator=creator)


def test_archive_there_and_back(creator, tmp_path, aiida_profile):
    group = Group(label='all').store()
    used = Int(1).store()
    pks = store_outputs(
        ElasticPredictionData, new_predictions(50), creator=creator, group=group, inputs={'used': used.pk}
    )
    creator.seal()
    # AiiDA leaves the hash behind in the archive, whichever way a node was stored.
    before = {load_node(pk).uuid: {**row(load_node(pk)), 'extras': {}} for pk in pks}
    creator_uuid = creator.uuid
    create_archive([group], filename=tmp_path / 'archive.aiida')
    aiida_profile.reset_storage()
    import_archive(tmp_path / 'archive.aiida')
    imported = QueryBuilder().append(ElasticPredictionData).all(flat=True)
    assert {node.uuid: row(node) for node in imported} == before
    assert load_node(creator_uuid).outputs.p_7.label == 'mp-7'
    assert load_node(creator_uuid).inputs.used.value == 1


def test_deletion_takes_outputs_along(creator):
    group = Group(label='all').store()
    used = Int(1).store()
    store_outputs(ElasticPredictionData, new_predictions(300), creator=creator, group=group, inputs={'used': used.pk})
    creator.seal()
    _, deleted = delete_nodes([used.pk], dry_run=False)
    assert deleted
    assert QueryBuilder().append(Node).count() == 0
    assert group.count() == 0


def test_verdi_shows_and_draws(creator, tmp_path, monkeypatch):
    (pk,) = store_outputs(ElasticPredictionData, new_predictions(1), creator=creator)
    creator.seal()
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cmd_node.verdi_node, ['show', str(pk)], catch_exceptions=False)
    assert 'mp-0' in shown.output
    attributes = CliRunner().invoke(cmd_node.verdi_node, ['attributes', str(pk)], catch_exceptions=False)
    assert '"log10_k_vrh": 2.0' in attributes.output
    # Without graphviz' `dot`, its source is all that can be looked at.
    from aiida.tools.visualization import Graph

    graph = Graph()
    graph.recurse_ancestors(load_node(pk))
    assert f'N{creator.pk} -> N{pk}' in graph.graphviz.source
    assert Path.cwd() == tmp_path
