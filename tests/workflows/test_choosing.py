"""Which crystals a second stage takes, from which set, and what the flagging makes of it."""

from __future__ import annotations

import pytest
from aiida.orm import Dict, Str

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.refinement import choose_for_refinement

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture
def found(make_prediction_set, crystal_table) -> dict:
    """Return three sets of crystals and their recorded predictions, which are the measured moduli."""
    tables = {'a': crystal_table.slice(0, 4), 'b': crystal_table.slice(4, 6), 'soft': crystal_table.slice(6, 8)}
    predictions = {key: make_prediction_set(table).store() for key, table in tables.items()}
    for node in predictions.values():
        record_predictions(node)
    return {
        'crystals': {key: CrystalSetData.from_table(table).store() for key, table in tables.items()},
        'predictions': predictions,
    }


@pytest.fixture
def chosen(found) -> dict:
    return choose_for_refinement(criteria=Dict({}), cut=Dict({'min_hardness': 20.0}), **found)


def test_sets_keep_their_keys_and_sources_and_the_choice_says_why(found, chosen):
    assert {key: node.get_table().material_ids for key, node in chosen['crystals'].items()} == {
        'a': ['diamond', 'c-BN', '3C-SiC'],
        'b': ['TiC', 'MgO'],
    }
    whole = found['crystals']['a'].get_table()
    assert list(chosen['crystals']['a'].get_table()) == list(whole.slice(0, 3))
    assert chosen['crystals']['a'].origin == found['crystals']['a'].origin
    assert chosen['crystals']['a'].creator.inputs.predictions.soft.uuid == found['predictions']['soft'].uuid
    choice = chosen['choice'].get_dict()
    assert (choice['n_predictions'], choice['n_chosen']) == (8, 5)
    assert choice['not_chosen'] == {'hardness_below_cut': 3}
    assert choice['largest_hardness'] > choice['smallest_hardness'] >= 20


def test_refined_predictions_decide(found, chosen, make_prediction_set):
    """By its refined prediction MgO, softer now, is none; what the first stage said of the others is kept."""
    refined = {}
    for key, node in chosen['crystals'].items():
        table = node.get_table()
        lower = {'log10_g_vrh': table.column('log10_g_vrh') - 0.1}
        refined[key] = make_prediction_set(table.with_columns(lower)).store()
        record_predictions(refined[key])
    inputs = {**found, 'choice': chosen['choice'], 'refined': refined}
    # Without jobs it is not known which set the predictions are of, unless there is only one.
    inputs['crystals'] = {'all': CrystalSetData.from_table(all_of(found)).store()}
    _, process = flag_candidates.run_get_node(criteria=Dict({}), label=Str('two'), **inputs)
    assert process.is_finished_ok, process.exit_message
    ranking = process.outputs.ranking.get_dict()
    by_id = {row['material_id']: row for row in ranking['candidates']}
    assert 'diamond' in by_id
    assert 'MgO' not in by_id
    assert ranking['n_predictions'] == ranking['n_candidates'] + sum(ranking['failed'].values()) == 8
    assert ranking['failed']['below_first_cut'] == 3
    diamond = by_id['diamond']
    assert diamond['log10_g_vrh'] == pytest.approx(diamond['log10_g_vrh_first_stage'] - 0.1)
    assert diamond['hardness'] < diamond['hardness_first_stage']
    frame = query.candidates('two').set_index('material_id')
    assert frame.loc['diamond', 'first_stage_uuid'] != frame.loc['diamond', 'prediction_uuid']


def test_lost_refined_prediction_is_told(found, chosen, make_prediction_set):
    table = chosen['crystals']['a'].get_table()
    refined = {'a': make_prediction_set(table.slice(0, 2)).store()}
    record_predictions(refined['a'])
    _, process = flag_candidates.run_get_node(criteria=Dict({}), choice=chosen['choice'], refined=refined, **found)
    assert process.exit_status == 312
    assert '5 crystals were chosen, but 2 refined' in process.exit_message


def all_of(found):
    from aiida_cgcnn_elastic.crystals import CrystalTable

    return CrystalTable.concatenate([node.get_table() for _, node in sorted(found['crystals'].items())])
