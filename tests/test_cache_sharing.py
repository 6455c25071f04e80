"""One execution for all who ask at once, and nobody who waits for ever."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

import nexus
from nexus import DeadlineExceededError, NexusConfig, Problem
from nexus.testing import FakeClock
from tests.cache_desk import Counting, results_of

pytestmark = pytest.mark.anyio


async def test_those_who_ask_at_once_share_one_execution() -> None:
    counting = Counting(gate=anyio.Event())
    app = counting.app()
    results: list[Any] = []

    async def call() -> None:
        results.append(await app.execute_workflow("count"))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert counting.gate is not None
        counting.gate.set()
    assert counting.calls == 1
    assert {result.results for result in results} == {1}
    assert [result.cached for result in results].count(False) == 1
    assert len({result.run_id for result in results}) == 10


async def test_where_the_first_fails_the_next_one_tries() -> None:
    counting = Counting(gate=anyio.Event(), failures=2)
    app = counting.app()
    ends: list[Any] = []

    async def call() -> None:
        try:
            ends.append((await app.execute_workflow("count")).results)
        except Problem as error:
            ends.append(error.message)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert counting.gate is not None
        counting.gate.set()
    assert counting.calls == 3
    assert sorted(map(str, ends)) == ["3", "3", "3", "not today", "not today"]


async def test_where_the_first_goes_away_the_next_one_takes_over() -> None:
    counting = Counting(gate=anyio.Event())
    app = counting.app()
    results: list[int] = []

    async def call() -> None:
        results.append((await app.execute_workflow("count")).results)

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as leaders:
            leaders.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(call)
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert counting.calls == 1
            leaders.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert counting.gate is not None
        counting.gate.set()
    assert (results, counting.calls) == ([2, 2], 2)


async def test_who_only_waits_may_go_away_or_run_out_of_time() -> None:
    counting, clock = Counting(gate=anyio.Event()), FakeClock()
    app = counting.app(clock=clock)
    results: list[int] = []

    async def lead() -> None:
        results.append((await app.execute_workflow("count")).results)

    async def run_out() -> None:
        with pytest.raises(DeadlineExceededError):
            await app.execute_workflow("count", timeout=1)

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(run_out)
        async with anyio.create_task_group() as followers:
            followers.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            followers.cancel_scope.cancel()
        await clock.advance(1)
        assert counting.gate is not None
        counting.gate.set()
    assert (results, counting.calls) == ([1], 1)


async def test_who_waits_for_another_holds_no_place() -> None:
    counting = Counting(gate=anyio.Event())
    app = counting.app(concurrency=2)
    async with app:
        handles = [await app.submit_workflow("count") for _ in range(5)]
        await anyio.wait_all_tasks_blocked()
        handles.append(await app.submit_workflow("count", {"step": 10}))
        await anyio.wait_all_tasks_blocked()
        assert counting.calls == 2
        assert counting.gate is not None
        counting.gate.set()
        assert [await handle.result() for handle in handles] == [2, 2, 2, 2, 2, 20]


async def test_what_is_kept_is_given_though_no_place_is_free() -> None:
    counting = Counting()
    app = counting.app(concurrency=1)
    assert await results_of(app, {}) == [1]
    counting.gate = anyio.Event()
    async with app:
        held = await app.submit_workflow("count", {"step": 10})
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            assert await results_of(app, {}) == [1]
        counting.gate.set()
        assert await held.result() == 20


async def test_a_result_that_cannot_be_shared_is_not_waited_for_twice() -> None:
    app, running, most, gate = nexus.create_nexus(NexusConfig(), clock=FakeClock()), 0, 0, anyio.Event()

    @app.workflow(cache=60, read_only=True)
    async def pair() -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return (1, 2)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(app.execute_workflow, pair)
        await anyio.wait_all_tasks_blocked()
        assert most == 1
        first, gate = gate, anyio.Event()
        first.set()
        await anyio.wait_all_tasks_blocked()
        assert most == 3
        gate.set()


async def test_two_workflows_that_call_each_other_do_not_wait_for_each_other() -> None:
    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())
    both = [0]

    async def call(other: str, depth: int) -> int:
        both[0] += 1
        if both[0] < 2:
            while both[0] < 2:
                await anyio.lowlevel.checkpoint()
        return depth if both[0] > 4 else (await app.execute_workflow(other, {"depth": depth})).results + 1

    @app.workflow(cache=60, read_only=True)
    async def ping(depth: int) -> int:
        return await call("pong", depth)

    @app.workflow(cache=60, read_only=True)
    async def pong(depth: int) -> int:
        return await call("ping", depth)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(app.execute_workflow, ping, {"depth": 0})
            group.start_soon(app.execute_workflow, pong, {"depth": 0})


async def test_a_run_that_holds_the_only_place_does_not_wait_for_who_wants_it() -> None:
    app = nexus.create_nexus(NexusConfig(concurrency=1), clock=FakeClock())
    calls = []

    @app.workflow(cache=60, read_only=True)
    async def inner() -> int:
        calls.append(1)
        return len(calls)

    @app.workflow
    async def outer() -> int:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        result: int = (await app.execute_workflow(inner)).results
        return result

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(app.execute_workflow, outer)
            await anyio.lowlevel.checkpoint()
            group.start_soon(app.execute_workflow, inner)
    assert len(calls) == 1


async def test_a_submitted_run_and_one_with_a_key_are_kept_too() -> None:
    counting = Counting()
    async with counting.app() as app:
        assert await (await app.submit_workflow("count")).result() == 1
        first = await app.execute_workflow("count", idempotency_key="k")
        again = await app.execute_workflow("count", idempotency_key="k")
        assert (first.results, first.cached, again.run_id) == (1, True, first.run_id)


async def test_who_waited_and_takes_over_tells_of_its_beginning_once() -> None:
    counting = Counting(gate=anyio.Event(), failures=1)
    app = counting.app()
    told: list[list[str]] = []

    async def listen() -> None:
        async with app.stream("count") as run:
            told.append([event.type async for event in run])

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        assert counting.gate is not None
        counting.gate.set()
    assert sorted(told) == [["run.started", "run.failed"], ["run.started", "run.succeeded"], ["run.started", "run.succeeded"]]
