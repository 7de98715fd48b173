"""A trained model as node."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from aiida.orm import QueryBuilder

from aiida_cgcnn_elastic.data.packed import PackedData

__all__ = ('ElasticModelData',)

_FORMAT = 'aiida-cgcnn-elastic model'
_PLURALS = {'network': 'networks', 'boosting': 'boostings', 'readout': 'readouts', 'perceptron': 'perceptrons'}


class ElasticModelData(PackedData):
    """Trained networks, also with boosted trees or readouts: safetensors and a model card as JSON. Never a pickle.

    Attributes: ``name``, ``targets``, ``n_members``, ``members`` (kind, targets, architecture, ... of each),
    ``training`` (a record for each training: protocol, seed, split, data, metrics), ``content_sha256``.
    """

    FILE_WEIGHTS: ClassVar[str] = 'model.safetensors'
    FILE_CARD: ClassVar[str] = 'model.json'
    FILENAMES: ClassVar[tuple[str, ...]] = (FILE_WEIGHTS, FILE_CARD)

    @classmethod
    def from_directory(cls, directory: Path | str, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node of the model in a folder that ``cgcnn-elastic train`` wrote.

        Raises
        ------
        ValueError
            If the two files are not a model.
        """
        folder = Path(directory)
        return cls.from_bytes((folder / cls.FILE_WEIGHTS).read_bytes(), (folder / cls.FILE_CARD).read_bytes(), **kwargs)

    @classmethod
    def from_pretrained(cls, name: str, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node of a shipped model; its label is the model's name.

        Raises
        ------
        KeyError
            If no model of that name is shipped.
        """
        from aiida_cgcnn_elastic import pretrained

        return cls.from_directory(pretrained.path(name), **{'label': name, **kwargs})

    @classmethod
    def from_bytes(cls, weights: bytes, card: bytes, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node from the content of the two files.

        Raises
        ------
        ValueError
            If the two are not a model.
        """
        node = cls(**kwargs)
        node._put_files({cls.FILE_WEIGHTS: weights, cls.FILE_CARD: card})
        node.base.attributes.set_many(node._summarize())
        if not node.label:
            node.label = node.name
        return node

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.base.attributes.get('name')

    @property
    def targets(self) -> list[str]:
        """Return what the model predicts: ``log10_k_vrh``, ``log10_g_vrh`` (log10 of GPa) or both."""
        return self.base.attributes.get('targets')

    @property
    def potential(self) -> str | None:
        """Return the universal potential whose features the model needs, None where it needs none."""
        members = self.base.attributes.get('members')
        return next((member['potential'] for member in members if member.get('potential')), None)

    def get_description(self) -> str:
        """Return a line about the model, as ``verdi`` shows it."""
        kinds = Counter(member.get('kind', 'network') for member in self.base.attributes.get('members'))
        members = ' and '.join(f'{count} {_PLURALS.get(kind, kind)}' for kind, count in kinds.items())
        return f'{self.name}: {", ".join(self.targets)} by {members}'

    def get_card(self) -> dict[str, Any]:
        """Return the model card."""
        return json.loads(self.read_bytes(self.FILE_CARD))

    def write(self, directory: Path | str) -> None:
        """Write the two files into a folder, which is made where absent, for use without AiiDA."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for filename in self.FILENAMES:
            (folder / filename).write_bytes(self.read_bytes(filename))

    def find_stored(self) -> ElasticModelData | None:
        """Return a stored node of equal content, the oldest, or None, so that the same model is stored once."""
        query = QueryBuilder(backend=self.backend)
        filters = {'attributes.content_sha256': self.content_sha256}
        query.append(ElasticModelData, filters=filters).order_by({ElasticModelData: {'id': 'asc'}})
        return query.first(flat=True)

    def _summarize(self) -> dict[str, Any]:
        try:
            card = json.loads(self.read_bytes(self.FILE_CARD))
        except ValueError as exception:
            raise ValueError(f'`{self.FILE_CARD}` is not JSON: {exception}') from exception
        if not isinstance(card, dict) or card.get('format') != _FORMAT:
            raise ValueError(f'`{self.FILE_CARD}` is not the card of a model: it has no "format": "{_FORMAT}"')
        missing = [key for key in ('targets', 'members', 'weights_sha256') if not card.get(key)]
        if missing:
            raise ValueError(f'`{self.FILE_CARD}` lacks {missing}')
        weights = self.read_bytes(self.FILE_WEIGHTS)
        if card['weights_sha256'] != hashlib.sha256(weights).hexdigest():
            raise ValueError(f'`{self.FILE_WEIGHTS}` is not the file that `{self.FILE_CARD}` describes')
        _check_members(_tensor_names(weights), card['members'])
        canonical = json.dumps(card, sort_keys=True, separators=(',', ':'))
        return {
            'name': card.get('name') or 'unnamed',
            'targets': card['targets'],
            'n_members': len(card['members']),
            'members': card['members'],
            'training': card.get('training', []),
            # The card holds the checksum of the weights.
            'content_sha256': hashlib.sha256(canonical.encode()).hexdigest(),
        }


def _tensor_names(weights: bytes) -> list[str]:
    """Return the names in the header of a safetensors file: eight bytes of length, then JSON.

    Raises
    ------
    ValueError
        If the bytes are no whole safetensors file.
    """
    length = int.from_bytes(weights[:8], 'little')
    try:
        header = json.loads(weights[8 : 8 + length])
        ends = {name: entry['data_offsets'][1] for name, entry in header.items() if name != '__metadata__'}
    except (ValueError, TypeError, KeyError, AttributeError) as exception:
        raise ValueError(f'the weights are not a safetensors file: {exception!r}') from exception
    if max(ends.values(), default=0) != len(weights) - 8 - length:
        raise ValueError('the weights are cut off, or something follows them')
    return list(ends)


def _check_members(names: list[str], members: list[dict[str, Any]]) -> None:
    """Raise unless the weights are those of the members in the card, of which some have what others have."""
    found = {name.split('.')[1] for name in names if name.startswith('members.') and name.count('.') >= 2}
    for index, member in enumerate(members):
        for name, owner in member.get('shared', {}).items():
            if f'members.{owner}.{name}' not in names:
                raise ValueError(f'the card says that member {owner} has the {name} of member {index}, but it has none')
            found.add(str(index))
    expected = {str(index) for index in range(len(members))}
    if found != expected or not all(name.startswith(('members.', 'calibration.')) for name in names):
        raise ValueError(f'the weights are of the members {sorted(found)}, but the card describes {sorted(expected)}')
