"""Many predictions in one node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from aiida.common.links import LinkType
from aiida.orm import QueryBuilder

from aiida_cgcnn_elastic.data.packed import Content, PackedData, count_by, parse_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('PredictionSetData',)

REQUIRED = ('material_id', 'log10_k_vrh', 'log10_g_vrh')
ROWS_AT_ONCE = 10_000


class PredictionSetData(PackedData):
    """The predictions for a set of crystals, with the crystals that were excluded or rejected on the way.

    Attributes: ``n_crystals`` = ``n_predicted`` + ``n_excluded`` + ``n_rejected``, ``excluded_by_reason``,
    ``rejected_by_reason``, ``models`` (a list of ``name``, ``targets``, ``content_sha256``), ``source``, ``columns``,
    ``content_sha256``.
    """

    FILE_PREDICTIONS: ClassVar[str] = 'predictions.parquet'
    FILE_EXCLUSIONS: ClassVar[str] = 'exclusions.parquet'
    FILE_REJECTIONS: ClassVar[str] = 'rejections.parquet'
    FILENAMES: ClassVar[tuple[str, ...]] = (FILE_PREDICTIONS, FILE_EXCLUSIONS, FILE_REJECTIONS)

    @classmethod
    def from_files(
        cls,
        predictions: Content,
        exclusions: Content,
        rejections: Content,
        *,
        models: Mapping[str, ElasticModelData],
        source: str | None = None,
        **kwargs: Any,
    ) -> PredictionSetData:
        """Return an unstored set from the files that ``cgcnn-elastic predict`` writes.

        Parameters
        ----------
        predictions, exclusions, rejections : bytes, path or binary file object
            The Parquet files.
        models : mapping of str to ElasticModelData
            The models that predicted.
        source : str, optional
            The name of the source of the crystals.

        Raises
        ------
        ValueError
            If a file is not what it should be, or a crystal is in more than one.
        """
        node = cls(**kwargs)
        node._put_files(
            {
                cls.FILE_PREDICTIONS: predictions,
                cls.FILE_EXCLUSIONS: exclusions,
                cls.FILE_REJECTIONS: rejections,
            }
        )
        summaries = [
            {'name': model.name, 'targets': model.targets, 'content_sha256': model.content_sha256}
            for model in models.values()
        ]
        # Not by key: the same models under other keys are the same models.
        summaries.sort(key=lambda summary: (summary['name'], summary['content_sha256']))
        node.base.attributes.set_many({**node._note_summary(), 'models': summaries, 'source': source})
        return node

    @property
    def n_predicted(self) -> int:
        """Return the number of predicted crystals."""
        return self.base.attributes.get('n_predicted')

    @property
    def models(self) -> list[dict[str, Any]]:
        """Return the name, targets and checksum of each model that predicted."""
        return self.base.attributes.get('models')

    def __len__(self) -> int:
        return self.n_predicted

    def get_description(self) -> str:
        """Return a line about the set, as ``verdi`` shows it."""
        attributes = self.base.attributes.all
        names = ', '.join(model['name'] for model in self.models)
        return f'{attributes["n_predicted"]} of {attributes["n_crystals"]} crystals predicted by {names}'

    def get_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the predictions, one row a crystal.

        Parameters
        ----------
        columns : sequence of str, optional
            Read these columns alone, those of them that there are; by default all.
        """
        with self.open_file(self.FILE_PREDICTIONS) as handle:
            return parse_parquet(handle, self.FILE_PREDICTIONS, REQUIRED, columns)

    def iter_tables(self) -> Iterator[pa.Table]:
        """Yield the predictions, some thousand rows at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self.open_file(self.FILE_PREDICTIONS) as handle:
            for batch in pq.ParquetFile(handle).iter_batches(ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])

    def get_frame(self) -> pd.DataFrame:
        """Return the predictions as pandas frame, one row a crystal, in the order of the crystals."""
        return self.get_table().to_pandas()

    def get_exclusions(self) -> pa.Table:
        """Return the crystals that the criteria excluded before prediction (``material_id``, ``reason``)."""
        with self.open_file(self.FILE_EXCLUSIONS) as handle:
            return parse_parquet(handle, self.FILE_EXCLUSIONS, ('material_id', 'reason'))

    def get_rejections(self) -> pa.Table:
        """Return the crystals that could not be predicted (``material_id``, ``reason``, ``detail``)."""
        with self.open_file(self.FILE_REJECTIONS) as handle:
            return parse_parquet(handle, self.FILE_REJECTIONS, ('material_id', 'reason', 'detail'))

    def find_equal(self) -> list[int]:
        """Return the pks of the stored sets with the same predictions by the same models, this one included.

        Not by AiiDA's hash, which nodes lose when they are imported from an archive.
        """
        query = QueryBuilder(backend=self.backend)
        query.append(
            PredictionSetData,
            filters={'attributes.content_sha256': self.content_sha256},
            project=['id', 'attributes.models', 'attributes.source'],
        )
        wanted = (self.models, self.base.attributes.get('source'))
        return sorted(pk for pk, models, source in query.iterall() if (models, source) == wanted)

    def taken_from(self) -> PredictionSetData | None:
        """Return the earlier set of which this one is a part that a screening took as it was, None if it is none.

        The records of that set are those of this one, too.
        """
        for link in self.base.links.get_incoming(link_type=LinkType.CREATE).all():
            if link.node.process_label == 'take_known' and link.link_label.startswith('known__'):
                return link.node.inputs.predictions[link.link_label.removeprefix('known__')]
        return None

    def common_attributes(self) -> dict[str, str | None]:
        """Return what all records of these predictions have: ``model``, ``model_content`` and ``source``."""
        return {
            'model': '+'.join(model['name'] for model in self.models),
            'model_content': '+'.join(model['content_sha256'] for model in self.models),
            'source': self.base.attributes.get('source'),
        }

    def _summarize(self) -> dict[str, Any]:
        from aiida_cgcnn_elastic.crystals.table import rows_sha256

        predictions, exclusions, rejections = self.get_table(), self.get_exclusions(), self.get_rejections()
        tables = (predictions, exclusions, rejections)
        n_crystals = sum(table.num_rows for table in tables)
        ids = {material_id for table in tables for material_id in table.column('material_id').to_pylist()}
        if len(ids) != n_crystals:
            raise ValueError(f'{n_crystals} crystals have only {len(ids)} different ids among them')
        digests = ''.join(rows_sha256(table) for table in tables)
        return {
            'n_crystals': n_crystals,
            'n_predicted': predictions.num_rows,
            'n_excluded': exclusions.num_rows,
            'n_rejected': rejections.num_rows,
            'excluded_by_reason': count_by(exclusions, 'reason'),
            'rejected_by_reason': count_by(rejections, 'reason'),
            'columns': predictions.column_names,
            'content_sha256': hashlib.sha256(digests.encode()).hexdigest(),
        }
