"""Finding predictions and candidates again."""

from __future__ import annotations

import pandas as pd
import pytest
from aiida.orm import CalcFunctionNode, Dict, Group, QueryBuilder, Str, StructureData, load_node

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation
from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import CandidatesGroup, PredictionsGroup
from aiida_cgcnn_elastic.storage import NewNode, add_to_group, store_outputs


@pytest.fixture
def screening(aiida_profile_clean, make_prediction_set, crystal_set, crystal_table) -> CalcFunctionNode:
    predictions = make_prediction_set(crystal_table).store()
    record_predictions(predictions)
    pks = query.recorded(predictions)
    for label, members in (('all', pks), ('two', pks[:2])):
        add_to_group(PredictionsGroup(label=label).store(), members)
    inputs = {'crystals': {'all': crystal_set}, 'predictions': {'all': predictions}}
    return flag_candidates.run_get_node(criteria=Dict({}), label=Str('all'), **inputs)[1]


def ids(frame: pd.DataFrame) -> list[str]:
    return frame['material_id'].tolist()


def test_predictions(screening, paper_model):
    frame = query.predictions(screening='all')
    assert ids(frame) == ['diamond', 'c-BN', '3C-SiC', 'TiC', 'MgO', 'Si', 'ThC', '12e4567890', 'KBr']
    assert load_node(frame['uuid'][0]).pk == frame['pk'][0]
    assert frame['band_gap'].isna().sum() == 2
    assert ids(query.predictions(screening='two')) == ['diamond', 'c-BN']
    assert ids(query.predictions(model='paper', limit=2)) == ['diamond', 'c-BN']
    assert len(query.predictions(model=paper_model.content_sha256)) == 9
    assert query.predictions(model='other').empty
    assert ids(query.predictions(material_ids=['12e4567890', 'nothing'])) == ['12e4567890']
    assert ids(query.predictions(formula='SiC')) == ['3C-SiC']
    assert ids(query.predictions(elements=['C'])) == ['diamond', '3C-SiC', 'TiC', 'ThC']
    assert ids(query.predictions(elements=['C', 'Si'])) == ['3C-SiC']
    assert ids(query.predictions(elements=['C'], not_elements=['Si', 'Th'])) == ['diamond', 'TiC']
    two = query.predictions(columns=['formula', 'k_vrh', 'pk'], order_by='k_vrh', limit=2)
    assert two.drop(columns='pk').to_dict('list') == {'formula': ['KBr', 'NaCl'], 'k_vrh': pytest.approx([15, 25])}
    assert ids(query.predictions(order_by='material_id', limit=2)) == ['12e4567890', '3C-SiC']


@pytest.mark.parametrize(
    ('where', 'expected'),
    [
        ({'n_atoms': ('>=', 2), 'k_vrh': ('>', 240)}, ['diamond', 'c-BN', 'TiC']),
        ([('k_vrh', ('>', 90)), ('k_vrh', ('<', 161))], ['MgO', 'Si', 'ThC']),
        ({'band_gap': ('<', 2)}, ['TiC', 'Si', 'ThC']),
        ({'band_gap': ('!=', 0)}, ['diamond', 'c-BN', '3C-SiC', 'MgO', 'Si']),
        ({'band_gap': ('==', 0)}, ['TiC', 'ThC']),
        ({'band_gap': ('in', [0, 1.1])}, ['TiC', 'Si', 'ThC']),
        ({'n_atoms': ('in', [1, 3])}, []),
        ({'n_atoms': ('==', 2), 'formula': ('==', 'TiC')}, ['TiC']),
        ({'formula': ('in', ['TiC', 'Si'])}, ['TiC', 'Si']),
    ],
)
def test_conditions(screening, where, expected):
    assert ids(query.predictions(where=where)) == expected
    assert ids(query.candidates('all', where=where)) == [name for name in expected if name not in ('Si', 'ThC')]


