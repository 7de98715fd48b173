"""Why a crystal is not a candidate: stable identifiers, and the same for people."""

from __future__ import annotations

from aiida_cgcnn_elastic.screening.criteria import Criteria

TOO_FEW_ATOMS = 'too_few_atoms'
TOO_MANY_ATOMS = 'too_many_atoms'
RADIOACTIVE_ELEMENT = 'radioactive_element'
FORBIDDEN_ELEMENT = 'forbidden_element'
ELEMENT_NOT_ALLOWED = 'element_not_allowed'
REQUIRED_ELEMENT_ABSENT = 'required_element_absent'
TOO_FEW_ELEMENTS = 'too_few_elements'
TOO_MANY_ELEMENTS = 'too_many_elements'
BAND_GAP_UNKNOWN = 'band_gap_unknown'
BAND_GAP_TOO_SMALL = 'band_gap_too_small'
BAND_GAP_TOO_LARGE = 'band_gap_too_large'
ENERGY_ABOVE_HULL_UNKNOWN = 'energy_above_hull_unknown'
ENERGY_ABOVE_HULL_TOO_HIGH = 'energy_above_hull_too_high'
NO_PREDICTION = 'no_prediction'
BELOW_FIRST_CUT = 'below_first_cut'
LOG10_K_VRH_TOO_LOW = 'log10_k_vrh_too_low'
LOG10_G_VRH_TOO_LOW = 'log10_g_vrh_too_low'
HARDNESS_TOO_LOW = 'hardness_too_low'
P_CANDIDATE_UNKNOWN = 'p_candidate_unknown'
P_CANDIDATE_TOO_LOW = 'p_candidate_too_low'
POISSON_RATIO_TOO_LOW = 'poisson_ratio_too_low'
NOVELTY_UNKNOWN = 'novelty_unknown'
NOVELTY_TOO_HIGH = 'novelty_too_high'
RESIDUAL_STRESS_TOO_LARGE = 'residual_stress_too_large'
DUPLICATE_OF_CANDIDATE = 'duplicate_of_candidate'
BEYOND_MAX_CANDIDATES = 'beyond_max_candidates'

_TEXTS = {
    TOO_FEW_ATOMS: 'fewer than {min_atoms} atoms in the cell',
    TOO_MANY_ATOMS: 'more than {max_atoms} atoms in the cell',
    RADIOACTIVE_ELEMENT: 'contains a radioactive element',
    FORBIDDEN_ELEMENT: 'contains a forbidden element',
    ELEMENT_NOT_ALLOWED: 'contains an element that is not among the allowed ones',
    REQUIRED_ELEMENT_ABSENT: 'lacks an element that is required',
    TOO_FEW_ELEMENTS: 'fewer than {min_elements} different elements',
    TOO_MANY_ELEMENTS: 'more than {max_elements} different elements',
    BAND_GAP_UNKNOWN: 'the band gap is not known',
    BAND_GAP_TOO_SMALL: 'band gap below {min_band_gap} eV',
    BAND_GAP_TOO_LARGE: 'band gap above {max_band_gap} eV',
    ENERGY_ABOVE_HULL_UNKNOWN: 'the energy above the hull is not known',
    ENERGY_ABOVE_HULL_TOO_HIGH: 'more than {max_energy_above_hull} eV/atom above the hull',
    NO_PREDICTION: 'no usable prediction of K and G',
    BELOW_FIRST_CUT: 'below the cut of the first stage, so not predicted again by the second',
    LOG10_K_VRH_TOO_LOW: 'predicted log10 K below {min_log10_k_vrh}',
    LOG10_G_VRH_TOO_LOW: 'predicted log10 G below {min_log10_g_vrh}',
    HARDNESS_TOO_LOW: 'hardness ({hardness_law}) below {min_hardness} GPa',
    P_CANDIDATE_UNKNOWN: 'the model is not calibrated, so no probability to pass is known',
    P_CANDIDATE_TOO_LOW: 'probability to pass below {min_p_candidate}',
    POISSON_RATIO_TOO_LOW: "Poisson's ratio of the predicted moduli below {min_poisson_ratio}",
    NOVELTY_UNKNOWN: 'the model is not calibrated, so no novelty is known',
    NOVELTY_TOO_HIGH: 'novelty above {max_novelty}',
    RESIDUAL_STRESS_TOO_LARGE: 'more than {max_residual_stress} GPa of stress in the crystal as it is',
    DUPLICATE_OF_CANDIDATE: 'the same material as another candidate',
    BEYOND_MAX_CANDIDATES: 'not among the best {max_candidates}',
}

REASONS: tuple[str, ...] = tuple(_TEXTS)
"""Every reason, in the order in which they are looked for: a crystal gets the first that applies."""


def describe(reason: str, criteria: Criteria) -> str:
    """Return a reason in words, with the limit that these criteria set.

    Raises
    ------
    ValueError
        If the reason is not one of `REASONS`.
    """
    if reason not in _TEXTS:
        raise ValueError(f'no reason is called {reason!r}; allowed: {", ".join(REASONS)}')
    return _TEXTS[reason].format_map(criteria.to_dict())
