"""When a run must stop before it is done: its time is up, or it was told to."""

from __future__ import annotations

import signal
import time
from types import FrameType


class StopSignal:
    """Whether the run should leave a checkpoint and end.

    Parameters
    ----------
    max_seconds : float, optional
        Wall time from now on.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._signal: signal.Signals | None = None

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as the wish to stop; a second SIGINT ends the process at once."""
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGINT, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python passes it
        self._signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def reason(self) -> str | None:
        """Return why the run should stop, `None` while it should not."""
        if self._signal is not None:
            return f'{self._signal.name} received'
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return 'the time limit is reached'
        return None

    @property
    def seconds_left(self) -> float | None:
        """Return the wall time that is left, at least 0; `None` without a limit."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def __call__(self) -> bool:
        """Return whether the run should stop."""
        return self.reason is not None
