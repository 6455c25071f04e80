"""Clients that leave are noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from nexus.clock import SystemClock
from nexus_starlette.watch import Watch

pytestmark = pytest.mark.anyio

Receive = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    watch = Watch(SystemClock())
    async with AsyncExitStack() as stack:
        await watch.start(stack)
        yield watch


def client() -> tuple[Receive, anyio.Event]:
    """Return what a server gives to an application, and the event of the client's leaving."""
    left = anyio.Event()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    return receive, left


async def test_work_that_ends_gives_its_result() -> None:
    receive, _ = client()

    async def work() -> int:
        return 3

    async with watching() as watch:
        assert await watch.carry(receive, work()) == 3


async def test_work_for_a_client_that_leaves_is_cancelled_within_300_ms() -> None:
    receive, left = client()
    cleaned_up = False

    async def work() -> str:
        nonlocal cleaned_up
        try:
            left.set()
            await anyio.sleep_forever()
        finally:
            cleaned_up = True
        return "done"

    async with watching() as watch:
        with anyio.fail_after(2):
            started = anyio.current_time()
            assert await watch.carry(receive, work()) is None
    assert cleaned_up
    assert anyio.current_time() - started < 0.3


async def test_the_work_for_others_goes_on() -> None:
    leaver, left = client()
    stayer, _ = client()
    results: list[Any] = []
    done = anyio.Event()

    async def work() -> str:
        await done.wait()
        return "done"

    async def carry(watch: Watch, receive: Receive) -> None:
        results.append(await watch.carry(receive, work()))

    async with watching() as watch, anyio.create_task_group() as group:
        group.start_soon(carry, watch, stayer)
        left.set()
        with anyio.fail_after(2):
            await carry(watch, leaver)
        done.set()
    assert results == [None, "done"]


async def test_work_that_fails_says_why() -> None:
    receive, _ = client()

    async def work() -> None:
        raise LookupError("lost")

    async with watching() as watch:
        with pytest.raises(LookupError):
            await watch.carry(receive, work())


async def test_a_client_that_is_still_talking_or_cannot_be_asked_has_not_left() -> None:
    async def talking() -> Any:
        return {"type": "http.request", "body": b""}

    async def unwilling() -> Any:
        raise RuntimeError("not now")

    async def work() -> str:
        await anyio.sleep(0.35)
        return "done"

    results: list[Any] = []

    async def carry(watch: Watch, receive: Receive) -> None:
        results.append(await watch.carry(receive, work()))

    async with watching() as watch, anyio.create_task_group() as group:
        group.start_soon(carry, watch, talking)
        group.start_soon(carry, watch, unwilling)
    assert results == ["done", "done"]


async def test_without_a_start_nothing_is_watched_and_work_is_done() -> None:
    receive, left = client()
    left.set()

    async def work() -> str:
        await anyio.lowlevel.checkpoint()
        return "done"

    assert await Watch(SystemClock()).carry(receive, work()) == "done"
