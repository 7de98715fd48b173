"""Figures of trainings and sweeps: pure functions of data frames that return matplotlib figures."""

from aiida_cgcnn_elastic.figures.curves import learning_curves
from aiida_cgcnn_elastic.figures.sweeps import heat_maps, parameter_effects

__all__ = ['heat_maps', 'learning_curves', 'parameter_effects']
