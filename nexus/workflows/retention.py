"""Records that are kept for a time only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import anyio
import attrs

from nexus.abc import Clock, RunStore, Service, StepStore

__all__ = ["Retention"]

EVERY: Final = timedelta(hours=1)


@attrs.define(eq=False, repr=False)
class Retention(Service):
    """
    Removes the records of runs that ended long ago, and what is kept of their steps, once an hour.

    Args:
        keep: How long after its end.
        report: Told when a store could not be reached; it is tried again.
    """

    runs: RunStore
    steps: StepStore
    clock: Clock
    keep: timedelta
    report: Callable[[str, BaseException], None]

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Begin; the first time at once."""
        group = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.callback(group.cancel_scope.cancel)
        group.start_soon(self._prune, name="retention of runs")

    async def _prune(self) -> None:
        while True:
            try:
                for run_id in await self.runs.prune(ended_before=self.clock.now() - self.keep):
                    await self.steps.remove(run_id)
            except Exception as error:  # noqa: BLE001 - told; it is tried again
                self.report("prune runs", error)
            await self.clock.sleep(EVERY.total_seconds())
