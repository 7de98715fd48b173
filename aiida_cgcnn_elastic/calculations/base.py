"""What the jobs that run the executable ``cgcnn-elastic`` have in common."""

from __future__ import annotations

from typing import ClassVar

from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import AbstractCode, Dict, ProcessNode

__all__ = ('RunnerCalculation',)


class RunnerCalculation(CalcJob):
    """A job that runs one subcommand of ``cgcnn-elastic``: files in, files and a report out."""

    SUBCOMMAND: ClassVar[str]
    FILE_REPORT: ClassVar[str] = 'report.json'
    FILE_PROGRESS: ClassVar[str] = 'progress.json'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define the ports, options and exit codes that all jobs share."""
        super().define(spec)
        spec.inputs['code'].required = True  # type: ignore[index]
        spec.inputs['code'].valid_type = AbstractCode  # type: ignore[index]
        options = spec.inputs['metadata']['options']  # type: ignore[index]
        options['resources'].default = lambda: {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['parser_name'].default = f'cgcnn_elastic.{cls.SUBCOMMAND}'
        spec.output(
            'report', valid_type=Dict, help='Status, counts, timings and versions, as the executable wrote them.'
        )

        for status, label, message in (
            (210, 'ERROR_INPUT_UNREADABLE', 'An input could not be read; the report names it.'),
            (
                211,
                'ERROR_NO_USABLE_CRYSTAL',
                'Not one crystal of the input could be used; the report counts the reasons.',
            ),
            (212, 'ERROR_MODEL_UNUSABLE', 'A model could not be loaded or does not fit its card; store it anew.'),
            (
                213,
                'ERROR_TARGETS_MISSING',
                'The crystals lack the target columns, or the split cannot be made with them.',
            ),
            (214, 'ERROR_SETTINGS_INVALID', 'The criteria or the training protocol are invalid; the report says why.'),
            (
                301,
                'ERROR_REPORT_MISSING',
                'The job left no report: it was killed or never started; see its standard error.',
            ),
            (302, 'ERROR_OUTPUT_MISSING', 'The job reports success but the file `{filename}` was not retrieved.'),
            (303, 'ERROR_OUTPUT_UNREADABLE', 'The file `{filename}` cannot be read: {reason}'),
            (304, 'ERROR_COUNTS_DIFFER', 'The counts do not add up: {reason}'),
            (
                305,
                'ERROR_UNEXPECTED',
                'The executable failed in a way it did not foresee; see the report and standard error.',
            ),
            (
                400,
                'ERROR_STOPPED',
                'Stopped by the time limit or by a signal; continue with `remote_folder` as `parent_folder`.',
            ),
            (401, 'ERROR_OUT_OF_MEMORY', 'Out of memory; give the job more, or fewer crystals, or a smaller batch.'),
            (402, 'ERROR_DIVERGED', 'The training diverged; lower the learning rate or change the seed.'),
        ):
            spec.exit_code(status, label, message=message, invalidates_cache=True)

    @classmethod
    def is_valid_cache(cls, node: ProcessNode) -> bool:
        """Return whether a job may stand in for an equal one: only if it succeeded."""
        return super().is_valid_cache(node) and node.is_finished_ok

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Stage the inputs and return what to run and what to retrieve."""
        raise NotImplementedError
