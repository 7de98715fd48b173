"""The job that reads crystals from a source's files."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, FolderData, RemoteData, SinglefileData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

__all__ = ('IngestCalculation',)


class IngestCalculation(RunnerCalculation):
    """Read crystals from the files of a source, reject the unusable ones with reasons, and pack the rest in one node."""

    SUBCOMMAND = 'ingest'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define the ports."""
        super().define(spec)
        spec.input_namespace(
            'files',
            valid_type=(SinglefileData, FolderData, RemoteData),
            dynamic=True,
            required=False,
            help='The files of the source, each under a key of choice; a RemoteData is a folder on the computer of the code. '
            'None for a source that makes its crystals itself.',
        )
        spec.input(
            'parameters',
            valid_type=Dict,
            required=False,
            help='`source`: name of the source (found out from the files where absent); `options`: its options.',
        )
        spec.output('crystals', valid_type=CrystalSetData, help='The usable crystals, and those rejected with reasons.')
