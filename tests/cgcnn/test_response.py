"""Networks that see how a crystal responds to strain."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.baselines.features import property_table
from aiida_cgcnn_elastic.cgcnn.blend import train_blend
from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import (
    BoostingMember,
    ElasticModel,
    Member,
    ModelError,
    PerceptronMember,
    ReadoutMember,
)
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe
from aiida_cgcnn_elastic.cgcnn.protocol import Protocol
from aiida_cgcnn_elastic.cgcnn.readout import ReadoutRecipe
from aiida_cgcnn_elastic.cgcnn.response import withhold
from aiida_cgcnn_elastic.cgcnn.training import CheckpointError, Interrupted, train
from aiida_cgcnn_elastic.crystals.elements import more_element_properties
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

SEEING = Protocol(
    name='seeing',
    atom_width=8,
    hidden_width=8,
    epochs=40,
    batch_size=8,
    joint_targets=True,
    loss='l1',
    learning_rate=1e-2,
    keep='last',
    responses_withheld=0.25,
)


@pytest.fixture(scope='module')
def features(toy_graphs) -> PotentialFeatures:
    rng = np.random.default_rng(0)
    responses = rng.normal(1.0, 0.5, (len(toy_graphs), 2)).astype(np.float32)
    values = rng.normal(size=(len(toy_graphs), 3)).astype(np.float16)
    stresses = np.zeros(len(toy_graphs), dtype=np.float32)
    return PotentialFeatures('made-up', values, np.arange(len(toy_graphs) + 1), responses, stresses)


@pytest.fixture(scope='module')
def arguments(toy_graphs, element_features, features):
    """A target that follows from the response and from nothing else."""
    return {
        'graphs': toy_graphs,
        'targets': {'log10_k_vrh': features.responses[:, 0].astype(float)},
        'split': {'train': np.arange(32), 'validation': np.arange(32, 40)},
        'protocol': SEEING,
        'element_features': element_features,
        'features': features,
        'seed': 0,
        'device': 'cpu',
    }


@pytest.fixture(scope='module')
def trained(arguments):
    return train(**arguments)


def without(features: PotentialFeatures, rows: list[int]) -> PotentialFeatures:
    responses = features.responses.copy()
    responses[rows] = np.nan
    return dataclasses.replace(features, responses=responses)


def test_what_only_the_response_tells_is_learned(trained, arguments):
    blind = train(**{**arguments, 'features': None, 'protocol': dataclasses.replace(SEEING, responses_withheld=None)})
    mae = {
        name: result.metrics['log10_k_vrh']['validation']['mae'] for name, result in (('sees', trained), ('not', blind))
    }
    spread = arguments['targets']['log10_k_vrh'].std()
    assert mae['sees'] < 0.5 * spread  # 0.8 of it is what guessing the mean costs
    assert mae['not'] > 0.6 * spread


def test_a_crystal_without_a_response_is_predicted_and_changes_no_other(trained, arguments, features):
    graphs = arguments['graphs']
    known, lost = (
        predict_graphs([trained.model], graphs, features=given, device='cpu')['log10_k_vrh']
        for given in (features, without(features, [3, 7]))
    )
    others = np.setdiff1d(np.arange(40), [3, 7])
    assert np.array_equal(known[others], lost[others])
    assert np.isfinite(lost).all()
    assert (known[[3, 7]] != lost[[3, 7]]).all()


def test_withheld_responses_are_as_many_as_asked_for_and_others_in_each_epoch():
    responses = np.ones((4000, 2), dtype=np.float32)
    first, second = (withhold(responses, 0.25, [0, epoch, 1]) for epoch in (0, 1))
    assert np.isnan(first).all(axis=1).mean() == pytest.approx(0.25, abs=0.03)  # four standard deviations
    assert np.isnan(first).any(axis=1).sum() == np.isnan(first).all(axis=1).sum()
    both = (np.isnan(first[:, 0]) & np.isnan(second[:, 0])).mean()
    assert both == pytest.approx(0.25**2, abs=0.02)
    assert np.array_equal(withhold(responses, 0.0, [0, 0, 1]), responses)


def test_a_stopped_training_continues_to_the_same_weights_with_the_same_responses_only(
    trained, arguments, features, tmp_path
):
    asked = iter(range(10_000))
    with pytest.raises(Interrupted):
        train(**arguments, checkpoint=tmp_path, stop=lambda: next(asked) >= 54)  # within an epoch
    other = dataclasses.replace(features, responses=features.responses + 1)
    with pytest.raises(CheckpointError, match='other data'):
        train(**{**arguments, 'features': other}, checkpoint=tmp_path, resume=True)
    again = train(**arguments, checkpoint=tmp_path, resume=True)
    one, two = (result.model.members[0].tensors() for result in (trained, again))
    assert all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)


def test_a_model_is_all_in_its_files_and_asks_for_the_potential(trained, arguments, features, tmp_path):
    trained.model.save(tmp_path)
    loaded = ElasticModel.load(tmp_path)
    assert loaded.potential == 'made-up'
    graphs = arguments['graphs']
    before, after = (
        predict_graphs([model], graphs, features=features, device='cpu') for model in (trained.model, loaded)
    )
    assert np.array_equal(before['log10_k_vrh'], after['log10_k_vrh'])
    with pytest.raises(ValueError, match='needs the features of the potential made-up, but got none'):
        predict_graphs([loaded], graphs, device='cpu')
    with pytest.raises(ValueError, match='features of 2 crystals do not fit 40'):
        predict_graphs([loaded], graphs, features=features.select([0, 1]), device='cpu')


def test_each_crystal_has_its_own_response_in_whatever_batch(trained, arguments, features):
    graphs = arguments['graphs']
    together = predict_graphs([trained.model], graphs, features=features, device='cpu')['log10_k_vrh']
    for options in ({'batch_edges': 100}, {'batch_edges': 100, 'threads': 2}):
        found = predict_graphs([trained.model], graphs, features=features, device='cpu', **options)['log10_k_vrh']
        assert found == pytest.approx(together, abs=1e-5)
    order = np.random.default_rng(0).permutation(40)
    other = predict_graphs([trained.model], graphs.select(order), features=features.select(order), device='cpu')
    assert other['log10_k_vrh'] == pytest.approx(together[order], abs=1e-5)


def test_a_card_that_lost_its_potential_is_refused(trained, tmp_path):
    trained.model.save(tmp_path)
    card = json.loads((tmp_path / 'model.json').read_text())
    del card['members'][0]['potential']
    (tmp_path / 'model.json').write_text(json.dumps(card))
    with pytest.raises(ModelError, match='a potential, None, for 2 responses'):
        ElasticModel.load(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'features': None}, "needs a potential's features"),
        ({'protocol': dataclasses.replace(SEEING, responses_withheld=None)}, "needs a potential's features"),
    ],
)
def test_features_are_given_if_and_only_if_they_are_seen(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        train(**{**arguments, **changes})


def test_a_network_to_start_from_sees_the_same_potential(trained, arguments):
    (start,) = trained.model.members
    blind = {'features': None, 'protocol': dataclasses.replace(SEEING, responses_withheld=None)}
    with pytest.raises(ValueError, match='to start from needs the potential made-up'):
        train(**{**arguments, **blind}, start=start)
    again = train(**{**arguments, 'protocol': dataclasses.replace(SEEING, epochs=1)}, start=start)
    assert again.model.potential == 'made-up'


@pytest.mark.parametrize('partners', [('readout',), ('boosting',), ('perceptron', 'readout')], ids=' and '.join)
def test_members_of_blends_see_responses(arguments, features, partners, tmp_path):
    """The boosting knows nothing but the toy crystals: those that see the response tell more."""
    recipes = {
        'readout': ReadoutRecipe(width=8, epochs=3, batch_size=8),
        'boosting': Boosting(n_trees=15, learning_rate=0.3, max_depth=2),
        'perceptron': PerceptronRecipe(width=8, epochs=3, batch_size=8),
    }
    protocol = dataclasses.replace(SEEING, folds=3, **{kind: recipes[kind] for kind in partners})
    result = train_blend(
        **{**arguments, 'protocol': protocol, 'element_table': property_table(more_element_properties())}
    )
    kinds = {'readout': ReadoutMember, 'boosting': BoostingMember, 'perceptron': PerceptronMember}
    expected = [kind for each in (Member, *(kinds[partner] for partner in partners)) for kind in [each] * 3]
    assert [type(member) for member in result.model.members] == expected
    for member in result.model.members:
        assert member.potential == (None if isinstance(member, BoostingMember) else 'made-up')
    errors = result.model.card['training'][0]['blend']['log10_k_vrh']['out_of_fold_mae']
    # The readout sees the response as well, but of too few crystals in too few epochs, as the perceptron of statistics.
    assert all(errors['network'] < errors[kind] for kind in partners)

    result.model.save(tmp_path)
    graphs = arguments['graphs']
    before, after, lost = (
        predict_graphs([model], graphs, features=given, device='cpu', batch_edges=100)
        for model, given in (
            (result.model, features),
            (ElasticModel.load(tmp_path), features),
            (result.model, without(features, [3, 7])),
        )
    )
    assert all(np.array_equal(after[name], values) for name, values in before.items())
    assert np.isfinite(lost['log10_k_vrh']).all()
    for member in result.model.members:
        alone = ElasticModel([dataclasses.replace(member, weights=None)], {})
        seen, unseen = (
            predict_graphs([alone], graphs, features=given, device='cpu')['log10_k_vrh']
            for given in (features, without(features, [3, 7]))
        )
        changed = [] if member.potential is None else [3, 7]
        assert np.flatnonzero(seen != unseen).tolist() == changed
    assert np.flatnonzero(before['log10_k_vrh'] != lost['log10_k_vrh']).tolist() == [3, 7]


def test_an_impossible_fraction_is_refused():
    with pytest.raises(ValueError, match='responses_withheld of the protocol is 1'):
        Protocol.from_dict({'base': 'refined', 'responses_withheld': 1})