def test_unknown_column_is_an_error_and_not_an_empty_result(screening):
    for search in (lambda where: query.predictions(where=where), lambda where: query.candidates('all', where=where)):
        with pytest.raises(ValueError, match="no prediction has a column 'log10_g'"):
            search({'log10_g': ('>', 2)})
        assert search({'k_vrh': ('>', 1e4)}).empty
    with pytest.raises(ValueError, match="no prediction has a column 'hardness'"):
        query.predictions(order_by='-hardness')
    assert query.candidates('all', where={'rank': ('>', 100)}).empty


def test_sorted_by_a_column_that_is_not_shown(screening):
    assert query.predictions(columns=['material_id'])['material_id'].tolist()[0] == 'diamond'


def test_screening_is_found_where_an_import_renamed_one_of_its_groups(screening):
    """As `verdi archive import` does with the second of two groups of one label."""
    group = QueryBuilder().append(CandidatesGroup, filters={'label': 'all'}).one()[0]
    expected = ids(query.candidates('all'))
    group.label = 'all (Imported #0)'
    assert expected
    assert ids(query.candidates('all')) == expected
    assert len(query.predictions(screening='all')) == 9
    with pytest.raises(ValueError, match='there is no screening'):
        query.candidates('al')


def test_a_limit_does_not_count_rows_without_a_value(screening):
    assert ids(query.predictions(order_by='-band_gap', limit=3)) == ['MgO', 'c-BN', 'diamond']
    assert ids(query.predictions(order_by='band_gap', limit=9))[-1] == 'MgO'
    everything = query.predictions(order_by='band_gap')
    assert len(everything) == 9
    assert everything['band_gap'].isna().tolist()[-2:] == [True, True]


def test_integers_lose_rows_in_sqlite_but_not_here(aiida_profile_clean):
    process = CalcFunctionNode().store()
    logs = [1.9, 2.0, 2.1, 2.5, 3.0]
    rows = [{'material_id': f'c{i}', 'log10_k_vrh': log, 'log10_g_vrh': log} for i, log in enumerate(logs)]
    nodes = [NewNode(row, f'p_{i}', hash=ElasticPredictionData.hash_of(row)) for i, row in enumerate(rows)]
    store_outputs(ElasticPredictionData, nodes, creator=process)
    above = QueryBuilder().append(ElasticPredictionData, filters={'attributes.log10_g_vrh': {'>': 2}}).count()
    assert above == 1, 'AiiDA compares as it should now; the warnings in the documentation can go'
    assert len(query.predictions(where={'log10_g_vrh': ('>', 2)})) == 3
    assert len(query.predictions(where={'log10_g_vrh': ('>=', 2)})) == 4
    assert len(query.predictions(where={'log10_g_vrh': ('in', [2, 3])})) == 2
    assert len(query.predictions(where={'log10_g_vrh': ('!=', 2)})) == 4


def test_candidates(screening):
    frame = query.candidates('all')
    assert frame['rank'].tolist() == [1, 2, 3, 4, 5]
    assert frame['formula'].tolist() == ['C', 'BN', 'SiC', 'TiC', 'MgO']
    assert load_node(frame['structure_uuid'][1]).label == 'c-BN'
    assert load_node(frame['prediction_uuid'][1]).label == 'c-BN'
    assert frame['hardness_chen'].is_monotonic_decreasing
    assert ids(query.candidates(elements=['C'], not_elements=['Ti'])) == ['diamond', '3C-SiC']
    assert query.candidates('all', columns=['rank', 'k_vrh'], limit=1).to_dict('records') == [
        {'rank': 1, 'k_vrh': pytest.approx(443)}
    ]
    assert query.candidates('all', where={'k_vrh': ('>', 1000)}).empty


def test_screenings(screening):
    frame = query.screenings().set_index('label')
    assert frame.loc['all', ['n_predictions', 'n_candidates']].tolist() == [9, 5]
    assert frame.loc['two', ['n_predictions', 'n_candidates']].tolist() == [2, 0]


