"""What the jobs that run the executable ``cgcnn-elastic`` have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common.datastructures import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import Dict, ProcessNode, RemoteData

from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

__all__ = ('RunnerCalculation', 'check_keys')

LARGEST_MARGIN = 300.0
SMALLEST_MARGIN = 15.0


EXIT_CODES = (
    (210, 'ERROR_INPUT_UNREADABLE', 'An input cannot be read; check the file and the source: {message}'),
    (211, 'ERROR_NO_USABLE_CRYSTAL', 'No crystal of the input can be used; see the report: {message}'),
    (212, 'ERROR_MODEL_UNUSABLE', 'A model cannot be used; store it again, or train it anew: {message}'),
    (213, 'ERROR_TARGETS_MISSING', 'Known moduli are missing or too few; check columns and split: {message}'),
    (214, 'ERROR_SETTINGS_INVALID', 'The settings are invalid; correct `parameters`: {message}'),
    (
        301,
        'ERROR_REPORT_MISSING',
        'The job left no report, so it was killed or never ran; see the standard errors among the retrieved files.',
    ),
    (302, 'ERROR_OUTPUT_MISSING', 'The job reports success, but `{filename}` was not retrieved; run it again.'),
    (303, 'ERROR_OUTPUT_UNREADABLE', '`{filename}` cannot be read, the disk may be full; run it again: {reason}'),
    (304, 'ERROR_COUNTS_DIFFER', 'Crystals were lost or are too many, which is a fault of this package: {reason}'),
    (305, 'ERROR_UNEXPECTED', 'The executable failed unforeseen; see `stderr.txt` among the retrieved: {message}'),
    (400, 'ERROR_STOPPED', 'Stopped; continue by an equal job with `remote_folder` as `parent_folder`: {message}'),
    (401, 'ERROR_OUT_OF_MEMORY', 'Out of memory; ask for more, or give fewer crystals, or smaller batches: {message}'),
    (402, 'ERROR_DIVERGED', 'The training diverged; lower the learning rate or change the seed: {message}'),
)
"""Status, label and message of every exit code; 2xx: the inputs are to blame, 3xx: the job is, 4xx: try again."""


class RunnerCalculation(CalcJob):
    """A job that runs one subcommand of ``cgcnn-elastic``: files in, files and a report out."""

    SUBCOMMAND: ClassVar[str]
    OUTPUTS: ClassVar[tuple[str, ...]]
    """The files that the subcommand leaves, beside the report."""
    FILE_REPORT: ClassVar[str] = 'report.json'
    FILE_PROGRESS: ClassVar[str] = 'progress.json'
    FILE_STDOUT: ClassVar[str] = 'stdout.txt'
    FILE_STDERR: ClassVar[str] = 'stderr.txt'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define the ports, options and exit codes that all jobs share."""
        super().define(spec)
        spec.inputs['code'].required = True
        options = spec.inputs['metadata']['options']
        options['resources'].default = lambda: {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['parser_name'].default = f'cgcnn_elastic.{cls.SUBCOMMAND}'
        spec.output('report', valid_type=Dict, help='Status, counts, timings and versions, as the executable wrote.')
        for status, label, message in EXIT_CODES:
            spec.exit_code(status, label, message=message, invalidates_cache=True)

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
        code_info.cmdline_params = [self.SUBCOMMAND, *self.stage(folder, calc_info), *self._shared_arguments()]
        code_info.stdout_name = self.FILE_STDOUT
        code_info.stderr_name = self.FILE_STDERR
        calc_info.codes_info = [code_info]
        return calc_info

    def stage_models(self, calc_info: CalcInfo) -> list[str]:
        """Have the models copied into the job's folder and return the arguments that name them."""
        arguments: list[str] = []
        for key, model in sorted(self.inputs.models.items()):
            for filename in ElasticModelData.FILENAMES:
                calc_info.local_copy_list.append((model.uuid, filename, f'models/{key}/{filename}'))
            arguments += ['--model', f'models/{key}']
        return arguments

    def continue_from_parent(self, calc_info: CalcInfo, name: str) -> list[str]:
        """Have what a stopped job left copied into this job's folder and return the argument to continue from it.

        It is a copy, not a link: the parent's folder stays as the parent left it.
        """
        if 'parent_folder' not in self.inputs:
            return []
        parent: RemoteData = self.inputs.parent_folder
        calc_info.remote_copy_list.append((parent.computer.uuid, f'{parent.get_remote_path()}/{name}', name))
        return ['--resume']

    def parameters(self) -> dict[str, Any]:
        """Return the content of the input `parameters`, empty where it is absent."""
        return self.inputs.parameters.get_dict() if 'parameters' in self.inputs else {}

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


def check_parent_folder(parent: RemoteData | None, code_computer: Any) -> str | None:
    """Return what is wrong with a folder to continue from, None where nothing is."""
    if parent is not None and code_computer is not None and parent.computer.pk != code_computer.pk:
        return (
            f'`parent_folder` is on the computer {parent.computer.label}, but the code on {code_computer.label}: '
            'a job can be continued only where it was stopped'
        )
    return None


def validate_network_parameters(value: Dict | None, _: Any) -> str | None:
    """Return what is wrong with the parameters of an evaluation of the network, None where nothing is."""
    if value is None:
        return None
    parameters = value.get_dict()
    if message := check_keys(parameters, ('device', 'dtype', 'batch_edges', 'chunk_size')):
        return message
    if parameters.get('dtype', 'float32') not in ('float32', 'float64'):
        return f'`dtype` is {parameters["dtype"]!r}, but must be float32 or float64'
    for key in ('batch_edges', 'chunk_size'):
        if key in parameters and (not isinstance(parameters[key], int) or parameters[key] < 1):
            return f'`{key}` is {parameters[key]!r}, but must be a positive integer'
    return None


def network_arguments(parameters: Mapping[str, Any]) -> list[str]:
    """Return the arguments for parameters that :func:`validate_network_parameters` passed."""
    return [text for key in sorted(parameters) for text in (f'--{key.replace("_", "-")}', str(parameters[key]))]
