"""The prediction for one crystal as node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiida.common.exceptions import ValidationError
from aiida.common.hashing import make_hash
from aiida.orm import Data
from aiida.orm.nodes.caching import NodeCaching

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ('ElasticPredictionData',)


class AttributesCaching(NodeCaching):
    """Hash the class and all attributes as one text: AiiDA's way, value by value, costs more than writing the node."""

    def get_objects_to_hash(self) -> str:
        """Return what enters the hash."""
        return _text_to_hash(self._node.base.attributes.all)


class ElasticPredictionData(Data):
    """The predicted elastic moduli of one crystal and what follows from them; attributes only.

    The attributes are the columns of the prediction table, missing values ``None``, and

    - ``model``: the names of the models, in alphabetical order, joined by ``+``;
    - ``model_content``: the checksums of the models' content, in the same order;
    - ``source``: the name of the source of the crystals.

    A column of real numbers is always stored as floats (``2.0``, not ``2``). The ``material_id`` is the node's label
    too, because that column of the database has an index; the description is the formula.

    Parameters
    ----------
    attributes : mapping
        The attributes. Numbers are stored in the type they have; pass floats for real quantities.
    """

    _CLS_NODE_CACHING = AttributesCaching

    def __init__(self, attributes: Mapping[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if attributes is not None:
            cleaned = {key: _clean(value) for key, value in attributes.items()}
            self.base.attributes.set_many(cleaned)
            self.label = cleaned['material_id']
            self.description = cleaned.get('formula') or ''

    @property
    def material_id(self) -> str:
        """Return the id of the crystal, as its source gives it."""
        return self.base.attributes.get('material_id')

    @property
    def k_vrh(self) -> float:
        """Return the predicted bulk modulus in GPa."""
        return self.base.attributes.get('k_vrh')

    @property
    def g_vrh(self) -> float:
        """Return the predicted shear modulus in GPa."""
        return self.base.attributes.get('g_vrh')

    def get_dict(self) -> dict[str, Any]:
        """Return all attributes."""
        return self.base.attributes.all

    def get_description(self) -> str:
        """Return a line about the prediction, as ``verdi`` shows it."""
        name = f'{self.material_id} {self.base.attributes.get("formula", None) or ""}'.rstrip()
        logs = {symbol: self.base.attributes.get(f'log10_{symbol.lower()}_vrh', None) for symbol in ('K', 'G')}
        return f'{name}: ' + ', '.join(
            f'log10({symbol}/GPa) ' + ('unknown' if log is None else f'= {log:.3f}') for symbol, log in logs.items()
        )

    @staticmethod
    def attributes_of(table: pa.Table, common: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the attributes for each row of a prediction table, ready to be stored.

        Parameters
        ----------
        table : pyarrow.Table
            The prediction table.
        common : mapping
            Attributes that all rows have: ``model``, ``model_content``, ``source``.
        """
        names = [*table.column_names, *common]
        shared = tuple(_clean(value) for value in common.values())
        for batch in table.to_batches(max_chunksize=10_000):
            columns = [_column_values(column) for column in batch.columns]
            for row in zip(*columns, strict=True):
                yield dict(zip(names, row + shared, strict=True))

    @staticmethod
    def hash_of(attributes: Mapping[str, Any]) -> str:
        """Return the hash of a node with these attributes, without making the node."""
        return make_hash(_text_to_hash(attributes))

    def _validate(self) -> None:
        """Raise unless it is known whose prediction this is."""
        super()._validate()
        if not self.base.attributes.get('material_id', None):
            raise ValidationError(f'{self.__class__.__name__} lacks the attribute `material_id`')


_encode = json.JSONEncoder(sort_keys=True, separators=(',', ':')).encode


def _text_to_hash(attributes: Mapping[str, Any]) -> str:
    return f'{ElasticPredictionData}{_encode(attributes)}'


def _clean(value: Any) -> Any:
    """Return a value as AiiDA stores it: floats have 14 significant digits, NaN is None, -0.0 is 0.0."""
    if isinstance(value, float):
        return None if value != value else _clean_float(value)
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _clean_float(value: float) -> float:
    # Adding 0.0 takes the sign off a negative zero, which PostgreSQL would lose.
    return float(f'{value:.14g}') + 0.0


def _column_values(column: pa.Array) -> Iterable[Any]:
    """Return the values of a column as AiiDA stores them."""
    import pyarrow as pa

    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [None if value is None or value != value else _clean_float(value) for value in values]
    return values
