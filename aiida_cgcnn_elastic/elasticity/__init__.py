"""Elastic moduli and the hardness derived from them."""

from aiida_cgcnn_elastic.elasticity.derive import derived_columns
from aiida_cgcnn_elastic.elasticity.hardness import LAWS
from aiida_cgcnn_elastic.elasticity.moduli import poisson_ratio, pugh_ratio, youngs_modulus

__all__ = ['LAWS', 'derived_columns', 'poisson_ratio', 'pugh_ratio', 'youngs_modulus']
