"""What the parsers of ``cgcnn-elastic`` jobs have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from aiida.engine import ExitCode
from aiida.orm import Dict
from aiida.parsers import Parser

from aiida_cgcnn_elastic.calculations.base import EXIT_CODES, RunnerCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.runner.status import Status

__all__ = ('CountsDiffer', 'RunnerParser', 'require_equal', 'require_labelled')


class CountsDiffer(Exception):  # noqa: N818 - the name of the exit code
    """The numbers of crystals in the outputs, the report and the inputs do not fit each other."""


class OutputError(Exception):
    """A retrieved file is missing or unreadable, with the exit code that says so."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__(exit_code.message)
        self.exit_code = exit_code


class RunnerParser(Parser):
    """Turn the report into an exit code and, where the job succeeded, the retrieved files into nodes.

    A parser reads only what was retrieved; the job's folder may be on another machine.
    """

    def parse(self, **kwargs: Any) -> ExitCode | None:  # noqa: ARG002
        """Parse the retrieved files."""
        try:
            report = self.read_json(RunnerCalculation.FILE_REPORT)
            status = str(report['status'])
        except OutputError as exception:
            if exception.exit_code.status != self.exit_codes.ERROR_OUTPUT_MISSING.status:
                return exception.exit_code
            # What the scheduler says of a job that was killed is more than that its report is missing.
            return None if self.node.exit_status else self.exit_codes.ERROR_REPORT_MISSING
        except (KeyError, TypeError) as exception:
            return self.unreadable(RunnerCalculation.FILE_REPORT, exception)

        self.out('report', Dict(report))
        if status != Status.DONE.key:
            return self.failed(status, report.get('message', ''))
        try:
            self.parse_outputs(report)
        except OutputError as exception:
            return exception.exit_code
        except CountsDiffer as exception:
            return self.exit_codes.ERROR_COUNTS_DIFFER.format(reason=str(exception))
        return None

    def failed(self, status: str, message: str) -> ExitCode:
        """Return the exit code for a status of the executable other than `done`.

        One that jobs of this kind do not know is an executable of another version, or a fault.
        """
        codes = {known.key: code.label for known, code in EXIT_CODES.items() if code.label in self.exit_codes}
        if status in codes:
            return self.exit_codes[codes[status]].format(message=message)
        subcommand = self.node.process_class.SUBCOMMAND
        return self.exit_codes.ERROR_UNEXPECTED.format(
            message=f'it ended as {status!r}, unknown to the `{subcommand}` jobs of this version: {message}'
        )

    @abstractmethod
    def parse_outputs(self, report: dict[str, Any]) -> None:
        """Attach the outputs of a job that succeeded.

        Raises
        ------
        OutputError
            If a file is missing or unreadable.
        CountsDiffer
            If crystals were lost, or came from nowhere.
        """

    def read(self, filename: str) -> bytes:
        """Return the content of a retrieved file.

        Raises
        ------
        OutputError
            If it was not retrieved.
        """
        try:
            return self.retrieved.base.repository.get_object_content(filename, mode='rb')
        except FileNotFoundError:
            raise OutputError(self.exit_codes.ERROR_OUTPUT_MISSING.format(filename=filename)) from None

    @contextmanager
    def opened(self, *filenames: str) -> Iterator[list[IO[bytes]]]:
        """Open retrieved files, to read them piece by piece.

        Raises
        ------
        OutputError
            If one was not retrieved.
        """
        with ExitStack() as stack:
            handles = []
            for filename in filenames:
                try:
                    handles.append(stack.enter_context(self.retrieved.base.repository.open(filename, 'rb')))
                except FileNotFoundError:
                    raise OutputError(self.exit_codes.ERROR_OUTPUT_MISSING.format(filename=filename)) from None
            yield handles

    def read_json(self, filename: str) -> Any:
        """Return the content of a retrieved JSON file.

        Raises
        ------
        OutputError
            If it was not retrieved or is no JSON.
        """
        content = self.read(filename)
        try:
            return json.loads(content)
        except ValueError as exception:
            raise OutputError(self.unreadable(filename, exception)) from exception

    def unreadable(self, filename: str, reason: Exception) -> ExitCode:
        """Return the exit code for a file that cannot be read."""
        return self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(filename=filename, reason=str(reason))


def require_labelled(crystals: CrystalSetData, report: dict[str, Any]) -> None:
    """Raise CountsDiffer unless every crystal was used for its labels, has none, or was rejected."""
    accounted = report['n_crystals'] + report['n_without_label'] + report['n_rejected']
    require_equal({'crystals given': crystals.n_crystals, 'accounted for': accounted})


def require_equal(counts: dict[str, int]) -> None:
    """Raise CountsDiffer unless all counts, named for the message, are equal."""
    if len(set(counts.values())) > 1:
        raise CountsDiffer(', '.join(f'{count} {what}' for what, count in counts.items()))
