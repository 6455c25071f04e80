"""Records that are kept for a time only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import anyio
import attrs

from nexus.abc import Clock, RunStore, Service, SessionStore, StepStore

__all__ = ["Retention"]

EVERY: Final = timedelta(hours=1)


@attrs.define(eq=False, repr=False)
class Retention(Service):
    """
    Removes once an hour the records of runs that ended long ago, what is kept of their steps, and sessions that have expired.

    Args:
        keep: How long after its end.
        report: Told when a store could not be reached; it is tried again.
    """

    runs: RunStore
    steps: StepStore
    sessions: SessionStore
    clock: Clock
    keep: timedelta
    report: Callable[[str, BaseException], None]

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Begin; the first time at once."""
        group = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.callback(group.cancel_scope.cancel)
        group.start_soon(self._prune, name="retention of runs and sessions")

    async def _prune(self) -> None:
        while True:
            for what, work in (("prune runs", self._prune_runs), ("prune sessions", self._prune_sessions)):
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - told; it is tried again
                    self.report(what, error)
            await self.clock.sleep(EVERY.total_seconds())

    async def _prune_runs(self) -> None:
        for run_id in await self.runs.prune(ended_before=self.clock.now() - self.keep):
            await self.steps.remove(run_id)

    async def _prune_sessions(self) -> None:
        await self.sessions.prune(now=self.clock.now())
