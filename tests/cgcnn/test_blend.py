"""Cross-fitted blends: nothing leaks, nothing is lost when they are stopped, and all of it is in the file."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import BlendResult, _blended, blend_weights, folds, train_blend
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import BoostingMember, ElasticModel, Member, ModelError, PerceptronMember
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe
from aiida_cgcnn_elastic.cgcnn.splits import split_by_fraction
from aiida_cgcnn_elastic.cgcnn.training import CheckpointError, Interrupted, Protocol
from aiida_cgcnn_elastic.crystals.elements import more_element_properties

SMALL = Protocol(
    name='small',
    atom_width=8,
    hidden_width=8,
    epochs=2,
    batch_size=8,
    joint_targets=True,
    keep='last',
    folds=3,
    boosting=Boosting(n_trees=15, learning_rate=0.3, max_depth=2),
)
PERCEPTRON = PerceptronRecipe(width=8, epochs=10, batch_size=8, learning_rate=1e-2)
PROTOCOLS = {
    ('boosting',): SMALL,
    ('perceptron',): dataclasses.replace(SMALL, boosting=None, perceptron=PERCEPTRON),
    ('perceptron', 'boosting'): dataclasses.replace(SMALL, perceptron=PERCEPTRON),
}
MEMBERS = {'network': Member, 'boosting': BoostingMember, 'perceptron': PerceptronMember}


@pytest.fixture(scope='module')
def targets(toy_graphs) -> dict[str, np.ndarray]:
    numbers = np.add.reduceat(toy_graphs.atomic_numbers.astype(float), toy_graphs.atom_offsets[:-1])
    return {'log10_k_vrh': 1.0 + np.log(toy_graphs.volumes), 'log10_g_vrh': 2.0 - 0.004 * numbers}


@pytest.fixture(scope='module')
def split(toy_graphs):
    return split_by_fraction(len(toy_graphs), 0.1, 0.2, seed=0)


@pytest.fixture(scope='module', params=list(PROTOCOLS), ids=' and '.join)
def partners(request) -> tuple[str, ...]:
    """What stands beside each network."""
    return request.param


@pytest.fixture(scope='module')
def run(toy_graphs, targets, split, element_features, partners):
    """Return a function that trains with these arguments where no others are given."""
    arguments = {
        'graphs': toy_graphs,
        'targets': targets,
        'split': split,
        'protocol': PROTOCOLS[partners],
        'element_features': element_features,
        'element_table': property_table(more_element_properties()),
        'seed': 0,
        'device': 'cpu',
    }
    return lambda **changes: train_blend(**{**arguments, **changes})


@pytest.fixture(scope='module')
def result(run) -> BlendResult:
    return run()


def saved(result: BlendResult, folder) -> tuple[bytes, ...]:
    result.model.save(folder)
    return tuple((folder / name).read_bytes() for name in ('model.safetensors', 'model.json'))


@pytest.mark.parametrize('n_kinds', [2, 3, 4])
@pytest.mark.parametrize('bias', [-3.0, 0.0, 3.0])
def test_blend_weights_are_the_best_of_all(bias, n_kinds):
    rng = np.random.default_rng(0)
    true, *predicted = rng.normal(size=(1 + n_kinds, 51))
    predicted[1] = predicted[1] + bias
    weights = blend_weights(true, np.array(predicted))
    others = [*np.eye(n_kinds), *rng.dirichlet(np.ones(n_kinds), 2000)]
    errors = [np.abs(each @ predicted - true).mean() for each in (weights, *others)]
    assert errors[0] <= min(errors) + 1e-9
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_a_blend_of_one_prediction_and_its_copies_is_that_prediction():
    rng = np.random.default_rng(0)
    true, first, second = rng.normal(size=(3, 51))
    assert blend_weights(true, np.array([first, first])).tolist() == [0.5, 0.5]
    alone = blend_weights(true, np.array([first, second]))
    doubled = blend_weights(true, np.array([first, second, second]))
    assert doubled[0] == pytest.approx(alone[0])
    assert doubled[1:].sum() == pytest.approx(alone[1])


def test_what_is_right_by_itself_takes_all_the_weight():
    rng = np.random.default_rng(0)
    true, first, second = rng.normal(size=(3, 51))
    assert blend_weights(true, np.array([first, true, second])) == pytest.approx([0, 1, 0], abs=1e-9)


def test_folds_are_even_and_random():
    fold = folds(23, 5, seed=1)
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]
    assert np.array_equal(fold, folds(23, 5, seed=1))
    assert not np.array_equal(fold, folds(23, 5, seed=2))


def test_only_the_training_part_decides(run, result, targets, split, tmp_path):
    """With other targets of the test and validation parts the weights are the same to the byte."""
    others = np.concatenate([split['test'], split['validation']])
    changed = {name: values.copy() for name, values in targets.items()}
    for values in changed.values():
        values[others] = values[others[::-1]] + 5.0
    weights, _ = saved(run(targets=changed), tmp_path / 'changed')
    assert weights == saved(result, tmp_path / 'same')[0]


def test_out_of_fold_predictions_never_saw_the_crystal(run, result, targets, split, partners):
    """Another target of one crystal changes what others' members learned, but not its own out-of-fold predictions."""
    row = split['train'][4]
    changed = {name: values.copy() for name, values in targets.items()}
    for values in changed.values():
        values[row] += 3.0
    other = run(targets=changed)
    fold = result.fold[row]
    for name in targets:
        for kind in ('network', *partners):
            before, after = result.out_of_fold[name][kind], other.out_of_fold[name][kind]
            assert np.array_equal(before[result.fold == fold], after[result.fold == fold])
            assert not np.array_equal(before[split['train']], after[split['train']])
    used = np.isfinite(result.out_of_fold['log10_k_vrh']['blend'])
    assert np.array_equal(np.flatnonzero(used), split['train'])


