"""How steps are carried out: order, overlap, fan-out, failure, time."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest

import nexus
from nexus import BlockingRun, DeadlineExceededError, Nexus, Problem, Run, Workflow, WorkflowFailedError
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


def app_of(*what: Workflow | Callable[..., Any], **options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(*what)
    return app


async def test_steps_that_do_not_depend_on_each_other_overlap() -> None:
    workflow = Workflow("meeting")
    left_is_here, right_is_here = anyio.Event(), anyio.Event()

    @workflow.step
    async def left() -> str:
        left_is_here.set()
        await right_is_here.wait()
        return "left"

    @workflow.step
    async def right() -> str:
        right_is_here.set()
        await left_is_here.wait()
        return "right"

    @workflow.step
    async def both(left: str, right: str) -> list[str]:
        return [left, right]

    with anyio.fail_after(5):
        result = await app_of(workflow).execute_workflow("meeting")
    assert result.results == ["left", "right"]


async def test_def_steps_overlap_in_threads() -> None:
    workflow = Workflow("meeting")
    barrier = threading.Barrier(2, timeout=5)

    @workflow.step
    def left() -> int:
        return barrier.wait()

    @workflow.step
    def right() -> int:
        return barrier.wait()

    @workflow.step
    async def both(left: int, right: int) -> int:
        return left + right

    assert (await app_of(workflow).execute_workflow("meeting")).results == 1


async def test_a_failing_step_cancels_its_siblings_and_their_finally_runs() -> None:
    workflow = Workflow("race")
    waiting, cleaned = anyio.Event(), []

    @workflow.step
    async def slow() -> int:
        try:
            waiting.set()
            await anyio.sleep_forever()
        finally:
            cleaned.append("slow")
        return 1

    @workflow.step
    async def failing() -> int:
        await waiting.wait()
        raise LookupError("no such thing")

    @workflow.step
    async def both(slow: int, failing: int) -> int:
        return 1

    app = app_of(workflow)
    with anyio.fail_after(5), pytest.raises(WorkflowFailedError) as caught:
        await app.execute_workflow("race")
    assert cleaned == ["slow"]
    assert isinstance(caught.value.__cause__, LookupError)


async def test_the_first_failure_in_time_is_the_error_of_the_run() -> None:
    workflow = Workflow("race")
    first_failed = anyio.Event()

    @workflow.step
    async def later() -> int:
        try:
            await first_failed.wait()
            await anyio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    @workflow.step
    async def first() -> int:
        first_failed.set()
        raise KeyError("first")

    @workflow.step
    async def both(later: int, first: int) -> int:
        return 1

    with anyio.fail_after(5), pytest.raises(WorkflowFailedError) as caught:
        await app_of(workflow).execute_workflow("race")
    assert isinstance(caught.value.__cause__, KeyError)


async def test_the_text_of_an_exception_stays_in_the_process() -> None:
    @nexus.workflow
    async def leaky() -> int:
        raise RuntimeError("the password is hunter2")

    app = app_of(leaky)
    with pytest.raises(WorkflowFailedError) as caught:
        await app.execute_workflow(leaky)
    assert "hunter2" not in str(caught.value)
    assert "request id" in str(caught.value)


async def test_a_problem_is_raised_unchanged() -> None:
    @nexus.workflow
    async def choosy() -> int:
        raise Problem("conflict", "taken by somebody else", seat="12A")

    with pytest.raises(Problem) as caught:
        await app_of(choosy).execute_workflow("choosy")
    assert (caught.value.code, caught.value.message, caught.value.details) == (
        "conflict",
        "taken by somebody else",
        {"seat": "12A"},
    )


def test_a_problem_has_one_of_the_known_codes() -> None:
    with pytest.raises(ValueError, match="not an error code"):
        Problem("teapot", "short and stout")


async def test_a_diamond_runs_each_step_once() -> None:
    workflow = Workflow("diamond")
    calls: list[str] = []

    @workflow.step
    async def top(size: int) -> int:
        calls.append("top")
        return size

    @workflow.step
    async def left(top: int) -> int:
        calls.append("left")
        return top + 1

    @workflow.step
    async def right(top: int) -> int:
        calls.append("right")
        return top + 2

    @workflow.step
    async def bottom(left: int, right: int) -> int:
        calls.append("bottom")
        return left * right

    assert (await app_of(workflow).execute_workflow("diamond", {"size": 1})).results == 6
    assert calls[0] == "top"
    assert sorted(calls[1:3]) == ["left", "right"]
    assert calls[3] == "bottom"


async def test_two_chains_side_by_side_overlap() -> None:
    workflow = Workflow("chains", output="a2")
    here = anyio.Event()

    @workflow.step
    async def a1() -> int:
        await here.wait()
        return 1

    @workflow.step
    async def a2(a1: int) -> int:
        return a1 + 1

    @workflow.step
    async def b1() -> int:
        here.set()
        return 1

    with anyio.fail_after(5):
        assert (await app_of(workflow).execute_workflow("chains")).results == 2


async def test_each_keeps_the_order_of_its_items() -> None:
    workflow = Workflow("squares")

    @workflow.step
    async def numbers(count: int) -> list[int]:
        return list(range(count))

    @workflow.step(each={"number": "numbers"})
    async def square(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        return number * number

    @workflow.step
    async def total(square: list[int]) -> list[int]:
        return square

    assert (await app_of(workflow).execute_workflow("squares", {"count": 40})).results == [n * n for n in range(40)]


async def test_each_never_runs_more_than_its_limit_at_once() -> None:
    workflow = Workflow("limited")
    running, most = 0, 0

    @workflow.step(each="number", limit=3)
    async def one(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return number

    result = await app_of(workflow).execute_workflow("limited", {"number": list(range(20))})
    assert result.results == list(range(20))
    assert most == 3


@pytest.mark.parametrize("limit", [2, 5, 16])
async def test_each_runs_as_many_at_once_as_its_limit_allows(limit: int) -> None:
    running, all_at_once = 0, anyio.Event()

    @nexus.workflow(each="number", limit=limit)
    async def one(number: int) -> int:
        nonlocal running
        running += 1
        if running == limit:
            all_at_once.set()
        await all_at_once.wait()
        return number

    with anyio.fail_after(5):
        assert (await app_of(one).execute_workflow(one, {"number": list(range(40))})).results == list(range(40))


async def test_steps_that_become_ready_late_run_side_by_side_as_well() -> None:
    running, all_at_once = 0, anyio.Event()
    workflow = Workflow("late")

    @workflow.step
    async def first() -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    def add(number: int) -> None:
        @workflow.step(name=f"step_{number}")
        async def step(first: int) -> int:
            nonlocal running
            running += first
            if running == 9:
                all_at_once.set()
            await all_at_once.wait()
            return number

    for number in range(9):
        add(number)
    names = ", ".join(f"step_{number}: int" for number in range(9))
    scope: dict[str, Any] = {}
    exec(f"async def total({names}) -> int:\n    return sum(locals().values())", scope)  # noqa: S102 - nine parameters
    workflow.step(scope["total"])
    with anyio.fail_after(5):
        assert (await app_of(workflow).execute_workflow("late")).results == sum(range(9))


async def test_items_that_never_wait_need_no_task_each() -> None:
    tasks: set[int] = set()

    @nexus.workflow(each="number", limit=64)
    async def one(number: int) -> int:
        tasks.add(anyio.get_current_task().id)
        return number

    assert (await app_of(one).execute_workflow(one, {"number": list(range(100))})).results == list(range(100))
    assert len(tasks) == 1


async def test_each_over_nothing_gives_nothing() -> None:
    @nexus.workflow(each="name")
    async def greet(name: str) -> str:
        return f"hello {name}"

    assert (await app_of(greet).execute_workflow(greet, {"name": []})).results == []


async def test_an_input_of_each_with_a_default_may_be_left_out() -> None:
    @nexus.workflow(each="name")
    async def greet(name: str = "you") -> str:
        return f"hello {name}"

    assert (await app_of(greet).execute_workflow(greet)).results == ["hello you"]


async def test_more_steps_than_lanes_all_run() -> None:
    workflow = Workflow("wide")

    def add(number: int) -> None:
        @workflow.step(name=f"step_{number}")
        async def step(size: int) -> int:
            await anyio.lowlevel.checkpoint()
            return size + number

    for number in range(150):
        add(number)
    names = ", ".join(f"step_{number}: int" for number in range(150))
    scope: dict[str, Any] = {}
    exec(f"async def total({names}) -> int:\n    return sum(locals().values())", scope)  # noqa: S102 - 150 parameters
    workflow.step(scope["total"])
    assert (await app_of(workflow).execute_workflow("wide", {"size": 1})).results == sum(range(150)) + 150


async def test_a_step_that_is_too_slow_ends_in_deadline_exceeded() -> None:
    clock = FakeClock()

    @nexus.workflow(timeout=30)
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    app = app_of(slow, clock=clock)
    async with anyio.create_task_group() as group:
        failures: list[str] = []

        async def call() -> None:
            with pytest.raises(DeadlineExceededError) as caught:
                await app.execute_workflow(slow)
            failures.append(str(caught.value))

        group.start_soon(call)
        await clock.advance(29)
        assert failures == []
        await clock.advance(2)
    assert failures == ["step 'slow' took longer than 30 s"]


async def test_a_def_step_that_is_too_slow_ends_in_deadline_exceeded_when_it_returns() -> None:
    clock = FakeClock()
    entered, leave = threading.Event(), threading.Event()

    @nexus.workflow(timeout=30)
    def slow() -> int:
        entered.set()
        leave.wait(5)
        return 1

    app = app_of(slow, clock=clock)
    async with anyio.create_task_group() as group:
        failures: list[str] = []

        async def call() -> None:
            with pytest.raises(DeadlineExceededError) as caught:
                await app.execute_workflow(slow)
            failures.append(caught.value.code)

        group.start_soon(call)
        await anyio.to_thread.run_sync(entered.wait)
        await clock.advance(31)
        leave.set()
    assert failures == ["deadline_exceeded"]


async def test_waiting_for_a_thread_is_not_part_of_a_steps_time() -> None:
    clock = FakeClock()
    entered, leave = threading.Semaphore(0), threading.Event()

    @nexus.workflow
    def occupies() -> int:
        entered.release()
        leave.wait(5)
        return 1

    @nexus.workflow(timeout=30)
    def quick() -> str:
        return "in time"

    app = app_of(occupies, quick, clock=clock)
    results: list[str] = []
    async with anyio.create_task_group() as group:

        async def call() -> None:
            results.append((await app.execute_workflow(quick)).results)

        for _ in range(40):
            group.start_soon(app.execute_workflow, occupies)
        for _ in range(40):
            await anyio.to_thread.run_sync(entered.acquire)
        group.start_soon(call)
        await clock.advance(31)
        leave.set()
    assert results == ["in time"]


@pytest.mark.parametrize("takes_run", [False, True])
async def test_a_plain_decorator_around_an_async_def_is_awaited(takes_run: bool) -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **named: Any) -> Any:
            return function(*args, **named)

        return wrapper

    async def plain(number: int) -> int:
        return number + 1

    async def asks(number: int, run: Run) -> int:
        await run.progress(1)
        return number + 1

    step = logged(asks if takes_run else plain)
    assert (await app_of(step).execute_workflow(step, {"number": 1})).results == 2


async def test_a_def_step_sees_its_timeout_when_it_calls_its_run() -> None:
    clock = FakeClock()
    entered, go_on, seen = threading.Event(), threading.Event(), []

    @nexus.workflow(timeout=30)
    def slow(run: BlockingRun) -> int:
        entered.set()
        go_on.wait(5)
        try:
            run.check_cancelled()
        except BaseException:
            seen.append("cancelled")
            raise
        return 1

    app = app_of(slow, clock=clock)
    async with anyio.create_task_group() as group:

        async def call() -> None:
            with pytest.raises(DeadlineExceededError):
                await app.execute_workflow(slow)

        group.start_soon(call)
        await anyio.to_thread.run_sync(entered.wait)
        await clock.advance(31)
        go_on.set()
    assert seen == ["cancelled"]


async def test_a_run_that_takes_longer_than_its_caller_waits_is_stopped() -> None:
    clock = FakeClock()

    @nexus.workflow
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    app = app_of(slow, clock=clock)
    async with anyio.create_task_group() as group:

        async def call() -> None:
            with pytest.raises(DeadlineExceededError, match="10 s"):
                await app.execute_workflow(slow, timeout=10)

        group.start_soon(call)
        await clock.advance(11)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio does not let anybody raise its own
async def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_not_silence() -> None:
    @nexus.workflow
    async def odd() -> int:
        raise asyncio.CancelledError

    with pytest.raises(WorkflowFailedError) as caught:
        await app_of(odd).execute_workflow(odd)
    assert "nobody cancelled" in str(caught.value.__cause__)


async def test_the_record_tells_what_became_of_each_step() -> None:
    workflow = Workflow("told")

    @workflow.step
    async def good() -> int:
        return 1

    @workflow.step
    async def bad(good: int) -> int:
        raise ValueError("no")

    app = app_of(workflow)
    response = await app.dispatch(nexus.Request(operation="told", arguments={}, caller=nexus.models.Caller(channel="inprocess")))
    assert response.run is not None
    assert [(step.name, step.status) for step in response.run.steps] == [("good", "succeeded"), ("bad", "failed")]
    assert response.run.steps[1].error == "ValueError: no"


async def test_a_run_knows_who_and_what_it_is() -> None:
    known: list[Any] = []

    @nexus.workflow
    async def curious(handle: Run) -> str:
        known.extend([handle.workflow, handle.channel, handle.principal.id, handle.tenant, handle.session.principal.id])
        assert handle.request_id
        return handle.id

    result = await app_of(curious).execute_workflow(curious)
    assert known == ["curious", "inprocess", "application", None, "application"]
    assert result.results == result.run_id


async def test_a_blocking_run_knows_the_same() -> None:
    @nexus.workflow
    def curious(handle: BlockingRun) -> list[Any]:
        assert handle.id
        assert handle.request_id
        return [handle.workflow, handle.channel, handle.principal.id, handle.tenant, handle.session.principal.id]

    result = await app_of(curious).execute_workflow(curious)
    assert result.results == ["curious", "inprocess", "application", None, "application"]
