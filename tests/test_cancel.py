"""Cancelled at any moment, a run ends as `cancelled`, its clean-up done, and holds nothing any more: in-process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from nexus import Nexus, NexusConfig, Run, Workflow, create_nexus
from nexus.abc import Interaction
from nexus.memory import MemoryRunStore
from nexus.models import Answers, Caller, Event, Question, Request, RunRecord, Scope
from nexus_click._inprocess import invoke
from tests.cancel_desk import UNANSWERED, Desk, Holdings, Life, PausingStore, Point, open_files, opened, points, seed_of, until

pytestmark = pytest.mark.anyio

POINTS = 100
PROCESSES = 8
"""Each costs half a second."""


class Later(Interaction):
    """A caller like that of the REST API: its run is carried by the application, for it may wait for an answer."""

    answers = Answers.LATER

    async def tell(self, event: Event) -> None:
        pass

    async def ask(self, question: Question) -> Any:
        raise AssertionError(question)


@attrs.define(eq=False)
class Case:
    """
    One run that is cancelled.

    Attributes:
        workflow: What is run.
        ticks: How many there are when it is carried out to its end.
    """

    desk: Desk
    point: Point
    number: int
    life: Life
    workflow: str
    ticks: int

    async def moment(self) -> None:
        """Wait for the moment."""
        if self.point.tick:
            await self.life.reached.wait()
        for _ in range(self.point.turns):
            await anyio.lowlevel.checkpoint()


async def leave(case: Case, call: Callable[[], Awaitable[object]]) -> None:
    """Call, and cancel the call: in the midst of a step, or by another task."""
    with anyio.CancelScope() as scope:
        if case.point.turns == 0 and case.point.tick:
            case.life.then = scope.cancel
            await call()
            return
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await case.moment()
                scope.cancel()

            group.start_soon(cancel)
            await call()
            group.cancel_scope.cancel()


async def by_scope(case: Case) -> None:
    await leave(case, lambda: case.desk.app.execute_workflow(case.workflow, {"life": case.number}))


async def by_scope_of_one_who_answers_later(case: Case) -> None:
    arguments = {"life": case.number}
    request = Request(operation=case.workflow, arguments=arguments, caller=Caller(channel="api"))
    await leave(case, lambda: case.desk.app.dispatch(request, Later()))


async def by_scope_of_rows(case: Case) -> None:
    """One of several runs of one call, all of which are cancelled."""
    numbers = [case.number, *(case.desk.live()[0] for _ in range(2))]
    await leave(case, lambda: case.desk.app.map(case.workflow, [{"life": number} for number in numbers], limit=2))
    for number in numbers[1:]:
        case.desk.check(number, ticks=case.ticks)


async def by_leaving_a_run_with_a_key(case: Case) -> None:
    app = case.desk.app
    key = f"key {case.number}"
    await leave(case, lambda: app.execute_workflow(case.workflow, {"life": case.number}, idempotency_key=key))
    await until(lambda: not case.desk.left())


async def by_cancelling_the_task(case: Case) -> None:
    """As a host does that knows nothing of cancel scopes: once, and whatever is awaited next raises no more."""

    async def call() -> None:
        await case.desk.app.execute_workflow(case.workflow, {"life": case.number})

    task = asyncio.create_task(call())
    if case.point.turns == 0 and case.point.tick:
        case.life.then = task.cancel
    else:
        moment = asyncio.create_task(case.moment())
        await asyncio.wait({task, moment}, return_when=asyncio.FIRST_COMPLETED)
        moment.cancel()
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def by_leaving_its_events(case: Case) -> None:
    """Leave the stream of events after so many of them."""
    left = case.point.tick
    async with case.desk.app.stream(case.workflow, {"life": case.number}) as run:
        if left:
            async for _ in run:
                left -= 1
                if not left:
                    break
        for _ in range(case.point.turns):
            await anyio.lowlevel.checkpoint()


async def by_its_handle(case: Case) -> None:
    """Cancel a submitted run, which belongs to nobody's call."""
    handle = await case.desk.app.submit_workflow(case.workflow, {"life": case.number})
    await case.moment()
    record = await handle.cancel()
    assert record.ended
    assert await handle.status() == record


