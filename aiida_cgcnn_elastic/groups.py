"""Groups that collect the results of a screening; a group's label is the screening's label."""

from __future__ import annotations

from aiida.orm import Group

EXTRA = 'cgcnn_elastic'
"""The extra of a candidate's ``StructureData`` that holds its rank and its prediction."""


class PredictionsGroup(Group):
    """Every :class:`~aiida_cgcnn_elastic.data.elastic_prediction.ElasticPredictionData` of a screening."""


class FirstStageGroup(Group):
    """What the first stage of a screening said of the crystals that its second stage predicted again.

    The refined predictions of these crystals are in the `PredictionsGroup`, in their place.
    """


class CandidatesGroup(Group):
    """The ``StructureData`` of a screening's candidates; rank and predictions are in their extra ``cgcnn_elastic``."""
