"""What pre-trained universal interatomic potentials know of atoms and their surroundings."""

from .features import AtomFeatures
from .sevennet import N_FEATURES, POTENTIAL, PotentialUnavailable, atom_features, known_elements, require_potential

__all__ = [
    'N_FEATURES',
    'POTENTIAL',
    'AtomFeatures',
    'PotentialUnavailable',
    'atom_features',
    'known_elements',
    'require_potential',
]
