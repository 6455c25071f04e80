"""Schedules: due times across changes of the clock, policies, and what operations do with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import annotated_types
import anyio
import anyio.to_thread
import attrs
import pytest
from cronsim import CronSim

import nexus
from nexus import ConflictError, Nexus, NexusConfig, NotFoundError, PermissionDeniedError, RegistrationError, Run, Schedule
from nexus.abc import Guard
from nexus.memory import MemoryRunStore
from nexus.models import APPLICATION, Call, Caller, Request, RunRecord, Scope
from nexus.testing import Client, FakeClock
from nexus.workflows.timetable import make_timetable
from nexus_click import cli
from nexus_click._inprocess import invoke

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RETENTION_S = 3600
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")


@attrs.define(eq=False)
class Desk:
    """An application whose workflow `tick` notes what it was fired for."""

    start: datetime = NOON
    store: MemoryRunStore = attrs.field(factory=MemoryRunStore)
    fired: list[str] = attrs.field(factory=list)
    settings: dict[str, Any] = attrs.field(factory=dict)
    clock: FakeClock = attrs.field(init=False)
    app: Nexus = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = FakeClock(start=self.start)
        self.app = nexus.create_nexus(NexusConfig(**self.settings), clock=self.clock, run_store=self.store)

    def add(self, *schedules: str | Schedule, name: str = "tick") -> None:
        self.app.register(self.ticking(*schedules, name=name))

    def ticking(self, *schedules: str | Schedule, name: str = "tick") -> Callable[..., Any]:
        @nexus.workflow(name=name, schedule=schedules)
        async def tick(run: Run, *, ask: bool = False) -> None:
            self.fired.append(run.request_id)
            if ask:
                await run.ask("Go on?", bool, name="go")

        return tick

    @property
    def times(self) -> list[datetime]:
        """The due times of what was fired."""
        return [datetime.fromisoformat(key.split(":", 2)[2]) for key in self.fired]

    @property
    def offsets(self) -> list[float]:
        """The same, in seconds since the start."""
        return [(time - self.start).total_seconds() for time in self.times]

    async def call(self, operation: str, **arguments: Any) -> Any:
        response = await self.app.dispatch(Request(operation=operation, arguments=arguments, caller=Caller(channel="api")))
        if response.error is not None:
            raise response.error
        return response.data

    async def listed(self) -> list[dict[str, Any]]:
        listing: list[dict[str, Any]] = await self.call("schedules.list")
        return listing

    async def runs(self) -> list[RunRecord]:
        page = await self.store.list(Scope.ALL, where={}, after=None, limit=10_000)
        return list(reversed(page.items))

    def set(self, by: timedelta) -> None:
        self.clock.set(self.clock.now() + by)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def times(start: datetime, step: timedelta, count: int) -> list[datetime]:
    """Return that many times, the first one step after the start."""
    return [start + step * number for number in range(1, count + 1)]


def days(year: int) -> Iterator[date]:
    day = date(year, 1, 1)
    while day.year == year:
        yield day
        day += DAY


# ---- due times


async def test_a_firing_is_a_run_of_the_application_under_the_key_of_its_due_time(desk: Desk) -> None:
    desk.add("5 12 * * *")
    async with desk.app:
        await desk.clock.advance(2 * HOUR)
        (run,) = await desk.runs()
        assert (run.workflow, run.status, run.principal, run.channel) == ("tick", "succeeded", APPLICATION.id, "inprocess")
        assert (run.request_id, run.created_at) == ("schedule:tick:2026-06-01T12:05:00Z", NOON + 5 * MINUTE)
        again = await desk.app.submit_workflow("tick", idempotency_key=run.request_id)
        assert again.id == run.id


async def test_over_a_year_with_both_changes_of_the_clock_each_due_time_fires_once() -> None:
    # Every second of a year would be 31.5 million runs: here are its hours, and below the seconds around the changes.
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    desk = Desk(start=new_year, settings={"run_retention_days": 400})
    desk.add(Schedule("0 * * * *", timezone="Europe/Berlin"), Schedule("30 2 * * *", timezone="Europe/Berlin", name="nightly"))
    desk.app.scheduler.look_s = DAY.total_seconds()
    async with desk.app:
        await desk.clock.advance(365 * DAY)

    nightly = [datetime(day.year, day.month, day.day, 2, 30, tzinfo=BERLIN).astimezone(UTC) for day in days(2026)]
    nightly[nightly.index(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))] = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert [time for time, key in zip(desk.times, desk.fired, strict=True) if key.startswith("schedule:nightly:")] == nightly
    assert [time for time, key in zip(desk.times, desk.fired, strict=True) if key.startswith("schedule:tick:")] == times(
        new_year, HOUR, 365 * 24
    )
    assert len(await desk.runs()) == 365 * 25


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ],
)
async def test_every_second_around_a_change_of_the_clock_fires_once(zone: str, change: datetime) -> None:
    desk = Desk(start=change - HOUR / 2)
    desk.add(Schedule("* * * * * *", timezone=zone))
    async with desk.app:
        await desk.clock.advance(HOUR)
    assert desk.times == times(desk.start, SECOND, 3600)


@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        ("30 2 * * *", date(2026, 3, 29), ["03:00+02:00"]),
        ("30 2 * * *", date(2026, 10, 25), ["02:30+02:00"]),
        ("0,30 1-3 * * *", date(2026, 3, 29), ["01:00+01:00", "01:30+01:00", "03:00+02:00", "03:30+02:00"]),
        ("*/30 2 * * *", date(2026, 3, 29), []),
        ("*/30 2 * * *", date(2026, 10, 25), ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]),
        ("0 30 2 * * *", date(2026, 3, 29), []),
        ("0 30 2 * * *", date(2026, 10, 25), ["02:30+02:00", "02:30+01:00"]),
    ],
)
async def test_an_hour_that_the_day_does_not_have_or_has_twice(cron: str, day: date, expected: list[str]) -> None:
    desk = Desk(start=datetime(day.year, day.month, day.day, tzinfo=BERLIN))
    desk.add(Schedule(cron, timezone="Europe/Berlin"))
    async with desk.app:
        await desk.clock.advance(6 * HOUR)
    local = [time.astimezone(BERLIN).isoformat(timespec="minutes") for time in desk.times]
    assert local == [f"{day}T{time}" for time in expected]


@pytest.mark.parametrize("cron", ["* * * * *", "*/15 */2 * * *", "* 0 * * *", "*/7 1,3 * * *"])
@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),  # to midnight, which comes twice
        ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),  # from midnight, which the day does not have
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # by half an hour
        ("Pacific/Chatham", datetime(2026, 9, 26, 14, tzinfo=UTC)),  # at a quarter to three
    ],
)
def test_a_cron_with_a_star_is_due_whenever_the_clock_shows_it(cron: str, zone: str, change: datetime) -> None:
    timetable = make_timetable(cron, zone, place="here")
    simulation = CronSim(cron, NOON)
    shown = [(time, time.astimezone(ZoneInfo(zone))) for time in times(change - 30 * HOUR, MINUTE, 60 * 60)]
    expected = [time for time, local in shown if local.minute in simulation.minutes and local.hour in simulation.hours]
    due = timetable.after(change - 30 * HOUR)
    found = []
    while due is not None and due <= change + 30 * HOUR:
        found.append(due)
        due = timetable.after(due)
    assert found == expected


async def test_started_in_the_second_of_two_same_hours_it_waits_for_the_next_day() -> None:
    desk = Desk(start=datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
    desk.add(Schedule("30 2 * * *", timezone="Europe/Berlin"))
    async with desk.app:
        await desk.clock.advance(DAY + HOUR)
    assert desk.times == [datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


async def test_several_schedules_of_a_workflow_fire_each_at_its_times(desk: Desk) -> None:
    desk.add("10 12 * * *", Schedule("20 12 * * *", name="late"), "30 12 * * *")
    async with desk.app:
        await desk.clock.advance(HOUR)
    assert [key.split(":")[1] for key in desk.fired] == ["tick", "late", "tick_3"]


async def test_inputs_are_given_to_each_firing(desk: Desk) -> None:
    given: list[tuple[int, str]] = []

    @desk.app.workflow(schedule=Schedule("* * * * *", inputs={"number": 3}))
    async def collect(number: int, word: str = "w") -> None:
        given.append((number, word))

    async with desk.app:
        await desk.clock.advance(2 * MINUTE)
    assert given == [(3, "w"), (3, "w")]


async def test_a_workflow_of_steps_and_one_of_a_group_have_schedules_too(desk: Desk) -> None:
    made = nexus.Workflow("made", schedule="* * * * *")
    group = nexus.Group("sales")

    @made.step
    async def only() -> int:
        return 1

    group.register(desk.ticking("* * * * *"))
    desk.app.register(made, group)
    async with desk.app:
        assert [(each["name"], each["workflow"]) for each in await desk.listed()] == [
            ("made", "made@1"),
            ("sales.tick", "sales.tick@1"),
        ]
        await desk.clock.advance(MINUTE)
        assert sorted(run.workflow for run in await desk.runs()) == ["made", "sales.tick"]


async def test_without_a_schedule_no_task_runs_and_nothing_waits(desk: Desk) -> None:
    desk.app.register(desk.ticking())
    async with desk.app:
        await desk.clock.advance(0)
        assert desk.clock.pending == (RETENTION_S,)
        assert [task.name for task in anyio.get_running_tasks() if "Scheduler" in str(task.name)] == []


async def test_between_due_times_it_only_looks_at_the_clock_once_a_minute(desk: Desk) -> None:
    desk.add("0 13 * * *")
    async with desk.app:
        await desk.clock.advance(0)
        assert desk.clock.pending == (60, RETENTION_S)


# ---- registration


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("every day", "this is no cron expression (Wrong number of fields)"),
        ("61 * * * *", "this is no cron expression (Bad minute)"),
        (3, "give a cron expression"),
        ([None], "give a cron expression"),
        (Schedule("0 0 30 2 *"), "this is no cron expression (Bad day-of-month)"),
        (Schedule("* * * * *", timezone="Europe/Bonn"), "there is no time zone 'Europe/Bonn'"),
        (Schedule("* * * * *", timezone="../etc"), "there is no time zone '../etc'"),
        (Schedule("* * * * *", jitter=-1), "jitter=-1 is not a number of seconds"),
        (Schedule("* * * * *", jitter=float("nan")), "jitter=nan is not a number of seconds"),
        (Schedule("* * * * *", jitter=1e300), "jitter=1e+300 is not a number of seconds"),
        (Schedule("* * * * *", missed="never"), "missed='never': use one of 'skip', 'once', 'all'"),  # type: ignore[arg-type]
        (Schedule("* * * * *", overlap=None), "overlap=None: use one of 'skip', 'allow', 'cancel'"),  # type: ignore[arg-type]
        (Schedule("* * * * *", name="Tick!"), "'Tick!' can't be a name"),
        (Schedule("* * * * *", inputs=[1]), "inputs=[1]: give a mapping"),  # type: ignore[arg-type]
        ((Schedule("* * * * *", name="same"), Schedule("1 * * * *", name="same")), "can't be called 'same'"),
    ],
)
async def test_a_wrong_schedule_is_told_where_it_is_registered(desk: Desk, schedule: Any, told: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        desk.app.register(desk.ticking(*schedule) if isinstance(schedule, tuple) else desk.ticking(schedule))
    assert caught.value.message.startswith("tests.test_schedules:Desk.ticking.<locals>.tick: ")
    assert told in caught.value.message
    assert await desk.listed() == []


async def test_all_that_is_wrong_with_the_inputs_is_told_at_registration(desk: Desk) -> None:
    with pytest.raises(RegistrationError) as caught:

        @desk.app.workflow(schedule=Schedule("* * * * *", inputs={"limit": 11, "colour": "red"}))
        async def report(day: date, limit: Annotated[int, annotated_types.Le(10)]) -> None: ...

    assert "the inputs of schedule 'report' don't fit" in caught.value.message
    assert [pointer for pointer in ("/day", "/limit", "/colour") if pointer not in caught.value.message] == []


async def test_two_workflows_can_not_have_a_schedule_of_one_name(desk: Desk) -> None:
    desk.add(Schedule("* * * * *", name="nightly"))
    other = nexus.Workflow("other", schedule=Schedule("* * * * *", name="nightly"))

    @other.step
    async def only() -> int:
        return 1

    with pytest.raises(RegistrationError, match=r"there is a schedule 'nightly' already, of tick@1 .*name="):
        desk.app.register(other)
    assert desk.app.operation("other") is None


async def test_what_is_registered_while_it_runs_fires_too(desk: Desk) -> None:
    async with desk.app:
        await desk.clock.advance(MINUTE / 2)
        desk.add("* * * * *")
        await desk.clock.advance(MINUTE)
        desk.add("*/10 * * * * *", name="faster")
        await desk.clock.advance(MINUTE / 2)
    assert sorted(key.removeprefix("schedule:") for key in desk.fired) == [
        "faster:2026-06-01T12:01:40Z",
        "faster:2026-06-01T12:01:50Z",
        "faster:2026-06-01T12:02:00Z",
        "tick:2026-06-01T12:01:00Z",
        "tick:2026-06-01T12:02:00Z",
    ]


async def test_what_is_registered_anew_fires_by_its_new_schedule_only(desk: Desk) -> None:
    desk.add("* * * * *")
    async with desk.app:
        await desk.clock.advance(2 * MINUTE)
        desk.add("*/5 * * * *")
        await desk.clock.advance(10 * MINUTE)
        desk.add()
        await desk.clock.advance(HOUR)
        assert await desk.listed() == []
    assert desk.offsets == [60, 120, 300, 600]


async def test_what_a_running_workflow_registers_is_fired_in_the_name_of_the_application(desk: Desk) -> None:
    @desk.app.workflow
    async def bring(run: Run) -> None:
        desk.add("* * * * *")

    async with desk.app:
        await desk.app.execute_workflow("bring")
        await desk.clock.advance(MINUTE)
        _, fired = await desk.runs()
        assert (fired.workflow, fired.parent, fired.principal) == ("tick", None, APPLICATION.id)


async def test_a_schedule_can_not_be_registered_from_another_thread_while_it_runs(desk: Desk) -> None:
    async with desk.app:
        with pytest.raises(RegistrationError, match="can't be registered from this thread"):
            await anyio.to_thread.run_sync(desk.add, "* * * * *")
        await anyio.to_thread.run_sync(desk.add)
    assert desk.app.operation("tick") is not None


# ---- missed


@pytest.mark.parametrize(
    ("missed", "expected"),
    [("skip", [600, 7800, 8400]), ("once", [600, 7200, 7800, 8400]), ("all", list(range(600, 9000, 600)))],
)
async def test_due_times_that_the_clock_jumped_over(desk: Desk, missed: Any, expected: list[int]) -> None:
    desk.add(Schedule("*/10 * * * *", missed=missed))
    async with desk.app:
        await desk.clock.advance(10 * MINUTE)
        desk.set(2 * HOUR - 2 * MINUTE)
        await desk.clock.advance(4 * MINUTE)
        await desk.clock.advance(8 * MINUTE)
    assert desk.offsets == expected


@pytest.mark.parametrize(("missed", "expected"), [("skip", [600]), ("once", [600, 3600]), ("all", list(range(600, 4200, 600)))])
async def test_due_times_that_passed_while_it_was_stopped(desk: Desk, missed: Any, expected: list[int]) -> None:
    desk.add(Schedule("*/10 * * * *", missed=missed))
    async with desk.app:
        await desk.clock.advance(10 * MINUTE)
    await desk.clock.advance(55 * MINUTE)
    async with desk.app:
        await desk.clock.advance(0)
    assert desk.offsets == expected


async def test_the_store_of_runs_tells_another_process_what_was_missed() -> None:
    first = Desk()
    first.add(Schedule("0 * * * *", missed="once"))
    async with first.app:
        await first.clock.advance(HOUR)
    second = Desk(start=NOON + 5.5 * HOUR, store=first.store)
    second.add(Schedule("0 * * * *", missed="once"))
    async with second.app:
        await second.clock.advance(0)
        (schedule,) = await second.listed()
        assert schedule["last"]["time"] == NOON + 5 * HOUR
    assert second.times == [NOON + 5 * HOUR]


async def test_a_due_time_that_is_late_by_less_than_a_minute_is_fired(desk: Desk) -> None:
    desk.add("0 13 * * *")
    async with desk.app:
        await desk.clock.advance(58 * MINUTE)
        desk.set(MINUTE + 30 * SECOND)
        await desk.clock.advance(MINUTE)
    assert desk.times == [NOON + HOUR]


async def test_millions_of_missed_seconds_are_let_go_at_once(desk: Desk) -> None:
    desk.add(Schedule("* * * * * *", missed="once"))
    async with desk.app:
        await desk.clock.advance(SECOND)
        desk.set(365 * DAY)
        await desk.clock.advance(2 * SECOND)
    assert desk.times == [NOON + SECOND, NOON + 365 * DAY + 2 * SECOND, NOON + 365 * DAY + 3 * SECOND]


async def test_what_was_missed_is_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nexus.schedule")
    desk.add("*/10 * * * *")
    async with desk.app:
        desk.set(HOUR + 5 * MINUTE)
        await desk.clock.advance(MINUTE)
    (line,) = caplog.messages
    assert "due times were missed" in line
    assert "first='2026-06-01T12:10:00+00:00' next='2026-06-01T13:10:00+00:00'" in line


@pytest.mark.parametrize("back", [MINUTE, 3 * HOUR, 3 * DAY])
async def test_a_clock_that_is_set_back_fires_no_due_time_twice(back: timedelta) -> None:
    desk = Desk(start=NOON - 10 * DAY)
    desk.add("0 */6 * * *")
    desk.app.scheduler.look_s = HOUR.total_seconds()
    async with desk.app:
        await desk.clock.advance(10 * DAY)
        desk.set(-back)
        await desk.clock.advance(back + 7 * HOUR)
    assert desk.times == times(NOON - 10 * DAY, 6 * HOUR, 41)


async def test_a_clock_that_was_wrong_by_a_year_does_not_silence_a_schedule_for_that_year(desk: Desk) -> None:
    desk.add("0 * * * *")
    async with desk.app:
        desk.set(365 * DAY + HOUR / 2)
        await desk.clock.advance(HOUR)
        desk.set(-365 * DAY - HOUR / 2)
        await desk.clock.advance(HOUR)
    assert desk.times == [NOON + 365 * DAY + HOUR, NOON + 2 * HOUR]


# ---- overlap


def slow_of(desk: Desk, schedule: Schedule, seconds: float) -> list[tuple[str, float]]:
    """Add a workflow that takes its time, and note when it began, ended or was cancelled."""
    seen: list[tuple[str, float]] = []

    @desk.app.workflow(schedule=schedule)
    async def slow() -> None:
        seen.append(("began", desk.clock.monotonic()))
        try:
            await desk.clock.sleep(seconds)
        except BaseException:
            seen.append(("cancelled", desk.clock.monotonic()))
            raise
        seen.append(("ended", desk.clock.monotonic()))

    return seen


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", [("began", 60), ("ended", 150), ("began", 180)]),
        ("allow", [("began", 60), ("began", 120), ("ended", 150), ("began", 180), ("ended", 210)]),
        ("cancel", [("began", 60), ("cancelled", 120), ("began", 120), ("cancelled", 180), ("began", 180)]),
    ],
)
async def test_a_due_time_while_the_run_before_goes_on(desk: Desk, overlap: Any, expected: list[tuple[str, float]]) -> None:
    seen = slow_of(desk, Schedule("* * * * *", overlap=overlap), 90)
    async with desk.app:
        await desk.clock.advance(210)
        assert seen == expected
        await desk.clock.advance(30 if overlap == "allow" else 60)
        for run in await desk.runs():
            await desk.app.executor.cancel(Scope.ALL, run.id)


async def test_a_run_that_waits_for_an_answer_has_not_ended(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nexus.schedule")
    desk.add(Schedule("* * * * *", inputs={"ask": True}))
    async with desk.app:
        await desk.clock.advance(2 * MINUTE)
        (waiting,) = await desk.runs()
        assert waiting.status == "waiting"
        await desk.app.executor.cancel(Scope.ALL, waiting.id)
        await desk.clock.advance(MINUTE)
        assert [run.request_id[-9:] for run in await desk.runs()] == ["12:01:00Z", "12:03:00Z"]
        await desk.app.executor.cancel(Scope.ALL, (await desk.runs())[1].id)
    assert "12:02:00Z" in caplog.text


async def test_a_slow_clean_up_of_one_run_holds_up_no_other_schedule(desk: Desk) -> None:
    began: list[float] = []
    cleaned = anyio.Event()

    @desk.app.workflow(schedule=Schedule("* * * * *", overlap="cancel"))
    async def stubborn() -> None:
        began.append(desk.clock.monotonic())
        try:
            await desk.clock.sleep(90)
        finally:
            with anyio.CancelScope(shield=True):
                await cleaned.wait()

    desk.add("* * * * *")
    async with desk.app:
        await desk.clock.advance(3 * MINUTE + 30 * SECOND)
        assert (desk.offsets, began) == ([60, 120, 180], [60])
        cleaned.set()
        await desk.clock.advance(0)
        assert began == [60, 210, 210]
        await desk.call("schedules.pause", schedule="stubborn")
        await desk.clock.advance(90)


# ---- jitter


async def test_jitter_puts_a_firing_off_by_a_part_of_it(desk: Desk) -> None:
    draws = iter([0.0, 0.5, 0.999, 0.25])
    desk.app.scheduler.random = lambda: next(draws)
    began: list[float] = []

    @desk.app.workflow(schedule=Schedule("*/10 * * * *", jitter=60))
    async def late() -> None:
        began.append(desk.clock.monotonic())

    async with desk.app:
        await desk.clock.advance(35 * MINUTE)
        assert [run.request_id[-9:] for run in await desk.runs()] == ["12:10:00Z", "12:20:00Z", "12:30:00Z"]
    assert began == [600, 1230, pytest.approx(1859.94)]


async def test_jitter_never_reaches_the_next_due_time(desk: Desk) -> None:
    desk.app.scheduler.random = lambda: 0.75
    desk.add(Schedule("* * * * *", jitter=HOUR))
    async with desk.app:
        await desk.clock.advance(MINUTE + 44 * SECOND)
        assert desk.offsets == []
        await desk.clock.advance(SECOND)
        assert desk.offsets == [60]
        await desk.clock.advance(MINUTE)
    assert desk.offsets == [60, 120]


# ---- processes, faults, stopping


async def test_processes_that_share_a_store_fire_each_due_time_once() -> None:
    one, other = Desk(), Desk()
    other = Desk(store=one.store)
    one.add("* * * * *")
    other.add("* * * * *")
    async with one.app, other.app:
        for _ in range(3):
            await one.clock.advance(MINUTE)
            await other.clock.advance(MINUTE)
        assert (await one.listed())[0]["last"] == (await other.listed())[0]["last"]
    assert (one.offsets, other.offsets) == ([60, 120, 180], [])


class Refusing(Guard):
    """A guard that refuses one workflow."""

    async def check(self, call: Call) -> None:
        if call.request.operation == "refused@1":
            raise PermissionDeniedError("not now")


async def test_a_firing_that_can_not_start_is_logged_and_the_others_go_on(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.app.add_guard(Refusing())
    desk.add("* * * * *", name="refused")
    desk.add("* * * * *")
    async with desk.app:
        await desk.clock.advance(2 * MINUTE)
    assert desk.offsets == [60, 120]
    lines = [record for record in caplog.records if record.name == "nexus.schedule"]
    assert [("could not fire" in line.message, "schedule='refused'" in line.message) for line in lines] == [(True, True)] * 2
    assert "not now" in caplog.text


class Failing(MemoryRunStore):
    """A store that is down while somebody says so."""

    down = False

    async def create(self, scope: Scope, run: RunRecord, **key: Any) -> RunRecord:
        if self.down:
            raise OSError("the disk is gone")
        return await super().create(scope, run, **key)

    async def list(self, scope: Scope, **query: Any) -> Any:
        if self.down:
            raise OSError("the disk is gone")
        return await super().list(scope, **query)


async def test_a_store_that_is_down_costs_the_firings_of_that_time_only(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    desk = Desk(store=store)
    desk.add("* * * * *")
    store.down = True
    async with desk.app:
        await desk.clock.advance(MINUTE)
        store.down = False
        await desk.clock.advance(MINUTE)
    assert desk.offsets == [120]
    lines = [record.message.split(" schedule=")[0] for record in caplog.records if record.name == "nexus.schedule"]
    assert lines == ["event='its last firing is not known'", "event='could not fire'"]


async def test_a_workflow_that_fails_is_fired_again(desk: Desk) -> None:
    @desk.app.workflow(schedule="* * * * *")
    async def failing() -> None:
        raise ValueError("no")

    async with desk.app:
        await desk.clock.advance(2 * MINUTE)
        assert [run.status for run in await desk.runs()] == ["failed", "failed"]


async def test_many_firings_do_not_drive_the_runs_of_others_out_of_a_store_in_memory() -> None:
    desk = Desk(store=MemoryRunStore(max_runs=10))
    desk.add("* * * * *")
    desk.app.register(nexus.workflow(name="other")(desk.ticking()))
    async with desk.app:
        await desk.clock.advance(20 * MINUTE)
        for _ in range(4):
            await desk.app.execute_workflow("other")
        assert sorted(run.workflow for run in await desk.runs()) == ["other"] * 4 + ["tick"] * 6


async def test_a_stopped_application_fires_nothing_and_can_be_started_again(desk: Desk) -> None:
    desk.add("* * * * *")
    async with desk.app:
        await desk.clock.advance(MINUTE)
    assert desk.clock.pending == ()
    await desk.clock.advance(MINUTE + SECOND)
    async with desk.app:
        await desk.clock.advance(MINUTE)
    assert desk.offsets == [60, 120, 180]


class Slow(MemoryRunStore):
    """A store that takes its time to keep a record."""

    asked: anyio.Event
    ready: anyio.Event

    async def create(self, scope: Scope, run: RunRecord, **key: Any) -> RunRecord:
        self.asked.set()
        await self.ready.wait()
        return await super().create(scope, run, **key)


async def test_a_firing_that_is_being_started_when_the_application_stops_gets_there() -> None:
    store = Slow()
    store.asked, store.ready = anyio.Event(), anyio.Event()
    desk = Desk(store=store)
    desk.add("* * * * *")

    async def stop_later() -> None:
        await anyio.wait_all_tasks_blocked()
        store.ready.set()

    async with anyio.create_task_group() as tasks:
        async with desk.app:
            await desk.clock.advance(MINUTE)
            assert store.asked.is_set()
            tasks.start_soon(stop_later)
        assert (desk.offsets, [run.status for run in await desk.runs()]) == ([60], ["succeeded"])


async def test_switched_off_nothing_fires_but_what_is_triggered() -> None:
    desk = Desk(settings={"enable_schedules": False})
    desk.add("* * * * *")
    async with desk.app:
        await desk.clock.advance(HOUR)
        assert (desk.fired, desk.clock.pending) == ([], (RETENTION_S,))
        run = await desk.call("schedules.trigger", schedule="tick", wait=True)
        assert run["status"] == "succeeded"


def test_one_command_fires_no_schedule(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    @desk.app.workflow
    async def wait() -> int:
        await desk.clock.advance(HOUR)
        return len(desk.fired)

    desk.add("* * * * *")
    cli(desk.app).main(["wait", "--format", "json"], standalone_mode=False)
    assert capsys.readouterr().out == "0\n"


# ---- operations


async def test_schedules_are_listed_with_their_next_due_times_and_last_firing(desk: Desk) -> None:
    desk.add(Schedule("0 6 * * *", timezone="Europe/Berlin", jitter=30, missed="once", overlap="cancel"))
    async with desk.app:
        await desk.clock.advance(DAY)
        (run,) = await desk.runs()
        assert await desk.listed() == [
            {
                "name": "tick",
                "workflow": "tick@1",
                "cron": "0 6 * * *",
                "timezone": "Europe/Berlin",
                "jitter": 30.0,
                "missed": "once",
                "overlap": "cancel",
                "paused": False,
                "next": times(datetime(2026, 6, 2, 4, tzinfo=UTC), DAY, 3),
                "last": {"time": datetime(2026, 6, 2, 4, tzinfo=UTC), "run_id": run.id, "status": "succeeded"},
            }
        ]


async def test_a_paused_schedule_fires_nothing_and_makes_up_for_nothing(desk: Desk) -> None:
    desk.add(Schedule("* * * * *", missed="all"))
    async with desk.app:
        await desk.clock.advance(MINUTE)
        paused = await desk.call("schedules.pause", schedule="tick")
        assert (paused["paused"], paused["next"]) == (True, [])
        await desk.clock.advance(10 * MINUTE + 30 * SECOND)
        resumed = await desk.call("schedules.resume", schedule="tick")
        assert (resumed["paused"], resumed["next"][0]) == (False, NOON + 12 * MINUTE)
        await desk.call("schedules.resume", schedule="tick")
        await desk.clock.advance(MINUTE)
    assert desk.offsets == [60, 720]


async def test_a_schedule_is_triggered_paused_or_not_and_its_next_due_time_stays(desk: Desk) -> None:
    desk.add("0 13 * * *")
    async with desk.app:
        await desk.call("schedules.pause", schedule="tick")
        await desk.clock.advance(MINUTE)
        first = await desk.call("schedules.trigger", schedule="tick", wait=True)
        second = await desk.call("schedules.trigger", schedule="tick")
        assert (first["status"], first["principal"], second["status"]) == ("succeeded", APPLICATION.id, "pending")
        await desk.clock.advance(0)
        assert (await desk.call("schedules.list"))[0]["last"]["run_id"] == second["run_id"]
        assert first["run_id"] != second["run_id"]
        await desk.call("schedules.resume", schedule="tick")
        assert (await desk.listed())[0]["last"]["time"] == NOON + MINUTE
        await desk.clock.advance(HOUR)
    assert [len(desk.fired), desk.fired[2]] == [3, "schedule:tick:2026-06-01T13:00:00Z"]


async def test_what_does_not_overlap_is_not_triggered_while_it_runs(desk: Desk) -> None:
    desk.add(Schedule("* * * * *", inputs={"ask": True}))
    async with desk.app:
        await desk.clock.advance(MINUTE)
        (run,) = await desk.runs()
        with pytest.raises(ConflictError, match=f"its run {run.id} has not ended"):
            await desk.call("schedules.trigger", schedule="tick")
        await desk.app.executor.cancel(Scope.ALL, run.id)


@pytest.mark.parametrize("operation", ["pause", "resume", "trigger"])
async def test_a_schedule_that_is_not_there_is_not_found(desk: Desk, operation: str) -> None:
    desk.add("* * * * *")
    async with desk.app:
        with pytest.raises(NotFoundError, match="there is no schedule 'tock'; did you mean 'tick'"):
            await desk.call(f"schedules.{operation}", schedule="tock")


async def test_the_api_and_the_command_line_show_and_steer_schedules(desk: Desk) -> None:
    desk.add("0 13 * * *")
    async with Client(desk.app, channel="api") as client:
        listed = await client.call("schedules.list")
        assert [(each["name"], each["next"][0]) for each in listed] == [("tick", "2026-06-01T13:00:00Z")]
        shown = await invoke(desk.app, ["schedules.pause", "tick", "--format", "json"])
        assert ('"paused":true' in shown.stdout, shown.exit_code) == (True, 0)
        triggered = await invoke(desk.app, ["schedules.trigger", "tick", "--wait", "--format", "json"])
        assert ('"status":"succeeded"' in triggered.stdout, triggered.exit_code) == (True, 0)
