"""Trainings learn, repeat themselves to the byte, stop and go on, and say what is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.schedule import one_cycle
from aiida_cgcnn_elastic.cgcnn.splits import split_by_fraction
from aiida_cgcnn_elastic.cgcnn.training import (
    CHECKPOINT_FILE,
    CheckpointError,
    Diverged,
    Interrupted,
    Protocol,
    TrainingResult,
    train,
)

SMALL = Protocol(name='small', atom_width=8, hidden_width=8, epochs=3, batch_size=8)
JOINT = dataclasses.replace(
    SMALL,
    name='joint',
    joint_targets=True,
    loss='l1',
    optimizer='adamw',
    weight_decay=0.01,
    schedule='one_cycle',
    ema_decay=0.9,
    keep='last',
)


@pytest.fixture(scope='module')
def targets(toy_graphs) -> dict[str, np.ndarray]:
    """Two made-up properties that follow from the elements and distances."""
    n = len(toy_graphs)
    crystal_of_edge = np.repeat(np.arange(n), toy_graphs.n_edges)
    short = np.bincount(crystal_of_edge, weights=toy_graphs.weights / toy_graphs.distances)
    numbers = np.add.reduceat(toy_graphs.atomic_numbers.astype(float), toy_graphs.atom_offsets[:-1])
    return {'log10_k_vrh': 1.0 + 0.1 * short, 'log10_g_vrh': 2.0 - 0.004 * numbers}


@pytest.fixture(scope='module')
def split(toy_graphs):
    return split_by_fraction(len(toy_graphs), 0.2, 0.2, seed=0)


@pytest.fixture
def run(toy_graphs, targets, split, element_features):
    """Return a function that trains with these arguments where no others are given."""

    def run_with(**changes) -> TrainingResult:
        arguments = {
            'graphs': toy_graphs,
            'targets': targets,
            'split': split,
            'protocol': SMALL,
            'element_features': element_features,
            'seed': 0,
            'threads': 1,
        }
        return train(**{**arguments, **changes})

    return run_with


def saved(result: TrainingResult, folder) -> tuple[bytes, ...]:
    result.model.save(folder)
    return tuple((folder / name).read_bytes() for name in ('model.safetensors', 'model.json'))


def stop_after(n_batches: int):
    """Return a function that says stop when it is asked for the n-th time."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= n_batches


def test_paper_protocol_is_the_study_to_the_letter():
    assert Protocol.from_name('paper').to_dict() == {
        'name': 'paper',
        'n_convolutions': 3,
        'n_hidden': 2,
        'atom_width': 64,
        'hidden_width': 128,
        'n_neighbors': 12,
        'orientation': False,
        'joint_targets': False,
        'loss': 'mse',
        'optimizer': 'adam',
        'learning_rate': 0.001,
        'weight_decay': 0.0,
        'schedule': 'constant',
        'epochs': 30,
        'batch_size': 256,
        'ema_decay': None,
        'keep': 'best',
    }


@pytest.mark.parametrize('protocol', [SMALL, JOINT], ids=lambda p: p.name)
def test_few_crystals_are_learned_by_heart(run, toy_graphs, targets, protocol):
    rows = np.arange(8)
    long = dataclasses.replace(protocol, epochs=50, atom_width=16, hidden_width=32, learning_rate=2e-2)
    result = run(split={'train': rows, 'validation': np.arange(8, 12)}, protocol=dataclasses.replace(long, keep='last'))
    for name, values in targets.items():
        assert result.metrics[name]['train']['mae'] < 0.25 * values[rows].std()


@pytest.mark.parametrize('protocol', [SMALL, JOINT], ids=lambda p: p.name)
def test_same_inputs_give_the_same_bytes(run, tmp_path, protocol):
    first = saved(run(protocol=protocol), tmp_path / 'first')
    assert saved(run(protocol=protocol), tmp_path / 'second') == first
    assert saved(run(protocol=protocol, seed=1), tmp_path / 'third')[0] != first[0]


