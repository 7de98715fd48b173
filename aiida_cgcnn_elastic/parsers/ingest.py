"""The parser of ``cgcnn-elastic ingest``."""

from __future__ import annotations

from typing import Any

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.parsers.base import OutputError, RunnerParser, require_equal

__all__ = ('IngestParser',)


class IngestParser(RunnerParser):
    """Make a crystal set of the retrieved files."""

    def parse_outputs(self, report: dict[str, Any]) -> None:
        """Attach the crystals."""
        try:
            with self.opened(*CrystalSetData.FILENAMES) as (crystals_file, rejections_file):
                crystals = CrystalSetData.from_files(crystals_file, rejections_file, report['origin'])
        except (KeyError, ValueError) as exception:
            raise OutputError(self.unreadable(CrystalSetData.FILE_CRYSTALS, exception)) from exception
        attributes = crystals.base.attributes
        require_equal({'crystals in the report': report['n_crystals'], 'in the file': crystals.n_crystals})
        require_equal({'rejected in the report': report['n_rejected'], 'in the file': attributes.get('n_rejected')})
        require_equal({'read': report['n_read'], 'kept or rejected': attributes.get('n_read')})
        require_equal({'skipped in the report': report['n_skipped'], 'by reason': attributes.get('n_skipped')})
        self.out('crystals', crystals)
