"""The exit statuses of `cgcnn-elastic`, without anything heavy: parsers import them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum


class Status(IntEnum):
    """How a run of `cgcnn-elastic` ended; the value is the exit status of the process.

    The report holds the name in lower case (`Status.key`), which says more to a reader than a number.
    """

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    INPUT_UNREADABLE = 10
    NO_USABLE_CRYSTAL = 11
    MODEL_UNUSABLE = 12
    TARGETS_MISSING = 13
    SETTINGS_INVALID = 14
    POTENTIAL_MISSING = 15
    STOPPED = 20
    DIVERGED = 21
    OUT_OF_MEMORY = 22

    @property
    def key(self) -> str:
        """Return the name as a report writes it."""
        return self.name.lower()

    @property
    def meaning(self) -> str:
        """Return what happened and what to do next, in a sentence."""
        return _MEANINGS[self]

    @classmethod
    def from_key(cls, key: str) -> Status:
        """Return the status that a report's `status` field names.

        Raises
        ------
        ValueError
            If no status has this name.
        """
        try:
            return cls[key.upper()]
        except KeyError:
            raise ValueError(f'no status is called {key!r}; the names are {", ".join(s.key for s in cls)}') from None


_MEANINGS = {
    Status.DONE: 'All is done.',
    Status.UNEXPECTED: 'An unexpected error; the traceback is in the standard error stream.',
    Status.USAGE: 'The command line is wrong; see --help.',
    Status.INPUT_UNREADABLE: 'An input could not be read as crystals; check the path and the source named.',
    Status.NO_USABLE_CRYSTAL: 'Every crystal of the input was rejected; the rejections say why.',
    Status.MODEL_UNUSABLE: 'The model is absent, damaged or does not predict elastic moduli.',
    Status.TARGETS_MISSING: 'The labels asked for are absent, or too few for the split.',
    Status.SETTINGS_INVALID: 'Criteria, protocol, split or an option are not valid; the message lists what is allowed.',
    Status.POTENTIAL_MISSING: 'The universal potential that a model or protocol needs is not installed here.',
    Status.STOPPED: 'Stopped by the time limit or by SIGTERM; what was done is kept, continue with --resume.',
    Status.DIVERGED: 'The training diverged; lower the learning rate or choose another seed.',
    Status.OUT_OF_MEMORY: 'Out of memory; lower the number of edges or crystals in a batch.',
}

_ALWAYS_POSSIBLE = (
    Status.DONE,
    Status.UNEXPECTED,
    Status.USAGE,
    Status.INPUT_UNREADABLE,
    Status.NO_USABLE_CRYSTAL,
    Status.STOPPED,
    Status.OUT_OF_MEMORY,
)

STATUSES: Mapping[str, frozenset[Status]] = {
    'ingest': frozenset({*_ALWAYS_POSSIBLE, Status.SETTINGS_INVALID}),
    'train': frozenset(
        {
            *_ALWAYS_POSSIBLE,
            Status.MODEL_UNUSABLE,
            Status.TARGETS_MISSING,
            Status.SETTINGS_INVALID,
            Status.POTENTIAL_MISSING,
            Status.DIVERGED,
        }
    ),
    'predict': frozenset({*_ALWAYS_POSSIBLE, Status.MODEL_UNUSABLE, Status.SETTINGS_INVALID, Status.POTENTIAL_MISSING}),
    'evaluate': frozenset(
        {
            *_ALWAYS_POSSIBLE,
            Status.MODEL_UNUSABLE,
            Status.TARGETS_MISSING,
            Status.SETTINGS_INVALID,
            Status.POTENTIAL_MISSING,
        }
    ),
    'calibrate': frozenset(
        {
            *_ALWAYS_POSSIBLE,
            Status.MODEL_UNUSABLE,
            Status.TARGETS_MISSING,
            Status.SETTINGS_INVALID,
            Status.POTENTIAL_MISSING,
        }
    ),
    'import-checkpoint': frozenset(
        {Status.DONE, Status.UNEXPECTED, Status.USAGE, Status.MODEL_UNUSABLE, Status.OUT_OF_MEMORY}
    ),
}
"""The statuses that each subcommand can end with. It ends with no other: see `runner.run.execute`."""


def listed(statuses: Iterable[Status]) -> str:
    """Return statuses and their meanings as the end of a help text."""
    lines = (f'{status:3d}  {status.key}: {status.meaning}' for status in sorted(statuses))
    return 'Exit statuses:\n\n\b\n' + '\n'.join(lines)
