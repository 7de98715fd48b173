"""`aiida-cgcnn-elastic train` and `evaluate`."""

from __future__ import annotations

import json
import re

import pytest
from aiida import orm

from aiida_cgcnn_elastic.cli.inputs import find_model
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from tests.labelled import TINY_PROTOCOL, labelled_crystals, rock_salt

SPLIT = {'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0.2}


def n_processes() -> int:
    return orm.QueryBuilder().append(orm.ProcessNode).count()


def row(output: str, *first: str) -> list[str]:
    """Return the cells of the line of a table that begins with these, without them."""
    rows = [line.split() for line in output.splitlines()]
    (found,) = [cells[len(first) :] for cells in rows if cells[: len(first)] == list(first)]
    return found


@pytest.fixture(scope='module')
def labelled_set(profile):
    """Return 60 crystals with known moduli, of the label `labelled`."""
    return CrystalSetData.from_table(CrystalTable.from_crystals(labelled_crystals()), label='labelled').store()


@pytest.fixture(scope='module')
def unlabelled_set(profile):
    """Return a crystal without known moduli, of the label `unlabelled`."""
    return CrystalSetData.from_table(
        CrystalTable.from_crystals([rock_salt('a', 'Mg', 'O', 4.2)]), label='unlabelled'
    ).store()


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return the folder of the files that the commands are given."""
    folder = tmp_path_factory.mktemp('files')
    for name, content in {
        'tiny': TINY_PROTOCOL,
        'recipe': {'epochs': 2, 'folds': 2},
        'split': SPLIT,
        'criteria': {'min_hardness': 1.0, 'min_log10_g_vrh': None, 'min_log10_k_vrh': None},
        'misspelled': {'base': 'fast', 'epoch': 3},
    }.items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    (folder / 'broken.json').write_text('{base: fast}')
    return folder


@pytest.fixture(scope='module')
def trained(cli, labelled_set, files):
    """Return what a training prints, and its model, of the label `mine`."""
    options = ['--protocol', files / 'tiny.json', '--split', files / 'split.json', '--seed', 3, '--label', 'mine']
    result = cli('train', 'labelled', *options)
    assert result.exit_code == 0, result.output
    return result.output, orm.load_node(int(re.search(r'model (\d+)', result.output)[1]))


def test_a_model_is_trained_and_its_errors_are_shown(trained, labelled_set):
    output, model = trained
    assert model.label == 'mine'
    assert "label 'mine': tiny: log10_g_vrh, log10_k_vrh" in output
    job = model.creator
    assert job.inputs.crystals.uuid == labelled_set.uuid
    given = job.inputs.parameters.get_dict()
    assert given == {'protocol': TINY_PROTOCOL, 'split': SPLIT, 'seed': 3}
    assert '60 crystals with known moduli, 0 without, 0 rejected' in output
    for target, parts in job.outputs.metrics.get_dict().items():
        for part, n in (('train', 38), ('validation', 10), ('test', 12)):
            values = parts[part]
            expected = [f'{values[name]:.4f}' for name in ('mae', 'rmse', 'r2', 'spearman')]
            assert row(output, target, part) == [str(n), *expected]


def test_a_training_that_is_repeated_is_reused_under_its_own_label(cli, trained, files):
    options = ['--protocol', files / 'tiny.json', '--split', files / 'split.json', '--seed', 3]
    result = cli('train', 'labelled', *options)
    assert 'reused an earlier result' in result.output
    assert "label 'tiny'" in result.output
    _, first = trained
    assert find_model('mine').uuid == first.uuid


def test_a_label_of_several_models_is_one_only_where_they_are_the_same(profile, cli, labelled_set):
    nodes = [ElasticModelData.from_pretrained(name, label='ours').store() for name in ('fast', 'fast', 'paper')]
    result = cli('evaluate', 'labelled', '--model', 'ours')
    assert result.exit_code == 1
    pks = ', '.join(str(node.pk) for node in nodes)
    assert f"several models have the label 'ours'; give the PK of one: {pks}" in ' '.join(result.output.split())
    nodes[2].label = 'theirs'
    assert find_model('ours').pk == nodes[0].pk


def test_a_model_is_fine_tuned_and_the_verdict_is_shown(cli, trained, files):
    result = cli('train', 'labelled', '--parent', 'mine', '--protocol', files / 'recipe.json', '--label', 'tuned')
    assert result.exit_code == 0, result.output
    _, parent = trained
    child = orm.load_node(int(re.search(r'model (\d+)', result.output)[1]))
    assert child.creator.inputs.parent_model.uuid == parent.uuid
    for target, parts in child.creator.outputs.metrics.get_dict().items():
        told = parts['fine_tuning']
        (line,) = [line for line in result.output.splitlines() if line.startswith(f'{target}: {told["verdict"]};')]
        assert f'from {told["mae_before"]:.4f} to {told["mae_after"]:.4f}' in line
        assert row(result.output, target, 'parent')[1] == f'{told["mae_before"]:.4f}'


def test_models_are_evaluated_together(cli, trained, labelled_set, files):
    _, model = trained
    options = ['--model', model.pk, '--model', 'fast', '--criteria', files / 'criteria.json']
    result = cli('evaluate', labelled_set.uuid, *options)
    assert result.exit_code == 0, result.output
    node = orm.load_node(int(re.search(r'metrics (\d+)', result.output)[1]))
    given = {used.uuid for used in node.creator.inputs.models.values()}
    assert given == {model.uuid, find_model('fast').uuid}
    metrics = node.get_dict()
    for target, values in metrics['targets'].items():
        expected = [f'{values[name]:.4f}' for name in ('mae', 'rmse', 'r2', 'spearman')]
        assert row(result.output, target)[:5] == ['60', *expected]
    screening = metrics['screening']
    assert screening['criteria']['min_hardness'] == 1.0
    assert screening['n_candidates_by_label'] > 0
    assert row(result.output, 'candidates', 'by', 'label') == [str(screening['n_candidates_by_label'])]
    assert row(result.output, 'recall') == [f'{screening["recall"]:.2f}']


def test_coverage_is_shown_of_a_model_that_knows_its_errors(cli, labelled_set):
    result = cli('evaluate', 'labelled', '--model', 'fast')
    assert result.exit_code == 0, result.output
    node = orm.load_node(int(re.search(r'metrics (\d+)', result.output)[1]))
    for target, values in node['targets'].items():
        assert row(result.output, target)[5:] == [f'{values["coverage"]:.4f}', f'{values["mean_width"]:.4f}']


def test_what_cannot_be_measured_is_a_dash(cli, trained):
    """One crystal of one modulus: no R2, no rank, no interval of a model that is not calibrated, no screening."""
    crystals = [rock_salt('a', 'Mg', 'O', 4.2, log10_k_vrh=2.2), rock_salt('b', 'Ti', 'C', 4.3)]
    node = CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store()
    result = cli('evaluate', node.pk, '--model', 'mine')
    assert result.exit_code == 0, result.output
    assert '1 crystals with known moduli, 1 without' in result.output
    assert row(result.output, 'log10_k_vrh')[3:] == ['-', '-', '-', '-']
    assert 'No screening is measured' in result.output


@pytest.mark.parametrize('arguments', [('train',), ('evaluate', '--model', 'paper')])
def test_crystals_without_known_moduli_end_it_with_the_reason(cli, unlabelled_set, arguments):
    result = cli(arguments[0], 'unlabelled', *arguments[1:])
    assert result.exit_code == 1
    assert 'none of the crystals has a known log10_k_vrh or log10_g_vrh' in result.output
    assert 'verdi process report' in result.output


def test_a_misspelled_key_of_a_protocol_ends_it_with_the_reason(cli, labelled_set, files):
    result = cli('train', 'labelled', '--protocol', files / 'misspelled.json')
    assert result.exit_code == 1
    assert "unknown keys of the protocol: ['epoch']" in result.output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train', 'nothing'], 'no CrystalSetData found with LABEL<nothing>; give the PK'),
        (['train', 'mine'], 'no CrystalSetData found with LABEL<mine>'),
        (
            ['train', 'labelled', '--protocol', 'fsat'],
            "no protocol 'fsat': it is no file, and the names are paper, fast",
        ),
        (['train', 'labelled', '--protocol', 'broken.json'], 'broken.json cannot be read as JSON'),
        (['train', 'labelled', '--protocol', 'fine_tune'], 'needs a model to start from: --parent'),
        (['train', 'labelled', '--protocol', 'fast', '--parent', 'fast'], "no protocol 'fast' for fine-tuning"),
        (['train', 'labelled', '--split', 'broken.json'], 'the split in broken.json'),
        (['train', 'labelled', '--split', 'split.json', '--parent', 'mine'], 'no --split'),
        (['train', 'labelled', '--parent', 'mien'], "no model 'mien': shipped are accurate"),
        (['train', 'labelled', '--label', 'fast'], "'fast' is the name of a shipped model"),
        (['train', 'labelled', '--label', 'mine'], "'mine' is the label of the model"),
        (['evaluate', 'nothing', '--model', 'fast'], 'LABEL<nothing>'),
        (['evaluate', 'labelled', '--model', 'mien'], "no model 'mien'"),
        (['evaluate', 'labelled', '--model', 'labelled'], 'is no model but a CrystalSetData'),
        (['evaluate', 'labelled', '--model', 'fast', '--criteria', 'split.json'], "unknown criterion 'method'"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(cli, trained, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    before = n_processes()
    result = cli(*arguments)
    assert result.exit_code != 0
    assert message in ' '.join(result.output.split())
    assert n_processes() == before
