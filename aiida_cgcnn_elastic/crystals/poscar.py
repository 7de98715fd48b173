"""Crystals from VASP's POSCAR format."""

from __future__ import annotations

import warnings

import numpy as np

from aiida_cgcnn_elastic.crystals.checks import why_unusable
from aiida_cgcnn_elastic.crystals.conversions import from_pymatgen
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection


def read_poscar(text: str | bytes, material_id: str) -> Crystal | Rejection:
    """Read a POSCAR or CONTCAR with pymatgen.

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
        crystal = from_pymatgen(poscar.structure, material_id)
    except ValueError as error:
        return Rejection(material_id, Reason.UNKNOWN_SPECIES, str(error))
    fault = why_unusable(crystal.lattice, crystal.atomic_numbers, np.asarray(crystal.frac_coords))
    return crystal if fault is None else Rejection(material_id, *fault)
