"""How many runs go on at once, who waits, and who is refused."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import nexus
from nexus import DeadlineExceededError, Nexus, NexusConfig, ResourceExhaustedError, Run, Workflow
from nexus.memory import MemoryRunStore
from nexus.models import Scope
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


class Gate:
    """A workflow that holds its runs, and notes how many go on at once."""

    def __init__(self, **options: Any) -> None:
        self.running = self.most = self.done = 0
        self.open = anyio.Event()
        self.workflow = nexus.workflow(name="hold", **options)(self._hold())

    def _hold(self) -> Callable[..., Any]:
        async def hold() -> int:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.open.wait()
                self.done += 1
            finally:
                self.running -= 1
            return self.done

        return hold


def app_of(*what: Workflow | Callable[..., Any], **settings: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(**settings))
    app.register(*what)
    return app


@pytest.mark.parametrize(("options", "settings"), [({"concurrency": 2}, {}), ({}, {"concurrency": 2})])
async def test_no_more_go_on_at_once_than_may(options: dict[str, Any], settings: dict[str, Any]) -> None:
    gate = Gate(**options)
    app = app_of(gate.workflow, **settings)
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(app.execute_workflow, "hold")
        await anyio.wait_all_tasks_blocked()
        assert gate.running == 2
        gate.open.set()
    assert (gate.most, gate.done) == (2, 10)


async def test_who_waits_longest_is_next() -> None:
    order: list[int] = []
    begin = anyio.Event()

    @nexus.workflow(concurrency=1)
    async def note(number: int) -> None:
        await begin.wait()
        order.append(number)

    app = app_of(note)
    async with app:
        handles = []
        for number in range(20):
            handles.append(await app.submit_workflow(note, {"number": number}))
            await anyio.wait_all_tasks_blocked()
        begin.set()
        for handle in handles:
            await handle.result()
    assert order == list(range(20))


async def test_a_full_queue_refuses() -> None:
    gate = Gate(concurrency=1)
    async with app_of(gate.workflow, queue_size=2) as app:
        handles = [await app.submit_workflow("hold")]
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            handles.append(await app.submit_workflow("hold"))
            await anyio.wait_all_tasks_blocked()
        assert [(await handle.status()).status for handle in handles] == ["running", "pending", "pending"]
        with pytest.raises(ResourceExhaustedError, match="workflow 'hold': 1 runs go on at once, and 2 more wait already"):
            await app.submit_workflow("hold")
        with pytest.raises(nexus.NexusError, match="2 more wait already") as caught:
            await app.execute_workflow("hold")
        assert caught.value.code == "resource_exhausted"
        gate.open.set()
        assert [await handle.result() for handle in handles] == [1, 2, 3]


async def test_who_waits_for_its_turn_may_be_cancelled_and_leaves_the_queue() -> None:
    gate = Gate(concurrency=1)
    async with app_of(gate.workflow) as app:
        first = await app.submit_workflow("hold")
        await anyio.wait_all_tasks_blocked()
        second = await app.submit_workflow("hold")
        await anyio.wait_all_tasks_blocked()
        third = await app.submit_workflow("hold")
        await anyio.wait_all_tasks_blocked()
        assert (await second.cancel()).status == "cancelled"
        gate.open.set()
        assert [await first.result(), await third.result()] == [1, 2]
        assert (gate.most, gate.running) == (1, 0)


async def test_waiting_for_its_turn_counts_for_who_waits_for_it() -> None:
    clock, gate = FakeClock(), Gate(concurrency=1)
    app = nexus.create_nexus(NexusConfig(), clock=clock)
    app.register(gate.workflow)
    async with app, anyio.create_task_group() as group:
        await app.submit_workflow("hold")

        async def call() -> None:
            with pytest.raises(DeadlineExceededError):
                await app.execute_workflow("hold", timeout=5)

        group.start_soon(call)
        await clock.advance(6)
        gate.open.set()
    assert gate.done == 1


async def test_a_run_that_waits_for_an_answer_lets_others_go_on() -> None:
    @nexus.workflow(concurrency=1)
    async def asks(*, run: Run) -> bool:
        return await run.ask("Go on?", bool)

    async with app_of(asks) as app:
        handles = [await app.submit_workflow(asks) for _ in range(5)]
        await anyio.wait_all_tasks_blocked()
        assert [(await handle.status()).status for handle in handles] == ["waiting"] * 5
        for handle in handles:
            assert (await handle.answer(True)).output is True


async def test_a_run_takes_its_turn_again_after_the_answer() -> None:
    gate, running = anyio.Event(), []

    @nexus.workflow(concurrency=1)
    async def asks(name: str, *, run: Run) -> str:
        if name == "patient":
            await run.ask("Go on?", bool)
        running.append(name)
        await gate.wait()
        running.remove(name)
        return name

    async with app_of(asks) as app:
        patient = await app.submit_workflow(asks, {"name": "patient"})
        await anyio.wait_all_tasks_blocked()
        other = await app.submit_workflow(asks, {"name": "other"})
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as group:
            group.start_soon(patient.answer, True)
            await anyio.wait_all_tasks_blocked()
            assert running == ["other"]
            gate.set()
        assert [await patient.result(), await other.result()] == ["patient", "other"]


async def test_a_workflow_that_calls_itself_does_not_wait_for_itself() -> None:
    app = nexus.create_nexus(NexusConfig(concurrency=1))

    @app.workflow(concurrency=1)
    async def factorial(number: int) -> int:
        return 1 if number < 2 else number * (await app.execute_workflow("factorial", {"number": number - 1})).results

    with anyio.fail_after(5):
        assert (await app.execute_workflow("factorial", {"number": 5})).results == 120
        assert (await app.execute_workflow("factorial", {"number": 4})).results == 24


async def test_a_workflow_has_a_time_of_its_own() -> None:
    clock = FakeClock()
    slow = Workflow("slow", timeout=30)

    @slow.step
    async def first() -> int:
        await clock.sleep(20)
        return 1

    @slow.step
    async def second(first: int) -> int:
        await clock.sleep(20)
        return 2

    app = nexus.create_nexus(NexusConfig(), clock=clock)
    app.register(slow)
    async with app, anyio.create_task_group() as group:
        handle = await app.submit_workflow(slow)

        async def call() -> None:
            with pytest.raises(DeadlineExceededError, match=r"longer than its workflow allows \(30 s\)"):
                await app.execute_workflow(slow, timeout=100)

        group.start_soon(call)
        await clock.advance(31)
        record = await handle.status()
    assert record.error is not None
    assert (record.status, record.error.code) == ("failed", "deadline_exceeded")
    assert [(step.name, step.status) for step in record.steps] == [("first", "succeeded"), ("second", "cancelled")]


@pytest.mark.slow
async def test_ten_thousand_at_once_are_all_run_never_too_many_and_leave_no_memory_behind() -> None:
    running = most = done = 0

    @nexus.workflow(concurrency=50)
    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        done += 1

    app = nexus.create_nexus(NexusConfig(), run_store=MemoryRunStore(max_runs=10_000))
    app.register(work)

    async def ten_thousand() -> None:
        handles = [await app.submit_workflow(work) for _ in range(10_000)]
        for handle in handles:
            await handle.result()
        page = await app.executor.runs.list(Scope.ALL, where={"status": "succeeded"}, after=None, limit=20_000)
        assert len(page.items) == 10_000

    async with app:
        tracemalloc.start()
        await ten_thousand()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await ten_thousand()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (most, done) == (50, 20_000)
    assert after < 1.1 * before


@pytest.mark.slow
async def test_a_thousand_waiting_runs_cost_under_twenty_kilobytes_each() -> None:
    @nexus.workflow
    async def asks(*, run: Run) -> bool:
        return await run.ask("Go on?", bool)

    async with app_of(asks) as app:
        await (await app.submit_workflow(asks)).cancel()
        gc.collect()
        tracemalloc.start()
        handles = [await app.submit_workflow(asks) for _ in range(1000)]
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert {(await handle.status()).status for handle in handles} == {"waiting"}
        assert used / 1000 < 20_000
        for handle in handles:
            await handle.answer(True)
