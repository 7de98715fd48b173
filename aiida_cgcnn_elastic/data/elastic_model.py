"""A trained model as node."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from aiida_cgcnn_elastic.data.packed import PackedData

__all__ = ('ElasticModelData',)


class ElasticModelData(PackedData):
    """A trained network, or several: weights as safetensors and a model card as JSON. Never a pickle.

    Attributes: ``name``, ``targets``, ``members``, ``protocol``, ``training``, ``metrics``, ``content_sha256``.
    """

    FILE_WEIGHTS: ClassVar[str] = 'model.safetensors'
    FILE_CARD: ClassVar[str] = 'model.json'
    FILENAMES: ClassVar[tuple[str, ...]] = (FILE_WEIGHTS, FILE_CARD)

    @classmethod
    def from_directory(cls, directory: Path | str, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node of the model in a folder that ``cgcnn-elastic train`` wrote."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, name: str, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node of a shipped model; its label is the model's name."""
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, weights: bytes, card: bytes, **kwargs: Any) -> ElasticModelData:
        """Return an unstored node from the content of the two files."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.base.attributes.get('name')

    @property
    def targets(self) -> list[str]:
        """Return what the model predicts: ``log10_k_vrh``, ``log10_g_vrh`` (log10 of GPa) or both."""
        return self.base.attributes.get('targets')

    def get_card(self) -> dict[str, Any]:
        """Return the model card."""
        raise NotImplementedError

    def find_stored(self) -> ElasticModelData | None:
        """Return a stored node of equal content, if there is one, so that the same model is stored once."""
        raise NotImplementedError
