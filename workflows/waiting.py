"""Waiting for the first of several processes."""

from __future__ import annotations

from typing import Any

from aiida.engine import ProcessState

__all__ = ('FirstEndedMixin',)


class FirstEndedMixin:
    """Have a work chain go on as soon as one of the processes that it waits for has ended.

    AiiDA's own work chain goes on when all of them have. The outline has to wait again for those that are still
    running, by another `ToContext`.
    """

    def _on_awaitable_finished(self, awaitable: Any) -> None:
        """Forget the others and go on, unless this is no longer waited for.

        A process that is waited for in several steps calls back for each of them, and also while a step is being done,
        which finds by itself that the process has ended.
        """
        if self.state is ProcessState.WAITING and awaitable.pk in [waited.pk for waited in self._awaitables]:  # type: ignore[attr-defined, has-type]
            self._awaitables = [awaitable]
            super()._on_awaitable_finished(awaitable)  # type: ignore[misc]
