"""Screenings with a second stage, with the real executable, run in this interpreter without a broker."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.report import counts_text
from aiida_cgcnn_elastic.cli.setup import find_executable
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import FirstStageGroup, PredictionsGroup
from aiida_cgcnn_elastic.workflows.known import find_known
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain
from tests.labelled import rock_salt

CRITERIA = {'min_hardness': 10.0, 'min_log10_k_vrh': None, 'min_log10_g_vrh': None, 'no_radioactive': False}
CUT = {'min_hardness': 8.0}
UNKNOWN = 'PoC'


@pytest.fixture(scope='module')
def lacking(tmp_path_factory):
    """Return the folder that hides the potential from the executable of `refine_code` as long as it is there."""
    folder = tmp_path_factory.mktemp('lacking')
    (folder / 'hidden' / 'sevenn').mkdir(parents=True)
    (folder / 'hidden' / 'sevenn' / '__init__.py').write_text('raise ImportError')
    return folder / 'hidden'


@pytest.fixture(scope='module')
def refine_code(code, lacking) -> orm.InstalledCode:
    script = lacking.parent / 'cgcnn-elastic'
    script.write_text(f'#!/bin/sh\nexport PYTHONPATH={lacking}\nexec {find_executable()} "$@"\n')
    script.chmod(0o755)
    return orm.InstalledCode(label='lacking', computer=code.computer, filepath_executable=str(script)).store()


@pytest.fixture(scope='module')
def builder(code, refine_code, crystals, model):
    """Return a factory of builders of a screening of crystals of which one is unknown to the potential."""
    table = CrystalTable.from_crystals([*crystals, rock_salt(UNKNOWN, 'Po', 'C', 4.0)])
    crystal_set = CrystalSetData.from_table(table).store()

    def factory(label: str = 'two', **kwargs):
        return ScreenWorkChain.get_builder_from_protocol(
            code,
            {'all': crystal_set},
            {'paper': model},
            label,
            'refined',
            overrides={'max_concurrent': 1},
            **{'criteria': CRITERIA, 'refine_code': refine_code, 'cut': CUT, **kwargs},
        )

    return factory


@pytest.fixture(scope='module')
def failed(builder):
    """Return the screening whose second stage lacks the potential."""
    return launch(builder())


@pytest.fixture(scope='module')
def finished(failed, builder, lacking):
    """Return the same screening run again once the potential is there."""
    lacking.rename(lacking.with_name('seen'))
    return launch(builder())


def models_of(group_class, label: str = 'two') -> dict[str, str]:
    nodes = group_class.collection.get(label=label).nodes
    return {node.label: node.base.attributes.get('model') for node in nodes}


def test_without_the_potential_the_first_stage_is_kept_and_the_code_says_what_to_do(failed):
    assert failed.exit_status == ScreenWorkChain.exit_codes.ERROR_REFINING_FAILED.status, failed.exit_message
    assert "pip install -c constraints.txt -e '.[refine]'" in failed.exit_message
    assert 'same label to continue' in failed.exit_message
    assert 'candidates' not in failed.outputs
    assert sorted(failed.outputs.predictions) == ['all_0000']
    summary = failed.outputs.summary.get_dict()
    assert summary['n_predicted'] == 10
    assert summary['n_not_refined'] == summary['n_chosen'] > 0
    assert set(models_of(PredictionsGroup).values()) == {'paper'}
    assert 'in shards that failed' in counts_text(summary)


def test_best_predictions_are_one_a_crystal_and_both_stages_are_found(finished):
    assert finished.is_finished_ok, finished.exit_message
    summary = finished.outputs.summary.get_dict()
    assert summary['kept_by_reason'] == {'unknown_species': 1}
    assert summary['n_chosen'] == summary['n_refined'] + 1
    assert summary['not_chosen'] == {'hardness_below_cut': 10 - summary['n_chosen']}
    frame = query.predictions(screening='two')
    assert len(frame) == len(set(frame['material_id'])) == 10
    models = dict(zip(frame['material_id'], frame['model'], strict=True))
    chosen = set(query.predictions(screening='two', first_stage=True)['material_id']) | {UNKNOWN}
    assert {name for name, model in models.items() if model == 'refined'} == chosen - {UNKNOWN}
    assert {'diamond', 'c-BN', '3C-SiC', 'TiC', 'MgO'} <= chosen
    assert not {'KBr', '12e4567890'} & chosen
    assert set(models_of(FirstStageGroup).values()) == {'paper'}
    screening = query.screenings().set_index('label').loc['two']
    assert (screening['n_predictions'], screening['n_refined']) == (10, len(chosen) - 1)
    with pytest.raises(ValueError, match='name it'):
        query.predictions(first_stage=True)
    with pytest.raises(ValueError, match="no screening with a second stage 'one'"):
        query.predictions(screening='one', first_stage=True)


def test_refined_values_decide_what_is_a_candidate(finished):
    frame = query.candidates('two').set_index('material_id')
    best = query.predictions(screening='two').set_index('material_id')
    refined = best[best['model'] == 'refined']
    expected = {name for name, hardness in refined['hardness_chen'].items() if hardness >= 10}
    assert expected <= set(frame.index) <= {*expected, UNKNOWN}
    assert frame.loc['diamond', 'g_vrh'] == best.loc['diamond', 'g_vrh']
    summary = finished.outputs.summary.get_dict()
    assert summary['n_candidates'] == len(frame)
    assert summary['failed_by_reason']['below_first_cut'] == summary['not_chosen']['hardness_below_cut']
    assert summary['n_candidates'] + sum(summary['failed_by_reason'].values()) == 10
    assert 'refined' in counts_text(summary)
    assert '1 kept as they were: unknown_species 1' in counts_text(summary)


def test_the_stress_is_known_of_what_the_potential_has_seen(finished):
    best = query.predictions(screening='two').set_index('material_id')
    assert (best['residual_stress'].notna() == (best['model'] == 'refined')).all()
    found = query.predictions(screening='two', where={'residual_stress': ('<', 20.0)})
    assert {'diamond', 'c-BN'} <= set(found['material_id'])
    ranking = finished.outputs.candidates.get_dict()['candidates']
    stresses = {row['material_id']: row['residual_stress'] for row in ranking}
    assert stresses['diamond'] == best.loc['diamond', 'residual_stress']


def test_predictions_without_the_stress_are_not_taken_for_a_model_that_tells_it(finished):
    """Earlier versions wrote such."""
    (job,) = (node for node in finished.called_descendants if node.process_label == 'RefineCalculation')
    predictions = job.outputs.predictions
    columns = predictions.base.attributes.get('columns')
    models = dict(job.inputs.models)
    assert [node.uuid for node in find_known(job.inputs.crystals, models, {})] == [predictions.uuid]
    predictions.backend_entity.set_attribute('columns', [name for name in columns if name != 'residual_stress'])
    try:
        assert find_known(job.inputs.crystals, models, {}) == []
    finally:
        predictions.backend_entity.set_attribute('columns', columns)


def test_candidate_remembers_the_first_stage(finished):
    frame = query.candidates('two').set_index('material_id')
    earlier = query.predictions(screening='two', first_stage=True).set_index('material_id')
    diamond = frame.loc['diamond']
    assert diamond['log10_g_vrh_first_stage'] == earlier.loc['diamond', 'log10_g_vrh'] != diamond['log10_g_vrh']
    assert diamond['hardness_first_stage'] == earlier.loc['diamond', 'hardness_chen']
    assert diamond['first_stage_uuid'] == earlier.loc['diamond', 'uuid']
    structure = orm.load_node(diamond['structure_uuid'])
    flagging = structure.creator.inputs
    rank = diamond['rank']
    assert flagging[f'prediction_{rank}'].base.attributes.get('model') == 'refined'
    assert flagging[f'first_stage_{rank}'].uuid == diamond['first_stage_uuid']
    story = query.provenance(structure)
    assert [model['name'] for model in story['models']] == ['refined']
    assert story['crystal_set']['origin']['source'] == 'table'
    if UNKNOWN in frame.index:
        assert frame.loc[UNKNOWN, 'model'] == 'paper'
        assert frame['first_stage_uuid'].isna()[UNKNOWN]


def test_continuing_did_nothing_twice(failed, finished):
    jobs = [node for node in finished.called_descendants if isinstance(node, orm.CalcJobNode)]
    reused = {node.process_label: node.base.caching.is_created_from_cache for node in jobs}
    assert reused == {'PredictCalculation': True, 'RefineCalculation': False}
    n_records = orm.QueryBuilder().append(ElasticPredictionData).count()
    assert n_records == 10 + finished.outputs.summary['n_refined']


def test_running_again_changes_nothing(finished, builder):
    before = (models_of(PredictionsGroup), models_of(FirstStageGroup))
    n_records = orm.QueryBuilder().append(ElasticPredictionData).count()
    again = launch(builder())
    assert again.is_finished_ok, again.exit_message
    assert again.outputs.candidates.uuid == finished.outputs.candidates.uuid
    assert (models_of(PredictionsGroup), models_of(FirstStageGroup)) == before
    assert orm.QueryBuilder().append(ElasticPredictionData).count() == n_records


def test_label_belongs_to_the_cut_too(finished, builder):
    process = launch(builder(cut={'max_crystals': 1}))
    assert process.exit_status == ScreenWorkChain.exit_codes.ERROR_LABEL_TAKEN.status


def test_cut_that_leaves_nothing(finished, builder):
    hopeless = {**CRITERIA, 'min_hardness': 1000.0}
    process = launch(builder('nothing', criteria=hopeless, cut={'min_hardness': 900.0}))
    assert process.is_finished_ok, process.exit_message
    summary = process.outputs.summary.get_dict()
    assert (summary['n_chosen'], summary['n_candidates']) == (0, 0)
    assert summary['failed_by_reason'] == {'below_first_cut': 10}
    assert set(models_of(PredictionsGroup, 'nothing').values()) == {'paper'}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'cut': {'fractions': 0.1}}, 'it has: fraction, min_hardness, max_crystals'),
        ({'cut': {'fraction': 3}}, r'0.03 is 3 %'),
        ({'cut': {'max_crystals': 0}}, 'at least 1'),
        ({'cut': {'min_hardness': 20.0}}, 'candidates would be lost'),
        ({'refine_models': lambda: {'paper': find_model('paper')}}, 'needs a universal potential'),
    ],
)
def test_second_stage_that_cannot_work_is_refused_before_anything_runs(builder, changes, message):
    changes = {name: value() if callable(value) else value for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        launch(builder('invalid', **changes))
    assert PredictionsGroup.collection.find({'label': 'invalid'}) == []


def test_second_stage_without_models_is_refused(code, model, make_set):
    with pytest.raises(ValueError, match='give `refine_models`'):
        ScreenWorkChain.get_builder_from_protocol(code, {'a': make_set('Si')}, {'m': model}, 'x', cut=CUT)
