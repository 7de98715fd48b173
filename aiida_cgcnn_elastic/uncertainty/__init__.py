"""How wrong a prediction may be: intervals, what they mean for hardness and flags, and how novel a crystal is."""

from aiida_cgcnn_elastic.uncertainty.errors import COVERAGE, LEAST_CRYSTALS, ErrorModel, Z
from aiida_cgcnn_elastic.uncertainty.novelty import (
    Novelty,
    anonymous_formulas,
    crystals_with_unseen_elements,
    elements_in,
)
from aiida_cgcnn_elastic.uncertainty.propagation import hardness_interval, pass_probability, rank_correlation

__all__ = [
    'COVERAGE',
    'LEAST_CRYSTALS',
    'ErrorModel',
    'Novelty',
    'Z',
    'anonymous_formulas',
    'crystals_with_unseen_elements',
    'elements_in',
    'hardness_interval',
    'pass_probability',
    'rank_correlation',
]