@pytest.mark.parametrize('protocol', [SMALL, JOINT], ids=lambda p: p.name)
@pytest.mark.parametrize('n_batches', [1, 3, 4, 7, 13])
def test_interrupted_training_goes_on_to_the_same_bytes(run, tmp_path, protocol, n_batches):
    """Stopped within an epoch, at its end, in the first network and in the second."""
    if protocol is JOINT and n_batches > 7:
        n_batches = 8
    expected = run(protocol=protocol)
    with pytest.raises(Interrupted) as interrupted:
        run(protocol=protocol, checkpoint=tmp_path, stop=stop_after(n_batches))
    assert interrupted.value.checkpoint == tmp_path / CHECKPOINT_FILE
    seen = []
    result = run(
        protocol=protocol, checkpoint=tmp_path, resume=True, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0][0] == n_batches + 1
    assert seen[-1][0] == seen[-1][1]
    assert saved(result, tmp_path / 'resumed') == saved(expected, tmp_path / 'expected')
    assert result.history == expected.history


def test_training_interrupted_over_and_over_ends(run, tmp_path):
    expected = saved(run(), tmp_path / 'expected')
    for _ in range(100):
        try:
            result = run(checkpoint=tmp_path, resume=True, stop=stop_after(2))
            break
        except Interrupted:
            continue
    assert saved(result, tmp_path / 'resumed') == expected


def test_time_limit_stops_and_leaves_a_checkpoint(run, tmp_path):
    with pytest.raises(Interrupted, match='stopped after 1 of 18 batches'):
        run(checkpoint=tmp_path, max_seconds=0)
    assert (tmp_path / CHECKPOINT_FILE).exists()


def test_interrupt_without_a_folder_leaves_no_checkpoint(run):
    with pytest.raises(Interrupted) as interrupted:
        run(stop=lambda: True)
    assert interrupted.value.checkpoint is None


@pytest.mark.parametrize('change', ['seed', 'protocol', 'targets', 'split'])
def test_checkpoint_of_another_training_is_refused(run, tmp_path, change, targets, split):
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path, stop=stop_after(2))
    other = {
        'seed': 1,
        'protocol': dataclasses.replace(SMALL, learning_rate=0.002),
        'targets': {name: values + 1e-9 for name, values in targets.items()},
        'split': {**split, 'train': split['train'][1:]},
    }
    with pytest.raises(CheckpointError, match='belongs to a training with another'):
        run(checkpoint=tmp_path, resume=True, **{change: other[change]})


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', None])
def test_damaged_checkpoint_is_refused(run, tmp_path, content):
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path, stop=stop_after(2))
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    with pytest.raises(CheckpointError, match='is damaged'):
        run(checkpoint=tmp_path, resume=True)


def test_resuming_without_a_checkpoint_starts(run, tmp_path):
    assert run(checkpoint=tmp_path, resume=True).history == run().history


@pytest.mark.parametrize('stopped', [False, True])
def test_history_has_the_errors_of_the_training_part(run, targets, split, tmp_path, stopped):
    """The loss of this protocol is the squared error of standardised targets, so it tells error and R2."""
    holes = {name: values.copy() for name, values in targets.items()}
    holes['log10_g_vrh'][split['train'][:5]] = np.nan
    arguments = {'targets': holes, 'checkpoint': tmp_path}
    if stopped:
        with pytest.raises(Interrupted):
            run(**arguments, stop=stop_after(2))
    result = run(**arguments, resume=stopped)
    for entry in result.history:
        (name,) = entry['targets']
        known = holes[name][split['train']]
        known = known[np.isfinite(known)]
        train_errors = entry['train'][name]
        assert train_errors['n'] == len(known)
        assert train_errors['rmse'] == pytest.approx(known.std() * entry['train_loss'] ** 0.5, rel=1e-5)
        assert train_errors['r2'] == pytest.approx(1 - entry['train_loss'], rel=1e-5)
        assert 0.5 * train_errors['rmse'] < train_errors['mae'] <= train_errors['rmse']


