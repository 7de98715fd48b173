"""Models as nodes."""

from __future__ import annotations

import json

import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_cgcnn_elastic import pretrained
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture
def files() -> tuple[bytes, bytes]:
    folder = pretrained.path('paper')
    return (folder / 'model.safetensors').read_bytes(), (folder / 'model.json').read_bytes()


def test_shipped_model(tmp_path):
    node = load_node(ElasticModelData.from_pretrained('paper').store().pk)
    assert node.label == 'paper'
    assert node.targets == ['log10_g_vrh', 'log10_k_vrh']
    assert node.base.attributes.get('n_members') == len(node.get_card()['members'])
    training = node.base.attributes.get('training')
    assert all({'seed', 'protocol', 'metrics'} <= set(record) for record in training)
    node.write(tmp_path / 'copy')
    for filename in ElasticModelData.FILENAMES:
        assert (tmp_path / 'copy' / filename).read_bytes() == (pretrained.path('paper') / filename).read_bytes()
    with pytest.raises(KeyError, match='no-such-model'):
        ElasticModelData.from_pretrained('no-such-model')


def test_the_same_model_is_found_again(files):
    weights, card = files
    first = ElasticModelData.from_pretrained('paper')
    assert first.find_stored() is None
    first.store()
    # The same card, written another way.
    again = ElasticModelData.from_bytes(weights, json.dumps(json.loads(card)).encode())
    assert again.find_stored() == first
    assert again.base.caching._compute_hash() == first.base.caching.get_hash()
    other = ElasticModelData.from_bytes(weights, json.dumps({**json.loads(card), 'name': 'mine'}).encode())
    assert (other.name, other.label) == ('mine', 'mine')
    assert other.find_stored() is None
    assert other.base.caching._compute_hash() != first.base.caching.get_hash()


def test_stored_model_can_be_stored_again():
    """As AiiDA's caching does: its database keeps 14 digits of a number, the card all."""
    stored = load_node(ElasticModelData.from_pretrained('paper').store().pk)
    copy = stored.clone().store()
    assert copy.base.caching.get_hash() == stored.base.caching.get_hash()
    assert copy.get_card() == stored.get_card()


def test_what_is_no_model_is_refused(files):
    weights, card = files
    values = json.loads(card)
    import hashlib

    def of(weights: bytes, **changes) -> None:
        changed = {**values, 'weights_sha256': hashlib.sha256(weights).hexdigest(), **changes}
        ElasticModelData.from_bytes(weights, json.dumps(changed).encode())

    of(weights)
    # A member may have all that it has from another.
    alike = {**values['members'][0], 'shared': {'output.bias': 0}}
    of(weights, members=[*values['members'], alike])
    with pytest.raises(ValueError, match=r'member 0 has the output\.blas of member 2, but it has none'):
        of(weights, members=[*values['members'], {**alike, 'shared': {'output.blas': 0}}])
    with pytest.raises(ValueError, match='not JSON'):
        ElasticModelData.from_bytes(weights, b'\x80pickle')
    with pytest.raises(ValueError, match='"format"'):
        of(weights, format='other')
    with pytest.raises(ValueError, match='members'):
        of(weights, members=[])
    with pytest.raises(ValueError, match='not the file that'):
        of(weights, weights_sha256='0' * 64)
    with pytest.raises(ValueError, match='card describes'):
        of(weights, members=[*values['members'], values['members'][0]])
    with pytest.raises(ValueError, match='cut off'):
        of(weights[:-1])
    with pytest.raises(ValueError, match='not a safetensors file'):
        of(b'\x80\x04pickle')


def test_tampered_model_is_not_stored(files):
    node = ElasticModelData.from_bytes(*files)
    node.base.attributes.set('targets', ['log10_k_vrh'])
    with pytest.raises(ValidationError, match='targets'):
        node.store()
