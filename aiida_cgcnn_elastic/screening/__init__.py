"""Criteria, filters, flags and ranking: pure functions of a table."""

from aiida_cgcnn_elastic.screening.criteria import DEFAULT, PRESETS, Criteria, CriteriaError
from aiida_cgcnn_elastic.screening.cut import Cut, CutResult, apply_cut
from aiida_cgcnn_elastic.screening.filters import exclusions, kept_unknown
from aiida_cgcnn_elastic.screening.flags import FLAG_COLUMNS, FlagResult, flag
from aiida_cgcnn_elastic.screening.probability import candidate_probability
from aiida_cgcnn_elastic.screening.reasons import REASONS, describe

__all__ = [
    'DEFAULT',
    'FLAG_COLUMNS',
    'PRESETS',
    'REASONS',
    'Criteria',
    'CriteriaError',
    'Cut',
    'CutResult',
    'FlagResult',
    'apply_cut',
    'candidate_probability',
    'describe',
    'exclusions',
    'flag',
    'kept_unknown',
]
