"""Runs that another process carries, where several share the store: what is asked of them here, and done to ours there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from operator import attrgetter
from typing import Final

import anyio
import attrs

from nexus.abc import Clock, RunStore
from nexus.exceptions import ConflictError, NotFoundError
from nexus.models import RunRecord, Scope
from nexus.workflows.bookkeeping import given_to
from nexus.workflows.live import LiveRun

__all__ = ["Elsewhere", "go_on"]

LOOK_S: Final = 1.0
SOONEST_S: Final = 0.05
ATTEMPTS: Final = 20
PATIENCE: Final = 4
"""How often a run is looked for that this process owns and does not carry: it may be about to."""


@attrs.define(eq=False, kw_only=True, repr=False)
class Elsewhere:
    """
    Looks into the store for what other processes do.

    Args:
        live: The runs that this process carries.
        owner: Whose they are.

    Attributes:
        report: Told when the store could not be reached; it is tried again.
    """

    runs: RunStore
    clock: Clock
    live: Mapping[str, LiveRun]
    owner: Callable[[], str | None]
    report: Callable[[str, BaseException], None] = attrs.field(default=lambda _what, _error: None, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Look every second for answers and cancellations of our runs that other processes took."""
        if self.runs.shared:
            group = await exit_stack.enter_async_context(anyio.create_task_group())
            exit_stack.callback(group.cancel_scope.cancel)
            group.start_soon(self._watch, name="answers taken elsewhere")

    async def _watch(self) -> None:
        while True:
            await self.clock.sleep(LOOK_S)
            try:
                for live in [live for live in self.live.values() if live.carried]:
                    await self._look(live)
            except Exception as error:  # noqa: BLE001 - told; it is tried again
                self.report("look for answers taken elsewhere", error)

    async def _look(self, live: LiveRun) -> None:
        try:
            record = await self.runs.get(Scope.ALL, live.record.id)
        except NotFoundError:
            return
        if record.owner != self.owner():
            return
        go_on(live, record)
        if record.cancelling and not live.cancelled:
            live.cancelled = True
            live.cancel()

    async def drop_lost(self) -> None:
        """Drop the runs that another owner has taken over."""
        for live in [live for live in self.live.values() if live.stored]:
            if (await self.runs.get(Scope.ALL, live.record.id)).owner != self.owner():
                live.dropped = True
                live.cancel()

    async def settled(self, run_id: str, *, waiting: bool = True) -> RunRecord | None:
        """
        Wait until a run has ended, or waits where that is good enough, and return its record; None once it is carried here.

        Where no other process has the store, and of a run that this process owns and does not carry, it is the record as it is.

        Raises:
            NotFoundError: There is no record of it.
        """
        seconds, times = SOONEST_S, 0
        while True:
            record = await self.runs.get(Scope.ALL, run_id)
            times += record.owner == self.owner()
            is_good = record.ended or (waiting and record.status == "waiting")
            if is_good or not self.runs.shared or times > PATIENCE:
                return record
            await self.clock.sleep(seconds)
            seconds = min(2 * seconds, LOOK_S)
            if run_id in self.live:
                return None

    async def cancel(self, run_id: str) -> None:
        """Let the process that carries a run cancel it, and wait until it has ended."""
        if not self.runs.shared:
            return
        for _ in range(ATTEMPTS):
            record = await self.runs.get(Scope.ALL, run_id)
            if record.ended:
                return
            try:
                if not record.cancelling:
                    await self.runs.save(record.changed(cancelling=True), expected_version=record.version)
            except ConflictError:
                continue
            await self.settled(run_id, waiting=False)
            return
        raise ConflictError(f"run {run_id} changes faster than it can be cancelled; try again")


def go_on(live: LiveRun, record: RunRecord) -> None:
    """Give a run the answers that are in its record in the store."""
    live.catch_up(max(record, live.record, key=attrgetter("version")))
    for name in [name for name in live.questions if name in live.record.answers and name not in live.record.questions]:
        waiting = live.questions.pop(name)
        waiting.answer = given_to(live, name)
        waiting.answered.set()
