"""Cross-fitted blends: nothing leaks, nothing is lost when they are stopped, and all of it is in the file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import BlendResult, _blended, blend_weight, folds, train_blend
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
PROTOCOLS = {
    'boosting': SMALL,
    'perceptron': dataclasses.replace(
        SMALL, boosting=None, perceptron=PerceptronRecipe(width=8, epochs=10, batch_size=8, learning_rate=1e-2)
    ),
}
MEMBERS = {'boosting': BoostingMember, 'perceptron': PerceptronMember}


@pytest.fixture(scope='module')
def targets(toy_graphs) -> dict[str, np.ndarray]:
    numbers = np.add.reduceat(toy_graphs.atomic_numbers.astype(float), toy_graphs.atom_offsets[:-1])
    return {'log10_k_vrh': 1.0 + np.log(toy_graphs.volumes), 'log10_g_vrh': 2.0 - 0.004 * numbers}


@pytest.fixture(scope='module')
def split(toy_graphs):
    return split_by_fraction(len(toy_graphs), 0.1, 0.2, seed=0)


@pytest.fixture(scope='module', params=list(PROTOCOLS))
def second(request) -> str:
    """What each network is paired with."""
    return request.param


@pytest.fixture(scope='module')
def run(toy_graphs, targets, split, element_features, second):
    """Return a function that trains with these arguments where no others are given."""
    arguments = {
        'graphs': toy_graphs,
        'targets': targets,
        'split': split,
        'protocol': PROTOCOLS[second],
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


@pytest.mark.parametrize('bias', [-3.0, 0.0, 3.0])
def test_blend_weight_is_the_best_of_all(bias):
    rng = np.random.default_rng(0)
    true, first, second = rng.normal(size=(3, 51))
    second = second + bias
    weight = blend_weight(true, first, second)
    errors = [np.abs(w * first + (1 - w) * second - true).mean() for w in (weight, *np.linspace(0, 1, 201))]
    assert errors[0] <= min(errors) + 1e-12
    assert 0 <= weight <= 1
    assert blend_weight(true, first, first) == 0.5


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


def test_out_of_fold_predictions_never_saw_the_crystal(run, result, targets, split, second):
    """Another target of one crystal changes what others' members learned, but not its own out-of-fold predictions."""
    row = split['train'][4]
    changed = {name: values.copy() for name, values in targets.items()}
    for values in changed.values():
        values[row] += 3.0
    other = run(targets=changed)
    fold = result.fold[row]
    for name in targets:
        for kind in ('network', second):
            before, after = result.out_of_fold[name][kind], other.out_of_fold[name][kind]
            assert np.array_equal(before[result.fold == fold], after[result.fold == fold])
            assert not np.array_equal(before[split['train']], after[split['train']])
    used = np.isfinite(result.out_of_fold['log10_k_vrh']['blend'])
    assert np.array_equal(np.flatnonzero(used), split['train'])


def test_the_weights_follow_from_the_out_of_fold_predictions(result, targets, split, second):
    blend = result.model.card['training'][0]['blend']
    rows = split['train']
    for place, (name, values) in enumerate(targets.items()):
        kinds = result.out_of_fold[name]
        weight = blend_weight(values[rows], kinds['network'][rows], kinds[second][rows])
        assert blend[name]['weights'] == {'network': weight, second: 1 - weight}
        assert result.metrics[name]['out_of_fold']['mae'] == pytest.approx(blend[name]['out_of_fold_mae']['blend'])
        for member in result.model.members:
            assert member.weights[place] == 2 * (weight if isinstance(member, Member) else 1 - weight)


def test_the_prediction_is_the_blend_of_means(result, toy_graphs, second):
    model = _blended(result.model.members[:3], result.model.members[3:], {'log10_k_vrh': 0.7, 'log10_g_vrh': 0.2})
    predicted = predict_graphs([model], toy_graphs)
    again = predict_graphs([model], toy_graphs, threads=2, batch_edges=200)
    for name, weight in (('log10_k_vrh', 0.7), ('log10_g_vrh', 0.2)):
        alone = [dataclasses.replace(member, weights=None) for member in model.members]
        means = {
            kind: np.mean(
                [predict_graphs([ElasticModel([m], {})], toy_graphs)[name] for m in alone if isinstance(m, kind)],
                axis=0,
            )
            for kind in (Member, MEMBERS[second])
        }
        assert np.allclose(predicted[name], weight * means[Member] + (1 - weight) * means[MEMBERS[second]], atol=1e-6)
        assert (predicted[f'{name}_spread'] > 0).all()
        assert np.allclose(again[name], predicted[name], atol=1e-6)


def test_saved_blends_predict_the_same(result, toy_graphs, tmp_path):
    first = saved(result, tmp_path / 'a')
    loaded = ElasticModel.load(tmp_path / 'a')
    expected, found = (predict_graphs([model], toy_graphs) for model in (result.model, loaded))
    assert all(np.array_equal(found[name], values) for name, values in expected.items())
    loaded.save(tmp_path / 'b')
    assert tuple((tmp_path / 'b' / name).read_bytes() for name in ('model.safetensors', 'model.json')) == first


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
    """Stopped in a network and in what it is paired with, in the first fold and later."""
    asked = iter(range(1, 10_000))
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path, stop=lambda: next(asked) >= n_asked)
    seen: list[int] = []
    resumed = run(checkpoint=tmp_path, resume=True, progress=lambda done, total: seen.append(done / total))
    assert saved(resumed, tmp_path / 'resumed') == saved(result, tmp_path / 'expected')
    assert resumed.history == result.history
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_checkpoints_of_other_blends_are_refused(run, second, tmp_path):
    run(checkpoint=tmp_path)
    own = PROTOCOLS[second]
    changed = {'boosting': {'n_trees': 9}, 'perceptron': {'width': 9}}[second]
    recipe = dataclasses.replace(own, **{second: dataclasses.replace(getattr(own, second), **changed)})
    with pytest.raises(CheckpointError, match='another protocol'):
        run(checkpoint=tmp_path, resume=True, protocol=recipe)


def test_damaged_checkpoints_are_named(run, second, tmp_path):
    run(checkpoint=tmp_path)
    file = next(tmp_path.glob(f'{second}-1*.safetensors'))
    file.write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match=file.name):
        run(checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    'values', [{'folds': 1}, {'folds': None}, {'boosting': None}, {'perceptron': PerceptronRecipe()}, {'keep': 'best'}]
)
def test_protocols_that_cannot_be(values):
    with pytest.raises(ValueError, match=r'folds|keep'):
        dataclasses.replace(SMALL, **values)
