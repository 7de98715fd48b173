"""Readouts of a potential's features, and blends of networks with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Normalizer, ReadoutMember
from aiida_cgcnn_elastic.cgcnn.precision import rounded
from aiida_cgcnn_elastic.cgcnn.protocol import Protocol
from aiida_cgcnn_elastic.cgcnn.readout import ReadoutRecipe, _distinct, fit_readout
from aiida_cgcnn_elastic.cgcnn.training import CheckpointError, Interrupted
from aiida_cgcnn_elastic.crystals.elements import more_element_properties
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

RECIPE = ReadoutRecipe(width=16, epochs=80, batch_size=32, learning_rate=1e-2, dropout=0.0)
SMALL = Protocol(
    name='small',
    atom_width=8,
    hidden_width=8,
    epochs=2,
    batch_size=8,
    joint_targets=True,
    keep='last',
    folds=3,
    readout=ReadoutRecipe(width=8, epochs=3, batch_size=8),
)


def made_up(n_crystals: int, seed: int = 0, n_features: int = 6) -> PotentialFeatures:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 6, n_crystals))])
    values = rng.normal(3.0, 2.0, (offsets[-1], n_features)).astype(np.float16)
    responses = rng.normal(1.0, 0.5, (n_crystals, 2)).astype(np.float32)
    return PotentialFeatures('made-up', values, offsets, responses, np.arange(n_crystals, dtype=np.float32))


def mean_of_first(features: PotentialFeatures) -> np.ndarray:
    """A property that is a mean over atoms: the least that a readout must be able to learn."""
    sums = np.add.reduceat(features.values[:, 0].astype(float), features.offsets[:-1])
    means = sums / np.diff(features.offsets)
    return ((means - means.mean()) / means.std())[:, None]


def test_a_mean_over_atoms_is_learned_and_holds_for_new_crystals():
    features = made_up(400)
    true = mean_of_first(features)
    network = fit_readout(features, true, np.arange(300), RECIPE, seed=0)
    error = np.abs(network.predict(features)[300:] - true[300:]).mean()
    assert error < 0.15  # of a standard deviation; guessing the mean gives 0.8


def test_a_response_is_learned_and_crystals_without_one_are_predicted_too():
    features = made_up(400)
    response = features.responses[:, :1].astype(float)
    true = (response - response.mean()) / response.std() + 0.3 * mean_of_first(features)
    network = fit_readout(features, true, np.arange(300), RECIPE, seed=0)
    lost = features.responses.copy()
    lost[:350] = np.nan
    error = np.abs(network.predict(features)[350:] - true[350:]).mean()
    without = network.predict(dataclasses.replace(features, responses=lost))
    assert error < 0.2  # of a standard deviation; the atoms alone tell a third of it
    assert np.isfinite(without).all()
    assert np.abs(without[300:350] - true[300:350]).mean() < 1.1  # what guessing its mean instead costs
    assert np.array_equal(without[350:], network.predict(features)[350:])


def test_withholding_responses_teaches_to_do_without_them():
    """What is asked for is partly in the atoms: enough is told by them, if they are ever asked."""
    features = made_up(400)
    response = features.responses[:, :1].astype(float)
    true = (response - response.mean()) / response.std() + mean_of_first(features)
    blind = dataclasses.replace(features, responses=np.full_like(features.responses, np.nan))
    errors = []
    for withheld in (0.0, 0.25):
        recipe = dataclasses.replace(RECIPE, withheld=withheld)
        predicted = fit_readout(features, true, np.arange(300), recipe, seed=0).predict(blind)
        errors.append(np.abs(predicted[300:] - true[300:]).mean())
    # The response is not known, and has a mean absolute deviation of 0.8; guessing the mean of all costs 1.1.
    assert errors[1] < errors[0]
    assert errors[1] < 0.95


def test_an_absurd_response_counts_as_a_far_one():
    features = made_up(60)
    network = fit_readout(features, mean_of_first(features), np.arange(60), RECIPE, seed=0)
    far, absurd = features.responses.copy(), features.responses.copy()
    far[0], absurd[0] = 50.0, 1e9
    predicted = [network.predict(dataclasses.replace(features, responses=values)) for values in (far, absurd)]
    assert np.array_equal(*predicted)


def test_repeating_the_atoms_of_a_crystal_changes_nothing():
    features = made_up(30)
    network = fit_readout(features, mean_of_first(features), np.arange(30), RECIPE, seed=0)
    twice = PotentialFeatures(
        'made-up',
        np.concatenate([np.tile(features.select([row]).values, (2, 1)) for row in range(30)]),
        2 * features.offsets,
        features.responses,
        features.residual_stresses,
    )
    assert network.predict(twice) == pytest.approx(network.predict(features), abs=1e-5)


def test_learning_from_atoms_that_are_alike_is_learning_from_one_of_them():
    features = made_up(30)
    counts = np.random.default_rng(1).integers(1, 4, 30)  # a supercell of its own size for each crystal
    repeated = PotentialFeatures(
        'made-up',
        np.concatenate([np.repeat(features.select([row]).values, counts[row], axis=0) for row in range(30)]),
        np.concatenate([[0], np.cumsum(counts * np.diff(features.offsets))]),
        features.responses,
        features.residual_stresses,
    )
    own, shares = _distinct(repeated)
    assert np.array_equal(own.offsets, features.offsets)
    assert np.add.reduceat(shares, own.offsets[:-1]) == pytest.approx(1)
    kinds = [{tuple(row) for row in found.select([7]).values} for found in (own, features)]
    assert kinds[0] == kinds[1]


def test_a_readout_is_kept_in_half_precision_without_a_change(tmp_path):
    features = made_up(30)
    network = rounded(fit_readout(features, mean_of_first(features), np.arange(30), RECIPE, seed=0))
    member = ReadoutMember(network, ('log10_k_vrh',), Normalizer((2.0,), (0.3,)), 'made-up', 12)
    ElasticModel([member], {}).save(tmp_path)
    assert {tensor.dtype for name, tensor in member.tensors().items() if 'weight' in name} == {torch.float16}
    (loaded,) = ElasticModel.load(tmp_path).members
    assert np.array_equal(loaded.predict(features), member.predict(features))


def test_the_same_seed_gives_the_same_weights_and_other_crystals_do_not_matter():
    features, more = made_up(40), made_up(40)
    true = mean_of_first(features)
    more.values[more.offsets[30] :] = 0
    rows = np.arange(30)
    first = fit_readout(features, true, rows, RECIPE, seed=3)
    again = fit_readout(more, np.where(np.arange(40)[:, None] < 30, true, 9.0), rows, RECIPE, seed=3)
    other = fit_readout(features, true, rows, RECIPE, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.output.weight, other.output.weight)


def test_unknown_targets_are_left_out():
    features = made_up(60)
    true = np.hstack([mean_of_first(features), mean_of_first(features)])
    true[::2, 1] = np.nan
    network = fit_readout(features, true, np.arange(60), RECIPE, seed=0)
    assert np.isfinite(network.predict(features)).all()


def test_a_readout_can_be_stopped():
    features = made_up(40)
    with pytest.raises(Stopped, match='after 1 of'):
        fit_readout(features, mean_of_first(features), np.arange(40), RECIPE, seed=0, stop=lambda: True)


@pytest.mark.parametrize(
    'wrong', [{'width': 0}, {'dropout': 1.0}, {'withheld': 1.0}, {'epochs': 1.5}, {'learning_rate': 0}, {'size': 3}]
)
def test_impossible_recipes_name_the_culprit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Protocol.from_dict({'base': 'refined', 'readout': wrong})


@pytest.fixture(scope='module')
def blend_arguments(toy_graphs, element_features):
    numbers = np.add.reduceat(toy_graphs.atomic_numbers.astype(float), toy_graphs.atom_offsets[:-1])
    return {
        'graphs': toy_graphs,
        'targets': {'log10_k_vrh': 1.0 + np.log(toy_graphs.volumes), 'log10_g_vrh': 2.0 - 0.004 * numbers},
        'split': {'train': np.arange(32), 'test': np.arange(32, 40)},
        'protocol': SMALL,
        'element_features': element_features,
        'element_table': property_table(more_element_properties()),
        'features': made_up(40),
        'seed': 0,
        'device': 'cpu',
    }


@pytest.fixture(scope='module')
def blend(blend_arguments):
    return train_blend(**blend_arguments)


def test_a_blend_with_readouts_is_all_in_its_files(blend, blend_arguments, tmp_path):
    blend.model.save(tmp_path)
    loaded = ElasticModel.load(tmp_path)
    assert loaded.potential == 'made-up'
    graphs, features = blend_arguments['graphs'], blend_arguments['features']
    before = predict_graphs([blend.model], graphs, features=features, device='cpu')
    after = predict_graphs([loaded], graphs, features=features, device='cpu')
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_a_model_that_needs_features_says_so(blend, blend_arguments):
    with pytest.raises(ValueError, match='needs the features of the potential made-up, but got none'):
        predict_graphs([blend.model], blend_arguments['graphs'], device='cpu')
    other = dataclasses.replace(blend_arguments['features'], potential='another')
    with pytest.raises(ValueError, match='but got those of another'):
        predict_graphs([blend.model], blend_arguments['graphs'], features=other, device='cpu')


def test_out_of_fold_predictions_are_of_readouts_that_did_not_see_the_crystal(blend, blend_arguments):
    changed = {name: values.copy() for name, values in blend_arguments['targets'].items()}
    held_out = np.flatnonzero(blend.fold == 0)
    for values in changed.values():
        values[held_out] += 5.0
    again = train_blend(**{**blend_arguments, 'targets': changed})
    for name in changed:
        same = again.out_of_fold[name]['readout'][held_out]
        assert np.array_equal(same, blend.out_of_fold[name]['readout'][held_out])


def test_a_stopped_blend_continues_to_the_same_model(blend, blend_arguments, tmp_path):
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 30

    with pytest.raises(Interrupted):
        train_blend(**blend_arguments, checkpoint=tmp_path, stop=stop)
    assert list(tmp_path.glob('readout-*.safetensors'))
    resumed = train_blend(**blend_arguments, checkpoint=tmp_path, resume=True)
    resumed.model.save(tmp_path / 'resumed')
    blend.model.save(tmp_path / 'whole')
    weights = [(tmp_path / name / 'model.safetensors').read_bytes() for name in ('resumed', 'whole')]
    assert weights[0] == weights[1]
    (tmp_path / 'readout-0.safetensors').write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match='readout-0'):
        train_blend(**blend_arguments, checkpoint=tmp_path, resume=True)


def test_a_protocol_with_a_readout_needs_features_and_no_other_takes_them(blend_arguments):
    with pytest.raises(ValueError, match='needs a potential'):
        train_blend(**{**blend_arguments, 'features': None})
    with pytest.raises(ValueError, match='one or more of perceptron, boosting, readout'):
        dataclasses.replace(SMALL, readout=None)