def test_the_weights_follow_from_the_out_of_fold_predictions(result, targets, split, partners):
    blend = result.model.card['training'][0]['blend']
    rows = split['train']
    for place, (name, values) in enumerate(targets.items()):
        found = result.out_of_fold[name]
        kinds = ('network', *partners)
        weights = blend_weights(values[rows], np.array([found[kind][rows] for kind in kinds]))
        assert blend[name]['weights'] == dict(zip(kinds, weights.tolist(), strict=True))
        assert result.metrics[name]['out_of_fold']['mae'] == pytest.approx(blend[name]['out_of_fold_mae']['blend'])
        assert np.mean([member.weights[place] for member in result.model.members]) == pytest.approx(1)
        for kind, weight in zip(kinds, weights, strict=True):
            members = [member for member in result.model.members if isinstance(member, MEMBERS[kind])]
            assert [member.weights[place] for member in members] == [len(kinds) * weight] * 3


def test_the_prediction_is_the_blend_of_means(result, toy_graphs, partners):
    kinds = ('network', *partners)
    by_kind = {kind: result.model.members[3 * place : 3 * place + 3] for place, kind in enumerate(kinds)}
    weights = {
        name: dict(zip(kinds, [first, 1 - first] if len(kinds) == 2 else [first, 0.1, 0.9 - first], strict=True))
        for name, first in (('log10_k_vrh', 0.7), ('log10_g_vrh', 0.2))
    }
    model = _blended(by_kind, weights)
    predicted = predict_graphs([model], toy_graphs)
    again = predict_graphs([model], toy_graphs, threads=2, batch_edges=200)
    for name in weights:
        alone = [dataclasses.replace(member, weights=None) for member in model.members]
        means = {
            kind: np.mean(
                [
                    predict_graphs([ElasticModel([member], {})], toy_graphs)[name]
                    for member in alone
                    if isinstance(member, MEMBERS[kind])
                ],
                axis=0,
            )
            for kind in kinds
        }
        expected = sum(weights[name][kind] * means[kind] for kind in kinds)
        assert np.allclose(predicted[name], expected, atol=1e-6)
        assert (predicted[f'{name}_spread'] > 0).all()
        assert np.allclose(again[name], predicted[name], atol=1e-6)


