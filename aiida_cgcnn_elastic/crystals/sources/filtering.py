"""Any source, less the crystals that filters do not want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aiida_cgcnn_elastic.crystals.sources.base import Batch, Filters, Origin, Source


class FilteredSource(Source):
    """A source less the crystals that filters do not want; how many, and why, is told and recorded.

    Where the source can, crystals are left out before they are parsed; the others after that, by what is then known of
    them.

    Parameters
    ----------
    source : Source
        The source, not yet read.
    filters : Filters
        Which crystals are not wanted.
    """

    name = 'filtered'
    needs_path = False

    def __init__(self, source: Source, filters: Filters) -> None:
        super().__init__()
        self._source = source
        self._filters = filters
        self._skipped: Counter[str] = Counter()
        source.skip_unwanted(filters)

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:  # noqa: ARG003 - no paths make one
        """Return False: this is made of a source, not of paths."""
        return False

    @property
    def is_online(self) -> bool:
        """Whether the source is."""
        return self._source.is_online

    @property
    def n_expected(self) -> int | None:
        """How many crystals the source has, wanted or not."""
        return self._source.n_expected

    def batches(self) -> Iterator[Batch]:
        """Read the source, without what is not wanted."""
        self._skipped = Counter()
        for batch in self._source.batches():
            filtered = self._filtered(batch)
            self._skipped += filtered.skipped
            yield filtered

    def _filtered(self, batch: Batch) -> Batch:
        reasons = self._filters.why_unwanted(batch.table.describe())
        unwanted = np.array([reason is not None for reason in reasons], dtype=bool)
        if not unwanted.any():
            return batch
        return Batch(
            batch.table.select(~unwanted), batch.rejections, batch.skipped + Counter(reasons[unwanted].tolist())
        )

    def notes(self) -> list[str]:
        """Say what the source has to say."""
        return self._source.notes()

    def origin(self) -> Origin:
        """Return the source's origin, with the filters and what they left out."""
        origin = self._source.origin()
        origin.filters = dict(self._filters.settings)
        origin.skipped_by_reason = dict(sorted(self._skipped.items()))
        return origin
