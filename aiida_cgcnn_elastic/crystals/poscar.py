"""Crystals from VASP's POSCAR format."""

from __future__ import annotations

import warnings

from aiida_cgcnn_elastic.crystals.checks import MAX_ATOMS
from aiida_cgcnn_elastic.crystals.conversions import from_pymatgen
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection

# Behind the comment, the scale and the lattice; long lists of species and counts are wrapped, pymatgen reads ten lines.
_FIRST_LINE_OF_COUNTS = 5
_LAST_LINE_OF_COUNTS = 26


def parse_poscar(text: str | bytes, material_id: str) -> Crystal | Rejection:
    """Read a POSCAR or CONTCAR with pymatgen; its geometry is the caller's to check.

    A file of VASP 4's format, which names no elements, is rejected: the elements are in another file.
    """
    from pymatgen.io.vasp import Poscar

    if isinstance(text, bytes):
        text = text.decode('utf-8', errors='replace')
    if _sum_of_counts(text) > MAX_ATOMS:
        # pymatgen makes lists as long as the file says before it looks whether there are so many atoms.
        return Rejection(material_id, Reason.TOO_MANY_ATOMS, f'the file says it has more than {MAX_ATOMS} atoms')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what matters among them is checked below
        try:
            poscar = Poscar.from_str(text, read_velocities=False)
        except Exception as error:  # pymatgen raises whatever its parsing stumbles on
            return Rejection(material_id, Reason.UNREADABLE, f'pymatgen: {type(error).__name__}: {error}')
    if not poscar.true_names:
        return Rejection(material_id, Reason.UNKNOWN_SPECIES, 'the file names no elements')
    try:
        return from_pymatgen(poscar.structure, material_id)
    except ValueError as error:
        return Rejection(material_id, Reason.UNKNOWN_SPECIES, str(error))


def _sum_of_counts(text: str) -> int:
    """Return the sum of the whole numbers where the numbers of atoms are, the few that are coordinates included."""
    total = 0
    for line in text.split('\n', _LAST_LINE_OF_COUNTS + 1)[_FIRST_LINE_OF_COUNTS : _LAST_LINE_OF_COUNTS + 1]:
        for word in line.split():
            try:
                total += max(0, int(word))
            except ValueError:
                continue
    return total