def test_what_does_not_exist_is_said(screening):
    with pytest.raises(ValueError, match=r"no screening 'al'; there are \['all', 'two'\]"):
        query.predictions(screening='al')
    Group(label='foreign').store()
    with pytest.raises(ValueError, match='no screening'):
        query.candidates('foreign')
    with pytest.raises(ValueError, match='unknown operator'):
        query.predictions(where={'k_vrh': ('=>', 2)})
    with pytest.raises(ValueError, match='neither a candidate'):
        query.provenance(StructureData(cell=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]).store())


def test_from_a_candidate_to_the_source_file(aiida_profile_clean, cgcnn_code, paper_model, crystals, tmp_path):
    """Real jobs from file to candidate, and the way back."""
    import hashlib

    from aiida.engine import run_get_node
    from aiida.orm import SinglefileData

    file = tmp_path / 'crystals.parquet'
    CrystalTable.from_crystals(crystals).write(file)
    files = {'file': SinglefileData(file)}
    ingestion = run_get_node(IngestCalculation, code=cgcnn_code, files=files)[1]
    crystal_set = ingestion.outputs.crystals
    assert isinstance(crystal_set, CrystalSetData)
    job = run_get_node(PredictCalculation, code=cgcnn_code, crystals=crystal_set, models={'p': paper_model})[1]
    predictions = job.outputs.predictions
    record_predictions(predictions)
    process = flag_candidates.run_get_node(
        criteria=Dict({'min_hardness': 0}), crystals={'all': crystal_set}, predictions={'all': predictions}
    )[1]
    story = query.provenance(process.outputs.candidate_1)
    assert story['prediction']['uuid'] == process.inputs.prediction_1.uuid
    assert story['prediction_set']['uuid'] == predictions.uuid
    assert story['prediction_job']['uuid'] == job.uuid
    (model,) = story['models']
    assert (model['name'], model['content_sha256']) == ('paper', paper_model.content_sha256)
    assert model['training'][0]['seed'] is not None
    assert model['training_job'] is None
    assert story['crystal_set']['ingestion']['uuid'] == ingestion.uuid
    (described,) = story['crystal_set']['origin']['files']
    assert described['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
    record_story = query.provenance(process.inputs.prediction_1.uuid)
    assert record_story == {key: value for key, value in story.items() if key not in ('structure', 'flagging')}


def test_pages_are_those_of_all_predictions(screening):
    whole = query.predictions(order_by=None).sort_values('pk', ignore_index=True)
    pages = list(query.iter_predictions(screening='all', page_size=3))
    assert [len(page) for page in pages] == [3, 3, 3]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), whole)
    (page,) = query.iter_predictions(where={'log10_g_vrh': ('>=', 2)}, columns=['material_id'])
    assert set(page['material_id']) == {'diamond', 'c-BN', '3C-SiC', 'TiC', 'MgO'}
    with pytest.raises(ValueError, match='bandgap'):
        list(query.iter_predictions(where={'bandgap': ('>=', 2)}))


def test_sorted_by_key_and_limited(screening):
    keys = sorted(query.predictions(order_by=None)['pk'], reverse=True)
    assert query.predictions(order_by='-pk', limit=2)['pk'].tolist() == keys[:2]
    assert query.predictions(order_by='material_id', limit=2)['material_id'].tolist() == ['12e4567890', '3C-SiC']


def test_the_next_page(screening):
    names = query.predictions(limit=9)['material_id'].tolist()
    assert query.predictions(limit=4, offset=4)['material_id'].tolist() == names[4:8]
    with pytest.raises(ValueError, match='offset'):
        query.predictions(offset=4)
    # Past the last one, and where nothing fulfils a condition.
    assert query.predictions(limit=4, offset=1000).empty
    assert query.predictions(where={'log10_g_vrh': ('>=', 9.0)}, limit=4).empty
