"""The system's clock."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import anyio

from nexus.abc import Clock, TimeoutScope


class SystemClock(Clock):
    """The time of the machine, and waits of the event loop."""

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(UTC)

    # Read several times a request, so without a call of its own.
    monotonic = staticmethod(time.perf_counter)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractContextManager[TimeoutScope]:
        """Open a cancel scope with that deadline."""
        return anyio.move_on_after(seconds)
