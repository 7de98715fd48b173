"""From QueryBuilder to pandas: predictions, candidates and where they come from.

Numbers are always compared as floats: on SQLite a filter with an integer on a float attribute loses rows silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from aiida.orm import Group, StructureData

    from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

__all__ = ('candidates', 'predictions', 'provenance', 'recorded')


def predictions(
    *,
    screening: str | Group | None = None,
    model: str | None = None,
    material_ids: Sequence[str] | None = None,
    formula: str | None = None,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, float]] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | None = '-log10_g_vrh',
    limit: int | None = None,
) -> pd.DataFrame:
    """Return recorded predictions, one row each."""
    raise NotImplementedError


def candidates(
    screening: str | Group | None = None,
    *,
    elements: Sequence[str] | None = None,
    not_elements: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, float]] | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return flagged candidates by rank, one row each, with ``rank``, ``structure_uuid`` and ``prediction_uuid``."""
    raise NotImplementedError


def recorded(prediction_set: PredictionSetData) -> list[int]:
    """Return the pks of the records of a prediction set of equal content; empty where it was not recorded."""
    raise NotImplementedError


def provenance(structure: StructureData | str) -> dict[str, Any]:
    """Return where a candidate comes from: prediction, models, training, crystal set, source files."""
    raise NotImplementedError