def test_protocol_takes_what_is_not_given_from_its_base():
    fast = Protocol.from_name('fast')
    assert Protocol.from_dict({'base': 'fast', 'epochs': 5}) == dataclasses.replace(fast, name='custom', epochs=5)
    assert Protocol.from_dict({'base': 'accurate', 'folds': 3}).perceptron == Protocol.from_name('accurate').perceptron
    with pytest.raises(ValueError, match="no protocol 'best'"):
        Protocol.from_dict({'base': 'best'})


def test_diverging_training_says_so(run):
    with pytest.raises(Diverged, match=r'loss of log10_k_vrh is (nan|inf) in batch \d+ of epoch \d+'):
        run(protocol=dataclasses.replace(SMALL, learning_rate=1e30))


def test_best_epoch_is_kept(run, targets, split):
    result = run(protocol=dataclasses.replace(SMALL, epochs=12, learning_rate=0.02))
    for name in targets:
        errors = [entry['validation'][name]['mae'] for entry in result.history if entry['targets'] == [name]]
        assert len(errors) == 12
        assert result.metrics[name]['validation']['mae'] == pytest.approx(min(errors), rel=1e-5)
        kept = result.model.card['training'][0]['kept_epochs'][name]
        assert kept == 1 + int(np.argmin(errors))


def test_networks_of_single_targets_do_not_know_of_each_other(run, targets):
    both = run()
    alone = run(targets={'log10_k_vrh': targets['log10_k_vrh']})
    assert np.array_equal(both.predictions['log10_k_vrh'], alone.predictions['log10_k_vrh'])


def test_only_the_training_part_decides_the_weights(run, targets, split):
    """Labels of the test part must not leak, not even through the standardisation."""
    expected = run()
    changed = {name: values.copy() for name, values in targets.items()}
    for values in changed.values():
        values[split['test']] += 5.0
    result = run(targets=changed)
    for before, after in zip(expected.model.members, result.model.members, strict=True):
        assert before.normalizer == after.normalizer
        for name, tensor in before.network.state_dict().items():
            assert torch.equal(tensor, after.network.state_dict()[name]), name
    assert result.metrics['log10_k_vrh']['test']['mae'] > expected.metrics['log10_k_vrh']['test']['mae'] + 1


@pytest.mark.parametrize('protocol', [SMALL, JOINT], ids=lambda p: p.name)
def test_unknown_targets_are_left_out(run, targets, split, protocol):
    """A crystal with K alone teaches K; metrics count the values that are known."""
    holes = {name: values.copy() for name, values in targets.items()}
    holes['log10_g_vrh'][split['train'][::2]] = np.nan
    holes['log10_g_vrh'][split['test'][:3]] = np.nan
    result = run(targets=holes, protocol=protocol)
    assert all(np.isfinite(values).all() for values in result.predictions.values())
    assert result.metrics['log10_g_vrh']['train']['n'] == len(split['train'][1::2])
    assert result.metrics['log10_g_vrh']['test']['n'] == len(split['test']) - 3
    assert result.metrics['log10_k_vrh']['train']['n'] == len(split['train'])
    known = np.isfinite(holes['log10_g_vrh'][split['train']])
    normalizer = result.model.members[-1].normalizer
    assert normalizer.mean[-1] == pytest.approx(holes['log10_g_vrh'][split['train']][known].mean())


