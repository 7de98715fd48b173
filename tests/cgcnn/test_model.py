"""What is saved is what is loaded, and nothing else is loaded."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aiida_cgcnn_elastic.cgcnn.inference import predict_graphs
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Member, ModelError, Normalizer
from aiida_cgcnn_elastic.cgcnn.network import CGCNN, Architecture


def make_model(element_features, seed: int = 0, targets: tuple[str, ...] = ('log10_k_vrh',)) -> ElasticModel:
    torch.manual_seed(seed)
    network = CGCNN(Architecture(n_targets=len(targets), atom_width=8, hidden_width=8), element_features).eval()
    normalizer = Normalizer((1.5,) * len(targets), (0.25,) * len(targets))
    card = {'name': f'model {seed}', 'training': [{'seed': seed}]}
    return ElasticModel([Member(network, targets, normalizer)], card)


@pytest.fixture
def model(element_features) -> ElasticModel:
    return make_model(element_features)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path)
    return tmp_path


def test_loaded_model_predicts_the_same(model, folder, toy_graphs):
    loaded = ElasticModel.load(folder)
    assert loaded.card == model.card
    assert loaded.targets == ('log10_k_vrh',)
    assert np.array_equal(
        predict_graphs([loaded], toy_graphs)['log10_k_vrh'], predict_graphs([model], toy_graphs)['log10_k_vrh']
    )


def test_saving_again_gives_the_same_bytes(folder, tmp_path_factory):
    again = tmp_path_factory.mktemp('again')
    ElasticModel.load(folder).save(again)
    for name in ('model.json', 'model.safetensors'):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in again.iterdir()) == ['model.json', 'model.safetensors']


def test_what_members_have_alike_is_written_once(element_features, toy_graphs, tmp_path):
    pair = ElasticModel.join([make_model(element_features, 0), make_model(element_features, 1)])
    pair.save(tmp_path)
    names = [name for name in load_file(tmp_path / 'model.safetensors') if name.endswith('element_features')]
    assert names == ['members.0.element_features']
    found, expected = (predict_graphs([m], toy_graphs)['log10_k_vrh'] for m in (ElasticModel.load(tmp_path), pair))
    assert np.array_equal(found, expected)
    alike = ElasticModel.join([make_model(element_features, 0), make_model(element_features, 0)])
    alike.save(tmp_path / 'alike')
    found = predict_graphs([ElasticModel.load(tmp_path / 'alike')], toy_graphs)['log10_k_vrh']
    assert np.array_equal(found, predict_graphs([alike], toy_graphs)['log10_k_vrh'])
    card = json.loads((tmp_path / 'model.json').read_text())
    card['members'][1]['shared']['element_features'] = 7
    edit_card(tmp_path, members=card['members'])
    with pytest.raises(ModelError, match=r'member 1 .* lacks .*members\.7\.element_features'):
        ElasticModel.load(tmp_path)


def test_joined_models_keep_every_member_and_record(element_features, toy_graphs):
    k = make_model(element_features, 0)
    g = make_model(element_features, 1, ('log10_g_vrh',))
    both = ElasticModel.join([k, g], {'name': 'pair'})
    assert both.card == {'name': 'pair', 'training': [{'seed': 0}, {'seed': 1}]}
    predictions = predict_graphs([both], toy_graphs)
    assert np.array_equal(predictions['log10_k_vrh'], predict_graphs([k], toy_graphs)['log10_k_vrh'])
    assert np.array_equal(predictions['log10_g_vrh'], predict_graphs([g], toy_graphs)['log10_g_vrh'])


def edit_card(folder, **values) -> None:
    card = json.loads((folder / 'model.json').read_text())
    (folder / 'model.json').write_text(json.dumps({**card, **values}))


def test_damaged_weights_are_refused(folder):
    path = folder / 'model.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match='damaged or belongs to another'):
        ElasticModel.load(folder)


def test_truncated_weights_are_refused(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match='damaged'):
        ElasticModel.load(folder)


def test_pickles_are_never_loaded(folder):
    """A file that torch.save wrote runs code when it is read; it must be refused for what it is."""
    import hashlib

    path = folder / 'model.safetensors'
    torch.save({'state_dict': {}}, path)
    edit_card(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match='is not a safetensors file'):
        ElasticModel.load(folder)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'format': 'something'}, 'is not the card of a model'),
        ({'format_version': 99}, 'format version 99; this version reads 1'),
        ({'members': []}, 'has no members'),
        ({'members': [{}]}, "member 0 of the model in .* lacks 'architecture'"),
        ({'weights_sha256': None}, 'lacks "weights_sha256"'),
    ],
)
def test_foreign_cards_are_refused(folder, values, message):
    edit_card(folder, **values)
    with pytest.raises(ModelError, match=message):
        ElasticModel.load(folder)


def test_card_that_is_not_json_is_refused(folder):
    (folder / 'model.json').write_text('{')
    with pytest.raises(ModelError, match='is not JSON'):
        ElasticModel.load(folder)


@pytest.mark.parametrize('name', ['model.json', 'model.safetensors'])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        ElasticModel.load(folder)


def rewrite_weights(folder, change) -> None:
    import hashlib

    path = folder / 'model.safetensors'
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    edit_card(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda t: t.pop('members.0.output.bias'), 'cannot be built'),
        (lambda t: t.update({'members.0.output.bias': torch.zeros(5)}), 'cannot be built'),
        (lambda t: t.update({'members.0.output.bias': torch.full((1,), torch.nan)}), 'not finite'),
        (lambda t: t.update({'members.1.output.bias': torch.zeros(1)}), 'tensors of no member'),
    ],
)
def test_weights_that_do_not_fit_the_card_are_refused(folder, change, message):
    rewrite_weights(folder, change)
    with pytest.raises(ModelError, match=message):
        ElasticModel.load(folder)


def test_other_targets_of_an_architecture_are_refused(folder):
    card = json.loads((folder / 'model.json').read_text())
    card['members'][0]['targets'] = ['band_gap']
    edit_card(folder, members=card['members'])
    with pytest.raises(ModelError, match='unknown targets'):
        ElasticModel.load(folder)


def test_card_must_be_plain(model, tmp_path):
    model.card['when'] = object()
    with pytest.raises(ValueError, match='not plain JSON'):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_normaliser_knows_missing_values():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [5.0, 5.0]])
    normalizer = Normalizer.of(values)
    assert normalizer.mean == (3.0, 5.0)
    # A target that does not vary is shifted, not divided by zero.
    assert normalizer.std == (pytest.approx(np.std([1, 3, 5])), 1.0)
    assert normalizer.restore(normalizer.standardise(values[1:])) == pytest.approx(values[1:])
