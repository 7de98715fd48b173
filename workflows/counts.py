"""Where every crystal of a screening went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.workflows.known import take_known

__all__ = ('count_crystals', 'counts_differ')


@calcfunction
def count_crystals(ranking: orm.Dict | None = None, choice: orm.Dict | None = None, **sets: Any) -> dict[str, orm.Dict]:
    """Count the crystals of a screening by what became of them.

    :param ranking: What :func:`~aiida_cgcnn_elastic.calculations.flag_candidates.flag_candidates` found; absent where
        some crystals could not be predicted, because candidates are flagged among all or not at all.
    :param choice: What :func:`~aiida_cgcnn_elastic.workflows.refinement.choose_for_refinement` chose, if it did.
    :param sets: The namespaces ``crystals`` (of CrystalSetData), ``predictions`` (of PredictionSetData), and of a
        second stage ``chosen`` and ``refined``.
    """
    crystals = sets['crystals'].values()
    predictions = sets.get('predictions', {}).values()

    rejected: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    for node in crystals:
        rejected.update(node.base.attributes.get('rejected_by_reason'))
    for node in predictions:
        rejected.update(node.base.attributes.get('rejected_by_reason'))
        excluded.update(node.base.attributes.get('excluded_by_reason'))

    n_crystals = sum(node.base.attributes.get('n_crystals') for node in crystals)
    n_attempted = sum(node.base.attributes.get('n_crystals') for node in predictions)
    counts = {
        'n_read': sum(node.base.attributes.get('n_read') for node in crystals),
        'n_rejected': sum(rejected.values()),
        'rejected_by_reason': dict(rejected),
        'n_excluded': sum(excluded.values()),
        'excluded_by_reason': dict(excluded),
        'n_predicted': sum(node.base.attributes.get('n_predicted') for node in predictions),
        'n_taken': sum(node.base.attributes.get('n_predicted') for node in predictions if _is_taken(node)),
        'n_not_predicted': n_crystals - n_attempted,
    }
    if choice is not None:
        counts |= _count_refined(choice, sets.get('refined', {}).values())
    if ranking is not None:
        counts['n_candidates'] = ranking['n_candidates']
        counts['failed_by_reason'] = ranking['failed']
        counts['kept_unknown'] = ranking['kept_unknown']
    return {'summary': orm.Dict(counts)}


def _is_taken(predictions: PredictionSetData) -> bool:
    """Return whether predictions were taken from earlier ones."""
    return predictions.creator is not None and predictions.creator.process_label == take_known.__name__


def _count_refined(choice: orm.Dict, refined: Iterable[Any]) -> dict[str, Any]:
    """Return what became of the crystals that a second stage took."""
    kept: Counter[str] = Counter()
    for node in refined:
        kept.update(node.base.attributes.get('rejected_by_reason'))
    n_refined = sum(node.base.attributes.get('n_predicted') for node in refined)
    return {
        'n_chosen': choice['n_chosen'],
        'not_chosen': choice['not_chosen'],
        'n_refined': n_refined,
        # The first prediction of a crystal that the second stage cannot predict counts.
        'n_kept': sum(kept.values()),
        'kept_by_reason': dict(kept),
        'n_not_refined': choice['n_chosen'] - sum(node.base.attributes.get('n_crystals') for node in refined),
    }


def counts_differ(counts: dict[str, Any]) -> str | None:
    """Return what does not add up among the counts of a screening; None where all is accounted for."""
    parts = ('n_rejected', 'n_excluded', 'n_predicted', 'n_not_predicted')
    if counts['n_read'] != sum(counts[part] for part in parts):
        return f'{counts["n_read"]} crystals read, but ' + ' + '.join(f'{counts[part]} {part[2:]}' for part in parts)
    if 'n_chosen' in counts:
        stages = ('n_refined', 'n_kept', 'n_not_refined')
        if counts['n_chosen'] != sum(counts[part] for part in stages):
            return f'{counts["n_chosen"]} crystals chosen, but ' + ' + '.join(
                f'{counts[part]} {part[2:]}' for part in stages
            )
    if 'n_candidates' in counts:
        n_failed = sum(counts['failed_by_reason'].values())
        if counts['n_predicted'] != counts['n_candidates'] + n_failed:
            return (
                f'{counts["n_predicted"]} crystals predicted, but {counts["n_candidates"]} candidates and {n_failed} '
                'that fail the criteria'
            )
    return None
