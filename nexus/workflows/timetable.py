"""The due times of a cron expression, in UTC. The only module that knows cronsim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import attrs
from cronsim import CronSim, CronSimError

from nexus.exceptions import RegistrationError

__all__ = ["Timetable", "make_timetable"]

DAY: Final = timedelta(days=1)
SECOND: Final = timedelta(seconds=1)
SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)


@attrs.define(eq=False, repr=False)
class Timetable:
    """When a cron expression is due, in the local time of a zone; the answers are in UTC."""

    cron: str
    zone: tzinfo
    _simulation: CronSim | None = attrs.field(default=None, init=False)
    _last: datetime | None = attrs.field(default=None, init=False)

    def after(self, time: datetime) -> datetime | None:
        """Return the first due time later than *time*; None where there is none in fifty years."""
        try:
            return self._by_the_clock(time) if self._follows_the_clock else self._simulated(time.astimezone(self.zone))
        except OverflowError:
            return None  # the calendar ends before the cron is due

    @property
    def _follows_the_clock(self) -> bool:
        """Whether it has no time of its own, by Debian's rule, and so is due whenever the clock shows one of its times."""
        minute, hour, *rest = self.cron.split()
        return self.zone is not UTC and (len(rest) > len(("day", "month", "weekday")) or minute[0] == "*" or hour[0] == "*")

    def _simulated(self, time: datetime) -> datetime | None:
        if self._simulation is None or time != self._last:
            self._simulation = CronSim(self.cron, time)
        for due in self._simulation:
            # In an hour that comes twice the simulation may begin with its first pass.
            self._last = due.astimezone(UTC)
            if self._last > time:
                return self._last
        self._simulation = None
        return None

    def _by_the_clock(self, time: datetime) -> datetime | None:
        """Simulate in local time as if it were UTC, from one change of the clock to the next: cronsim knows whole hours only."""
        shift = self._shift(time)
        while True:
            shown = self._simulated(time + shift)
            if shown is None:
                return None
            due = shown - shift
            before, until = time, min(due, time + DAY)
            while until < due and self._shift(until) == shift:
                before, until = until, min(due, until + DAY)
            if self._shift(until) == shift:
                return due
            before = before.replace(microsecond=0)
            while until - before > SECOND:
                middle = before + (until - before) // SECOND // 2 * SECOND
                before, until = (middle, until) if self._shift(middle) == shift else (before, middle)
            time, shift = until - SECOND, self._shift(until)

    def _shift(self, time: datetime) -> timedelta:
        return time.astimezone(self.zone).utcoffset() or timedelta()

    def latest(self, due: datetime, until: datetime) -> datetime:
        """Return the last due time that is not later than *until*; *due* is one, and not later."""
        while True:
            following = self.after(due)
            if following is None or following > until:
                return due
            # Halved, for there may be millions between.
            middle = following + (until - following) / 2
            later = self.after(middle)
            if later is not None and later <= until:
                due = later
            else:
                due, until = following, middle


def make_timetable(cron: str, timezone: str, *, place: str) -> Timetable:
    """
    Check a cron expression and the name of a time zone.

    Raises:
        RegistrationError: One is wrong, or the expression is never due.
    """
    try:
        zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    except (KeyError, ValueError, TypeError, OSError):
        raise RegistrationError(
            f"{place}: there is no time zone {timezone!r}; use a name like 'Europe/Berlin' "
            "(a system without time zones needs the package tzdata)"
        ) from None
    try:
        CronSim(cron, SOME_TIME)
        made = Timetable(cron, zone)
        due = made.after(SOME_TIME)
    except (CronSimError, ValueError) as error:
        raise RegistrationError(
            f"{place}: this is no cron expression ({error}); write five fields, minute to day of week, or six with seconds "
            "in front, like '30 6 * * MON-FRI'"
        ) from None
    if due is None:
        raise RegistrationError(f"{place}: there is never such a time; look at the days and the months")
    return made
