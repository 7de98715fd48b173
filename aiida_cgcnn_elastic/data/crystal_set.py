"""Many crystals in one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_cgcnn_elastic.data.packed import PackedData

if TYPE_CHECKING:
    from aiida.orm import StructureData
    from pymatgen.core import Structure

    from aiida_cgcnn_elastic.crystals.crystal import Rejection
    from aiida_cgcnn_elastic.crystals.sources.base import Origin
    from aiida_cgcnn_elastic.crystals.table import CrystalTable

__all__ = ('CrystalSetData',)


class CrystalSetData(PackedData):
    """A set of crystals as one Parquet file, with the crystals that were rejected on the way and where they came from.

    Attributes: ``n_crystals``, ``n_read``, ``n_rejected``, ``rejected_by_reason``, ``elements``, ``columns``, ``origin`` (``source``,
    ``version``, ``licence``, ``citation``, ``files``, ``options``), ``content_sha256``.
    """

    FILE_CRYSTALS: ClassVar[str] = 'crystals.parquet'
    FILE_REJECTIONS: ClassVar[str] = 'rejections.parquet'
    FILENAMES: ClassVar[tuple[str, ...]] = (FILE_CRYSTALS, FILE_REJECTIONS)

    @classmethod
    def from_table(
        cls,
        table: CrystalTable,
        origin: Origin | Mapping[str, Any] | None = None,
        rejections: Sequence[Rejection] = (),
        **kwargs: Any,
    ) -> CrystalSetData:
        """Return an unstored set of the crystals of a table."""
        raise NotImplementedError

    @classmethod
    def from_files(
        cls, crystals: bytes | Path, rejections: bytes | Path, origin: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> CrystalSetData:
        """Return an unstored set from the files that ``cgcnn-elastic ingest`` writes."""
        raise NotImplementedError

    @property
    def n_crystals(self) -> int:
        """Return the number of usable crystals."""
        return self.base.attributes.get('n_crystals')

    @property
    def origin(self) -> dict[str, Any]:
        """Return where the crystals came from."""
        return self.base.attributes.get('origin')

    def __len__(self) -> int:
        return self.n_crystals

    def get_table(self, rows: tuple[int, int] | None = None) -> CrystalTable:
        """Return the crystals, or those of the half-open range ``rows`` = (start, stop)."""
        raise NotImplementedError

    def get_rejections(self) -> list[Rejection]:
        """Return the crystals that could not be used, each with its reason."""
        raise NotImplementedError

    def get_structure(self, material_id: str) -> Structure:
        """Return one crystal as pymatgen structure.

        Raises
        ------
        KeyError
            If the set has no crystal of that id.
        """
        raise NotImplementedError

    def get_structure_data(self, material_id: str) -> StructureData:
        """Return one crystal as unstored ``StructureData`` whose label is the material id."""
        raise NotImplementedError