def test_saved_blends_predict_the_same(result, toy_graphs, tmp_path):
    first = saved(result, tmp_path / 'a')
    loaded = ElasticModel.load(tmp_path / 'a')
    expected, found = (predict_graphs([model], toy_graphs) for model in (result.model, loaded))
    assert all(np.array_equal(found[name], values) for name, values in expected.items())
    loaded.save(tmp_path / 'b')
    assert tuple((tmp_path / 'b' / name).read_bytes() for name in ('model.safetensors', 'model.json')) == first


def test_layers_are_kept_in_half_precision_and_nothing_is_lost_by_it(result, partners):
    networks = [member for member in result.model.members if not isinstance(member, BoostingMember)]
    assert len(networks) == 3 * (1 + ('perceptron' in partners))
    for member in networks:
        kept = member.tensors()
        for name, weight in member.network.named_parameters():
            assert kept[name].dtype == torch.float16
            assert torch.equal(kept[name].float(), weight)
    fine = copy.deepcopy(networks[0])
    with torch.no_grad():
        next(fine.network.parameters()).add_(1e-5)
    assert {fine.tensors()[name].dtype for name, _ in fine.network.named_parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda member: member.update(kind='forest'), "unknown kind 'forest'"),
        (lambda member: member['features'].update(version=0), 'version 0'),
        (lambda member: member.update(weights=[1.0, -1.0]), 'not negative'),
        (lambda member: member.pop('features'), 'features'),
    ],
)
def test_cards_that_do_not_fit_are_refused(result, tmp_path, change, said):
    result.model.save(tmp_path)
    card = json.loads((tmp_path / 'model.json').read_text())
    change(card['members'][-1])
    (tmp_path / 'model.json').write_text(json.dumps(card))
    with pytest.raises(ModelError, match=said):
        ElasticModel.load(tmp_path)


@pytest.mark.parametrize('n_asked', [1, 9, 20, 30, 50, 90])
def test_interrupted_blends_go_on_to_the_same_bytes(run, result, tmp_path, n_asked):
    """Stopped in a network and in its partners, in the first fold and later."""
    asked = iter(range(1, 10_000))
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path, stop=lambda: next(asked) >= n_asked)
    seen: list[int] = []
    resumed = run(checkpoint=tmp_path, resume=True, progress=lambda done, total: seen.append(done / total))
    assert saved(resumed, tmp_path / 'resumed') == saved(result, tmp_path / 'expected')
    assert resumed.history == result.history
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_checkpoints_of_other_blends_are_refused(run, partners, tmp_path):
    run(checkpoint=tmp_path)
    own, second = PROTOCOLS[partners], partners[-1]
    changed = {'boosting': {'n_trees': 9}, 'perceptron': {'width': 9}}[second]
    recipe = dataclasses.replace(own, **{second: dataclasses.replace(getattr(own, second), **changed)})
    with pytest.raises(CheckpointError, match='another protocol'):
        run(checkpoint=tmp_path, resume=True, protocol=recipe)


def test_damaged_checkpoints_are_named(run, partners, tmp_path):
    run(checkpoint=tmp_path)
    file = next(tmp_path.glob(f'{partners[-1]}-1*.safetensors'))
    file.write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match=file.name):
        run(checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    'values', [{'folds': 1}, {'folds': None}, {'boosting': None}, {'keep': 'best'}, {'joint_targets': False}]
)
def test_protocols_that_cannot_be(values):
    with pytest.raises(ValueError, match=r'folds|keep'):
        dataclasses.replace(SMALL, **values)
