"""Finding results again: `candidates`, `predictions` and `show`."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from aiida import orm

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.cli.setup import setup_localhost
from aiida_cgcnn_elastic.groups import PredictionsGroup
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain


def ids(result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [row['material_id'] for row in json.loads(result.output)]


@pytest.fixture(scope='module')
def predictions(cli, screening):
    """Return a function that gives the material ids of the predictions that options select."""
    return lambda *options: ids(cli('predictions', '--format', 'json', *options))


def test_tables(cli, screening):
    result = cli('candidates', '--screening', 'cubic')
    assert result.exit_code == 0, result.output
    assert 'diamond' in result.output
    assert '12e4567890' not in result.output
    assert '12e4567890' in cli('predictions').output


def test_csv_keeps_ids_that_look_like_numbers_and_blanks_that_are_missing(cli, screening):
    frame = pd.read_csv(io.StringIO(cli('predictions', '--format', 'csv').output), dtype={'material_id': str})
    assert {'diamond', 'c-BN', '12e4567890'} <= set(frame['material_id'])
    assert len(frame) == 8
    assert frame.set_index('material_id')['band_gap'].isna().to_dict()['12e4567890']
    assert frame['g_vrh'].tolist() == pytest.approx((10 ** frame['log10_g_vrh']).tolist())


@pytest.mark.parametrize('limit', ['2', '2.0'])
def test_condition_with_an_integer_loses_no_row(predictions, limit):
    expected = [row['material_id'] for _, row in query.predictions().iterrows() if row['log10_g_vrh'] >= 2.0]
    assert expected
    assert predictions('--where', f'log10_g_vrh>={limit}') == expected


def test_conditions_on_one_column_are_a_window(predictions):
    assert set(predictions('--where', 'band_gap>5', '--where', 'band_gap < 7')) == {'diamond', 'c-BN'}
    assert predictions('--where', 'band_gap>=0', '--where', 'band_gap<=1') == ['TiC']


def test_conditions_on_text(predictions):
    assert predictions('--where', 'formula==TiC') == ['TiC']
    assert predictions('--where', 'material_id=12e4567890') == ['12e4567890']
    assert 'TiC' not in predictions('--where', 'formula!=TiC')


def test_elements_models_screenings_and_limit(predictions):
    assert predictions('--elements', 'B,N') == ['c-BN']
    assert set(predictions('--without', 'C,N,O')) == {'Si', '12e4567890', 'KBr'}
    assert len(predictions('--model', 'paper', '--screening', 'cubic')) == 8
    assert predictions('--model', 'nobody') == []
    assert len(predictions('--limit', '1')) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('predictions', '--where', 'log10_g_vrh'), 'is not like'),
        (('predictions', '--where', 'log10_g_vrh>=much'), 'is not a number'),
        (('predictions', '--where', 'log10_g>=2'), "no prediction has a column 'log10_g'"),
        (('candidates', '--where', 'log10_g>=2'), "no prediction has a column 'log10_g'"),
        (('predictions', '--elements', 'Xy'), "'Xy' is no element"),
        (('predictions', '--screening', 'nothing'), 'cubic'),
        (('candidates', '--screening', 'nothing'), 'cubic'),
        (('show', 'mp-0'), 'mp-0'),
    ],
)
def test_mistakes_are_named(cli, screening, arguments, message):
    result = cli(*arguments)
    assert result.exit_code != 0
    assert message in result.output


def test_inputs_that_a_screening_refuses_are_named(cli, screening, monkeypatch):
    monkeypatch.setattr('aiida_cgcnn_elastic.cli.inputs.check_potential', lambda: None)
    crystals = screening.inputs.crystals['cubic'].pk
    arguments = ('--label', 'x', '--model', 'paper', '--refine', 'refined', '--cut', 'min_hardness=50')
    result = cli('screen', crystals, *arguments)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code != 0
    assert 'asks for 50 GPa of hardness, more than the criteria do' in result.output


def test_a_listing_without_a_limit_ends_and_says_how_many_there_are(cli, screening, monkeypatch):
    assert 'of 8 predictions' not in cli('predictions').output
    monkeypatch.setattr('aiida_cgcnn_elastic.cli.result_commands.ROWS_UNASKED', 3)
    done = cli('predictions', '--format', 'json', '--screening', 'cubic', '--model', 'paper')
    assert [row['material_id'] for row in json.loads(done.stdout)] == query.predictions(limit=3)['material_id'].tolist()
    assert '3 of 8 predictions' in done.stderr
    assert 'export predictions FILE' in done.stderr
    assert '3 of 6 predictions' in cli('predictions', '--without', 'B,Ti').stderr
    rest = cli('predictions', '--format', 'json', '--offset', 6)
    assert (len(json.loads(rest.stdout)), rest.stderr) == (2, '')
    assert cli('predictions', '--limit', 5).stderr == ''


def test_output_file(cli, screening, tmp_path):
    path = tmp_path / 'candidates.csv'
    result = cli('candidates', '--format', 'csv', '--output', path)
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(path)) == len(query.candidates('cubic'))


def test_show_tells_the_prediction_and_its_provenance(cli, screening):
    result = cli('show', 'c-BN')
    assert result.exit_code == 0, result.output
    crystals = screening.inputs.crystals['cubic']
    model = screening.inputs.models['paper']
    for text in ('BN', 'hardness_chen', 'GPa', crystals.uuid, model.uuid):
        assert text in result.output


def test_show_takes_the_pk_of_a_prediction_and_of_a_candidate(cli, screening):
    by_id = cli('show', 'diamond', '--screening', 'cubic').output
    assert 'diamond, C (prediction' in by_id
    structure = query.candidates('cubic').set_index('material_id').loc['diamond']
    assert cli('show', structure['structure_pk']).output == by_id
    assert cli('show', orm.load_node(structure['prediction_uuid']).pk).output == by_id


def test_show_of_a_candidate_leaves_out_other_predictions_of_its_crystal(cli, screening, tmp_path):
    """Two models, one crystal: its id shows both predictions, a candidate's PK that one which it was flagged for."""
    builder = ScreenWorkChain.get_builder_from_protocol(
        setup_localhost().code, dict(screening.inputs.crystals), {'fast': find_model('fast')}, 'cubic-fast'
    )
    assert launch(builder).is_finished_ok
    assert cli('show', 'diamond').output.count('(prediction ') == 2
    structure = query.candidates('cubic-fast').set_index('material_id').loc['diamond']
    shown = cli('show', structure['structure_pk']).output
    assert shown.count('(prediction ') == 1
    assert "with the model 'fast'" in shown
    assert cli('show', 'diamond', '--screening', 'cubic-fast').output == shown
    # What a candidate shows is about the criteria that it was flagged by, as in the list of candidates.
    (tmp_path / 'criteria.json').write_text(json.dumps({'min_hardness': 80.0}))
    flagged = cli('flag', 'cubic-fast', '--criteria', tmp_path / 'criteria.json', '--label', 'hardest')
    assert flagged.exit_code == 0, flagged.output
    probabilities = {}
    for label in ('cubic-fast', 'hardest'):
        row = query.candidates(label).set_index('material_id').loc['diamond']
        probabilities[label] = f'{row["p_candidate"]:.4f}'
        for arguments in (('diamond', '--screening', label), (row['structure_pk'],)):
            lines = cli('show', *arguments).output.splitlines()
            shown = next(line for line in lines if line.startswith('p_candidate'))
            assert shown.split(None, 2)[1:] == [probabilities[label], f'criteria of {label!r}']
    assert probabilities['hardest'] < probabilities['cubic-fast']
    # A prediction that was taken out of the screening's group is still the one that its candidate was flagged for.
    group = query.find_group(PredictionsGroup, 'cubic-fast')
    group.remove_nodes([orm.load_node(structure['prediction_uuid'])])
    row = query.candidates('cubic-fast').set_index('material_id').loc['diamond']
    of_screening = cli('show', 'diamond', '--screening', 'cubic-fast').output
    assert of_screening == cli('show', row['structure_pk']).output
    assert of_screening.count('(prediction ') == 1
    prediction = orm.load_node(structure['prediction_uuid'])
    assert cli('show', prediction.pk, '--screening', 'cubic-fast').output == of_screening
    assert cli('show', prediction.pk, '--screening', 'cubic').exit_code != 0
    assert 'default thresholds' in cli('show', 'diamond').output


def test_earlier_predictions_are_taken_unless_all_is_to_be_anew(cli, screening):
    crystals = screening.inputs.crystals['cubic'].pk
    model = screening.inputs.models['paper'].pk
    for options, is_taken in (((), True), (('--no-reuse',), False)):
        label = f'taken: {is_taken}'
        result = cli('screen', crystals, '--model', model, '--label', label, *options)
        assert result.exit_code == 0, result.output
        assert ('by earlier screenings' in result.output) == is_taken
        assert len(query.predictions(screening=label)) == len(query.predictions(screening='cubic'))
