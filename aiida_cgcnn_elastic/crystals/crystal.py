"""One crystal, and why a crystal can be turned away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt


class Reason(str, Enum):  # noqa: UP042  (StrEnum needs Python 3.11)
    """Why a crystal cannot be used."""

    UNREADABLE = 'unreadable'
    NO_ATOMS = 'no_atoms'
    DISORDERED = 'disordered'
    NOT_PERIODIC = 'not_periodic'
    UNKNOWN_SPECIES = 'unknown_species'
    ATOMS_OVERLAP = 'atoms_overlap'
    BAD_LATTICE = 'bad_lattice'
    BAD_COORDINATES = 'bad_coordinates'
    TOO_MANY_ATOMS = 'too_many_atoms'
    NO_ID = 'no_id'
    DUPLICATE_ID = 'duplicate_id'
    TARGETS_DIFFER = 'targets_differ'
    MODULI_UNSOUND = 'moduli_unsound'

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Rejection:
    """A crystal that was read and turned away.

    Parameters
    ----------
    material_id : str
        The crystal's id, or where the file gives none, the best name there is for it (a file's name, a row's number).
    reason : Reason
        The kind of fault.
    detail : str
        What exactly was found, for a person.
    """

    material_id: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """A periodic crystal whose every site is fully occupied by one element.

    Parameters
    ----------
    material_id : str
        The id that the source gives it; never a number.
    lattice : array of float64, shape (3, 3)
        Lattice vectors as rows, in Angstrom.
    atomic_numbers : array of uint8, shape (n,)
        Atomic numbers.
    frac_coords : array of float64, shape (n, 3)
        Fractional coordinates.
    properties : dict
        What else the source knows, by column name; missing values are None.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """

    material_id: str
    lattice: npt.NDArray[np.float64]
    atomic_numbers: npt.NDArray[np.uint8]
    frac_coords: npt.NDArray[np.float64]
    properties: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The dataclass is frozen, so normalised arrays can only be set this way.
        numbers = np.asarray(self.atomic_numbers)
        # Bytes are compared in a tenth of the time that numpy takes to call min and max.
        values = numbers.tobytes() if numbers.dtype == np.uint8 else numbers
        if len(values) and (min(values) < 1 or max(values) > 118):
            raise ValueError(f'crystal {self.material_id!r}: atomic numbers must lie between 1 and 118')
        object.__setattr__(self, 'lattice', np.asarray(self.lattice, dtype=np.float64))
        object.__setattr__(self, 'atomic_numbers', numbers.astype(np.uint8, copy=False))
        object.__setattr__(self, 'frac_coords', np.asarray(self.frac_coords, dtype=np.float64))
        if self.lattice.shape != (3, 3):
            raise ValueError(f'crystal {self.material_id!r}: lattice has shape {self.lattice.shape}, not (3, 3)')
        n_atoms = len(self.atomic_numbers)
        if self.atomic_numbers.shape != (n_atoms,) or self.frac_coords.shape != (n_atoms, 3):
            raise ValueError(
                f'crystal {self.material_id!r}: atomic_numbers {self.atomic_numbers.shape} and frac_coords '
                f'{self.frac_coords.shape} do not belong together'
            )

    def __eq__(self, other: object) -> bool:
        """Compare every value exactly."""
        if not isinstance(other, Crystal):
            return NotImplemented
        return (
            self.material_id == other.material_id
            and np.array_equal(self.lattice, other.lattice)
            and np.array_equal(self.atomic_numbers, other.atomic_numbers)
            and np.array_equal(self.frac_coords, other.frac_coords)
            and dict(self.properties) == dict(other.properties)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def n_atoms(self) -> int:
        """The number of atoms in the cell."""
        return len(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """The cell's volume in Angstrom^3."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def formula(self) -> str:
        """The reduced formula."""
        from aiida_cgcnn_elastic.crystals.composition import reduced_formula

        return reduced_formula(self.atomic_numbers)
