"""Many crystals in one node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_cgcnn_elastic.data.packed import Content, PackedData, count_by, parse_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    from aiida.orm import StructureData
    from pymatgen.core import Structure

    from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable, Rejection
    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile
    from aiida_cgcnn_elastic.crystals.sources import Origin

__all__ = ('CrystalSetData',)


class CrystalSetData(PackedData):
    """A set of crystals as one Parquet file, with the crystals that were rejected on the way and where they came from.

    Attributes: ``n_read`` = ``n_crystals`` + ``n_rejected``, ``rejected_by_reason``, ``n_skipped`` (not read, since
    filters do not want them), ``elements``, ``columns``, ``content_sha256`` and ``origin`` (``source``, ``version``,
    ``licence``, ``citation``, ``files``, ``options``, ``filters``, ``skipped_by_reason``).
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
        """Return an unstored set of the crystals of a table.

        Parameters
        ----------
        table : CrystalTable
        origin : Origin or mapping, optional
            Where the crystals come from; by default a source of the name `table`, without files.
        rejections : sequence of Rejection
            The crystals that were turned away beside them.
        **kwargs
            Passed to the constructor, such as ``label``.
        """
        from aiida_cgcnn_elastic.crystals.sources import Origin, write_rejections

        if origin is None:
            origin = Origin(source='table')
        if isinstance(origin, Origin):
            origin = origin.to_dict()
        with TemporaryDirectory() as folder:
            crystals = Path(folder) / cls.FILE_CRYSTALS
            rejected = Path(folder) / cls.FILE_REJECTIONS
            table.write(crystals)
            write_rejections(rejected, rejections)
            return cls.from_files(crystals, rejected, origin, **kwargs)

    @classmethod
    def from_files(
        cls, crystals: Content, rejections: Content, origin: Mapping[str, Any], **kwargs: Any
    ) -> CrystalSetData:
        """Return an unstored set from the files that ``cgcnn-elastic ingest`` writes.

        Parameters
        ----------
        crystals, rejections : bytes, path or binary file object
            The Parquet files.
        origin : mapping
            Where the crystals come from, as the report of ``cgcnn-elastic ingest`` says; it needs ``source``.

        Raises
        ------
        ValueError
            If a file is not what it should be.
        """
        if not origin.get('source'):
            raise ValueError(f'`origin` must name the `source` of the crystals, but is {dict(origin)}')
        node = cls(**kwargs)
        node._put_files({cls.FILE_CRYSTALS: crystals, cls.FILE_REJECTIONS: rejections})
        # Through JSON, so that tuples and the like are what they will be when read back.
        n_skipped = sum(origin.get('skipped_by_reason', {}).values())
        plain_origin = json.loads(json.dumps(dict(origin)))
        node.base.attributes.set_many({**node._note_summary(), 'n_skipped': n_skipped, 'origin': plain_origin})
        return node

    @property
    def n_crystals(self) -> int:
        """Return the number of usable crystals."""
        return self.base.attributes.get('n_crystals')

    @property
    def origin(self) -> dict[str, Any]:
        """Return where the crystals came from."""
        return self.base.attributes.get('origin')

    @property
    def source(self) -> str:
        """Return the name of the source of the crystals."""
        return self.origin['source']

    def __len__(self) -> int:
        return self.n_crystals

    def get_description(self) -> str:
        """Return a line about the set, as ``verdi`` shows it."""
        attributes = self.base.attributes.all
        return f'{attributes["n_crystals"]} crystals of {self.source} ({attributes["n_rejected"]} rejected)'

    def get_table(self, rows: tuple[int, int] | None = None) -> CrystalTable:
        """Return the crystals.

        Parameters
        ----------
        rows : tuple of int, optional
            Only the rows from the first to the second, not included. Only the parts of the file with these are read.
        """
        from aiida_cgcnn_elastic.crystals import CrystalTable

        if rows is not None:
            with self.crystal_file() as file:
                return file.rows(*rows)
        with self.open_file(self.FILE_CRYSTALS) as handle:
            return CrystalTable.from_arrow(parse_parquet(handle, self.FILE_CRYSTALS))

    @contextmanager
    def crystal_file(self) -> Iterator[CrystalFile]:
        """Open the crystals, to read them row group by row group, or some of them only."""
        from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile

        with self.open_file(self.FILE_CRYSTALS) as handle, CrystalFile(handle) as file:
            yield file

    def get_material_ids(self) -> list[str]:
        """Return every crystal's id; nothing else is read."""
        with self.open_file(self.FILE_CRYSTALS) as handle:
            return parse_parquet(handle, self.FILE_CRYSTALS, columns=['material_id']).column('material_id').to_pylist()

    def get_crystals(self, material_ids: Sequence[str]) -> list[Crystal]:
        """Return some crystals by their ids, in the order of these, without reading the others.

        Raises
        ------
        KeyError
            If the set has no crystal of one of the ids.
        """
        with self.crystal_file() as file:
            return file.find(material_ids)

    def get_rejections(self) -> list[Rejection]:
        """Return the crystals that could not be used, each with its reason."""
        from aiida_cgcnn_elastic.crystals import Reason, Rejection

        return [
            Rejection(row['material_id'], Reason(row['reason']), row['detail'])
            for row in self._rejection_table().to_pylist()
        ]

    def get_structure(self, material_id: str) -> Structure:
        """Return one crystal as pymatgen structure.

        Raises
        ------
        KeyError
            If the set has no crystal of that id.
        """
        from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen

        return to_pymatgen(self.get_crystals([material_id])[0])

    def get_structure_data(self, material_id: str) -> StructureData:
        """Return one crystal as unstored ``StructureData``; its label is the id, its description the formula.

        Raises
        ------
        KeyError
            If the set has no crystal of that id.
        """
        from aiida_cgcnn_elastic.data.structures import to_structure_data

        return to_structure_data(self.get_crystals([material_id])[0])

    def _rejection_table(self) -> pa.Table:
        with self.open_file(self.FILE_REJECTIONS) as handle:
            return parse_parquet(handle, self.FILE_REJECTIONS, required=('material_id', 'reason', 'detail'))

    def _summarize(self) -> dict[str, Any]:
        from aiida_cgcnn_elastic.crystals.table import rows_sha256

        with self.crystal_file() as file:
            summary = file.summary()
        rejections = self._rejection_table()
        digests = summary['sha256'] + rows_sha256(rejections, ['material_id', 'reason', 'detail'])
        return {
            'n_crystals': summary['n_crystals'],
            'n_rejected': rejections.num_rows,
            'n_read': summary['n_crystals'] + rejections.num_rows,
            'rejected_by_reason': count_by(rejections, 'reason'),
            'elements': summary['elements'],
            'columns': summary['columns'],
            'content_sha256': hashlib.sha256(digests.encode()).hexdigest(),
        }
