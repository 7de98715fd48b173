"""Fine-tuning: what is learned, what is kept, and that the judgement is by crystals that took no part."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.fine_tuning import (
    FineTuning,
    composition_groups,
    fine_tune,
    paired_comparison,
    remove_checkpoint,
)
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import BoostingMember, ElasticModel, Member, PerceptronMember, ReadoutMember
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe
from aiida_cgcnn_elastic.cgcnn.protocol import Protocol
from aiida_cgcnn_elastic.cgcnn.readout import ReadoutRecipe
from aiida_cgcnn_elastic.cgcnn.training import Interrupted, train
from aiida_cgcnn_elastic.crystals.elements import more_element_properties
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .known_crystals import diamond, join, random_crystal, rock_salt, supercell, tungsten

SHAPE = {'n_convolutions': 1, 'n_hidden': 1, 'atom_width': 8, 'hidden_width': 8}
PARENT = Protocol(name='tiny', joint_targets=True, epochs=3, batch_size=16, keep='last', **SHAPE)
RECIPE = FineTuning(name='tiny', learning_rate=3e-2, epochs=12, batch_size=8, folds=4)
K, G = 'log10_k_vrh', 'log10_g_vrh'


def moduli(graphs) -> dict[str, np.ndarray]:
    """Return values that depend on the crystal, so that there is something to learn."""
    volume = np.log10(graphs.volumes / graphs.n_atoms)
    return {K: 3.0 - volume, G: 2.8 - 1.1 * volume}


@pytest.fixture(scope='module')
def graphs():
    """Another set of crystals than the parent's."""
    return build_graphs(*join([random_crystal(100 + seed, 1 + seed % 4) for seed in range(40)]))


@pytest.fixture(scope='module')
def parent(toy_graphs, element_features) -> ElasticModel:
    split = {'train': np.arange(40)}
    return train(toy_graphs, moduli(toy_graphs), split, PARENT, element_features, seed=1, device='cpu').model


def tensors(model: ElasticModel) -> dict[str, torch.Tensor]:
    return {
        f'{index}.{name}': tensor.clone()
        for index, member in enumerate(model.members)
        for name, tensor in member.tensors().items()
    }


def test_a_shift_is_learned_and_said_to_help(parent, graphs):
    targets = {name: values + 0.4 for name, values in moduli(graphs).items()}
    before = tensors(parent)
    result = fine_tune(parent, graphs, targets, RECIPE, seed=0, device='cpu', parent_record={'sha256': 'abc'})
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(parent).items())
    for name in (K, G):
        comparison = result.metrics[name]['fine_tuning']
        assert comparison['verdict'] == 'helped'
        assert comparison['low'] < comparison['difference'] < comparison['high'] < 0
        assert comparison['n'] == 40
        assert comparison['mae_before'] == pytest.approx(result.metrics[name]['parent']['mae'])
        assert comparison['mae_after'] == pytest.approx(result.metrics[name]['out_of_fold']['mae'])
        assert result.metrics[name]['parent']['mae'] == pytest.approx(
            np.abs(predict_graphs([parent], graphs)[name] - targets[name]).mean()
        )
        assert result.metrics[name]['train']['mae'] < 0.5 * comparison['mae_before']

    card = result.model.card
    assert card['parent'] == {'name': 'tiny', 'sha256': 'abc'}
    assert [record['protocol']['name'] for record in card['training']] == ['tiny', 'tiny']
    assert card['training'][1]['protocol'] == RECIPE.to_dict()


def test_what_stays_the_parents(parent, graphs):
    result = fine_tune(parent, graphs, moduli(graphs), RECIPE, seed=0, device='cpu')
    (member,), (original,) = result.model.members, parent.members
    assert member.normalizer == original.normalizer
    assert member.targets == original.targets
    old, new = tensors(parent), tensors(result.model)
    fixed = {name for name in old if torch.equal(old[name], new[name])}
    assert fixed == {name for name in old if 'running_' in name or 'element_features' in name}


