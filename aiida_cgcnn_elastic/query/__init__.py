"""From QueryBuilder to pandas: predictions, candidates and where they come from, sweeps.

Numbers are always compared as floats: on SQLite a filter with an integer on a float attribute loses rows silently.
"""

# No module here has the name of a function: the one would hide the other.
from aiida_cgcnn_elastic.groups import EXTRA
from aiida_cgcnn_elastic.query.columns import TEXT_COLUMNS
from aiida_cgcnn_elastic.query.conditions import OPERATORS, Where
from aiida_cgcnn_elastic.query.flagged import candidates
from aiida_cgcnn_elastic.query.groups import find_group, members, other_predictions_of_the_same, screenings
from aiida_cgcnn_elastic.query.origins import provenance
from aiida_cgcnn_elastic.query.records import iter_predictions, n_predictions, predictions, recorded
from aiida_cgcnn_elastic.query.trainings import (
    SWEEP,
    SWEEP_METRICS,
    flat_metrics,
    how_it_ended,
    hyperparameters,
    learning_curves,
    sweep,
    sweeps,
    swept_parameters,
)

__all__ = (
    'EXTRA',
    'OPERATORS',
    'SWEEP',
    'SWEEP_METRICS',
    'TEXT_COLUMNS',
    'Where',
    'candidates',
    'find_group',
    'flat_metrics',
    'how_it_ended',
    'hyperparameters',
    'iter_predictions',
    'learning_curves',
    'members',
    'n_predictions',
    'other_predictions_of_the_same',
    'predictions',
    'provenance',
    'recorded',
    'screenings',
    'sweep',
    'sweeps',
    'swept_parameters',
)
