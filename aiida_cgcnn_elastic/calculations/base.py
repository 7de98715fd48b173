"""What the jobs that run the executable ``cgcnn-elastic`` have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import Dict, ProcessNode, RemoteData

from aiida_cgcnn_elastic.runner.status import STATUSES, Status

__all__ = ('EXIT_CODES', 'RunnerCalculation', 'check_keys')

LARGEST_MARGIN = 300.0
SMALLEST_MARGIN = 15.0


class JobExitCode(NamedTuple):
    """An exit code as ``spec.exit_code`` takes it. 2xx: the inputs are to blame, 3xx: the job is, 4xx: try again."""

    status: int
    label: str
    message: str


EXIT_CODES: Mapping[Status, JobExitCode] = {
    Status.INPUT_UNREADABLE: JobExitCode(
        210, 'ERROR_INPUT_UNREADABLE', 'An input cannot be read; check the file and the source: {message}'
    ),
    Status.NO_USABLE_CRYSTAL: JobExitCode(
        211, 'ERROR_NO_USABLE_CRYSTAL', 'No crystal of the input can be used; see the report: {message}'
    ),
    Status.MODEL_UNUSABLE: JobExitCode(
        212, 'ERROR_MODEL_UNUSABLE', 'A model cannot be used; store it again, or train it anew: {message}'
    ),
    Status.TARGETS_MISSING: JobExitCode(
        213, 'ERROR_TARGETS_MISSING', 'Known moduli are missing or too few; check columns and split: {message}'
    ),
    Status.SETTINGS_INVALID: JobExitCode(
        214, 'ERROR_SETTINGS_INVALID', 'The settings are invalid; correct `parameters`: {message}'
    ),
    Status.POTENTIAL_MISSING: JobExitCode(
        215, 'ERROR_POTENTIAL_MISSING', 'The universal potential is not installed where the job ran: {message}'
    ),
    Status.UNEXPECTED: JobExitCode(
        305, 'ERROR_UNEXPECTED', 'The executable failed unforeseen; see `stderr.txt` among the retrieved: {message}'
    ),
    Status.STOPPED: JobExitCode(400, 'ERROR_STOPPED', 'Stopped before it was done; give the job more time: {message}'),
    Status.OUT_OF_MEMORY: JobExitCode(
        401, 'ERROR_OUT_OF_MEMORY', 'Out of memory; ask for more, or give fewer crystals, or smaller batches: {message}'
    ),
    Status.DIVERGED: JobExitCode(
        402, 'ERROR_DIVERGED', 'The training diverged; lower the learning rate or change the seed: {message}'
    ),
}
"""What each status of the executable is as exit code of a job. `USAGE` is none: jobs write the command line themselves.