def test_what_is_judged_by_was_not_learned_from(parent, graphs):
    targets = moduli(graphs)
    first = fine_tune(parent, graphs, targets, RECIPE, seed=0, device='cpu')
    for fold in (0, RECIPE.folds - 1):
        inside = first.fold == fold
        assert 5 <= inside.sum() <= 15
        # Other values for the crystals of a fold change nothing of what is predicted for them.
        changed = {name: np.where(inside, values + 5.0, values) for name, values in targets.items()}
        second = fine_tune(parent, graphs, changed, RECIPE, seed=0, device='cpu')
        for name in targets:
            after = [result.held_out[name]['fine_tuned'] for result in (first, second)]
            np.testing.assert_array_equal(after[0][inside], after[1][inside])
            assert not np.array_equal(after[0][~inside], after[1][~inside])


def test_crystals_of_one_composition_stay_together(parent):
    cells = [rock_salt(), rock_salt(conventional=True), diamond(), supercell(tungsten(), (2, 1, 1)), tungsten()]
    groups = composition_groups(build_graphs(*join(cells)))
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3

    # Twelve compositions, each in three volumes.
    crystals = [random_crystal(seed, 2) for seed in range(12)]
    crystals = [each._replace(lattices=each.lattices * scale) for each in crystals for scale in (1.0, 1.1, 1.2)]
    graphs = build_graphs(*join(crystals))
    result = fine_tune(parent, graphs, moduli(graphs), RECIPE, seed=0, device='cpu')
    for row in range(12):
        assert len(set(result.fold[3 * row : 3 * row + 3])) == 1
    assert np.bincount(result.fold).tolist() == [9, 9, 9, 9]


def test_polymorphs_of_one_composition_are_divided_all_the_same(parent):
    cells = [tungsten()._replace(lattices=tungsten().lattices * (1 + 0.02 * step)) for step in range(12)]
    graphs = build_graphs(*join(cells))
    result = fine_tune(parent, graphs, moduli(graphs), RECIPE, seed=0, device='cpu')
    assert np.bincount(result.fold).tolist() == [3, 3, 3, 3]


def test_a_modulus_without_values_is_held(parent, graphs):
    targets = {K: moduli(graphs)[K] + 0.4, G: np.full(len(graphs), np.nan)}
    result = fine_tune(parent, graphs, targets, RECIPE, seed=0, device='cpu')
    assert set(result.metrics) == {K}
    before, after = predict_graphs([parent], graphs), predict_graphs([result.model], graphs)
    moved = {name: np.abs(after[name] - before[name]).mean() for name in (K, G)}
    assert moved[K] > 0.2
    assert moved[G] < 0.05


def test_only_crystals_with_a_value_are_learned_from(parent, graphs):
    targets = {name: np.where(np.arange(40) < 30, values, np.nan) for name, values in moduli(graphs).items()}
    whole = fine_tune(parent, graphs, targets, RECIPE, seed=0, device='cpu')
    part = fine_tune(
        parent,
        graphs.select(np.arange(30)),
        {name: v[:30] for name, v in targets.items()},
        RECIPE,
        seed=0,
        device='cpu',
    )
    assert (whole.fold[30:] == -1).all()
    for name, tensor in tensors(part.model).items():
        assert torch.equal(tensor, tensors(whole.model)[name])


