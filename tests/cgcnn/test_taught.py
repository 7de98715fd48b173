"""Networks that are taught how crystals respond to strain, and predict without knowing it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe
from aiida_cgcnn_elastic.cgcnn.protocol import PROTOCOLS, Protocol
from aiida_cgcnn_elastic.cgcnn.training import Interrupted, train
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.elements import more_element_properties
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures
from tests.labelled import rock_salt

TAUGHT = Protocol(
    name='taught',
    atom_width=16,
    hidden_width=16,
    epochs=6,
    batch_size=8,
    joint_targets=True,
    loss='l1',
    optimizer='adamw',
    schedule='one_cycle',
    learning_rate=1e-2,
    ema_decay=0.97,
    keep='last',
    responses_taught=3.0,
)
NOT_TAUGHT = dataclasses.replace(TAUGHT, responses_taught=None)
LABELLED, UNLABELLED, TEST = np.arange(8), np.arange(8, 32), np.arange(32, 40)


@pytest.fixture(scope='module')
def graphs() -> CrystalGraphs:
    """Rock salt with lattice constants from 3.8 to 5.4 Angstrom; those with a target are the farthest apart."""
    edges = np.concatenate([np.linspace(3.8, 5.4, 8), np.linspace(3.83, 5.37, 24), np.linspace(3.9, 5.3, 8)])
    crystals = [rock_salt(str(number), 'Mg', 'O', edge) for number, edge in enumerate(edges)]
    return build_graphs(*CrystalTable.from_crystals(crystals).arrays())


@pytest.fixture(scope='module')
def features(graphs) -> PotentialFeatures:
    """Two responses that rise and fall with the lattice constant."""
    phase = np.pi * (np.cbrt(4 * graphs.volumes) - 3.8) / 0.4
    responses = np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
    n = len(graphs)
    values, stresses = np.zeros((2 * n, 3), dtype=np.float16), np.zeros(n, dtype=np.float32)
    return PotentialFeatures('made-up', values, 2 * np.arange(n + 1), responses, stresses)


@pytest.fixture(scope='module')
def targets(features) -> dict[str, np.ndarray]:
    """What follows from a response: known of a fifth of the crystals to learn from, and of those to test with."""
    values = 1.0 + features.responses[:, 0].astype(float)
    values[UNLABELLED] = np.nan
    return {'log10_k_vrh': values}


@pytest.fixture(scope='module')
def arguments(graphs, element_features, targets, features):
    return {
        'graphs': graphs,
        'targets': targets,
        'split': {'train': np.concatenate([LABELLED, UNLABELLED]), 'test': TEST},
        'protocol': TAUGHT,
        'element_features': element_features,
        'features': features,
        'seed': 0,
        'device': 'cpu',
    }


@pytest.fixture(scope='module')
def trained(arguments):
    return train(**arguments)


def tensors(result) -> list[np.ndarray]:
    return [tensor.numpy() for member in result.model.members for tensor in member.tensors().values()]


def with_responses(features: PotentialFeatures, rows, value) -> PotentialFeatures:
    responses = features.responses.copy()
    responses[rows] = value
    return dataclasses.replace(features, responses=responses)


def test_crystals_without_a_target_teach_what_makes_it(arguments):
    error = {}
    for protocol, features in ((TAUGHT, arguments['features']), (NOT_TAUGHT, None)):
        protocol = dataclasses.replace(protocol, epochs=200)
        result = train(**{**arguments, 'protocol': protocol, 'features': features, 'seed': 1})
        error[protocol.responses_taught] = result.metrics['log10_k_vrh']['test']['mae']
    assert error[3.0] < 0.75 * error[None]


def test_the_model_predicts_without_a_potential_and_its_card_says_what_taught_it(trained, arguments, tmp_path):
    trained.model.save(tmp_path)
    loaded = ElasticModel.load(tmp_path)
    assert loaded.potential is None
    found = predict_graphs([loaded], arguments['graphs'].select(TEST), device='cpu')['log10_k_vrh']
    assert np.array_equal(found, trained.predictions['log10_k_vrh'][TEST])
    assert found.std() > 0
    (record,) = loaded.card['training']
    assert record['protocol']['responses_taught'] == 3.0
    assert record['responses_taught'] == {'n_crystals': 32, 'n_without_target': 24}
    assert record['n_crystals'] == {'train': 8, 'validation': 0, 'test': 8}
    assert {'sevenn', 'phonopy'} <= set(record['versions'])


def test_responses_of_crystals_that_are_not_learned_from_change_nothing(trained, arguments, features):
    other = train(**{**arguments, 'features': with_responses(features, TEST, 7.0)})
    assert all(np.array_equal(one, two) for one, two in zip(tensors(trained), tensors(other), strict=True))
    changed = train(**{**arguments, 'features': with_responses(features, UNLABELLED, 7.0)})
    assert not all(np.array_equal(one, two) for one, two in zip(tensors(trained), tensors(changed), strict=True))


def test_a_crystal_with_neither_target_nor_response_plays_no_part(arguments, features):
    lost = {**arguments, 'features': with_responses(features, UNLABELLED[4:], np.nan)}
    left_out = {**lost, 'split': {'train': np.concatenate([LABELLED, UNLABELLED[:4]]), 'test': TEST}}
    one, two = (train(**given) for given in (lost, left_out))
    assert all(np.array_equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))


def test_where_no_response_is_known_a_training_is_one_that_is_not_taught(arguments, features):
    """So responses are no targets under another name: only their loss is added."""
    none = with_responses(features, slice(None), np.nan)
    taught = train(**{**arguments, 'features': none})
    alone = train(**{**arguments, 'protocol': NOT_TAUGHT, 'features': None})
    assert all(np.array_equal(one, two) for one, two in zip(tensors(taught), tensors(alone), strict=True))


def test_batches_without_any_target_are_learned_from(arguments):
    """Batches of two crystals, of which three quarters have no target."""
    result = train(**{**arguments, 'protocol': dataclasses.replace(TAUGHT, batch_size=2, epochs=2)})
    assert all(np.isfinite(entry['train_loss']) and entry['train_loss'] > 0 for entry in result.history)
    assert [entry['train']['log10_k_vrh']['n'] for entry in result.history] == [8, 8]


def test_a_stopped_training_continues_to_the_same_weights(trained, arguments, tmp_path):
    asked = iter(range(10_000))
    with pytest.raises(Interrupted):
        train(**arguments, checkpoint=tmp_path, stop=lambda: next(asked) >= 10)  # within an epoch
    again = train(**arguments, checkpoint=tmp_path, resume=True)
    assert all(np.array_equal(one, two) for one, two in zip(tensors(trained), tensors(again), strict=True))


@pytest.mark.parametrize('second', ['boosting', 'perceptron'])
def test_a_blend_is_taught_by_crystals_without_a_target_and_judged_by_the_others(arguments, second):
    recipes = {
        'boosting': Boosting(n_trees=15, learning_rate=0.3, max_depth=2),
        'perceptron': PerceptronRecipe(width=8, epochs=3, batch_size=8),
    }
    protocol = dataclasses.replace(TAUGHT, folds=2, **{second: recipes[second]})
    given = {**arguments, 'element_table': property_table(more_element_properties())}
    taught = train_blend(**{**given, 'protocol': protocol})
    alone = train_blend(**{**given, 'protocol': dataclasses.replace(protocol, responses_taught=None), 'features': None})
    assert taught.model.potential is None
    assert np.array_equal(taught.fold, alone.fold)
    assert (taught.fold[LABELLED] >= 0).all()
    assert (taught.fold[np.concatenate([UNLABELLED, TEST])] == -1).all()
    found, other = (result.out_of_fold['log10_k_vrh'] for result in (taught, alone))
    assert np.array_equal(np.isfinite(found['blend']), taught.fold >= 0)
    assert not np.array_equal(found['network'], other['network'], equal_nan=True)
    # Trees learn targets alone.
    assert np.array_equal(found[second], other[second], equal_nan=True) == (second == 'boosting')
    (record,) = taught.model.card['training']
    assert record['responses_taught'] == {'n_crystals': 32, 'n_without_target': 24}
    assert record['n_crystals']['train'] == 8


def test_in_a_blend_too_a_crystal_with_neither_target_nor_response_plays_no_part(arguments, features):
    recipe = PerceptronRecipe(width=8, epochs=3, batch_size=8)
    given = {
        **arguments,
        'protocol': dataclasses.replace(TAUGHT, folds=2, perceptron=recipe),
        'element_table': property_table(more_element_properties()),
        'features': with_responses(features, UNLABELLED[4:], np.nan),
    }
    fewer = {'train': np.concatenate([LABELLED, UNLABELLED[:4]]), 'test': TEST}
    one, two = (train_blend(**changed) for changed in (given, {**given, 'split': fewer}))
    assert all(np.array_equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))


@pytest.mark.parametrize('changes', [{'features': None}, {'protocol': NOT_TAUGHT}])
def test_features_are_given_if_and_only_if_responses_are_taught(arguments, changes):
    with pytest.raises(ValueError, match="needs a potential's features"):
        train(**{**arguments, **changes})


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'base': 'fast', 'responses_taught': 0}, 'responses_taught of the protocol is 0'),
        ({'base': 'refined', 'responses_taught': 1.0}, 'cannot be taught to tell them'),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Protocol.from_dict(values)


def test_what_needs_a_potential_when():
    taught = dataclasses.replace(PROTOCOLS['fast'], responses_taught=1.0)
    assert (taught.needs_potential, taught.sees_potential) == (True, False)
    assert (PROTOCOLS['refined'].needs_potential, PROTOCOLS['refined'].sees_potential) == (True, True)
    assert (PROTOCOLS['fast'].needs_potential, PROTOCOLS['fast'].sees_potential) == (False, False)