A job has those of the statuses that its subcommand can end with, and `PARSER_EXIT_CODES`.
"""

EXIT_CODE_TO_CONTINUE = JobExitCode(
    400, 'ERROR_STOPPED', 'Stopped; continue by an equal job with `remote_folder` as `parent_folder`: {message}'
)
"""What `Status.STOPPED` is for a job that leaves something to continue from."""

EXIT_CODE_WITHOUT_REPORT = JobExitCode(
    301,
    'ERROR_REPORT_MISSING',
    'The job left no report, so it was killed or never ran; see the standard errors among the retrieved files.',
)

PARSER_EXIT_CODES = (
    EXIT_CODE_WITHOUT_REPORT,
    JobExitCode(
        302, 'ERROR_OUTPUT_MISSING', 'The job reports success, but `{filename}` was not retrieved; run it again.'
    ),
    JobExitCode(
        303, 'ERROR_OUTPUT_UNREADABLE', '`{filename}` cannot be read, the disk may be full; run it again: {reason}'
    ),
    JobExitCode(
        304, 'ERROR_COUNTS_DIFFER', 'Crystals were lost or are too many, which is a fault of this package: {reason}'
    ),
)
"""What a parser says of the files that were retrieved."""


class RunnerCalculation(CalcJob):
    """A job that runs one subcommand of ``cgcnn-elastic``: files in, files and a report out."""

    SUBCOMMAND: ClassVar[str]
    OUTPUTS: ClassVar[tuple[str, ...]]
    """The files that the subcommand leaves, beside the report."""
    DIRECTORY_CHECKPOINT: ClassVar[str | None] = None
    """What a stopped job leaves for an equal job to continue from; None where that starts from the beginning."""
    FILE_REPORT: ClassVar[str] = 'report.json'
    FILE_PROGRESS: ClassVar[str] = 'progress.json'
    FILE_STDOUT: ClassVar[str] = 'stdout.txt'
    FILE_STDERR: ClassVar[str] = 'stderr.txt'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports and options that all jobs share, and the exit codes that this one can reach."""
        super().define(spec)
        spec.inputs['code'].required = True
        options = spec.inputs['metadata']['options']
        options['resources'].default = lambda: {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['parser_name'].default = f'cgcnn_elastic.{cls.SUBCOMMAND}'
        spec.output('report', valid_type=Dict, help='Status, counts, timings and versions, as the executable wrote.')
        for code in (
            *(EXIT_CODES[status] for status in STATUSES[cls.SUBCOMMAND] & set(EXIT_CODES)),
            *PARSER_EXIT_CODES,
        ):
            spec.exit_code(*code, invalidates_cache=True)
        if cls.DIRECTORY_CHECKPOINT is not None:
            spec.exit_code(*EXIT_CODE_TO_CONTINUE, invalidates_cache=True)
            spec.input(
                'parent_folder',
                valid_type=RemoteData,
                required=False,
                help='The remote folder of a stopped job with the same inputs, to continue from.',
            )
            base_validator = spec.inputs.validator
            spec.inputs.validator = lambda inputs, port: base_validator(inputs, port) or validate_parent_folder(inputs)

    @classmethod
    def is_valid_cache(cls, node: ProcessNode) -> bool:
        """Return whether a job may stand in for an equal one: only if it succeeded."""
        return super().is_valid_cache(node) and node.is_finished_ok

    @abstractmethod
    def stage(self, folder: Folder, calc_info: CalcInfo) -> list[str]:
        """Put the inputs into the job's folder and return the subcommand's arguments."""

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Stage the inputs and return what to run and what to retrieve."""
        calc_info = CalcInfo()
        calc_info.local_copy_list = []
        calc_info.remote_copy_list = []
        calc_info.remote_symlink_list = []
        calc_info.provenance_exclude_list = []
        calc_info.retrieve_list = [*self.OUTPUTS, self.FILE_REPORT, self.FILE_STDOUT, self.FILE_STDERR]

        code_info = CodeInfo()
        code_info.code_uuid = self.inputs.code.uuid
        code_info.cmdline_params = [
            self.SUBCOMMAND,
            *self.stage(folder, calc_info),
            *self._continue_from_parent(calc_info),
            *self._shared_arguments(),
        ]
        code_info.stdout_name = self.FILE_STDOUT
        code_info.stderr_name = self.FILE_STDERR
        calc_info.codes_info = [code_info]
        return calc_info

    def parameters(self) -> dict[str, Any]:
        """Return the content of the input `parameters`, empty where it is absent."""
        return self.inputs.parameters.get_dict() if 'parameters' in self.inputs else {}

    def _continue_from_parent(self, calc_info: CalcInfo) -> list[str]:
        """Have what a stopped job left copied into this job's folder and return the argument to continue from it.

        It is a copy, not a link: the parent's folder stays as the parent left it.
        """
        if 'parent_folder' not in self.inputs:
            return []
        parent: RemoteData = self.inputs.parent_folder
        name = self.DIRECTORY_CHECKPOINT
        calc_info.remote_copy_list.append((parent.computer.uuid, f'{parent.get_remote_path()}/{name}', name))
        return ['--resume']

    def _shared_arguments(self) -> list[str]:
        arguments = ['--report', self.FILE_REPORT, '--progress-file', self.FILE_PROGRESS]
        options = self.inputs.metadata.options
        if options.get('max_wallclock_seconds'):
            arguments += ['--max-seconds', f'{seconds_to_work(options.max_wallclock_seconds):g}']
        threads = threads_of(options.resources)
        if threads is not None:
            arguments += ['--threads', str(threads)]
        return arguments


def seconds_to_work(max_wallclock_seconds: int) -> float:
    """Return after how many seconds to stop, so that there is time to save before the scheduler kills the job.

    A twentieth of the limit is left for that, but at least 15 s and at most 5 min, and never more than half.
    """
    margin = min(max(max_wallclock_seconds / 20, SMALLEST_MARGIN), LARGEST_MARGIN)
    return max(max_wallclock_seconds - margin, max_wallclock_seconds / 2)


def threads_of(resources: Mapping[str, Any]) -> int | None:
    """Return how many threads a job was given, None where its resources do not say."""
    processes = resources.get('num_mpiprocs_per_machine') or 1
    if resources.get('num_cores_per_machine'):
        return int(resources['num_cores_per_machine'])
    if resources.get('num_cores_per_mpiproc'):
        return int(resources['num_cores_per_mpiproc'] * processes)
    return int(processes) if processes > 1 else None


def write_json(folder: Folder, filename: str, content: Any) -> None:
    """Write a JSON file into the job's folder."""
    with folder.open(filename, 'w', encoding='utf-8') as handle:
        json.dump(content, handle, indent=2, sort_keys=True)


def check_keys(given: Mapping[str, Any], allowed: tuple[str, ...]) -> str | None:
    """Return what is wrong with the keys of an input dictionary, None where nothing is."""
    unknown = sorted(set(given) - set(allowed))
    return f'unknown keys {unknown}; allowed are {list(allowed)}' if unknown else None


def validate_parent_folder(inputs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the folder to continue from, None where nothing is."""
    parent = inputs.get('parent_folder')
    computer = inputs['code'].computer if 'code' in inputs else None
    if parent is not None and computer is not None and parent.computer.pk != computer.pk:
        return (
            f'`parent_folder` is on the computer {parent.computer.label}, but the code on {computer.label}: '
            'a job can be continued only where it was stopped'
        )
    return None
