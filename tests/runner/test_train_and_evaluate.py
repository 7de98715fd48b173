"""`cgcnn-elastic train` and `cgcnn-elastic evaluate`."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.runner.predictions import write_table
from tests.labelled import TINY_PROTOCOL, labelled_crystals, rock_salt

from .conftest import start


def test_what_a_training_leaves(invoke: Callable, tmp_path: Path, crystals_file: Path, protocol_file: Path) -> None:
    split = tmp_path / 'split.json'
    split.write_text(json.dumps({'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': [3]}))
    options = ['--protocol', protocol_file, '--split', split, '--seed', 7, '--output', tmp_path / 'model']
    done = invoke('train', crystals_file, *options)
    assert done.status == 0, done.output
    left = sorted(path.name for path in (tmp_path / 'model').iterdir())
    assert left == ['history.json', 'model.json', 'model.safetensors', 'predictions.parquet']

    card = ElasticModel.load(tmp_path / 'model').card['training'][0]
    assert card['data']['content_sha256'] == CrystalTable.read(crystals_file).sha256()
    assert card['data']['origin']['files'][0]['name'] == crystals_file.name
    assert card['split'] == {
        'method': 'column',
        'column': 'matbench_fold',
        'test': [4],
        'validation': [3],
        'train': None,
    }
    assert card['seed'] == 7
    assert card['protocol']['epochs'] == TINY_PROTOCOL['epochs']
    assert card['versions']['torch']

    predictions = pq.read_table(tmp_path / 'model' / 'predictions.parquet')
    assert predictions.column_names == ['material_id', 'part', 'target', 'true', 'predicted']
    assert predictions.num_rows == 2 * 60
    frame = predictions.to_pandas()
    test = frame[(frame['part'] == 'test') & (frame['target'] == 'log10_k_vrh')]
    error = np.abs(test['true'] - test['predicted']).mean()
    assert error == pytest.approx(done.report['metrics']['log10_k_vrh']['test']['mae'])
    assert {row for row, fold in enumerate(CrystalTable.read(crystals_file).column('matbench_fold')) if fold == 4} == {
        int(material_id.split('e')[0]) for material_id in test['material_id']
    }
    history = json.loads((tmp_path / 'model' / 'history.json').read_text())
    assert [entry['epoch'] for entry in history] == [1, 2, 3]
    assert done.report['n_by_part'] == {'train': 36, 'validation': 12, 'test': 12}
    assert {'read', 'graphs', 'train', 'write'} <= set(done.report['timings'])


def test_the_seed_decides(invoke: Callable, tmp_path: Path, crystals_file: Path, protocol_file: Path) -> None:
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        options = ['--protocol', protocol_file, '--seed', seed, '--output', tmp_path / name]
        assert invoke('train', crystals_file, *options).status == 0
    a, b, c = ((tmp_path / name / 'model.safetensors').read_bytes() for name in 'abc')
    assert a == b
    assert a != c
    assert (tmp_path / 'a' / 'predictions.parquet').read_bytes() == (
        tmp_path / 'b' / 'predictions.parquet'
    ).read_bytes()


def test_crystals_without_labels_are_counted_and_left_out(
    invoke: Callable, tmp_path: Path, protocol_file: Path
) -> None:
    unlabelled = [rock_salt('unlabelled', 'Mg', 'O', 4.2)]
    half = [rock_salt('half', 'Ca', 'O', 4.8, log10_k_vrh=2.0)]
    CrystalTable.from_crystals([*unlabelled, *labelled_crystals(), *half]).write(tmp_path / 'crystals.parquet')
    options = ['--protocol', protocol_file, '--output', tmp_path / 'model']
    done = invoke('train', tmp_path / 'crystals.parquet', *options)
    assert done.status == 0, done.output
    assert done.report['n_without_label'] == 1
    assert done.report['n_crystals'] == 61
    frame = pq.read_table(tmp_path / 'model' / 'predictions.parquet').to_pandas()
    assert frame[frame['material_id'] == 'half']['target'].tolist() == ['log10_k_vrh']
    assert not (frame['material_id'] == 'unlabelled').any()


@pytest.mark.parametrize(
    ('protocol', 'named'),
    [('fastest', 'paper'), ('{"epoch": 3}', 'epochs'), ('{"epochs": 0}', 'epochs'), ('{', 'JSON')],
)
def test_protocols_that_are_none(
    invoke: Callable, tmp_path: Path, crystals_file: Path, protocol: str, named: str
) -> None:
    if protocol.startswith('{'):
        path = tmp_path / 'protocol.json'
        path.write_text(protocol)
        protocol = str(path)
    done = invoke('train', crystals_file, '--protocol', protocol, '--output', tmp_path / 'model')
    assert done.status == 14
    assert named in done.report['message']


def test_nothing_to_train_on_or_to_evaluate(invoke: Callable, tmp_path: Path, many_file: Path, model: Path) -> None:
    trained = invoke('train', many_file, '--output', tmp_path / 'model')
    evaluated = invoke('evaluate', many_file, '--model', model, '--output', tmp_path / 'metrics.json')
    for done in (trained, evaluated):
        assert done.status == 13
        assert 'log10_k_vrh or log10_g_vrh' in done.report['message']


def test_evaluate_crystals_or_their_predictions_alike(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    assert invoke('predict', crystals_file, '--model', model, '--output', tmp_path / 'out.csv').status == 0
    direct = invoke('evaluate', crystals_file, '--model', model, '--output', tmp_path / 'a.json')
    via_file = invoke('evaluate', '--predictions', tmp_path / 'out.csv', '--output', tmp_path / 'b.json')
    assert direct.status == via_file.status == 0, direct.output + via_file.output
    a, b = (json.loads((tmp_path / name).read_text()) for name in ('a.json', 'b.json'))
    assert a == direct.report['metrics']
    # What only the crystals themselves tell.
    assert set(a) - set(b) == {'by_crystal_system', 'n_without_symmetry'}
    assert {name: values for name, values in a.items() if name in b} == b
    assert not any('space_group_number' in message for message in direct.report['messages'])
    assert any('by_crystal_system needs' in message for message in via_file.report['messages'])
    assert set(a['targets']['log10_k_vrh']) == {'n', 'mae', 'rmse', 'r2', 'spearman'}
    frame = pq.read_table(crystals_file)
    assert a['targets']['log10_k_vrh']['n'] == frame.num_rows
    assert not (tmp_path / 'a.json.parts').exists()


def test_space_groups_are_found_where_none_is_given(
    invoke: Callable, tmp_path: Path, crystals: list[Crystal], model: Path
) -> None:
    """Rock salt and zinc blende are cubic, strained along a cube's edge tetragonal; what a source says is kept."""
    strain = np.diag([1, 1, 1.05])
    cells = [
        crystals[0],
        dataclasses.replace(crystals[5], lattice=crystals[5].lattice @ strain),
        dataclasses.replace(crystals[6], properties={**crystals[6].properties, 'space_group_number': 194}),
        # Of no group there is: some databases write so what they do not know.
        dataclasses.replace(crystals[7], properties={**crystals[7].properties, 'space_group_number': 0}),
    ]
    CrystalTable.from_crystals(cells).write(tmp_path / 'crystals.parquet')
    done = invoke('evaluate', tmp_path / 'crystals.parquet', '--model', model, '--output', tmp_path / 'metrics.json')
    assert done.status == 0, done.output
    by_system = {
        name: part['targets']['log10_k_vrh']['n'] for name, part in done.report['metrics']['by_crystal_system'].items()
    }
    assert by_system == {'cubic': 1, 'tetragonal': 1, 'hexagonal': 1}
    assert done.report['n_without_symmetry'] == done.report['metrics']['n_without_symmetry'] == 1
    (message,) = done.report['messages']
    assert '1 of 4 crystals (KBr) count in no crystal system' in message


