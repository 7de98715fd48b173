"""Several sources read as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiida_cgcnn_elastic.crystals.sources import Batch, Origin, Source


class ChainedSource(Source):
    """Sources of any kinds, one after the other, so that a mixture of files is read like one input.

    Parameters
    ----------
    sources : sequence of Source
        At least one.
    """

    name = 'chain'
    needs_path = False

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__()
        self._sources = tuple(sources)

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:  # noqa: ARG003 - no paths make a chain
        """Return False: a chain is made of sources, not of paths."""
        return False

    @property
    def is_online(self) -> bool:
        """Whether one of the sources is."""
        return any(source.is_online for source in self._sources)

    @property
    def n_expected(self) -> int | None:
        """How many crystals there will be, where all sources know."""
        counts = [source.n_expected for source in self._sources]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def batches(self) -> Iterator[Batch]:
        """Read source by source."""
        for source in self._sources:
            yield from source.batches()

    def notes(self) -> list[str]:
        """Say what all have to say."""
        return [note for source in self._sources for note in source.notes()]

    def origin(self) -> Origin:
        """Join the origins: their files one after the other, what differs in words separated by semicolons."""
        origins = [source.origin() for source in self._sources]
        return Origin(
            source=_joined([origin.source for origin in origins], ' + ') or self.name,
            version=_joined([origin.version for origin in origins]),
            licence=_joined([origin.licence for origin in origins]),
            citation=_joined([origin.citation for origin in origins]),
            files=[file for origin in origins for file in origin.files],
            options={key: value for origin in origins for key, value in origin.options.items()},
            messages=[message for origin in origins for message in origin.messages],
            filters={key: value for origin in origins for key, value in origin.filters.items()},
            skipped_by_reason=dict(sum((Counter(origin.skipped_by_reason) for origin in origins), Counter())),
        )


def _joined(values: Sequence[str | None], separator: str = '; ') -> str | None:
    return separator.join(dict.fromkeys(value for value in values if value)) or None
