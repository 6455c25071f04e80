"""Schedules as they are written, each checked by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import attrs

from nexus.exceptions import InvalidArgumentError, RegistrationError
from nexus.workflows.signatures import Signature
from nexus.workflows.steps import NAME

if TYPE_CHECKING:
    from nexus.workflows.timetable import Timetable

__all__ = ["Missed", "Overlap", "Schedule", "ScheduleOption", "make_schedules", "named", "timetable_of"]

Missed = Literal["skip", "once", "all"]
Overlap = Literal["skip", "allow", "cancel"]

LONGEST: Final = 200
LONGEST_JITTER_S: Final = 366 * 86_400


@attrs.frozen
class Schedule:
    """
    When a workflow runs by itself: `schedule=Schedule("30 6 * * MON-FRI", timezone="Europe/Berlin")`, or just `"30 6 * * *"`.

    A firing is a run of the application itself, with the idempotency key `schedule:{name}:{due time in UTC}`: where processes
    share a run store, it happens once in all of them. Schedules fire while the application is served, or inside
    `async with app:`, unless `enable_schedules` is false; not in `nexus run` and `nexus mcp`, which serve one caller.

    Where clocks are put forward or back, cron's own rule holds (that of Debian's): a time that the day does not have is due at
    the first moment after the gap, one that it has twice is due the first time. A cron whose minutes or hours start with `*`,
    or one with seconds, goes by what the clock shows: none of it in the gap, all of it in both of the hours that are twice.

    Args:
        cron: Five fields: minute, hour, day of month, month, day of week; or six, with seconds in front. The syntax is that of
            cronsim: `*/5`, `1-5`, `MON`, `L` (the last day), `MON#1` (the first Monday).
        timezone: A name of the IANA time zone database, in whose local time the cron is.
        inputs: What the workflow is called with; checked when it is registered.
        jitter: Each firing is put off by a random time of up to this, in seconds or as a timedelta; never past the next due
            time.
        missed: What becomes of due times that passed while nothing ran, or which the clock jumped over. A due time is missed
            once it is more than a minute late, or the next is due too. `skip` lets them go, `once` makes up for the last of
            them, `all` for each, the earliest first, as far as *overlap* lets it.
        overlap: What happens when the run of the firing before has not ended: `skip` does not fire, `allow` fires beside it,
            `cancel` cancels it first.
        name: The workflow's name by default, with a number from its second schedule on; for `schedules.list` and `.pause`.
    """

    cron: str
    timezone: str = attrs.field(default="UTC", kw_only=True)
    inputs: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)
    jitter: float | timedelta = attrs.field(default=timedelta(), kw_only=True)
    missed: Missed = attrs.field(default="skip", kw_only=True)
    overlap: Overlap = attrs.field(default="skip", kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)


ScheduleOption = str | Schedule | Sequence[str | Schedule] | None


def make_schedules(option: ScheduleOption, *, place: str) -> tuple[Schedule, ...]:
    """
    Put what `schedule=` was given in its one form.

    Raises:
        RegistrationError: One is wrong; the text names the place and the way out.
    """
    if option is None:
        return ()
    given = [option] if isinstance(option, str | Schedule) or not isinstance(option, Sequence) else option
    return tuple(_checked(each, place) for each in given)


def _checked(given: Any, place: str) -> Schedule:
    schedule = Schedule(given) if isinstance(given, str) else given
    if not isinstance(schedule, Schedule) or not isinstance(schedule.cron, str):
        raise RegistrationError(f"{place}: schedule={given!r}: give a cron expression, like '30 6 * * *', or a nexus.Schedule")
    place = f"{place}: schedule {schedule.cron!r}"
    for option, allowed in (("missed", Missed), ("overlap", Overlap)):
        if getattr(schedule, option) not in get_args(allowed):
            words = ", ".join(map(repr, get_args(allowed)))
            raise RegistrationError(f"{place}: {option}={getattr(schedule, option)!r}: use one of {words}")
    if not isinstance(schedule.inputs, Mapping):
        raise RegistrationError(f"{place}: inputs={schedule.inputs!r}: give a mapping of the workflow's inputs by name")
    if schedule.name is not None and not _can_be_a_name(schedule.name):
        raise RegistrationError(
            f"{place}: {schedule.name!r} can't be a name: use lower-case letters, digits and _, dots between, "
            f"at most {LONGEST} in all"
        )
    timetable_of(schedule, place=place)
    return attrs.evolve(schedule, jitter=_jitter(schedule.jitter, place))


def _can_be_a_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST and all(NAME.fullmatch(part) for part in name.split("."))


def _jitter(value: Any, place: str) -> timedelta:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_JITTER_S:
        raise RegistrationError(f"{place}: jitter={value!r} is not a number of seconds or a timedelta, from zero to a year")
    return timedelta(seconds=seconds)


def timetable_of(schedule: Schedule, *, place: str) -> Timetable:
    """
    Return when a schedule is due.

    Raises:
        RegistrationError: The cron expression or the time zone is wrong.
    """
    from nexus.workflows.timetable import make_timetable  # noqa: PLC0415 - 3 ms, only where there is a schedule

    return make_timetable(schedule.cron, schedule.timezone, place=place)


def named(schedules: Sequence[Schedule], workflow: str, signature: Signature, *, place: str) -> tuple[Schedule, ...]:
    """
    Give each its name, and check that the workflow takes its inputs.

    Raises:
        RegistrationError: The inputs don't fit, with all that is wrong with them; or two bear one name.
    """
    known: dict[str, Schedule] = {}
    for number, schedule in enumerate(schedules, start=1):
        name = schedule.name or (workflow if number == 1 else f"{workflow}_{number}")
        if name in known or not _can_be_a_name(name):
            raise RegistrationError(f"{place}: a schedule can't be called {name!r}, or not two of them; give it name=…")
        try:
            signature.check(schedule.inputs)
        except InvalidArgumentError as error:
            problems = "; ".join(f"{problem.pointer}: {problem.message}" for problem in error.problems)
            raise RegistrationError(f"{place}: the inputs of schedule {name!r} don't fit: {problems}") from None
        known[name] = attrs.evolve(schedule, name=name)
    return tuple(known.values())
