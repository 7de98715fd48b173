"""From predictions to ranked candidates."""

from __future__ import annotations

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, Str

__all__ = ('flag_candidates',)


@calcfunction
def flag_candidates(criteria: Dict, label: Str | None = None, **sets: Any) -> dict[str, Dict]:
    """Flag and rank the predictions that meet the criteria; write a ``StructureData`` for each candidate, in bulk.

    :param criteria: The criteria, see :class:`aiida_cgcnn_elastic.screening.criteria.Criteria`.
    :param label: The screening's label; the candidates go into the :class:`~aiida_cgcnn_elastic.groups.CandidatesGroup` of that label.
    :param sets: The namespaces ``crystals`` (of CrystalSetData) and ``predictions`` (of PredictionSetData).
    """
    raise NotImplementedError
