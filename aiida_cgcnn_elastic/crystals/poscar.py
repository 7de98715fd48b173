"""Crystals from VASP's POSCAR format."""

from __future__ import annotations

import warnings

from aiida_cgcnn_elastic.crystals.conversions import from_pymatgen
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection


def parse_poscar(text: str | bytes, material_id: str) -> Crystal | Rejection:
    """Read a POSCAR or CONTCAR with pymatgen; its geometry is the caller's to check.

    A file of VASP 4's format, which names no elements, is rejected: the elements are in another file.
    """
    from pymatgen.io.vasp import Poscar

    if isinstance(text, bytes):
        text = text.decode('utf-8', errors='replace')
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
