"""The prediction for one crystal as node."""

from __future__ import annotations

from typing import Any

from aiida.orm import Data

__all__ = ('ElasticPredictionData',)


class ElasticPredictionData(Data):
    """The predicted elastic moduli of one crystal and what follows from them; attributes only.

    The attributes are the columns of the prediction table (missing is ``None``) and ``model`` (names, joined by ``+``), ``model_content``
    (checksums of the models) and ``source``. The node's label is the ``material_id`` too, because that database column is indexed.
    """

    def __init__(self, attributes: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if attributes is not None:
            self.base.attributes.set_many(attributes)
            self.label = attributes['material_id']
            self.description = attributes.get('formula') or ''
