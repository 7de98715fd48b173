"""Flagging and ranking candidates."""

from __future__ import annotations

import pytest
from aiida.common.links import LinkType
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, Node, QueryBuilder, Str, StructureData, load_group, load_node
from aiida.tools.archive import create_archive, import_archive

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.groups import CandidatesGroup

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture
def inputs(make_prediction_set, crystal_set, crystal_table) -> dict:
    """Return recorded predictions in two shards, and the crystals they are of."""
    shards = {'b': crystal_table.slice(0, 4), 'a': crystal_table.slice(4)}
    predictions = {key: make_prediction_set(table).store() for key, table in shards.items()}
    for node in predictions.values():
        record_predictions(node)
    return {'crystals': {'all': crystal_set}, 'predictions': predictions}


def test_candidates_are_ranked_linked_and_grouped(inputs, crystal_table):
    _, process = flag_candidates.run_get_node(criteria=Dict({}), label=Str('hard'), **inputs)
    assert process.is_finished_ok, process.exit_message
    ranking = process.outputs.ranking.get_dict()
    assert ranking['n_predictions'] == 9
    assert ranking['n_candidates'] + sum(ranking['failed'].values()) == 9
    assert ranking['failed']['radioactive_element'] == 1
    assert [row['material_id'] for row in ranking['candidates']] == ['diamond', 'c-BN', '3C-SiC', 'TiC', 'MgO']
    assert ranking['criteria']['min_hardness'] == 20

    group = load_group('hard')
    assert isinstance(group, CandidatesGroup)
    assert {node.uuid for node in group.nodes} == {row['structure_uuid'] for row in ranking['candidates']}
    for rank, row in enumerate(ranking['candidates'], start=1):
        structure = process.outputs[f'candidate_{rank}']
        record = process.inputs[f'prediction_{rank}']
        extra = structure.base.extras.get('cgcnn_elastic')
        crystal = crystal_table.find(row['material_id'])
        assert (structure.label, structure.description) == (row['material_id'], crystal.formula)
        assert (extra['rank'], extra['screening'], extra['prediction_uuid']) == (rank, 'hard', record.uuid)
        assert extra['hardness'] == extra['hardness_chen'] == record.base.attributes.get('hardness_chen')
        assert record.label == row['material_id']
        assert extra['space_group_number'] in (216, 225, 227)
        alone = CrystalSetData.from_table(crystal_table).get_structure_data(row['material_id']).store()
        assert structure.base.attributes.all == alone.base.attributes.all
        assert structure.base.caching.get_hash() == alone.base.caching.get_hash()
        assert structure.base.caching.compute_hash() == structure.base.caching.get_hash()
    labels = {link.link_label for link in process.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all()}
    assert {'criteria', 'label', 'crystals__all', 'predictions__a', 'prediction_1', 'prediction_5'} <= labels


def test_candidates_of_other_criteria(inputs):
    criteria = Dict({'min_hardness': None, 'hardness_law': 'teter', 'max_band_gap': 3.0, 'max_candidates': 2})
    _, process = flag_candidates.run_get_node(criteria=criteria, **inputs)
    ranking = process.outputs.ranking.get_dict()
    assert [row['material_id'] for row in ranking['candidates']] == ['3C-SiC', 'TiC']
    assert ranking['candidates'][0]['hardness'] == pytest.approx(0.151 * 192)
    assert QueryBuilder().append(CandidatesGroup).count() == 0


CERTAINTY = {
    'log10_k_vrh_std': 0.05,
    'log10_g_vrh_std': 0.08,
    'log10_k_g_correlation': 0.4,
    'novelty': 0.25,
    'novelty_reason': 'prototype A2B3',
}


