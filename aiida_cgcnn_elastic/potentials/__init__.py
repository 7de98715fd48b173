"""What pre-trained universal interatomic potentials know of crystals and their atoms."""

from .compute import HOW_MADE, POTENTIAL, FeatureMaker, PotentialUnavailable, require_potential
from .features import PotentialFeatures
from .response import N_RESPONSES, RESPONSES
from .sevennet import N_FEATURES, known_elements

__all__ = [
    'HOW_MADE',
    'N_FEATURES',
    'N_RESPONSES',
    'POTENTIAL',
    'RESPONSES',
    'FeatureMaker',
    'PotentialFeatures',
    'PotentialUnavailable',
    'known_elements',
    'require_potential',
]
