"""What a run tells those who listen: in the call, beside it, and afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

import nexus
from nexus import Nexus, NexusConfig, NotFoundError, Principal, Run, UnavailableError
from nexus.models import Scope
from nexus.workflows.feeds import MOST_EVENTS

pytestmark = pytest.mark.anyio


def app_of() -> Nexus:
    app = nexus.create_nexus(NexusConfig())

    @app.workflow
    async def count(limit: int, *, run: Run) -> AsyncIterator[int]:
        for number in range(limit):
            await run.progress(number, limit)
            yield number

    @app.workflow
    async def asks(*, run: Run) -> str:
        return await run.ask("Name?", str)

    @app.workflow
    async def fails() -> None:
        raise nexus.Problem("conflict", "taken")

    return app


COUNTED = ["run.started", "run.progress", "run.chunk", "run.progress", "run.chunk", "run.succeeded"]


async def test_a_run_is_heard_while_it_goes_on() -> None:
    app = app_of()
    async with app.stream("count", {"limit": 2}) as run:
        with pytest.raises(UnavailableError, match="has not ended"):
            _ = run.result
        events = [event async for event in run]
    assert [event.type for event in events] == COUNTED
    assert [event.id for event in events] == [f"{events[0].run_id}-{number}" for number in range(1, 7)]
    assert run.result == [0, 1]


async def test_a_run_that_fails_says_so_at_the_end() -> None:
    async with app_of().stream("fails") as run:
        events = [event async for event in run]
    assert [(event.type, event.data) for event in events][-1] == ("run.failed", {"code": "conflict"})
    with pytest.raises(nexus.Problem, match="taken"):
        _ = run.result


async def test_what_can_not_be_started_has_no_events() -> None:
    async with app_of().stream("count", {"limit": "x"}) as run:
        assert [event async for event in run] == []
    with pytest.raises(nexus.InvalidArgumentError):
        _ = run.result


async def test_leaving_before_the_end_cancels_the_run() -> None:
    app = app_of()
    left: list[str] = []

    @app.workflow
    async def endless(*, run: Run) -> None:
        try:
            while True:
                await run.progress(1)
        finally:
            left.append("cleaned up")

    async with app.stream("endless") as run:
        async for event in run:
            if event.type == "run.progress":
                break
    assert left == ["cleaned up"]
    (record,) = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
    assert record.status == "cancelled"


async def test_what_clean_up_tells_is_heard_where_somebody_else_has_cancelled_the_run() -> None:
    app = app_of()

    @app.workflow
    async def patient(*, run: Run) -> None:
        try:
            await run.log.info("waiting")
            await anyio.sleep_forever()
        finally:
            await run.log.info("cleaned up")

    told = []
    async with app, anyio.create_task_group() as group, app.stream("patient") as run:
        async for event in run:
            if event.type == "run.log":
                told.append(event.data["message"])
                group.start_soon(app.executor.runtime.cancel, event.run_id or "")
    assert told == ["waiting", "cleaned up"]


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with app_of().stream("count", {"limit": 2}):
            _ = 1 / 0


async def test_a_submitted_run_is_heard_by_its_handle_from_the_beginning() -> None:
    async with app_of() as app:
        handle = await app.submit_workflow("count", {"limit": 2})
        assert [event.type async for event in handle.events()] == COUNTED
        assert [event.type async for event in handle.events()] == COUNTED
        assert [event.type async for event in handle.events(after=4)] == COUNTED[4:]


async def test_several_may_listen_each_at_its_own_pace() -> None:
    heard: list[list[str]] = [[], []]
    async with app_of() as app, anyio.create_task_group() as group:
        handle = await app.submit_workflow("asks")

        async def listen(number: int) -> None:
            heard[number].extend([event.type async for event in handle.events()])

        group.start_soon(listen, 0)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(listen, 1)
        await handle.answer("Ada")
    assert heard == [["run.started", "run.waiting", "run.succeeded"]] * 2


async def test_what_a_run_waits_for_is_told() -> None:
    async with app_of() as app:
        handle = await app.submit_workflow("asks")
        events = handle.events()
        assert [(await anext(events)).type, (waiting := await anext(events)).type] == ["run.started", "run.waiting"]
        assert [question["text"] for question in waiting.data["questions"]] == ["Name?"]
        await handle.cancel()
        assert [event.type async for event in events] == ["run.cancelled"]


async def test_who_comes_too_late_for_the_oldest_is_told_how_many_it_missed() -> None:
    async with app_of() as app:
        handle = await app.submit_workflow("count", {"limit": MOST_EVENTS})
        await handle.result()
        events = [event async for event in handle.events(after=1)]
    assert (events[0].type, events[0].data) == ("run.missed", {"count": MOST_EVENTS + 1})
    assert len(events) == MOST_EVENTS + 1
    assert events[0].id == f"{handle.id}-{MOST_EVENTS + 2}"
    assert events[1].id == f"{handle.id}-{MOST_EVENTS + 3}"
    assert events[-1].type == "run.succeeded"


async def test_of_a_run_that_nobody_carried_only_the_end_is_left() -> None:
    app = app_of()
    run = await app.execute_workflow("count", {"limit": 2})
    events = [event async for event in await app.executor.events(Scope.ALL, run.run_id)]
    assert [event.type for event in events] == ["run.succeeded"]


async def test_the_events_of_another_principal_are_not_found() -> None:
    async with app_of() as app:
        handle = await app.submit_workflow("count", {"limit": 1}, principal=Principal(id="ada"))
        with pytest.raises(NotFoundError):
            await app.executor.events(Scope(tenant=None, principal="bob"), handle.id)
