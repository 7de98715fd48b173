"""The criteria of a screening: which crystals are worth a prediction, and which predictions are worth a second look."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.screening.elements import RADIOACTIVE, SYMBOLS


class CriteriaError(ValueError):
    """Criteria that are not valid; the message names the culprit and lists what is allowed."""


@dataclass(frozen=True)
class Criteria:
    """What a candidate must fulfil; `None` means that the criterion is not applied.

    `Criteria()` applies none. People write criteria as a dictionary and read them with `from_dict`, which starts from a
    preset and checks everything; build instances directly only from values that are known to be valid.

    Attributes
    ----------
    min_log10_k_vrh, min_log10_g_vrh : float, optional
        Least predicted log10 of the bulk and shear modulus in GPa (100 GPa is 2.0).
    min_hardness : float, optional
        Least hardness in GPa by `hardness_law`.
    hardness_law : str
        A key of `elasticity.LAWS`; candidates are ranked by it too.
    allowed_elements, forbidden_elements : tuple of str, optional
        A crystal may contain only, or none of, these elements.
    required_elements : tuple of str, optional
        A crystal must contain all of these.
    min_elements, max_elements : int, optional
        Number of different elements, ends included: 2 and 2 for binary crystals.
    no_radioactive : bool
        Whether crystals with Tc, Pm or an element from Po on are left out.
    min_band_gap, max_band_gap : float, optional
        Band-gap window in eV, ends included.
    max_energy_above_hull : float, optional
        In eV/atom.
    unknown_band_gap, unknown_energy_above_hull : {'keep', 'drop'}
        What becomes of a crystal of which the source does not know the value, where a criterion asks for it.
    min_atoms, max_atoms : int, optional
        Number of atoms in the cell, ends included.
    max_candidates : int, optional
        Only so many of the best are candidates.
    min_p_candidate : float, optional
        Least probability that K, G and hardness reach the thresholds above, instead of asking that the predictions
        themselves reach them. Nothing passes whose probability is not known.
    min_poisson_ratio : float, optional
        From -1 to 0.5. Less than 0 (K below 2/3 G) is hardly known of stiff crystals, and beyond what the laws of
        hardness were made for: such a prediction says more of the model than of the crystal.
    max_novelty : float, optional
        From 0 to 1. Nothing passes whose novelty is not known.
    max_residual_stress : float, optional
        GPa, of the largest absolute principal stress that a potential finds in the crystal as it is: moduli of a
        crystal that is far from its equilibrium are not those that it would have. Models without a potential know
        none, and it is not applied to what they predict.
    duplicates : {'once', 'all'}
        Whether a material that occurs several times, as the column `duplicate_of` tells, is a candidate once or as
        often as it passes.
    """

    min_log10_k_vrh: float | None = None
    min_log10_g_vrh: float | None = None
    min_hardness: float | None = None
    hardness_law: str = 'chen'
    allowed_elements: tuple[str, ...] | None = None
    forbidden_elements: tuple[str, ...] | None = None
    required_elements: tuple[str, ...] | None = None
    min_elements: int | None = None
    max_elements: int | None = None
    no_radioactive: bool = False
    min_band_gap: float | None = None
    max_band_gap: float | None = None
    max_energy_above_hull: float | None = None
    unknown_band_gap: str = 'keep'
    unknown_energy_above_hull: str = 'keep'
    min_atoms: int | None = None
    max_atoms: int | None = None
    max_candidates: int | None = None
    min_p_candidate: float | None = None
    min_poisson_ratio: float | None = None
    max_novelty: float | None = None
    max_residual_stress: float | None = None
    duplicates: str = 'all'

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Criteria:
        """Return the criteria that a dictionary describes, checked.

        Parameters
        ----------
        values : mapping
            Names of attributes to values. The key `preset` names the preset whose values hold where the dictionary is
            silent; it is 'default' if absent. `None` (null) takes a criterion of the preset away.

        Raises
        ------
        CriteriaError
            If a key is unknown, a value has the wrong type, or no crystal could fulfil the criteria.
        """
        if not isinstance(values, Mapping):
            raise CriteriaError(
                f'criteria are a dictionary, not {type(values).__name__}; its keys may be {_listed(KEYS)}'
            )
        unknown = [key for key in values if key not in KEYS]
        if unknown:
            raise CriteriaError('; '.join(_unknown_key(key) for key in unknown) + f'. Allowed: {_listed(KEYS)}')
        preset = values.get('preset')
        if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
            raise CriteriaError(f'no preset is called {preset!r}; allowed: {_listed(PRESETS)}')
        given = {key: _checked(key, value) for key, value in values.items() if key != 'preset'}
        criteria = dataclasses.replace(PRESETS[preset or 'default'], **given)
        criteria._check_that_something_can_pass()
        return criteria

    def to_dict(self) -> dict[str, Any]:
        """Return every criterion by name, also those not applied, as plain values that JSON and AiiDA's `Dict` hold.

        `Criteria.from_dict(criteria.to_dict()) == criteria`, whatever the presets become.
        """
        values = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def filters(self) -> Criteria:
        """Return only what can be decided before a prediction: elements, band gap, hull and number of atoms."""
        return dataclasses.replace(Criteria(), **{key: getattr(self, key) for key in FILTER_KEYS})

    def thresholds(self) -> Criteria:
        """Return only what needs a prediction: what is asked of moduli, and how many candidates."""
        return dataclasses.replace(Criteria(), **{key: getattr(self, key) for key in THRESHOLD_KEYS})

    def thresholds_on_moduli(self) -> Criteria:
        """Return only what is asked of K, G and hardness."""
        keys = ('min_log10_k_vrh', 'min_log10_g_vrh', 'min_hardness', 'hardness_law')
        return dataclasses.replace(Criteria(), **{key: getattr(self, key) for key in keys})

    @property
    def has_thresholds(self) -> bool:
        """Whether anything is asked of predicted moduli or hardness."""
        return any(value is not None for value in (self.min_log10_k_vrh, self.min_log10_g_vrh, self.min_hardness))

    def _check_that_something_can_pass(self) -> None:
        for low, high in _WINDOWS:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise CriteriaError(f'{low} ({least}) is larger than {high} ({most}): nothing lies in that window')
        if self.max_band_gap is not None and self.max_band_gap < 0:
            raise CriteriaError(f'max_band_gap ({self.max_band_gap} eV) is negative: no crystal has such a gap')
        self._check_elements()

    def _check_elements(self) -> None:
        required = set(self.required_elements or ())
        if self.max_elements is not None and len(required) > self.max_elements:
            raise CriteriaError(f'{len(required)} required elements and max_elements of {self.max_elements}')
        if impossible := sorted(required & set(self.forbidden_elements or ())):
            raise CriteriaError(f'elements both required and forbidden: {_listed(impossible)}')
        if self.no_radioactive and required & RADIOACTIVE:
            raise CriteriaError(f'required, but radioactive: {_listed(sorted(required & RADIOACTIVE))}')
        if self.allowed_elements is not None:
            if absent := sorted(required - set(self.allowed_elements)):
                raise CriteriaError(f'elements required but not allowed: {_listed(absent)}')
            both = sorted(set(self.allowed_elements) & set(self.forbidden_elements or ()))
            if both:
                raise CriteriaError(f'elements both allowed and forbidden: {_listed(both)}')
            if self.no_radioactive and set(self.allowed_elements) <= RADIOACTIVE:
                raise CriteriaError('every allowed element is radioactive and no_radioactive is true: nothing can pass')


FILTER_KEYS: tuple[str, ...] = (
    'allowed_elements',
    'forbidden_elements',
    'required_elements',
    'min_elements',
    'max_elements',
    'no_radioactive',
    'min_band_gap',
    'max_band_gap',
    'max_energy_above_hull',
    'unknown_band_gap',
    'unknown_energy_above_hull',
    'min_atoms',
    'max_atoms',
)
THRESHOLD_KEYS: tuple[str, ...] = (
    'min_log10_k_vrh',
    'min_log10_g_vrh',
    'min_hardness',
    'hardness_law',
    'max_candidates',
    'min_p_candidate',
    'min_poisson_ratio',
    'max_novelty',
    'max_residual_stress',
    'duplicates',
)
KEYS: tuple[str, ...] = ('preset', *(field.name for field in dataclasses.fields(Criteria)))
"""Every key that a dictionary of criteria may have."""

DEFAULT = Criteria(
    min_log10_k_vrh=2.0,
    min_log10_g_vrh=2.0,
    min_hardness=20.0,
    min_poisson_ratio=0.0,
    max_residual_stress=20.0,
    no_radioactive=True,
    duplicates='once',
)
"""K and G of at least 100 GPa, 20 GPa of hardness by Chen's law, Poisson's ratio not negative, at most 20 GPa of
residual stress (which changes a bulk modulus by some 80 GPa), nothing radioactive, every material once."""

PRESETS: dict[str, Criteria] = {
    'default': DEFAULT,
    # Liu et al. 2025 screened their crystals for the gap and for radioactivity before they predicted. They knew every
    # gap, so a crystal of unknown gap would not have been among theirs. Their thresholds are the defaults, with none on
    # Poisson's ratio or residual stress.
    'study': dataclasses.replace(
        DEFAULT,
        min_band_gap=0.1,
        max_band_gap=3.0,
        unknown_band_gap='drop',
        min_poisson_ratio=None,
        max_residual_stress=None,
    ),
}
"""Criteria to start from, by name."""

_WINDOWS = (
    ('min_band_gap', 'max_band_gap'),
    ('min_atoms', 'max_atoms'),
    ('min_elements', 'max_elements'),
)
_KEEP_OR_DROP = ('keep', 'drop')
_ONCE_OR_ALL = ('once', 'all')
_LOG10_BOUNDS = (-3.0, 4.0)


def _listed(names: Iterable[str]) -> str:
    return ', '.join(names)


def _unknown_key(key: Any) -> str:
    near = difflib.get_close_matches(str(key), KEYS, n=1)
    return f'unknown criterion {key!r}' + (f' (did you mean {near[0]!r}?)' if near else '')


def _checked(key: str, value: Any) -> Any:
    """Return the value in the type that the attribute has, or raise saying what is allowed."""
    if key == 'no_radioactive':
        if not isinstance(value, bool):
            raise CriteriaError(f'{key} must be true or false, not {value!r}')
        return value
    if key in ('unknown_band_gap', 'unknown_energy_above_hull'):
        return _one_of(key, value, _KEEP_OR_DROP)
    if key == 'duplicates':
        return _one_of(key, value, _ONCE_OR_ALL)
    if key == 'hardness_law':
        return _one_of(key, value, tuple(LAWS))
    if value is None:
        return None
    if key in ('allowed_elements', 'forbidden_elements', 'required_elements'):
        return _symbols(key, value)
    if key in ('min_atoms', 'max_atoms', 'min_elements', 'max_elements', 'max_candidates'):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CriteriaError(f'{key} must be a whole number of at least 1, or null, not {value!r}')
        return value
    number = _number(key, value)
    if key in ('min_log10_k_vrh', 'min_log10_g_vrh') and not _LOG10_BOUNDS[0] <= number <= _LOG10_BOUNDS[1]:
        raise CriteriaError(
            f'{key} is the log10 of a modulus in GPa and lies between {_LOG10_BOUNDS[0]} and {_LOG10_BOUNDS[1]} '
            f'(100 GPa is 2.0), not {number}'
        )
    if key == 'min_poisson_ratio' and not -1 <= number <= 0.5:
        raise CriteriaError(f'{key} lies between -1 and 0.5, as that of any isotropic body, not {number}')
    if key == 'min_hardness' and number < 0:
        raise CriteriaError(f'{key} is in GPa and not negative (null: no threshold), not {number}')
    if key == 'max_residual_stress' and number < 0:
        raise CriteriaError(f'{key} is in GPa and not negative, as it is of an absolute value, not {number}')
    if key in ('min_p_candidate', 'max_novelty') and not 0 <= number <= 1:
        raise CriteriaError(f'{key} lies between 0 and 1, not {number}')
    return number


def _one_of(key: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise CriteriaError(f'{key} must be one of {_listed(allowed)}, not {value!r}')
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CriteriaError(f'{key} must be a finite number, or null, not {value!r}')
    return float(value)


def _symbols(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise CriteriaError(f"{key} must be a list of symbols such as ['B', 'C', 'N'], or null, not {value!r}")
    symbols = list(value)
    wrong = [symbol for symbol in symbols if symbol not in SYMBOLS]
    if wrong:
        raise CriteriaError(
            f'{key}: {_listed(map(repr, wrong))} not among the elements; symbols are written H, He, ... Og'
        )
    if not symbols and key == 'allowed_elements':
        raise CriteriaError(
            'allowed_elements is empty: nothing can pass; leave the key out, or null, to allow all elements'
        )
    return tuple(sorted(set(symbols)))
