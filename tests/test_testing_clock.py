"""The clock that a test owns."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest

from nexus.testing import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)


async def note(clock: FakeClock, seconds: float, woken: list[tuple[float, float]]) -> None:
    await clock.sleep(seconds)
    woken.append((seconds, clock.monotonic()))


@pytest.mark.anyio
async def test_time_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock()
    await anyio.sleep(0.01)
    assert (clock.now(), clock.monotonic()) == (START, 0)
    await clock.advance(90)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=90), 90)


@pytest.mark.anyio
async def test_the_time_of_day_is_in_utc_whatever_zone_the_start_is_in() -> None:
    clock = FakeClock(start=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == START
    assert clock.now().tzinfo is UTC


@pytest.mark.anyio
async def test_sleepers_wake_in_the_order_of_time_and_see_the_time_they_asked_for() -> None:
    clock = FakeClock()
    woken: list[tuple[float, float]] = []
    async with anyio.create_task_group() as tasks:
        for seconds in (3, 1, 2, 1):
            tasks.start_soon(note, clock, seconds, woken)
        await clock.advance(10)
        assert woken == [(1, 1), (1, 1), (2, 2), (3, 3)]


@pytest.mark.anyio
async def test_nobody_wakes_before_the_time() -> None:
    clock = FakeClock()
    woken: list[tuple[float, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 1, woken)
        await clock.advance(0.999)
        assert woken == []
        assert list(clock.pending) == [0.001]
        await clock.advance(timedelta(milliseconds=1))
        assert woken == [(1, 1)]
        assert clock.pending == ()


@pytest.mark.anyio
async def test_parts_of_a_second_add_up_without_rounding() -> None:
    clock = FakeClock()
    woken: list[tuple[float, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 0.3, woken)
        for _ in range(3):
            await clock.advance(0.1)
        assert woken == [(0.3, 0.3)]


@pytest.mark.anyio
async def test_a_task_that_sleeps_again_and_again_wakes_each_time_within_one_advance() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(2)
            ticks.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await clock.advance(7)
        tasks.cancel_scope.cancel()
    assert ticks == [2, 4, 6]
    assert clock.pending == ()


@pytest.mark.anyio
async def test_a_sleep_of_no_time_is_a_checkpoint() -> None:
    clock = FakeClock()
    with anyio.CancelScope() as scope:
        await clock.sleep(0)
        scope.cancel()
        await clock.sleep(0)
        pytest.fail("a checkpoint lets a cancellation in")


@pytest.mark.anyio
async def test_a_timeout_cancels_its_scope_when_the_time_has_come() -> None:
    clock = FakeClock()
    seen: list[tuple[str, float]] = []

    async def work() -> None:
        with clock.timeout(30) as scope:
            await anyio.sleep_forever()
        seen.append(("timed out" if scope.cancel_called else "done", clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance(29)
        assert seen == []
        await clock.advance(1)
        assert seen == [("timed out", 30)]


@pytest.mark.anyio
async def test_a_timeout_that_is_not_reached_leaves_nothing_behind() -> None:
    clock = FakeClock()
    with clock.timeout(30) as scope:
        assert list(clock.pending) == [30]
    assert clock.pending == ()
    await clock.advance(60)
    assert not scope.cancel_called


@pytest.mark.anyio
async def test_a_timeout_of_no_time_cancels_at_the_first_checkpoint() -> None:
    clock = FakeClock()
    with clock.timeout(0) as scope:
        await anyio.lowlevel.checkpoint()
        pytest.fail("the time is up")
    assert scope.cancel_called


@pytest.mark.anyio
async def test_a_timeout_may_be_cancelled_by_hand() -> None:
    clock = FakeClock()
    with clock.timeout(30) as scope:
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancel_called


@pytest.mark.anyio
async def test_the_inner_of_two_timeouts_cancels_only_what_is_inside() -> None:
    clock = FakeClock()
    seen: list[str] = []

    async def work() -> None:
        with clock.timeout(10) as outer:
            with clock.timeout(5):
                await anyio.sleep_forever()
            seen.append("inner")
            await clock.sleep(1)
            seen.append("after")
        seen.append(f"outer {outer.cancel_called}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance(20)
    assert seen == ["inner", "after", "outer False"]


@pytest.mark.anyio
async def test_an_endless_wait_never_ends_by_itself() -> None:
    clock = FakeClock()
    with clock.timeout(math.inf) as scope:
        await clock.advance(timedelta(days=400))
    assert not scope.cancel_called
    assert clock.pending == ()


@pytest.mark.anyio
async def test_a_jump_of_the_time_of_day_wakes_nobody() -> None:
    clock = FakeClock()
    woken: list[tuple[float, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 5, woken)
        await clock.advance(1)
        clock.set(datetime(2030, 1, 1, tzinfo=UTC))
        await clock.advance(0)
        assert woken == []
        assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
        assert clock.monotonic() == 1
        clock.set(START)
        await clock.advance(4)
        assert woken == [(5, 5)]
        assert clock.now() == START + timedelta(seconds=4)


@pytest.mark.anyio
@pytest.mark.parametrize("by", [-1, math.nan, math.inf, timedelta(seconds=-1)])
async def test_time_is_not_advanced_backwards_nor_for_ever(by: float | timedelta) -> None:
    with pytest.raises(ValueError, match="time passes forwards, by a finite number of seconds"):
        await FakeClock().advance(by)


def test_a_time_without_a_zone_is_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the point
    with pytest.raises(ValueError, match="has no time zone"):
        FakeClock(start=naive)
    with pytest.raises(ValueError, match="has no time zone"):
        FakeClock().set(naive)
