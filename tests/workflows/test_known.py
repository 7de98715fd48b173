"""A second screening, of a newer release, predicts only what is new; with the real executable."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from aiida import orm

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.report import counts_text, reuse_text
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.workflows.known import _equal_rows, find_known
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

CRITERIA = {'min_hardness': 21.0}


@pytest.fixture(scope='module')
def screen(code, model):
    """Return a function that screens crystals: ``(label, crystals, **kwargs) -> WorkChainNode``."""

    def run(label: str, crystals, *, overrides: dict | None = None, criteria: dict | None = None, **kwargs):
        crystal_set = CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store()
        builder = ScreenWorkChain.get_builder_from_protocol(
            code,
            {'release': crystal_set},
            {'any_key': model},
            label,
            overrides={'max_concurrent': 1, **(overrides or {})},
            criteria=criteria or CRITERIA,
            **kwargs,
        )
        process = launch(builder)
        assert process.is_finished_ok, process.exit_message
        return process

    return run


@pytest.fixture(scope='module')
def first(screen, crystals):
    """Return the screening of seven crystals, one of them radioactive, in two shards."""
    return screen('first', [*crystals[:6], crystals[8]], overrides={'shard_size': 4})


@pytest.fixture(scope='module')
def release(crystals):
    """Return a newer release: one crystal relaxed anew, one with another band gap, two new, in another order."""
    diamond, bn, sic, si, tic, mgo, nacl, kbr, thc = crystals
    return [kbr, thc, nacl, mgo, replace(tic, lattice=tic.lattice * 1.001), with_gap(si, 0.6), sic, bn, diamond]


@pytest.fixture(scope='module')
def second(first, screen, release):
    return screen('second', release)


def with_gap(crystal, gap: float):
    return replace(crystal, properties={**crystal.properties, 'band_gap': gap})


def jobs(process) -> list[orm.CalcJobNode]:
    return [node for node in process.called_descendants if isinstance(node, orm.CalcJobNode)]


def test_only_what_is_new_is_predicted(second):
    (job,) = jobs(second)
    assert job.outputs.predictions.get_table().column('material_id').to_pylist() == ['KBr', '12e4567890', 'TiC']
    summary = second.outputs.summary.get_dict()
    assert (summary['n_read'], summary['n_predicted'], summary['n_taken']) == (9, 8, 5)
    assert summary['excluded_by_reason'] == {'radioactive_element': 1}
    assert '5 of them by earlier screenings' in counts_text(summary)


def test_records_are_shared_where_all_is_equal_and_made_anew_where_a_property_changed(first, second):
    earlier = query.predictions(screening='first').set_index('material_id')
    later = query.predictions(screening='second').set_index('material_id')
    assert later.index.is_unique
    shared = {name for name in earlier.index if later.loc[name, 'uuid'] == earlier.loc[name, 'uuid']}
    assert shared == {'diamond', 'c-BN', '3C-SiC', 'MgO'}
    assert earlier.loc['Si', 'log10_g_vrh'] == later.loc['Si', 'log10_g_vrh']
    assert (earlier.loc['Si', 'band_gap'], later.loc['Si', 'band_gap']) == (1.1, 0.6)
    assert earlier.loc['TiC', 'log10_g_vrh'] != later.loc['TiC', 'log10_g_vrh']


def test_candidates_and_their_provenance(second, model):
    frame = query.candidates('second').set_index('material_id')
    assert {'diamond', 'c-BN'} <= set(frame.index)
    assert frame.loc['diamond', 'structure_pk'] > second.pk
    for uuid in frame['structure_uuid']:
        story = query.provenance(uuid)
        assert [one['uuid'] for one in story['models']] == [model.uuid]
        assert story['crystal_set']['origin']['source'] == 'table'
    updated = query.predictions(screening='second', material_ids=['Si'])['uuid'][0]
    story = query.provenance(orm.load_node(updated))
    assert story['crystal_set']['uuid'] == second.inputs.crystals.release.uuid
    assert [one['uuid'] for one in story['models']] == [model.uuid]


def test_continued_screening_keeps_to_what_was_decided(second, screen, release):
    n_records = orm.QueryBuilder().append(ElasticPredictionData).count()
    again = screen('second', release)
    assert [job.base.caching.is_created_from_cache for job in jobs(again)] == [True]
    assert again.outputs.candidates.uuid == second.outputs.candidates.uuid
    assert orm.QueryBuilder().append(ElasticPredictionData).count() == n_records


def test_other_criteria_need_no_job_and_no_new_record(second, screen, release):
    n_records = orm.QueryBuilder().append(ElasticPredictionData).count()
    third = screen('third', release, criteria={'max_band_gap': 6.0, 'min_hardness': 5.0})
    assert jobs(third) == []
    assert reuse_text(third) == 'reused earlier predictions'
    summary = third.outputs.summary.get_dict()
    assert summary['excluded_by_reason'] == {'band_gap_too_large': 2, 'radioactive_element': 1}
    assert summary['n_taken'] == summary['n_predicted'] == 6
    assert orm.QueryBuilder().append(ElasticPredictionData).count() == n_records


def test_other_parameters_or_models_or_the_wish_are_reasons_to_predict(first, second, screen, crystals, model):
    known = {'any': model}
    assert find_known(first.inputs.crystals.release, known, {'dtype': 'float32', 'batch_edges': 100})
    assert find_known(first.inputs.crystals.release, known, {'dtype': 'float64'}) == []
    other = orm.load_node(model.pk)
    assert find_known(first.inputs.crystals.release, {'a': other, 'b': other}, {}) == []
    process = screen('anew', crystals[:2], overrides={'reuse': False})
    assert len(jobs(process)) == 1


def test_rows_are_equal_where_a_column_that_one_table_lacks_says_nothing():
    earlier = pa.table({'material_id': ['a', 'b', 'c'], 'k_vrh': [1.0, None, 3.0]})
    later = earlier.append_column('residual_stress', pa.array([None, None, 5.0]))
    for pair in ((earlier, later), (later, earlier)):
        assert _equal_rows(*pair).tolist() == [True, True, False]