@pytest.mark.parametrize(
    ('second', 'kind'),
    [
        ({'boosting': Boosting(n_trees=10, max_depth=2, learning_rate=0.3)}, BoostingMember),
        ({'perceptron': PerceptronRecipe(width=8, epochs=20, batch_size=8, learning_rate=1e-2)}, PerceptronMember),
    ],
)
def test_networks_and_perceptrons_of_a_blend_learn_and_trees_do_not(toy_graphs, graphs, element_features, second, kind):
    protocol = dataclasses.replace(PARENT, folds=2, **second)
    table = property_table(more_element_properties())
    blend = train_blend(
        toy_graphs,
        moduli(toy_graphs),
        {'train': np.arange(40)},
        protocol,
        element_features,
        table,
        seed=1,
        device='cpu',
    ).model
    result = fine_tune(blend, graphs, moduli(graphs), RECIPE, seed=0, device='cpu')
    assert [type(member) for member in result.model.members] == [Member, Member, kind, kind]
    assert [member.weights for member in result.model.members] == [member.weights for member in blend.members]
    for old, new in zip(blend.members, result.model.members, strict=True):
        is_equal = all(torch.equal(tensor, new.tensors()[name]) for name, tensor in old.tensors().items())
        assert is_equal == isinstance(old, BoostingMember)
        if isinstance(old, PerceptronMember):
            assert new.normalizer == old.normalizer
            assert torch.equal(new.network.mean, old.network.mean)
    # Tuned from one parent on one set, the networks are two still.
    assert {entry['member'] for entry in result.history} == {0, 1}

    # Trees, which stay where they are, do not keep the blend from learning a shift.
    halves = [dataclasses.replace(member, weights=(0.5, 0.5)) for member in blend.members]
    shifted = {name: values + 0.4 for name, values in moduli(graphs).items()}
    shifted_result = fine_tune(ElasticModel(halves, {}), graphs, shifted, RECIPE, seed=0, device='cpu')
    for name in (K, G):
        comparison = shifted_result.metrics[name]['fine_tuning']
        assert comparison['verdict'] == 'helped'
        assert comparison['mae_after'] < 0.5 * comparison['mae_before']

    others = ElasticModel([member for member in halves if isinstance(member, kind)], {})
    if kind is BoostingMember:
        with pytest.raises(ValueError, match='no network, perceptron or readout'):
            fine_tune(others, graphs, moduli(graphs), RECIPE, seed=0)
    else:
        alone = fine_tune(others, graphs, shifted, RECIPE, seed=0, device='cpu')
        assert {alone.metrics[name]['fine_tuning']['verdict'] for name in (K, G)} == {'helped'}


def test_a_perceptron_is_held_where_a_modulus_is_not_known_and_judged_by_what_it_did_not_see(
    toy_graphs, graphs, element_features
):
    recipe = PerceptronRecipe(width=32, epochs=20, batch_size=8, learning_rate=1e-2)
    protocol = dataclasses.replace(PARENT, folds=2, perceptron=recipe)
    arguments = (toy_graphs, moduli(toy_graphs), {'train': np.arange(40)}, protocol, element_features)
    blend = train_blend(*arguments, property_table(more_element_properties()), seed=1, device='cpu').model
    tuning = dataclasses.replace(RECIPE, learning_rate=3e-3)
    targets = {K: moduli(graphs)[K] + 0.4, G: np.full(len(graphs), np.nan)}
    first = fine_tune(blend, graphs, targets, tuning, seed=0, device='cpu')
    own = [
        ElasticModel([member for member in model.members if isinstance(member, PerceptronMember)], {})
        for model in (blend, first.model)
    ]
    before, after = (predict_graphs([model], graphs) for model in own)
    moved = {name: np.abs(after[name] - before[name]).mean() for name in (K, G)}
    assert moved[K] > 0.2
    assert moved[G] < 0.05
    inside = first.fold == 0
    second = fine_tune(
        blend, graphs, {**targets, K: np.where(inside, targets[K] + 5.0, targets[K])}, tuning, seed=0, device='cpu'
    )
    of_both = [result.held_out[K]['fine_tuned'] for result in (first, second)]
    assert np.array_equal(of_both[0][inside], of_both[1][inside])


def made_up_features(graphs, seed: int) -> PotentialFeatures:
    """Return what a potential might know: one atom a crystal will do, and every tenth crystal has no response."""
    rng = np.random.default_rng(seed)
    responses = rng.normal(1.0, 0.5, (len(graphs), 2)).astype(np.float32)
    responses[::10] = np.nan
    values = np.stack([moduli(graphs)[K], rng.normal(size=len(graphs))], axis=1).astype(np.float16)
    return PotentialFeatures('made-up', values, np.arange(len(graphs) + 1), responses, np.zeros(len(graphs)))


