"""Many predictions in one node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_cgcnn_elastic.data.packed import PackedData

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ('PredictionSetData',)


class PredictionSetData(PackedData):
    """The predictions for a set of crystals, with the crystals that were excluded or rejected on the way.

    Attributes: ``n_crystals`` = ``n_predicted`` + ``n_excluded`` + ``n_rejected``, ``excluded_by_reason``, ``rejected_by_reason``, ``models``
    (key -> ``name``, ``content_sha256``, ``targets``), ``source``, ``columns``, ``content_sha256``.
    """

    FILE_PREDICTIONS: ClassVar[str] = 'predictions.parquet'
    FILE_EXCLUSIONS: ClassVar[str] = 'exclusions.parquet'
    FILE_REJECTIONS: ClassVar[str] = 'rejections.parquet'
    FILENAMES: ClassVar[tuple[str, ...]] = (FILE_PREDICTIONS, FILE_EXCLUSIONS, FILE_REJECTIONS)

    @classmethod
    def from_files(
        cls,
        predictions: bytes | Path,
        exclusions: bytes | Path,
        rejections: bytes | Path,
        *,
        models: Mapping[str, Mapping[str, Any]],
        source: str | None = None,
        **kwargs: Any,
    ) -> PredictionSetData:
        """Return an unstored set from the files that ``cgcnn-elastic predict`` writes."""
        raise NotImplementedError

    @property
    def n_predicted(self) -> int:
        """Return the number of predicted crystals."""
        return self.base.attributes.get('n_predicted')

    def __len__(self) -> int:
        return self.n_predicted

    def get_table(self) -> pa.Table:
        """Return the predictions, one row a crystal."""
        raise NotImplementedError

    def get_frame(self) -> pd.DataFrame:
        """Return the predictions as pandas frame, one row a crystal."""
        raise NotImplementedError

    def get_exclusions(self) -> pa.Table:
        """Return the crystals that the criteria excluded before prediction (``material_id``, ``reason``)."""
        raise NotImplementedError

    def get_rejections(self) -> pa.Table:
        """Return the crystals that could not be predicted (``material_id``, ``reason``, ``detail``)."""
        raise NotImplementedError
