"""Whose runs these are: a lease that is renewed, and the runs of those whose lease has expired."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from nexus.abc import Clock, RunStore
from nexus.exceptions import UnavailableError
from nexus.models import RunRecord

__all__ = ["Ownership"]

LEASE: Final = timedelta(seconds=30)
LONG: Final = timedelta(days=36_500)
CLEAN_UP_S: Final = 5.0


@attrs.define(eq=False, repr=False)
class Ownership:
    """
    Keeps the lease of one runtime while it is started.

    Args:
        take_over: Resumes a run whose owner has gone, or ends it.
        report: Told when the store could not be reached; it is tried again.

    Attributes:
        owner: Another one each time it is started.
        lapsed: Called when the lease was renewed too late, so that others may have taken the runs.
    """

    runs: RunStore
    clock: Clock
    take_over: Callable[[RunRecord], Awaitable[None]]
    report: Callable[[str, BaseException], None]
    owner: str = attrs.field(default="", init=False)
    lapsed: Callable[[], Awaitable[None]] | None = attrs.field(default=None, init=False)
    _until: datetime | None = attrs.field(default=None, init=False)
    _orphans: list[RunRecord] = attrs.field(factory=list, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Take the lease, and renew it until the stack is left; then give it up."""
        self.owner = os.urandom(16).hex()
        self._orphans, self._until = [], None
        await self._claim()
        group = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.push_async_callback(self._give_up, group)
        if self.runs.shared:
            group.start_soon(self._renew, name="lease of runs")

    async def settle(self) -> None:
        """Resume or end what nobody carries any more."""
        orphans, self._orphans = self._orphans, []
        for record in orphans:
            try:
                await self.take_over(record)
            except UnavailableError:
                self._orphans.append(record)  # it is stopping, or can't yet
            except Exception as error:  # noqa: BLE001 - told; it is tried again
                self._orphans.append(record)
                self.report("take over run", error)

    async def _claim(self) -> bool:
        """Renew the lease, and say whether it had expired."""
        now = self.clock.now()
        # Where no other process has the records, nothing renews the lease.
        until = now + (LEASE if self.runs.shared else LONG)
        self._orphans += await self.runs.claim(self.owner, until=until, now=now)
        expired, self._until = self._until is not None and self._until <= now, until
        return expired

    async def _renew(self) -> None:
        while True:
            await self.clock.sleep(LEASE.total_seconds() / 3)
            try:
                if await self._claim() and self.lapsed is not None:
                    await self.lapsed()
            except Exception as error:  # noqa: BLE001 - told; it is tried again
                self.report("renew lease of runs", error)
            await self.settle()

    async def _give_up(self, group: TaskGroup) -> None:
        group.cancel_scope.cancel()
        with anyio.move_on_after(CLEAN_UP_S, shield=True):
            now = self.clock.now()
            try:
                await self.runs.claim(self.owner, until=now, now=now)
            except Exception as error:  # noqa: BLE001 - told; the lease expires by itself
                self.report("give up lease of runs", error)