def alone(model: ElasticModel, kind: type) -> ElasticModel:
    """Return the members of a kind, whatever their weight beside others is."""
    own = [dataclasses.replace(member, weights=None) for member in model.members if isinstance(member, kind)]
    return ElasticModel(own, {})


@pytest.fixture(scope='module')
def refined(toy_graphs, element_features) -> ElasticModel:
    """A blend of two networks, perceptrons and readouts, that knows a potential."""
    protocol = dataclasses.replace(
        PARENT,
        folds=2,
        responses_withheld=0.25,
        perceptron=PerceptronRecipe(width=8, epochs=20, batch_size=8, learning_rate=1e-2),
        readout=ReadoutRecipe(width=8, epochs=20, batch_size=8, learning_rate=1e-2),
    )
    arguments = (toy_graphs, moduli(toy_graphs), {'train': np.arange(40)}, protocol, element_features)
    features = made_up_features(toy_graphs, seed=1)
    table = property_table(more_element_properties())
    return train_blend(*arguments, table, seed=1, device='cpu', features=features).model


def test_all_members_of_a_model_that_knows_a_potential_learn(refined, graphs):
    features = made_up_features(graphs, seed=2)
    targets = {name: values + 0.4 for name, values in moduli(graphs).items()}
    before = tensors(refined)
    result = fine_tune(refined, graphs, targets, RECIPE, seed=0, device='cpu', features=features)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(refined).items())
    for name in (K, G):
        comparison = result.metrics[name]['fine_tuning']
        assert comparison['verdict'] == 'helped'
        assert comparison['mae_after'] < 0.5 * comparison['mae_before']
    assert [type(member) for member in result.model.members] == [type(member) for member in refined.members]
    assert result.model.potential == refined.potential == 'made-up'
    for old, new in zip(refined.members, result.model.members, strict=True):
        changed = {
            name for name, weight in old.network.named_parameters() if not torch.equal(weight, new.tensors()[name])
        }
        assert changed == {name for name, _ in old.network.named_parameters()}
        assert new.normalizer == old.normalizer
        own = (old.network, new.network)
        assert torch.equal(*(network.response.mean for network in own))
        if not isinstance(old, Member):
            assert torch.equal(*(network.mean for network in own))
            assert torch.equal(*(network.scale for network in own))
            assert new.weights == old.weights

    assert 'sevenn' in result.model.card['training'][-1]['versions']
    # What the parent keeps in half precision the child does too.
    for old, new in zip(refined.members, result.model.members, strict=True):
        kinds = [{name: tensor.dtype for name, tensor in member.tensors().items()} for member in (old, new)]
        assert kinds[0] == kinds[1]

    # A modulus that is not known is held, of every kind of member.
    half = {K: targets[K], G: np.full(len(graphs), np.nan)}
    held = fine_tune(refined, graphs, half, RECIPE, seed=0, device='cpu', features=features)
    for kind in (Member, PerceptronMember, ReadoutMember):
        of_kind = [alone(model, kind) for model in (refined, held.model)]
        one, two = (predict_graphs([model], graphs, features=features) for model in of_kind)
        moved = {name: np.abs(two[name] - one[name]).mean() for name in (K, G)}
        assert moved[K] > 2 * moved[G]


def test_a_model_that_knows_a_potential_is_judged_by_what_it_did_not_see(refined, graphs):
    features = made_up_features(graphs, seed=2)
    targets = moduli(graphs)
    first = fine_tune(refined, graphs, targets, RECIPE, seed=0, device='cpu', features=features)
    inside = first.fold == 0
    changed = {name: np.where(inside, values + 5.0, values) for name, values in targets.items()}
    second = fine_tune(refined, graphs, changed, RECIPE, seed=0, device='cpu', features=features)
    for name in targets:
        after = [result.held_out[name]['fine_tuned'] for result in (first, second)]
        np.testing.assert_array_equal(after[0][inside], after[1][inside])
        assert not np.array_equal(after[0][~inside], after[1][~inside])


