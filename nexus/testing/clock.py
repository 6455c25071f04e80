"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import attrs

from nexus.abc import Clock, TimeoutScope

__all__ = ["FakeClock"]

NANOSECONDS = 1_000_000_000
SETTLING_CHECKPOINTS = 25


@attrs.define(eq=False, order=False)
class _Wait:
    """One thing that happens at a time: a sleeper wakes, or a scope is cancelled."""

    due: int
    order: int
    fire: Callable[[], object]

    def __lt__(self, other: _Wait) -> bool:
        return (self.due, self.order) < (other.due, other.order)


@attrs.define(eq=False)
class FakeClock(Clock):
    """
    Time that passes only when a test says so: `create_nexus(clock=FakeClock())`.

    Every wait of the core goes through the application's clock: the timeouts of steps and runs, the deadlines of callers. With
    this one a test of a thirty-second timeout takes no time, and never fails on a slow machine.

        clock = FakeClock()
        app = nexus.create_nexus(NexusConfig(), clock=clock)
        async with Client(app) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.execute, "slow")
            await clock.advance(30)

    Args:
        start: What `now` says first; aware.
    """

    start: datetime = attrs.field(default=datetime(2026, 1, 1, tzinfo=UTC))
    _elapsed: int = attrs.field(default=0, init=False)
    _jumped: timedelta = attrs.field(factory=timedelta, init=False)
    _waits: list[_Wait] = attrs.field(factory=list, init=False)
    _order: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        _check_aware(self.start)

    @property
    def pending(self) -> tuple[float, ...]:
        """In how many seconds each open sleep and timeout is due, the soonest first; empty when nobody waits."""
        return tuple((wait.due - self._elapsed) / NANOSECONDS for wait in sorted(self._waits))

    def now(self) -> datetime:
        """Return the time of day, in UTC: the start, what was advanced, and any jump."""
        return self.start.astimezone(UTC) + self._jumped + timedelta(microseconds=self._elapsed // 1000)

    def monotonic(self) -> float:
        """Return the seconds that were advanced so far."""
        return self._elapsed / NANOSECONDS

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced that far; a mere checkpoint for zero or less."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        with self._waiting(seconds, woken.set):
            await woken.wait()

    @contextmanager
    def timeout(self, seconds: float) -> Iterator[TimeoutScope]:
        """Open a scope that is cancelled once the clock was advanced that far; at once for zero or less."""
        with anyio.CancelScope() as scope:
            if seconds <= 0:
                scope.cancel()
            with self._waiting(seconds, scope.cancel):
                yield scope

    async def advance(self, by: float | timedelta) -> None:
        """
        Let time pass: wake what is due, in the order of time, and let the other tasks run in between.

        First the other tasks go on until they all wait for something, then the time moves to the next sleep or timeout that is
        due, and so on up to the end. Work in threads is not waited for.

        Args:
            by: Seconds, or a `timedelta`; zero only lets the other tasks run.

        Raises:
            ValueError: *by* is negative, or not finite.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(
                f"time passes forwards, by a finite number of seconds, not by {seconds}; `set` moves the time of day"
            )
        target = self._elapsed + _nanoseconds(seconds)
        await _settle()
        while self._waits and self._waits[0].due <= target:
            wait = heapq.heappop(self._waits)
            self._elapsed = max(self._elapsed, wait.due)
            wait.fire()
            await _settle()
        self._elapsed = target
        await _settle()

    def set(self, now: datetime) -> None:
        """
        Set the time of day, forwards or backwards, as an administrator or NTP does; nobody is woken, `monotonic` does not move.

        Raises:
            ValueError: *now* is not aware.
        """
        _check_aware(now)
        self._jumped += now - self.now()

    @contextmanager
    def _waiting(self, seconds: float, fire: Callable[[], object]) -> Iterator[None]:
        if math.isinf(seconds):
            yield
            return
        wait = _Wait(self._elapsed + max(1, _nanoseconds(seconds)), next(self._order), fire)
        heapq.heappush(self._waits, wait)
        try:
            yield
        finally:
            if wait in self._waits:
                self._waits.remove(wait)
                heapq.heapify(self._waits)


def _nanoseconds(seconds: float) -> int:
    """Whole nanoseconds, so that three times 0.1 is 0.3."""
    return round(seconds * NANOSECONDS)


def _check_aware(time: datetime) -> None:
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; give it one, for example tzinfo=UTC")


async def _settle() -> None:
    """Let the other tasks run until they all wait; checkpoints first, for on asyncio anyio looks every tenth of a second only."""
    for _ in range(SETTLING_CHECKPOINTS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
