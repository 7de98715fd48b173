"""ASE's ``Atoms``, as files and databases hold them, made crystals."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from aiida_cgcnn_elastic.crystals.conversions import from_ase
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.base import SourceError
from aiida_cgcnn_elastic.crystals.table import GEOMETRY_SCHEMA, PROPERTY_TYPES

if TYPE_CHECKING:
    from ase import Atoms

ID_KEY = 'material_id'
"""The key under which :func:`~aiida_cgcnn_elastic.crystals.conversions.to_ase` keeps a crystal's id."""

Value = float | int | str | bool | None


def crystal_of_atoms(atoms: Atoms, material_id: str, properties: Mapping[str, Value]) -> Crystal | Rejection:
    """Return the crystal that some atoms are, or why they are none: molecules, slabs, alloys, unknown elements."""
    if not atoms.pbc.all():
        directions = ', '.join(name for name, periodic in zip('abc', atoms.pbc, strict=True) if periodic) or 'none'
        detail = f'periodic along {directions}; a crystal is along all three directions'
        return Rejection(material_id, Reason.NOT_PERIODIC, detail)
    if (atoms.numbers < 1).any():
        return Rejection(material_id, Reason.UNKNOWN_SPECIES, "'X' names no element")
    if _is_disordered(atoms.info.get('occupancy')):
        return Rejection(material_id, Reason.DISORDERED, 'a site is partly occupied or shared')
    if abs(np.linalg.det(np.array(atoms.cell))) == 0:
        return Rejection(material_id, Reason.BAD_LATTICE, 'the cell spans no volume')
    return from_ase(atoms, material_id, properties)


def _is_disordered(occupancy: Any) -> bool:
    """Say whether occupancies, as ASE notes them of a CIF (element to fraction, by kind), are not all those of one."""
    if not isinstance(occupancy, Mapping):
        return False
    kinds = [kind for kind in occupancy.values() if isinstance(kind, Mapping)]
    return any(len(kind) != 1 or any(fraction != 1 for fraction in kind.values()) for kind in kinds)


class NumericProperties:
    """Makes property columns of key-value pairs: those that are numbers, under their keys, or names given.

    Parameters
    ----------
    names : mapping of str to str, optional
        The column of a key by the column's name, such as ``{'band_gap': 'gap'}``: the key ``gap`` becomes the column
        ``band_gap``. Numbers are taken as they are: their units must be those of the column.

    Raises
    ------
    SourceError
        If ``names`` is no such mapping, or names a column of the geometry.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        names = {} if names is None else names
        if not isinstance(names, Mapping) or not all(isinstance(key, str) for key in names.values()):
            raise SourceError(
                f'properties must be a mapping of columns to keys, such as {{"band_gap": "gap"}}: {names!r}'
            )
        if geometry := sorted(set(names) & set(GEOMETRY_SCHEMA.names)):
            raise SourceError(f'properties cannot name the columns of the geometry: {", ".join(geometry)}')
        self._column_of = {key: column for column, key in names.items()}
        self._unseen = set(self._column_of)
        self.passed_over: set[str] = set()

    def of(self, pairs: Mapping[str, Any]) -> dict[str, Value]:
        """Return the properties among some pairs; the keys of the others are noted in ``passed_over``."""
        properties: dict[str, Value] = {}
        for key, value in pairs.items():
            if key == ID_KEY:
                continue
            column = self._column_of.get(key, key)
            if value is not None:
                self._unseen.discard(key)
            number = _as_number(column, value)
            if number is None and value is not None:
                self.passed_over.add(key)
            # A key that is renamed wins over another that has the name already.
            elif column not in properties or key in self._column_of:
                properties[column] = number
        return properties

    def messages(self) -> list[str]:
        """Return what a person should know: which keys are no properties, and which of those asked for nothing has."""
        messages = []
        if self._unseen:
            messages.append(f'nothing has the keys asked for as properties: {_listed(self._unseen)}')
        if self.passed_over:
            listed = _listed(self.passed_over)
            messages.append(f'keys that are no numbers, or not what their columns hold, were passed over: {listed}')
        return messages


def _as_number(column: str, value: Any) -> float | int | None:
    """Return a value as its column holds it, None where it is no such number."""
    if column in GEOMETRY_SCHEMA.names or not isinstance(value, Real | np.bool_):
        return None
    kind = PROPERTY_TYPES.get(column, pa.float64())
    number = float(value)
    if pa.types.is_floating(kind):
        return number
    if not pa.types.is_integer(kind) or not number.is_integer() or abs(number) >= 2 ** (kind.bit_width - 1):
        return None
    return int(number)


def _listed(keys: set[str]) -> str:
    shown = sorted(keys)
    return ', '.join(shown[:10]) + (f' and {len(shown) - 10} more' if len(shown) > 10 else '')
