"""What physics says of the elements, as numbers that a network can start from."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

__all__ = ['N_ELEMENTS', 'element_features', 'element_properties', 'more_element_properties']

N_ELEMENTS = 118

BLOCKS = 'spdf'
D_ELECTRONS = 10
LAST_MEASURED = 103
"""pymatgen has placeholders among the properties of the elements after lawrencium, such as 65 eV for darmstadtium."""
FROM_POSITION = ('group', 'period', 'block', 'valence_electrons')
LOGARITHMIC = ('first_ionisation_energy', 'atomic_volume')
LAST_SPANNED = 100
N_GAUSSIANS = 10
NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86)


def element_properties() -> dict[str, npt.NDArray[np.float64]]:
    """Return the properties of the elements, arrays of shape (119,) indexed by atomic number; place 0 is NaN.

    ``group``, ``period``, ``block`` (0 to 3 for s, p, d, f), ``valence_electrons`` (outside the noble-gas core and
    filled d and f shells), ``electronegativity`` (Pauling), ``covalent_radius`` (Angstrom; Cordero et al., Dalton
    Trans. 2008, 2832), ``first_ionisation_energy`` (eV), ``electron_affinity`` (eV), ``atomic_volume`` (molar volume,
    cm^3/mol).

    The values are pymatgen's. Where it has none (the electronegativity of helium) or none that is measured (after
    lawrencium), the value of the nearest element by atomic number in the same group and block is taken: a homologue is
    a better guess than a mean, and no element is left without a number.
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element

    names = (
        'group',
        'period',
        'block',
        'valence_electrons',
        'electronegativity',
        'covalent_radius',
        'first_ionisation_energy',
        'electron_affinity',
        'atomic_volume',
    )
    properties = {name: np.full(N_ELEMENTS + 1, np.nan) for name in names}
    for number in range(1, N_ELEMENTS + 1):
        element = Element.from_Z(number)
        with warnings.catch_warnings():
            # pymatgen warns of every electronegativity that it does not have; such gaps are filled below.
            warnings.simplefilter('ignore')
            electronegativity = element.X
        energies = element.data.get('Ionization energies') or [None]
        values = {
            'group': element.group,
            'period': element.row,
            'block': BLOCKS.index(element.block),
            'valence_electrons': _valence_electrons(number, element.group, element.block),
            'electronegativity': electronegativity,
            'covalent_radius': CovalentRadius.radius.get(element.symbol),
            'first_ionisation_energy': energies[0],
            'electron_affinity': element.data.get('Electron affinity'),
            'atomic_volume': element.data.get('Molar volume'),
        }
        for name, value in values.items():
            is_known = value is not None and (number <= LAST_MEASURED or name in FROM_POSITION)
            properties[name][number] = float(value) if is_known else np.nan
    for values_of_all in properties.values():
        _fill_from_homologues(values_of_all, properties['group'], properties['block'])
    return properties


def more_element_properties() -> dict[str, npt.NDArray[np.float64]]:
    """Return `element_properties` and more, for models that choose among many.

    ``atomic_radius``, ``van_der_waals_radius`` (Angstrom), ``atomic_mass`` (u), ``mendeleev_number``, ``melting_point``
    (K), ``bulk_modulus`` and ``shear_modulus`` (of the solid element, GPa), ``s_electrons`` to ``f_electrons`` (outside
    the noble-gas core). Gaps are filled as in `element_properties`.
    """
    from pymatgen.core import Element

    properties = element_properties()
    of_element = {
        'atomic_radius': lambda element: element.atomic_radius,
        'van_der_waals_radius': lambda element: element.van_der_waals_radius,
        'atomic_mass': lambda element: element.atomic_mass,
        'mendeleev_number': lambda element: element.mendeleev_no,
        'melting_point': lambda element: element.melting_point,
        'bulk_modulus': lambda element: element.bulk_modulus,
        'shear_modulus': lambda element: element.rigidity_modulus,
    }
    more = {name: np.full(N_ELEMENTS + 1, np.nan) for name in of_element}
    more |= {f'{block}_electrons': np.full(N_ELEMENTS + 1, np.nan) for block in BLOCKS}
    for number in range(1, N_ELEMENTS + 1):
        element = Element.from_Z(number)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # pymatgen warns of every value that it does not have.
            values = {name: get(element) for name, get in of_element.items()}
        if number <= LAST_MEASURED:
            values |= _outer_electrons(element.electronic_structure)
        for name, value in values.items():
            is_known = value is not None and (number <= LAST_MEASURED or name == 'atomic_mass')
            more[name][number] = float(value) if is_known else np.nan
    for values_of_all in more.values():
        # Where no element of a group has a modulus or a melting point, they are gases: soft as solids.
        for number in range(1, N_ELEMENTS + 1):
            same = (properties['group'] == properties['group'][number]) & (
                properties['block'] == properties['block'][number]
            )
            if np.isnan(values_of_all[same]).all():
                values_of_all[number] = 0.0
        _fill_from_homologues(values_of_all, properties['group'], properties['block'])
    return {**properties, **more}


def element_features() -> npt.NDArray[np.float32]:
    """Return the features of the elements that networks are trained on, shape (119, 84); row 0 is zero.

    Every property is expanded in ten Gaussians that span the elements up to fermium (few crystals hold heavier ones),
    one spacing wide; the ionisation energy and the atomic volume as logarithms. The block is one-hot. For elements that
    are not in the training set this is as good as the bare numbers and far better than a learned embedding; for the
    others it is better than the numbers (``benchmarks/element_features.py``).
    """
    columns = []
    for name, values in element_properties().items():
        if name == 'block':
            columns.append((values[:, None] == np.arange(len(BLOCKS))).astype(float))
            continue
        scaled = np.log(values) if name in LOGARITHMIC else values
        low, high = scaled[1 : LAST_SPANNED + 1].min(), scaled[1 : LAST_SPANNED + 1].max()
        position = np.clip((scaled - low) / (high - low), 0, 1) * (N_GAUSSIANS - 1)
        columns.append(np.exp(-((position[:, None] - np.arange(N_GAUSSIANS)) ** 2)))
    features = np.concatenate(columns, axis=1)
    features[0] = 0.0
    return features.astype(np.float32)


def _outer_electrons(structure: str) -> dict[str, int]:
    """Return the electrons by block in a structure such as ``[Ar].3d6.4s2``."""
    counts = {f'{block}_electrons': 0 for block in BLOCKS}
    for shell in structure.split('.'):
        if not shell.startswith('['):
            counts[f'{shell[1]}_electrons'] += int(shell[2:])
    return counts


def _valence_electrons(number: int, group: int, block: str) -> int:
    """Return the number of electrons outside the noble-gas core and outside filled d and f shells."""
    if block == 'f':
        return number - max(core for core in NOBLE_GASES if core < number)
    if block == 'p':
        return group - D_ELECTRONS
    return min(group, 2) if block == 's' else group


def _fill_from_homologues(
    values: npt.NDArray[np.float64], groups: npt.NDArray[np.float64], blocks: npt.NDArray[np.float64]
) -> None:
    """Replace missing values, in place, by those of the nearest element in the same group and block."""
    known = np.flatnonzero(np.isfinite(values))
    for number in range(1, N_ELEMENTS + 1):
        if np.isfinite(values[number]):
            continue
        homologues = known[(groups[known] == groups[number]) & (blocks[known] == blocks[number])]
        if not len(homologues):
            raise RuntimeError(f'no homologue of element {number} has the property that it lacks')
        values[number] = values[homologues[np.argmin(np.abs(homologues - number))]]
