"""Screenings with the real executable, run in this interpreter without a broker."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import CandidatesGroup, PredictionsGroup
from aiida_cgcnn_elastic.workflows.label import LabelTakenError, check_label, free_label
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

CRITERIA = {'min_hardness': 21.0}


def members(group_class, label: str) -> list:
    return list(group_class.collection.get(label=label).nodes)


def n_nodes(node_class=ElasticPredictionData) -> int:
    return orm.QueryBuilder().append(node_class).count()


def jobs(process) -> list[orm.CalcJobNode]:
    return [node for node in process.called_descendants if isinstance(node, orm.CalcJobNode)]


@pytest.fixture(scope='module')
def builder(make_set, model, faulty_code):
    """Return a factory of builders of one screening: nine crystals, a shard for each five, the first breaks."""
    crystals = make_set()
    # The work chain tries once more where a job ends without a word.
    code = faulty_code('breaks-twice', 2)

    def factory(label: str = 'first', criteria: dict | None = None):
        return ScreenWorkChain.get_builder_from_protocol(
            code,
            {'cubic': crystals},
            {'paper': model},
            label,
            overrides={'shard_size': 5, 'max_concurrent': 1},
            criteria=criteria or CRITERIA,
        )

    return factory


@pytest.fixture(scope='module')
def broken(builder):
    """Return the screening whose first shard fails."""
    return launch(builder())


@pytest.fixture(scope='module')
def continued(broken, builder):
    """Return the same screening run again after its failure."""
    return launch(builder())


def test_failed_shard_is_told_and_the_others_are_kept(broken):
    assert broken.exit_status == ScreenWorkChain.exit_codes.ERROR_SHARDS_FAILED.status
    assert '1 of 2 shards' in broken.exit_message
    assert 'cubic_0000' in broken.exit_message
    assert 'same label' in broken.exit_message
    assert sorted(broken.outputs.predictions) == ['cubic_0001']
    summary = broken.outputs.summary.get_dict()
    assert summary['n_not_predicted'] == 5
    assert summary['n_predicted'] + summary['n_excluded'] == 4
    assert len(members(PredictionsGroup, 'first')) == summary['n_predicted']
    assert 'candidates' not in broken.outputs
    # The folders of the failed jobs are still there to look into, that of the other is cleaned.
    assert [node.outputs.remote_folder.is_cleaned for node in jobs(broken)] == [False, False, True]


def test_running_again_continues_without_doing_anything_twice(continued):
    assert continued.is_finished_ok, continued.exit_message
    reused = {node.inputs.rows.get_list()[0]: node.base.caching.is_created_from_cache for node in jobs(continued)}
    assert reused == {0: False, 5: True}
    summary = continued.outputs.summary.get_dict()
    assert summary['n_read'] == 9
    assert summary['n_predicted'] == 8
    assert summary['excluded_by_reason'] == {'radioactive_element': 1}
    assert n_nodes() == 8
    ids = [node.label for node in members(PredictionsGroup, 'first')]
    assert sorted(ids) == sorted({'diamond', 'c-BN', '3C-SiC', 'Si', '12e4567890', 'KBr', 'TiC', 'MgO'})


def test_hard_materials_are_flagged_and_soft_ones_are_not(continued):
    frame = query.candidates('first')
    assert {'diamond', 'c-BN'} <= set(frame['material_id'])
    assert not {'12e4567890', 'KBr', 'Si'} & set(frame['material_id'])
    assert frame['rank'].tolist() == list(range(1, len(frame) + 1))
    assert frame['hardness_chen'].is_monotonic_decreasing
    assert len(frame) == continued.outputs.summary['n_candidates'] == len(members(CandidatesGroup, 'first'))


def test_running_a_finished_screening_again_makes_no_new_results(continued, builder):
    structures = n_nodes(orm.StructureData)
    again = launch(builder())
    assert again.is_finished_ok, again.exit_message
    assert all(node.base.caching.is_created_from_cache for node in jobs(again))
    assert n_nodes() == 8
    assert n_nodes(orm.StructureData) == structures
    assert again.outputs.candidates.uuid == continued.outputs.candidates.uuid


def test_label_of_another_content_is_refused(continued, builder):
    other = builder(criteria={'min_hardness': 5.0})
    process = launch(other)
    assert process.exit_status == ScreenWorkChain.exit_codes.ERROR_LABEL_TAKEN.status
    assert "'first'" in process.exit_message
    assert not process.called
    content = ScreenWorkChain.get_fingerprint(other)
    assert free_label('first', content) == 'first-2'
    assert free_label('first', ScreenWorkChain.get_fingerprint(builder())) == 'first'
    PredictionsGroup(label='foreign').store().add_nodes(orm.load_node(query.recorded(first_set(continued))[0]))
    with pytest.raises(LabelTakenError, match='foreign'):
        check_label('foreign', content)


def first_set(process):
    return process.outputs.predictions['cubic_0000']


def test_other_criteria_under_another_label_share_the_predictions(continued, builder):
    process = launch(builder('second', {'min_hardness': 5.0, 'min_log10_k_vrh': 1.5, 'min_log10_g_vrh': 1.5}))
    assert process.is_finished_ok, process.exit_message
    assert n_nodes() == 8
    assert {node.uuid for node in members(PredictionsGroup, 'second')} == {
        node.uuid for node in members(PredictionsGroup, 'first')
    }
    assert len(members(CandidatesGroup, 'second')) > len(members(CandidatesGroup, 'first'))


def test_crystal_of_two_sets_is_predicted_once(code, make_set, model):
    process = launch(
        ScreenWorkChain.get_builder_from_protocol(
            code,
            {'b_second': make_set('c-BN', 'TiC'), 'a_first': make_set('c-BN', 'MgO')},
            {'paper': model},
            'overlap',
            criteria=CRITERIA,
        )
    )
    assert process.is_finished_ok, process.exit_message
    summary = process.outputs.summary.get_dict()
    assert summary['n_read'] == 4
    assert summary['rejected_by_reason'] == {'duplicate_id': 1}
    assert sorted(node.label for node in members(PredictionsGroup, 'overlap')) == ['MgO', 'TiC', 'c-BN']
    predicted = {name: node.n_predicted for name, node in process.outputs.predictions.items()}
    assert sum(count for name, count in predicted.items() if name.startswith('a_first')) == 2


def test_shard_without_a_crystal_to_predict_is_no_failure(code, make_set, model):
    process = launch(
        ScreenWorkChain.get_builder_from_protocol(code, {'cubic': make_set('ThC')}, {'paper': model}, 'radioactive')
    )
    assert process.is_finished_ok, process.exit_message
    summary = process.outputs.summary.get_dict()
    assert (summary['n_excluded'], summary['n_predicted'], summary['n_candidates']) == (1, 0, 0)


def test_set_without_crystals(code, make_set, model):
    process = launch(
        ScreenWorkChain.get_builder_from_protocol(code, {'none': make_set('unobtainium')}, {'paper': model}, 'none')
    )
    assert process.exit_status == ScreenWorkChain.exit_codes.ERROR_NO_CRYSTALS.status


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('criteria', {'min_hardnes': 5.0}, 'min_hardness'),
        ('shard_size', 0, 'at least 1'),
        ('label', ' ', 'empty'),
        ('crystals', {}, 'no set of crystals'),
        ('models', {}, 'no model predicts log10_g_vrh and log10_k_vrh'),
    ],
)
def test_invalid_input_is_refused_before_anything_runs(builder, name, value, message):
    inputs = builder('invalid')._inputs(prune=True)
    inputs[name] = value
    with pytest.raises(ValueError, match=message):
        launch_inputs(inputs)
    assert PredictionsGroup.collection.find({'label': 'invalid'}) == []


def launch_inputs(inputs: dict) -> None:
    from aiida.engine import run

    run(ScreenWorkChain, inputs)


def test_unknown_override_names_the_culprit(code, make_set, model):
    with pytest.raises(ValueError, match="'shards_size'"):
        ScreenWorkChain.get_builder_from_protocol(
            code, {'a': make_set('Si')}, {'m': model}, 'x', overrides={'shards_size': 3}
        )