def test_result_describes_itself(run, toy_graphs, targets, split, tmp_path):
    result = run(card={'name': 'toy', 'citation': 'none'}, record={'data': {'source': 'made up'}})
    record = result.model.card['training'][0]
    assert result.model.card['name'] == 'toy'
    assert record['data'] == {'source': 'made up'}
    assert record['protocol'] == SMALL.to_dict()
    assert record['n_crystals'] == {'train': 24, 'validation': 8, 'test': 8}
    assert record['metrics'] == result.metrics
    result.model.save(tmp_path)
    again = predict_graphs([ElasticModel.load(tmp_path)], toy_graphs)
    used = np.concatenate(list(split.values()))
    for name in targets:
        assert again[name][used] == pytest.approx(result.predictions[name][used], abs=1e-6)


def test_crystals_in_no_part_have_no_prediction(run, split):
    result = run(split={**split, 'test': split['test'][:2]})
    for values in result.predictions.values():
        assert set(np.flatnonzero(np.isnan(values))) == set(split['test'][2:])


def test_elements_never_seen_have_finite_predictions(run, toy_graphs, targets, element_features):
    is_heavy = np.maximum.reduceat(toy_graphs.atomic_numbers, toy_graphs.atom_offsets[:-1]) > 70
    light, heavy = np.flatnonzero(~is_heavy), np.flatnonzero(is_heavy)
    result = run(split={'train': light[2:], 'validation': light[:2], 'test': heavy})
    assert len(heavy) > 5
    for values in result.predictions.values():
        assert np.isfinite(values[heavy]).all()


def test_one_cycle_is_that_of_torch():
    total = 40
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total)
    for step in range(total):
        group = optimizer.param_groups[0]
        assert one_cycle(step, total) == pytest.approx((group['lr'], group['betas'][0]), abs=1e-9)
        optimizer.step()
        if step < total - 1:
            schedule.step()


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'epoch': 3}, r"unknown keys of the protocol: \['epoch'\]; allowed are \['name'"),
        ({'epochs': 0}, 'epochs of the protocol is 0'),
        ({'batch_size': 2.5}, 'batch_size of the protocol is 2.5'),
        ({'loss': 'huber'}, "loss of the protocol is 'huber'; expected one of"),
        ({'learning_rate': 0}, 'learning_rate of the protocol is 0; expected a number above 0'),
        ({'learning_rate': 'fast'}, "learning_rate of the protocol is 'fast'"),
        ({'ema_decay': 1.0}, 'ema_decay of the protocol is 1.0'),
        ({'n_hidden': 0}, 'n_hidden of the architecture is 0'),
        ({'joint_targets': 1}, 'joint_targets of the protocol is 1'),
    ],
)
def test_impossible_protocols_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Protocol.from_dict(values)


def test_protocols_survive_their_dicts():
    for name in ('paper', 'fast', 'accurate', 'refined'):
        protocol = Protocol.from_name(name)
        assert protocol.name == name
        assert Protocol.from_dict(protocol.to_dict()) == protocol
    with pytest.raises(ValueError, match=r"no protocol 'quick'; there are \['accurate', 'fast', 'paper', 'refined'\]"):
        Protocol.from_name('quick')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'targets': {}}, 'there are no targets'),
        ({'targets': {'band_gap': np.zeros(40)}}, r"unknown targets \['band_gap'\]"),
        ({'targets': {'log10_k_vrh': np.zeros(3)}}, 'but there are 40 crystals'),
        ({'targets': {'log10_k_vrh': np.full(40, np.nan)}}, 'no crystal of the train part has a value'),
        ({'split': {'train': np.arange(30), 'validation': np.arange(25, 40)}}, 'parts of the split overlap'),
        ({'split': {'train': np.arange(30), 'validation': np.arange(35, 41)}}, 'but there are 40'),
        ({'split': {'train': np.arange(30)}}, 'no crystal of the validation part has a value'),
        ({'split': {'train': np.arange(30), 'valid': np.arange(30, 35)}}, r"unknown parts of the split: \['valid'\]"),
        ({'protocol': dataclasses.replace(SMALL, n_neighbors=8)}, 'the graphs have 12 neighbors, the protocol 8'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(run, changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)
