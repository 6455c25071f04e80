"""A schedule while an application knows it: which of its due times is next, and what became of those before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from nexus.models import Operation
from nexus.workflows.schedules import Schedule

if TYPE_CHECKING:
    from nexus.workflows.timetable import Timetable

__all__ = ["Firing", "Timed"]

LATE: Final = timedelta(minutes=1)
SET_BACK: Final = timedelta(days=1)


@attrs.frozen
class Firing:
    """
    The last time that a schedule fired.

    Attributes:
        time: When it was due, or triggered.
    """

    time: datetime
    run_id: str


@attrs.define(eq=False, kw_only=True, repr=False)
class Timed:
    """
    A schedule, and how far it has got.

    Attributes:
        operation: The workflow.
        random: From 0 up to 1, for jitter.
        handled: Due times up to this one are never fired again.
        due: The first one after it.
        following: The one after that.
        fires_at: When *due* is fired: put off by jitter.
        fired: The last firing.
        paused: Nothing is fired for the time being.
        recalled: The store of runs was asked for the last firing.
        busy: Something is being started, or recalled; what is due meanwhile comes after it.
        lock: Held from looking at the run before to having started the next.
    """

    operation: Operation
    schedule: Schedule
    timetable: Timetable
    random: Callable[[], float]
    handled: datetime = attrs.field(init=False)
    due: datetime | None = attrs.field(default=None, init=False)
    following: datetime | None = attrs.field(default=None, init=False)
    fires_at: datetime | None = attrs.field(default=None, init=False)
    fired: Firing | None = attrs.field(default=None, init=False)
    paused: bool = attrs.field(default=False, init=False)
    recalled: bool = attrs.field(default=False, init=False)
    busy: bool = attrs.field(default=False, init=False)
    lock: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)

    @property
    def name(self) -> str:
        """The schedule's name."""
        return str(self.schedule.name)

    @property
    def prefix(self) -> str:
        """What the keys of all its firings start with."""
        return f"schedule:{self.name}:"

    def key(self, due: datetime) -> str:
        """Return the idempotency key of the firing of a due time."""
        return f"{self.prefix}{due:%Y-%m-%dT%H:%M:%SZ}"

    def renew_lock(self) -> None:
        """Belong to another event loop from now on."""
        self.lock, self.busy = anyio.Lock(), False

    def restart(self, handled: datetime) -> None:
        """Go on with the first due time after that."""
        self.handled = handled
        self._expect(self.timetable.after(handled))

    def take(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """Return the due time to fire now, if one is; and the first of those that were missed and are let go, if some were."""
        if self.handled - now > SET_BACK:
            # The time of day was wrong. What was fired by then is known by its key, and not run again.
            self.restart(now)
        if self.due is None or self.fires_at is None or now < self.fires_at:
            return None, None
        first, missed = self.due, None
        if self.schedule.missed != "all" and self.following is not None and self.following <= now:
            missed = first
            self._expect(self.timetable.latest(self.following, now))
            if now < self.fires_at:
                return None, missed
        due, late = self.due, now - self.fires_at > LATE
        self.handled = due
        self._expect(self.following)
        if late and self.schedule.missed == "skip":
            return None, first
        return due, missed

    def _expect(self, due: datetime | None) -> None:
        self.due = self.following = self.fires_at = due
        if due is not None:
            self.following = self.timetable.after(due)
            jitter = self.schedule.jitter
            assert isinstance(jitter, timedelta)  # noqa: S101 - as registered
            if jitter:
                most = jitter if self.following is None else min(jitter, self.following - due)
                self.fires_at = due + self.random() * most

    def upcoming(self, now: datetime, count: int) -> Sequence[datetime]:
        """Return the next due times; none while it is paused."""
        times: list[datetime] = []
        if not self.paused:
            timetable = attrs.evolve(self.timetable)
            due = timetable.after(max(now, self.handled))
            while due is not None and len(times) < count:
                times.append(due)
                due = timetable.after(due)
        return times

    def view(self, upcoming: Sequence[datetime], last: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the schedule as channels show it."""
        schedule = self.schedule
        assert isinstance(schedule.jitter, timedelta)  # noqa: S101 - as registered
        return {
            "name": self.name,
            "workflow": self.operation.reference,
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "jitter": schedule.jitter.total_seconds(),
            "missed": schedule.missed,
            "overlap": schedule.overlap,
            "paused": self.paused,
            "next": upcoming,
            "last": last,
        }