def test_how_sure_a_candidate_is_can_be_asked_for_and_queried(make_prediction_set, crystal_set, crystal_table):
    """The record has the probability under the default thresholds, the candidate that under the screening's."""
    predictions = make_prediction_set(crystal_table, certainty=CERTAINTY).store()
    record_predictions(predictions)
    inputs = {'crystals': {'all': crystal_set}, 'predictions': {'a': predictions}}
    criteria = Dict({'min_hardness': 40.0, 'min_p_candidate': 0.5, 'max_novelty': 0.3})
    _, process = flag_candidates.run_get_node(criteria=criteria, label=Str('sure'), **inputs)
    assert process.is_finished_ok, process.exit_message
    ranking = process.outputs.ranking.get_dict()
    assert [row['material_id'] for row in ranking['candidates']] == ['diamond', 'c-BN']
    assert ranking['failed']['p_candidate_too_low'] >= 1
    found = query.predictions(where={'p_candidate': ('>=', 0.5), 'novelty': ('<', 0.5)}, order_by='-p_candidate')
    default = dict(zip(found['material_id'], found['p_candidate'], strict=True))
    assert {'diamond', 'c-BN', '3C-SiC'} <= set(default)
    assert set(found['novelty_reason']) == {'prototype A2B3'}
    candidates = query.candidates('sure')
    for material_id, p in zip(candidates['material_id'], candidates['p_candidate'], strict=True):
        assert 0.5 <= p < default[material_id]


def test_an_uncalibrated_model_leaves_it_unknown(inputs):
    _, process = flag_candidates.run_get_node(criteria=Dict({}), label=Str('hard'), **inputs)
    assert process.outputs.ranking['candidates'][0]['p_candidate'] is None
    _, process = flag_candidates.run_get_node(criteria=Dict({'max_novelty': 0.9}), **inputs)
    assert process.outputs.ranking['candidates'] == []
    assert process.outputs.ranking['failed']['novelty_unknown'] == 5


def test_no_candidate(inputs):
    _, process = flag_candidates.run_get_node(criteria=Dict({'min_hardness': 1000}), label=Str('none'), **inputs)
    assert process.is_finished_ok
    assert process.outputs.ranking['candidates'] == []
    assert load_group('none').count() == 0


def test_flagging_is_never_taken_from_the_cache(inputs):
    with enable_caching():
        nodes = [flag_candidates.run_get_node(criteria=Dict({}), label=Str(label), **inputs)[1] for label in 'xx']
    assert not nodes[1].base.caching.is_created_from_cache
    assert 'prediction_1' in nodes[1].inputs


def test_what_is_missing_is_said(inputs, make_prediction_set, crystal_table, crystal_set):
    _, process = flag_candidates.run_get_node(criteria=Dict({'min_hardnes': 1}), **inputs)
    assert process.exit_status == 214
    assert 'min_hardness' in process.exit_message
    unrecorded = {'new': make_prediction_set(crystal_table.slice(0, 5)).store()}
    _, process = flag_candidates.run_get_node(criteria=Dict({}), crystals=inputs['crystals'], predictions=unrecorded)
    assert process.exit_status == 310
    assert 'diamond' in process.exit_message
    two = {'all': crystal_set, 'some': CrystalSetData.from_table(crystal_table.slice(0, 2)).store()}
    _, process = flag_candidates.run_get_node(criteria=Dict({}), crystals=two, predictions=inputs['predictions'])
    assert process.exit_status == 311
    assert QueryBuilder().append(StructureData).count() == 0


def test_candidates_keep_their_history_through_an_archive(inputs, tmp_path, aiida_profile):
    _, process = flag_candidates.run_get_node(criteria=Dict({}), label=Str('hard'), **inputs)
    n_nodes = QueryBuilder().append(Node).count()
    create_archive([load_group('hard')], filename=tmp_path / 'hard.aiida')
    uuid = process.outputs.candidate_1.uuid
    aiida_profile.reset_storage()
    import_archive(tmp_path / 'hard.aiida')
    story = query.provenance(uuid)
    assert story['structure'] == {'uuid': uuid, 'material_id': 'diamond', 'rank': 1, 'screening': 'hard'}
    assert story['prediction']['material_id'] == 'diamond'
    assert story['flagging']['criteria']['min_log10_g_vrh'] == 2.0
    # All but the model: these sets were not made by jobs.
    assert QueryBuilder().append(Node).count() == n_nodes - 1
    assert len(query.candidates('hard')) == 5
    assert load_node(uuid).creator.inputs.prediction_1.label == 'diamond'
