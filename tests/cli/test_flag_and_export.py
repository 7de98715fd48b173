"""Flagging again, and exporting results."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from aiida import orm
from aiida.tools.archive import import_archive

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData


def n_nodes(node_class) -> int:
    return orm.QueryBuilder().append(node_class).count()


@pytest.fixture
def criteria(tmp_path):
    path = tmp_path / 'criteria.json'
    path.write_text(json.dumps({'min_hardness': 30.0}))
    return path


def test_flagging_again_predicts_nothing_twice(cli, screening, criteria, tmp_path):
    jobs, records = n_nodes(orm.CalcJobNode), n_nodes(ElasticPredictionData)
    result = cli('flag', 'cubic', '--criteria', criteria, '--label', 'harder')
    assert result.exit_code == 0, result.output
    assert 'candidates among 8 predictions' in result.output
    assert '1 radioactive_element' in result.output
    expected = query.predictions(where={'hardness_chen': ('>=', 30)}, order_by='-hardness_chen')['material_id']
    harder = query.candidates('harder')
    assert harder['material_id'].tolist() == expected.tolist()
    assert 0 < len(harder) < len(query.candidates('cubic'))
    assert (n_nodes(orm.CalcJobNode), n_nodes(ElasticPredictionData)) == (jobs, records)
    story = query.provenance(harder['structure_uuid'][0])
    assert story['flagging']['criteria']['min_hardness'] == 30.0
    assert story['prediction_job'] is not None
    # A set of candidates has no predictions of its own; they are shown nevertheless.
    best = harder.iloc[0]
    for arguments in ((best['material_id'], '--screening', 'harder'), (best['structure_pk'],)):
        shown = cli('show', *arguments).output
        assert f"number 1 of 'harder' (PK {best['structure_pk']})" in shown
        assert 'cubic' not in shown.partition('Where it comes from')[0]
    both = cli('show', best['material_id']).output
    assert (both.count(" of 'cubic' (PK"), both.count(" of 'harder' (PK")) == (1, 1)
    # The same again is the same; another content needs another label; and sets of candidates can be flagged again.
    structures = n_nodes(orm.StructureData)
    assert cli('flag', 'cubic', '--criteria', criteria, '--label', 'harder').exit_code == 0
    assert n_nodes(orm.StructureData) == structures
    criteria.write_text('{"min_hardness": 20.0}')
    for label, reason in (('harder', 'other criteria'), ('cubic', 'belongs to a screening')):
        refused = cli('flag', 'cubic', '--criteria', criteria, '--label', label)
        assert refused.exit_code != 0
        assert reason in refused.output
    assert cli('flag', 'harder', '--criteria', criteria, '--label', 'softer').exit_code == 0
    # Candidates of several sets are told apart, and whoever looks for predictions of such a set is told where they are.
    assert all(label in cli('candidates').output for label in ('Screening', 'cubic', 'harder', 'softer'))
    assert 'Screening' not in cli('candidates', '--screening', 'harder').output
    assert 'is a set of candidates' in cli('predictions', '--screening', 'harder').output
    assert 'no screening' in cli('flag', 'cubi', '--criteria', criteria, '--label', 'x').output


def test_tables_have_every_row(cli, screening, tmp_path):
    whole = query.predictions(screening='cubic', order_by='pk')
    for name, read in (('p.csv', pd.read_csv), ('p.parquet', pd.read_parquet)):
        result = cli('export', 'predictions', tmp_path / name, '--screening', 'cubic')
        assert result.exit_code == 0, result.output
        frame = read(tmp_path / name)
        assert frame['material_id'].astype(str).tolist() == whole['material_id'].tolist()
        assert frame['log10_g_vrh'].tolist() == pytest.approx(whole['log10_g_vrh'].tolist())
        assert frame['band_gap'].isna().sum() == whole['band_gap'].isna().sum() > 0
    chosen = cli('export', 'candidates', tmp_path / 'c.parquet', '--screening', 'cubic', '--limit', 2)
    assert chosen.exit_code == 0, chosen.output
    assert pd.read_parquet(tmp_path / 'c.parquet')['rank'].tolist() == [1, 2]
    refused = cli('export', 'predictions', tmp_path / 'p.txt')
    assert refused.exit_code != 0
    assert not (tmp_path / 'p.txt').exists()


def test_a_mistake_leaves_the_file_of_before(cli, screening, tmp_path):
    for name, label in (('notes.txt', 'cubic'), ('p.csv', 'cubi')):
        (tmp_path / name).write_text('of before')
        for what in ('predictions', 'candidates'):
            assert cli('export', what, tmp_path / name, '--screening', label).exit_code != 0
        assert (tmp_path / name).read_text() == 'of before'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['notes.txt', 'p.csv']


def test_a_table_may_be_empty(cli, screening, tmp_path):
    for name, read in (('p.csv', pd.read_csv), ('p.parquet', pd.read_parquet)):
        result = cli('export', 'predictions', tmp_path / name, '--where', 'log10_g_vrh>=9')
        assert result.exit_code == 0, result.output
        frame = read(tmp_path / name)
        assert frame.empty
        assert 'log10_g_vrh' in frame.columns


def test_an_archive_has_the_provenance_and_no_other_records(cli, screening, tmp_path, profile):
    best = query.candidates('cubic', limit=1).iloc[0]
    n_candidates = len(query.candidates('cubic'))
    result = cli('export', 'archive', 'cubic', tmp_path / 'best.aiida')
    assert result.exit_code == 0, result.output
    groups = orm.QueryBuilder().append(orm.Group, project='label').all(flat=True)
    one = cli('export', 'archive', 'cubic', tmp_path / 'one.aiida', '--limit', 1)
    assert '1 candidate written' in one.output, one.output
    assert orm.QueryBuilder().append(orm.Group, project='label').all(flat=True) == groups
    profile.reset_storage()
    import_archive(tmp_path / 'one.aiida')
    assert query.candidates('cubic (best 1)')['material_id'].tolist() == [best['material_id']]
    profile.reset_storage()
    import_archive(tmp_path / 'best.aiida')
    assert query.candidates('cubic')['material_id'][0] == best['material_id']
    assert "number 1 of 'cubic' (PK" in cli('show', best['material_id'], '--screening', 'cubic').output
    assert n_nodes(ElasticPredictionData) == n_candidates < 8
    assert n_nodes(PredictionSetData) == 1
    story = query.provenance(best['structure_uuid'])
    assert story['prediction']['material_id'] == best['material_id']
    assert story['prediction_job'] is not None
    assert story['crystal_set']['n_crystals'] == 9
    assert [model['name'] for model in story['models']]
