"""A screening's label: one label, one content.

The predictions of a screening are in the `PredictionsGroup` of its label. The group's extra `fingerprint` says from
which inputs they were made: the same inputs may use the label again (to continue, or to look again), others may not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.groups import CandidatesGroup, PredictionsGroup

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('FINGERPRINT', 'LabelTakenError', 'check_label', 'claim_label', 'fingerprint', 'free_label')

FINGERPRINT = 'fingerprint'


class LabelTakenError(ValueError):
    """The label belongs to a screening of other inputs."""


def fingerprint(
    crystals: Mapping[str, CrystalSetData],
    models: Mapping[str, ElasticModelData],
    criteria: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> str:
    """Return the SHA-256 of all that decides what a screening finds.

    Parameters
    ----------
    crystals, models
        By their keys; what counts is their content, not the nodes.
    criteria
        As `screening.Criteria.from_dict` takes them; what counts is what they mean.
    settings
        The size of the shards and the parameters of the prediction.
    """
    from aiida_cgcnn_elastic.screening import Criteria

    content = {
        'crystals': {key: node.content_sha256 for key, node in crystals.items()},
        'models': sorted(node.content_sha256 for node in models.values()),
        'criteria': Criteria.from_dict(criteria).to_dict(),
        'settings': settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_label(label: str, content: str) -> None:
    """Raise where a label is taken by other content.

    Raises
    ------
    LabelTakenError
        If a group of that label holds predictions or candidates of other content, or of unknown content.
    """
    predictions, candidates = (_group(cls, label) for cls in (PredictionsGroup, CandidatesGroup))
    holder = predictions or candidates
    if holder is None:
        return
    known = predictions.base.extras.get(FINGERPRINT, None) if predictions is not None else None
    if known == content:
        return
    # A group that was made but not yet given its fingerprint belongs to a screening that was killed in that moment.
    if known is None and all(group is None or group.is_empty for group in (predictions, candidates)):
        return
    raise LabelTakenError(
        f'the label {label!r} belongs to a screening of other crystals, models, criteria or settings '
        f'(group {holder.pk}): choose another label'
    )


def claim_label(label: str, content: str) -> PredictionsGroup:
    """Return the group of the predictions of this label, made where there is none, and bound to its content.

    Raises
    ------
    LabelTakenError
        As `check_label`.
    """
    check_label(label, content)
    group, _ = PredictionsGroup.collection.get_or_create(label=label)
    group.base.extras.set(FINGERPRINT, content)
    return group


def free_label(label: str, content: str) -> str:
    """Return the label, or the first of `label-2`, `label-3`, ... that is free or belongs to this content."""
    number = 1
    while True:
        candidate = label if number == 1 else f'{label}-{number}'
        try:
            check_label(candidate, content)
        except LabelTakenError:
            number += 1
        else:
            return candidate


def _group(cls: type[PredictionsGroup] | type[CandidatesGroup], label: str) -> Any:
    from aiida.common.exceptions import NotExistent

    try:
        return cls.collection.get(label=label)
    except NotExistent:
        return None