async def by_scope_of_a_command_line(case: Case) -> None:
    await leave(case, lambda: invoke(case.desk.app, [case.workflow, str(case.number)]))


CALLS = [
    by_scope,
    by_scope_of_a_command_line,
    pytest.param(by_scope_of_rows, marks=pytest.mark.slow),
    by_scope_of_one_who_answers_later,
    by_leaving_its_events,
    by_its_handle,
]


async def ticks_of(root: Path) -> tuple[int, int]:
    """Return how many ticks and events a run has that nobody cancels; it leaves nothing that is looked for after the others."""
    desk = opened(root)
    async with desk.app:
        before = Holdings.now()
        number, life = desk.live()
        async with desk.app.stream("everything", {"life": number}) as run:
            events = [event.type async for event in run]
        ticks = len(life.ticks)
        assert run.result == [6, 2, 1]
        assert {"run.progress", "run.log", "run.chunk", "run.succeeded"} <= set(events)
        assert desk.check(number, ticks=ticks) == "succeeded"
        assert {name.partition("[")[0] for name in life.begun} >= {"first", "thread", "told", "inner second", "streamed"}
        assert life.opened["session"] == 7
        assert life.begun["again"] == 3
        await before.check(desk)
    return ticks, len(events)


async def cancel_at_each(call: Callable[[Case], Awaitable[None]], root: Path, workflow: str = "everything") -> list[str]:
    """Return what became of each run."""
    ticks, events = await ticks_of(root / "whole")
    last = UNANSWERED if workflow == "asking" else events if call is by_leaving_its_events else ticks
    statuses = []
    desk = opened(root / "runs", run_store=PausingStore())
    async with desk.app:
        before = Holdings.now()
        for point in points(seed_of(), POINTS, last):
            with point.told(), anyio.fail_after(20):
                number, life = desk.live(at=point.tick)
                await call(Case(desk, point, number, life, workflow, ticks))
                statuses.append(desk.check(number, ticks=ticks))
                await before.check(desk)
                assert not any(life.late for life in desk.lives.values())
    return statuses


@pytest.mark.parametrize("call", CALLS)
async def test_whatever_the_moment_at_which_it_is_cancelled_a_run_lets_go_of_all_that_it_held(
    call: Callable[[Case], Awaitable[None]], tmp_path: Path
) -> None:
    assert (await cancel_at_each(call, tmp_path)).count("cancelled") > POINTS / 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_whatever_the_moment_at_which_its_task_is_cancelled_by_asyncio_a_run_lets_go_of_all_that_it_held(
    tmp_path: Path,
) -> None:
    assert (await cancel_at_each(by_cancelling_the_task, tmp_path)).count("cancelled") > POINTS / 2


async def test_whatever_the_moment_at_which_it_is_cancelled_a_run_that_waits_for_answers_lets_go_of_all_that_it_held(
    tmp_path: Path,
) -> None:
    statuses = await cancel_at_each(by_its_handle, tmp_path, "asking")
    assert set(statuses) == {"cancelled"}


async def test_whatever_the_moment_at_which_its_caller_leaves_a_run_with_a_key_goes_on_to_its_end(tmp_path: Path) -> None:
    statuses = await cancel_at_each(by_leaving_a_run_with_a_key, tmp_path)
    assert set(statuses) <= {"succeeded", "never begun"}
    assert statuses.count("succeeded") > POINTS / 2


@attrs.define(eq=False)
class StoreOfOneWhoLeaves(MemoryRunStore):
    """
    A store whose caller is cancelled while it makes a record.

    Attributes:
        keeps: It has made it by then, and can't say so any more.
        leave: Cancels the caller; once.
    """

    keeps: bool = True
    leave: Callable[[], None] | None = None

    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        leave, self.leave = self.leave, None
        if leave is None:
            return await MemoryRunStore.create(self, scope, run, key=key, inputs_hash=inputs_hash)
        if self.keeps:
            await MemoryRunStore.create(self, scope, run, key=key, inputs_hash=inputs_hash)
        leave()
        await anyio.sleep_forever()
        raise AssertionError

    def statuses(self) -> list[str]:
        return [run.status for run in self._runs.values()]


def left_by(store: StoreOfOneWhoLeaves, calls: list[int]) -> Nexus:
    app = create_nexus(NexusConfig(), run_store=store)

    @app.workflow
    async def add(a: int) -> int:
        calls.append(a)
        return a + 1

    return app