def test_readouts_alone_can_be_tuned(refined, graphs):
    shifted = {name: values + 0.4 for name, values in moduli(graphs).items()}
    features = made_up_features(graphs, seed=2)
    result = fine_tune(alone(refined, ReadoutMember), graphs, shifted, RECIPE, seed=0, device='cpu', features=features)
    assert {result.metrics[name]['fine_tuning']['verdict'] for name in (K, G)} == {'helped'}


def test_features_of_the_potential_that_the_parent_knows_are_needed(parent, refined, graphs):
    features = made_up_features(graphs, seed=2)
    other = dataclasses.replace(features, potential='another')
    for model, given, message in (
        (refined, None, 'needs the features of the potential made-up, but got those of None'),
        (refined, other, 'made-up, but got those of another'),
        (parent, features, 'the potential None, but got those of made-up'),
    ):
        with pytest.raises(ValueError, match=message):
            fine_tune(model, graphs, moduli(graphs), RECIPE, seed=0, features=given)


def test_stopped_and_continued_is_the_same(parent, graphs, tmp_path):
    settings = {'seed': 3, 'device': 'cpu'}
    straight = fine_tune(parent, graphs, moduli(graphs), RECIPE, **settings)
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        fine_tune(
            parent, graphs, moduli(graphs), RECIPE, checkpoint=tmp_path, stop=lambda: next(calls) > 100, **settings
        )
    steps: list[int] = []
    resumed = fine_tune(
        parent,
        graphs,
        moduli(graphs),
        RECIPE,
        checkpoint=tmp_path,
        resume=True,
        progress=lambda done, total: steps.append(done / total),
        **settings,
    )
    assert steps == sorted(steps)
    assert steps[-1] == 1
    assert steps[0] > 0.2
    for name, tensor in tensors(straight.model).items():
        assert torch.equal(tensor, tensors(resumed.model)[name])
    assert resumed.metrics == straight.metrics
    remove_checkpoint(tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('targets', 'message'),
    [({K: np.full(40, np.nan)}, 'what the model predicts'), ({K: np.where(np.arange(40) < 7, 2.0, np.nan)}, 'too few')],
)
def test_too_little_to_learn_from(parent, graphs, targets, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(parent, graphs, targets, RECIPE, seed=0)


def test_the_verdict_follows_from_the_interval():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.05, 0.15, 40)
    each = np.arange(40)
    assert paired_comparison(before, before - 0.02, each, 0)['verdict'] == 'helped'
    assert paired_comparison(before, before + 0.02, each, 0)['verdict'] == 'hurt'
    noisy = before + rng.normal(0, 0.05, 40) - 0.003
    report = paired_comparison(before, noisy, each, 0)
    assert report['verdict'] == 'no difference'
    assert report['low'] < 0 < report['high']
    assert report['difference'] == pytest.approx((noisy - before).mean())
    assert report == paired_comparison(before, noisy, each, 0)


def test_the_interval_is_that_of_a_mean():
    """With every crystal its own group it is the normal interval; copies of crystals tell nothing new."""
    rng = np.random.default_rng(1)
    difference = rng.normal(-0.01, 0.05, 200)
    report = paired_comparison(np.ones(200), 1 + difference, np.arange(200), 0)
    half = 1.96 * difference.std(ddof=1) / np.sqrt(200)
    assert report['low'] == pytest.approx(difference.mean() - half, abs=0.05 * half)
    assert report['high'] == pytest.approx(difference.mean() + half, abs=0.05 * half)
    copies = paired_comparison(np.ones(800), 1 + np.repeat(difference, 4), np.repeat(np.arange(200), 4), 0)
    assert copies['high'] - copies['low'] == pytest.approx(2 * half, rel=0.05)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'epoch': 3}, 'epochs'),
        ({'folds': 1}, 'folds'),
        ({'learning_rate': -1}, 'learning_rate'),
        ({'loss': 'l3'}, 'l1'),
    ],
)
def test_recipes_that_are_none(values, message):
    with pytest.raises(ValueError, match=message):
        FineTuning.from_dict(values)