def test_a_search_for_symmetry_is_stopped_and_goes_on(execute: Callable, tmp_path: Path, model: Path) -> None:
    many = [rock_salt(f'm{i}', 'Mg', 'O', 4 + 0.002 * i, log10_k_vrh=2.2 - 0.001 * i) for i in range(150)]
    CrystalTable.from_crystals(many).write(tmp_path / 'crystals.parquet')
    output, progress = tmp_path / 'metrics.json', tmp_path / 'progress.json'
    arguments = ['evaluate', tmp_path / 'crystals.parquet', '--model', model, '--output', output]
    process = start(*arguments, '--progress-file', progress)
    end = time.monotonic() + 60
    while not (progress.exists() and '"symmetry"' in progress.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, 'the search did not begin in a minute'
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 20, said
    assert not output.exists()
    done = execute(*arguments, '--resume')
    assert done.status == 0, done.output
    assert done.report['resumed'] is True
    assert done.report['metrics']['by_crystal_system']['cubic']['targets']['log10_k_vrh']['n'] == 150


def test_crystals_of_the_training_are_told(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    (tmp_path / 'protocol.json').write_text(json.dumps({**TINY_PROTOCOL, 'keep': 'last'}))
    split = {'method': 'column', 'column': 'matbench_fold', 'test': [], 'validation': [2, 3, 4]}
    (tmp_path / 'split.json').write_text(json.dumps(split))
    options = ['--protocol', tmp_path / 'protocol.json', '--split', tmp_path / 'split.json']
    assert invoke('train', crystals_file, *options, '--output', tmp_path / 'model').status == 0
    table = CrystalTable.read(crystals_file)
    table.select(table.column('matbench_fold') >= 2).write(tmp_path / 'unseen.parquet')
    output = ['--model', tmp_path / 'model', '--output', tmp_path / 'metrics.json']
    done = invoke('evaluate', crystals_file, *output)
    assert done.status == 0, done.output
    assert '24 of 60 crystals were in the training of the model' in done.output
    assert done.report['n_seen_in_training'] == done.report['metrics']['n_seen_in_training'] == 24
    # A calibrated model has intervals, and what they cover is shown.
    coverage = done.report['metrics']['targets']['log10_g_vrh']['coverage']
    assert f'{coverage:.4f}' in next(line for line in done.output.splitlines() if line.startswith('log10_g_vrh'))
    unseen = invoke('evaluate', tmp_path / 'unseen.parquet', *output)
    assert unseen.report['n_seen_in_training'] == 0
    assert 'in the training' not in unseen.output


def test_screening_measures(invoke: Callable, tmp_path: Path) -> None:
    """Two found, three there, one of them both: precision 1/2, recall 1/3; the row without label does not count."""
    stiff, soft = 2.5, 1.0
    predicted = [stiff, stiff, soft, soft, soft, stiff]
    true = [stiff, soft, stiff, stiff, soft, None]
    table = pa.table(
        {
            'material_id': list('abcdef'),
            'log10_k_vrh': predicted,
            'log10_g_vrh': predicted,
            'log10_k_vrh_reference': true,
            'log10_g_vrh_reference': true,
            'elements': [['C']] * 6,
        }
    )
    write_table(tmp_path / 'table.parquet', table)
    (tmp_path / 'criteria.json').write_text('{}')
    options = ['--criteria', tmp_path / 'criteria.json', '--output', tmp_path / 'metrics.json']
    done = invoke('evaluate', '--predictions', tmp_path / 'table.parquet', *options)
    assert done.status == 0, done.output
    screening = json.loads((tmp_path / 'metrics.json').read_text())['screening']
    assert screening['n_compared'] == 5
    assert screening['precision'] == pytest.approx(1 / 2)
    assert screening['recall'] == pytest.approx(1 / 3)
    # Of five, three are hard; of two predicted to be, one is: no threshold on the hardness is precise enough.
    assert screening['hard']['n_by_label'] == 3
    assert screening['hard']['hardness']['at_precision']['recall'] is None
    assert screening['hard']['hardness']['enrichment_in_top_1_percent'] == pytest.approx((1 / 2) / (3 / 5))
    assert 'p_hard' not in screening['hard']
    by_family = json.loads((tmp_path / 'metrics.json').read_text())['by_element_family']
    assert list(by_family) == ['elements']
    assert by_family['elements']['screening']['recall'] == screening['recall']
    lines = done.output.splitlines()
    assert 'candidates of 5: 3 by label, 2 by prediction, precision 0.5000, recall 0.3333' in lines
    assert 'recall at precision 0.80 of the 3 hard, by hardness: -' in lines
    of_k = json.loads((tmp_path / 'metrics.json').read_text())['targets']['log10_k_vrh']
    errors = [f'{of_k[name]:.4f}' for name in ('mae', 'rmse', 'r2', 'spearman')]
    # Without a calibration there are no intervals.
    assert ['log10_k_vrh', '5', *errors, '-'] in [line.split() for line in lines]


def test_evaluate_needs_one_thing_or_the_other(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    output = ['--output', tmp_path / 'metrics.json']
    for arguments in ([], [crystals_file], ['--model', model], [crystals_file, '--predictions', crystals_file]):
        done = invoke('evaluate', *arguments, *output)
        assert done.status == 2
        assert 'either' in done.report['message']


def test_a_blend_is_trained_stopped_and_used(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    protocol = tmp_path / 'protocol.json'
    recipe = {
        **TINY_PROTOCOL,
        'keep': 'last',
        'folds': 2,
        'boosting': {'n_trees': 20, 'max_depth': 2, 'learning_rate': 0.3},
    }
    protocol.write_text(json.dumps(recipe))
    options = [crystals_file, '--protocol', protocol]
    stopped = invoke('train', *options, '--output', tmp_path / 'a', '--max-seconds', 1e-3)
    assert stopped.status == 20, stopped.output
    done = invoke('train', *options, '--output', tmp_path / 'a', '--resume')
    whole = invoke('train', *options, '--output', tmp_path / 'b')
    assert done.status == whole.status == 0, done.output + whole.output
    left = ['history.json', 'model.json', 'model.safetensors', 'out_of_fold.parquet', 'predictions.parquet']
    for folder in (tmp_path / 'a', tmp_path / 'b'):
        assert sorted(path.name for path in folder.iterdir()) == left
    assert (tmp_path / 'a' / 'model.safetensors').read_bytes() == (tmp_path / 'b' / 'model.safetensors').read_bytes()

    frame = pq.read_table(tmp_path / 'a' / 'out_of_fold.parquet').to_pandas()
    assert len(frame) == 2 * done.report['n_by_part']['train']
    kept = frame[frame['target'] == 'log10_k_vrh']
    error = np.abs(kept['blend'] - kept['true']).mean()
    assert error == pytest.approx(done.report['metrics']['log10_k_vrh']['out_of_fold']['mae'])

    # What a training knows of its errors follows from what it leaves.
    again = ['--model', tmp_path / 'a', '--out-of-fold', tmp_path / 'a' / 'out_of_fold.parquet']
    calibrated = invoke('calibrate', crystals_file, *again, '--output', tmp_path / 'c')
    assert calibrated.status == 0, calibrated.output
    for name in ('model.safetensors', 'model.json'):
        assert (tmp_path / 'c' / name).read_bytes() == (tmp_path / 'a' / name).read_bytes()
    assert invoke('train', *options, '--seed', 1, '--output', tmp_path / 'd').status == 0
    other = ['--model', tmp_path / 'd', '--out-of-fold', tmp_path / 'a' / 'out_of_fold.parquet']
    refused = invoke('calibrate', crystals_file, *other, '--output', tmp_path / 'e')
    assert refused.status == 12
    assert 'not of the training of this model' in refused.report['message']

    predicted = invoke('predict', crystals_file, '--model', tmp_path / 'a', '--output', tmp_path / 'out.parquet')
    assert predicted.status == 0, predicted.output
    table = pq.read_table(tmp_path / 'out.parquet')
    for column in ('log10_k_vrh_std', 'log10_g_vrh_low', 'hardness_chen_high', 'p_candidate', 'novelty'):
        assert table.column(column).null_count == 0, column
    learned = set(kept['material_id'])
    novelty = dict(zip(table.column('material_id').to_pylist(), table.column('novelty').to_pylist(), strict=True))
    assert {value for material_id, value in novelty.items() if material_id in learned} == {0.0}
    assert max(novelty.values()) > 0


def test_what_is_known_of_errors_depends_on_the_protocol(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    """Calibrated where the validation part decided nothing and is large enough; the card says which, or why not."""
    protocol, split = tmp_path / 'protocol.json', tmp_path / 'split.json'
    known = {}
    for keep, folds, said in (('last', [2, 3, 4], 'decided nothing'), ('last', [4], 'too few'), ('best', [4], 'chose')):
        protocol.write_text(json.dumps({**TINY_PROTOCOL, 'keep': keep}))
        split.write_text(json.dumps({'method': 'column', 'column': 'matbench_fold', 'test': [], 'validation': folds}))
        folder, output = tmp_path / f'{keep}{len(folds)}', tmp_path / 'out.parquet'
        options = ['--protocol', protocol, '--split', split, '--output', folder]
        done = invoke('train', crystals_file, *options)
        assert done.status == 0, done.output
        assert said in ElasticModel.load(folder).card['training'][0]['calibration']
        assert invoke('predict', crystals_file, '--model', folder, '--output', output).status == 0
        table = pq.read_table(output)
        known[folder.name] = len(table) - table.column('log10_k_vrh_std').null_count
        if keep == 'last' and len(folds) == 3:
            frame = table.to_pandas()
            is_train = frame['matbench_fold'] < 2
            assert (frame['novelty'][is_train] == 0).all()
            # The folds of these crystals are their anions.
            assert (frame['novelty'][~is_train] == 1).all()
            reasons = frame['novelty_reason'].dropna()
            assert {reason.split('; ')[0] for reason in reasons} == {'elements F', 'elements C', 'elements N'}
            # Their cells are larger with every anion: some have neighbors farther than any of the training.
            assert {reason.split('; ')[-1] for reason in reasons if ';' in reason} == {'sparse'}
    assert known == {'last3': 60, 'last1': 0, 'best1': 0}
    # A calibration says nothing of a model that is averaged with another.
    two = ['--model', tmp_path / 'last3', '--model', tmp_path / 'last1']
    assert invoke('predict', crystals_file, *two, '--output', tmp_path / 'two.parquet').status == 0
    table = pq.read_table(tmp_path / 'two.parquet')
    assert table.column('p_candidate').null_count == 60
    assert table.column('log10_k_vrh_spread').null_count == 0