async def leave_while_the_record_is_made(store: StoreOfOneWhoLeaves, call: Callable[[], Awaitable[object]]) -> None:
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        store.leave = scope.cancel
        await call()
    assert scope.cancelled_caught


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_run_that_was_over_when_its_caller_left_has_its_record(keeps: bool) -> None:
    store, calls = StoreOfOneWhoLeaves(keeps=keeps), list[int]()
    async with left_by(store, calls) as app:
        await leave_while_the_record_is_made(store, lambda: app.execute_workflow("add", {"a": 1}))
        assert app.executor.runtime.books.live == {}  # type: ignore[attr-defined]  # shows nowhere else
    assert (store.statuses(), calls) == (["succeeded"], [1])


@pytest.mark.parametrize(("keeps", "expected"), [(True, ["cancelled"]), (False, [])])
async def test_a_run_whose_caller_leaves_while_its_record_is_made_is_cancelled(keeps: bool, expected: list[str]) -> None:
    store = StoreOfOneWhoLeaves(keeps=keeps)
    app = create_nexus(NexusConfig(), run_store=store)

    @app.workflow
    async def ask(run: Run) -> str:
        raise AssertionError(run)

    async with app:
        request = Request(operation="ask", arguments={}, caller=Caller(channel="api"))
        await leave_while_the_record_is_made(store, lambda: app.dispatch(request, Later()))
    assert store.statuses() == expected


@pytest.mark.parametrize(("keeps", "expected"), [(True, (["succeeded"], [1])), (False, ([], []))])
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_submitted_run_whose_caller_leaves_while_its_record_is_made_goes_on(
    keeps: bool, expected: tuple[list[str], list[int]], key: str | None
) -> None:
    store, calls = StoreOfOneWhoLeaves(keeps=keeps), list[int]()
    async with left_by(store, calls) as app:
        await leave_while_the_record_is_made(store, lambda: app.submit_workflow("add", {"a": 1}, idempotency_key=key))
    assert (store.statuses(), calls) == expected


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_whose_task_asyncio_cancels_while_its_files_are_put_away_has_its_record(tmp_path: Path) -> None:
    app = create_nexus(NexusConfig(runs_root=tmp_path))

    @app.workflow
    async def write(run: Run) -> Path:
        file = run.folder / "rows.csv"
        file.write_text("1")
        asyncio.get_running_loop().call_soon(task.cancel)
        return file

    async with app:
        task = asyncio.create_task(app.dispatch(Request(operation="write", arguments={}, caller=Caller(channel="api"))))
        with pytest.raises(asyncio.CancelledError):
            await task
        store = app.executor.runs
        assert isinstance(store, MemoryRunStore)
        (record,) = store._runs.values()  # noqa: SLF001 - a listing is of one caller
        assert app.executor.runtime.books.live == {}  # type: ignore[attr-defined]  # shows nowhere else
    assert (record.status, [file.name for file in record.files]) == ("succeeded", ["rows.csv"])


def sleep_long(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def children() -> set[str]:
    """Return the processes that this one has started, and that have not ended."""
    found = (Path(f"/proc/self/task/{thread.name}/children").read_text() for thread in Path("/proc/self/task").iterdir())
    return {child for line in found for child in line.split()}


async def cancel_steps_in_processes(point: Point) -> str:
    """Cancel them while their process starts, or works; return what became of the run."""
    app = create_nexus(NexusConfig())
    workflow = Workflow("apart", output="two")
    workflow.step(name="one", run_in="process")(sleep_long)
    workflow.step(name="two", run_in="process")(sleep_long)
    app.register(workflow)
    async with app:
        handle = await app.submit_workflow("apart", {"seconds": 60.0})
        await anyio.sleep(point.chance * 0.4)
        with anyio.fail_after(20):
            return (await handle.cancel()).status


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_the_moment_at_which_it_is_cancelled_a_step_in_a_process_leaves_none_behind(backend: str) -> None:
    before = children(), open_files()
    for point in points(seed_of(), PROCESSES, 0):
        with point.told():
            assert anyio.run(cancel_steps_in_processes, point, backend=backend) == "cancelled"
            assert (children(), open_files()) == before
