"""How long what steps borrow lasts, and who shares it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import nexus
from nexus import (
    BlockingRun,
    DeadlineExceededError,
    Inject,
    NexusConfig,
    Principal,
    Retry,
    Run,
    Session,
    UnavailableError,
    Workflow,
)
from nexus.dependencies import lifetimes
from nexus.memory import MemoryRunStore, MemorySessionStore
from nexus.models import Caller, Request, RunRecord
from nexus.models import Scope as StoreScope
from nexus.sessions import token_hash
from nexus.testing import FakeClock
from tests.dependency_desk import Desk, Pool, Repository, failure_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- per step


async def test_steps_side_by_side_get_their_own() -> None:
    desk, workflow = Desk(), Workflow("pair")
    desk.app.provide(Pool, desk.open_pool)
    here = [anyio.Event(), anyio.Event()]

    @workflow.step
    async def left(pool: Inject[Pool]) -> int:
        here[0].set()
        await here[1].wait()
        return pool.number

    @workflow.step
    async def right(run: Run) -> int:
        pool = await run.get(Pool)
        here[1].set()
        await here[0].wait()
        return pool.number

    @workflow.step
    async def both(left: int, right: int) -> set[int]:
        assert all(pool.closed for pool in desk.pools)
        return {left, right}

    desk.app.register(workflow)
    with anyio.fail_after(5):
        assert (await desk.app.execute_workflow("pair")).results == {1, 2}


async def test_each_item_of_a_fan_out_gets_its_own(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow(each="item", limit=3)
    async def numbers(item: int, *, pool: Inject[Pool]) -> int:
        return pool.number

    assert sorted((await desk.app.execute_workflow("numbers", {"item": [1, 2, 3, 4]})).results) == [1, 2, 3, 4]
    assert all(pool.closed for pool in desk.pools)


async def test_they_are_closed_in_the_reverse_order(desk: Desk) -> None:
    @asynccontextmanager
    async def repository(pool: Pool) -> AsyncIterator[Repository]:
        desk.log.append("open repository")
        yield Repository(pool)
        desk.log.append("close repository")

    desk.app.provide(Pool, desk.open_pool, per="run")
    desk.app.provide(Repository, repository, per="run")

    @desk.app.workflow
    async def use(*, repository: Inject[Repository], pool: Inject[Pool]) -> None:
        desk.log.append("step")

    await desk.app.execute_workflow("use")
    assert desk.log == ["open 1", "open repository", "step", "close repository", "close 1"]


async def test_the_timeout_of_a_step_leaves_out_what_is_opened_for_it() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(NexusConfig(), clock=clock)

    async def slow() -> Pool:
        await clock.sleep(10)
        return Pool()

    app.provide(Pool, slow)

    @app.workflow(timeout=1)
    async def use(*, pool: Inject[Pool]) -> int:
        return pool.number

    results: list[Any] = []

    async def execute() -> None:
        results.append((await app.execute_workflow("use")).results)

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await clock.advance(10)
    assert results == [1]


async def test_a_step_that_is_overdue_closes_what_it_had(desk: Desk) -> None:
    clock = FakeClock()
    desk.app = nexus.create_nexus(NexusConfig(), clock=clock)
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow(timeout=1)
    async def use(*, pool: Inject[Pool]) -> None:
        await anyio.sleep_forever()

    async def execute() -> None:
        with pytest.raises(DeadlineExceededError):
            await desk.app.execute_workflow("use")

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await clock.advance(1)
    assert desk.log == ["open 1", "told DeadlineExceededError", "close 1"]


# ---- per run


class WatchingStore(MemoryRunStore):
    """Notes whether the pool was closed when the record came."""

    desk: Desk

    async def create(self, scope: StoreScope, run: RunRecord, **options: Any) -> RunRecord:
        self.desk.log.append(f"record {run.status}")
        return await super().create(scope, run, **options)


async def test_one_of_a_run_is_shared_by_its_steps_and_closed_before_the_record_is_written() -> None:
    desk, store, workflow = Desk(), WatchingStore(), Workflow("pair")
    store.desk = desk
    app = nexus.create_nexus(NexusConfig(), run_store=store)
    app.provide(Pool, desk.open_pool, per="run")

    @workflow.step
    async def left(pool: Inject[Pool]) -> int:
        return id(pool)

    @workflow.step
    def right(run: BlockingRun) -> int:
        return id(run.get(Pool))

    @workflow.step
    async def same(left: int, right: int) -> bool:
        return left == right

    app.register(workflow)
    assert (await app.execute_workflow("pair")).results is True
    assert desk.log == ["open 1", "close 1", "record succeeded"]


async def test_each_run_has_its_own(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="run")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    @desk.app.workflow
    async def outer(*, pool: Inject[Pool]) -> list[int]:
        return [pool.number, (await desk.app.execute_workflow("number")).results]

    assert (await desk.app.execute_workflow("outer")).results == [1, 2]


# ---- per session


async def token_of(store: MemorySessionStore, name: str) -> str:
    now = datetime.now(UTC)
    session = Session(id=name, principal=Principal(id=name), created_at=now, expires_at=now + timedelta(hours=1))
    await store.add(session, token_hash=token_hash(name))
    return name


async def test_one_of_a_session_is_shared_by_its_runs_and_closed_with_the_last_of_them() -> None:
    desk, store = Desk(), MemorySessionStore()
    app = nexus.create_nexus(NexusConfig(), session_store=store)
    app.provide(Pool, desk.open_pool, per="session")
    gates = {name: anyio.Event() for name in ("first", "second", "other")}
    numbers = {}

    @app.workflow
    async def use(gate: str, *, pool: Inject[Pool]) -> None:
        numbers[gate] = pool.number
        await gates[gate].wait()

    async def call(gate: str, token: str) -> None:
        response = await app.dispatch(
            Request(operation="use", arguments={"gate": gate}, caller=Caller(channel="api", credential=token))
        )
        assert response.error is None

    ada, bob = await token_of(store, "ada"), await token_of(store, "bob")
    with anyio.fail_after(5):
        async with app, anyio.create_task_group() as group:
            for gate, token in (("first", ada), ("second", ada), ("other", bob)):
                group.start_soon(call, gate, token)
                await anyio.wait_all_tasks_blocked()
            assert numbers == {"first": 1, "second": 1, "other": 2}
            gates["first"].set()
            await anyio.wait_all_tasks_blocked()
            assert not desk.pools[0].closed
            gates["second"].set()
            await anyio.wait_all_tasks_blocked()
            assert (desk.pools[0].closed, desk.pools[1].closed) == (True, False)
            gates["other"].set()


async def test_callers_without_a_session_share_nothing_though_they_choose_the_same_request_id(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="session")
    gate, numbers = anyio.Event(), []

    @desk.app.workflow
    async def use(*, pool: Inject[Pool]) -> None:
        numbers.append(pool.number)
        await gate.wait()

    async def call() -> None:
        request = Request(operation="use", arguments={}, caller=Caller(channel="api"), id="mine")
        assert (await desk.app.dispatch(request)).error is None

    with anyio.fail_after(5):
        async with desk.app, anyio.create_task_group() as group:
            group.start_soon(call)
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert sorted(numbers) == [1, 2]


async def test_a_workflow_that_calls_another_shares_the_session_with_it(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="session")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    @desk.app.workflow
    async def outer(*, pool: Inject[Pool]) -> list[int]:
        return [pool.number, (await desk.app.execute_workflow("number")).results, int(pool.closed)]

    async with desk.app:
        assert (await desk.app.execute_workflow("outer")).results == [1, 1, 0]
    assert desk.log == ["open 1", "close 1"]


# ---- per app


async def test_one_of_the_application_is_opened_once_when_first_asked_for_and_closed_at_the_end(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="app")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    for start in (1, 2):
        async with desk.app:
            assert len(desk.log) == 2 * (start - 1)
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(desk.app.execute_workflow, "number")
            assert (await desk.app.execute_workflow("number")).results == start
            assert desk.log[-1] == f"open {start}"
        assert desk.log[-1] == f"close {start}"


async def test_those_of_the_application_are_closed_in_the_reverse_order_and_before_the_stores() -> None:
    log: list[str] = []

    class Store(MemoryRunStore):
        async def start(self, exit_stack: Any) -> None:
            exit_stack.callback(log.append, "close store")

    async def repository(pool: Pool) -> AsyncIterator[Repository]:
        yield Repository(pool)
        log.append("close repository")

    async def open_pool() -> AsyncIterator[Pool]:
        yield Pool()
        log.append("close pool")

    app = nexus.create_nexus(NexusConfig(), run_store=Store())
    app.provide(Repository, repository, per="app")
    app.provide(Pool, open_pool, per="app")

    @app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    async with app:
        await app.execute_workflow("use")
    assert log == ["close repository", "close pool", "close store"]


@pytest.mark.parametrize("per", ["app", "session"])
async def test_what_outlives_a_run_needs_an_application_that_is_started(desk: Desk, per: Any) -> None:
    desk.app.provide(Pool, desk.open_pool, per=per)

    @desk.app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    with pytest.raises(UnavailableError, match="async with app:") as caught:
        await desk.app.execute_workflow("use")
    assert f"Pool is per='{per}'" in caught.value.message


async def test_who_came_first_and_left_takes_it_from_nobody(desk: Desk) -> None:
    opening, go_on = anyio.Event(), anyio.Event()

    async def slow() -> Pool:
        desk.log.append("open")
        opening.set()
        await go_on.wait()
        return Pool()

    desk.app.provide(Pool, slow, per="app")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    with anyio.fail_after(5):
        async with desk.app:
            first = await desk.app.submit_workflow("number")
            await opening.wait()
            second = await desk.app.submit_workflow("number")
            await first.cancel()
            go_on.set()
            assert await second.result() == 1
    assert desk.log == ["open"]


async def test_one_that_could_not_be_opened_is_tried_again_by_the_next(desk: Desk) -> None:
    tries = iter([False, True])

    async def flaky() -> Pool:
        if not next(tries):
            raise OSError("not yet")
        return Pool()

    desk.app.provide(Pool, flaky, per="app")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    async with desk.app:
        assert isinstance(await failure_of(desk.app.execute_workflow("number")), OSError)
        assert (await desk.app.execute_workflow("number")).results == 1


async def test_one_may_hold_a_task_group_and_is_opened_anew_when_that_fails(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    broken = [anyio.Event(), anyio.Event()]
    numbers = iter([1, 2])

    async def break_down(number: int) -> None:
        await broken[number - 1].wait()
        raise OSError("connection lost")

    @asynccontextmanager
    async def listening() -> AsyncIterator[Pool]:
        number = next(numbers)
        async with anyio.create_task_group() as group:
            group.start_soon(break_down, number)
            yield Pool(number)
            group.cancel_scope.cancel()

    desk.app.provide(Pool, listening, per="app")

    @desk.app.workflow
    async def number(*, run: Run) -> int:
        with anyio.fail_after(5):
            return (await run.get(Pool)).number

    async with desk.app:
        assert (await desk.app.execute_workflow("number")).results == 1
        broken[0].set()
        await FakeClock().advance(0)
        assert (await desk.app.execute_workflow("number")).results == 2
    assert [record.name for record in caplog.records] == ["nexus.dependency"]


async def test_one_of_a_run_may_hold_a_task_group_whichever_step_asked_for_it(desk: Desk) -> None:
    @asynccontextmanager
    async def listening() -> AsyncIterator[Pool]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield Pool()
            group.cancel_scope.cancel()

    desk.app.provide(Pool, listening, per="run")
    workflow = Workflow("two")

    @workflow.step(timeout=60)
    async def first(pool: Inject[Pool]) -> int:
        return pool.number

    @workflow.step
    async def second(first: int, *, run: Run) -> int:
        with anyio.fail_after(5):
            return first + (await run.get(Pool)).number

    desk.app.register(workflow)
    assert (await desk.app.execute_workflow("two")).results == 2
    async with desk.app:
        assert (await desk.app.execute_workflow("two")).results == 2


async def test_one_of_the_application_is_not_in_the_run_of_who_came_first(desk: Desk) -> None:
    @desk.app.workflow
    async def who(*, run: Run) -> str:
        return run.principal.id

    async def open_pool() -> Pool:
        return Pool(len((await desk.app.execute_workflow("who")).results))

    desk.app.provide(Pool, open_pool, per="app")

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    async with desk.app:
        result = await desk.app.execute_workflow("number", principal=Principal(id="ada"))
    assert result.results == len("application")


async def test_one_that_can_not_be_closed_does_not_keep_the_application_from_stopping(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(pool: Pool) -> AsyncIterator[Repository]:
        yield Repository(pool)
        raise OSError("already gone")

    desk.app.provide(Pool, desk.open_pool, per="app")
    desk.app.provide(Repository, broken, per="app")

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    async with desk.app:
        await desk.app.execute_workflow("use")
    assert desk.log == ["open 1", "close 1"]
    (line,) = [record for record in caplog.records if record.name == "nexus.dependency"]
    assert line.exc_info is not None
    assert "already gone" in str(line.exc_info[1])


async def test_one_that_hangs_when_it_is_closed_does_not_keep_the_application_from_stopping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifetimes, "CLEAN_UP_S", 0.01)
    desk = Desk(app=nexus.create_nexus(NexusConfig().merge(shutdown_grace=timedelta(milliseconds=10))))

    async def stuck(pool: Pool) -> AsyncIterator[Repository]:
        yield Repository(pool)
        await anyio.sleep_forever()

    desk.app.provide(Pool, desk.open_pool, per="app")
    desk.app.provide(Repository, stuck, per="app")

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    with anyio.fail_after(5):
        async with desk.app:
            await desk.app.execute_workflow("use")
    assert desk.log == ["open 1", "close 1"]
    assert [record.name for record in caplog.records] == ["nexus.dependency"]


async def test_those_of_the_application_are_closed_in_order_when_its_task_is_cancelled(desk: Desk) -> None:
    async def repository(pool: Pool) -> AsyncIterator[Repository]:
        yield Repository(pool)
        await anyio.lowlevel.checkpoint()
        desk.log.append("close repository")

    desk.app.provide(Pool, desk.open_pool, per="app")
    desk.app.provide(Repository, repository, per="app")

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    with anyio.CancelScope() as scope:
        async with desk.app:
            await desk.app.execute_workflow("use")
            scope.cancel()
    assert desk.log == ["open 1", "close repository", "close 1"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_code_without_an_event_loop_has_them_too(desk: Desk, backend: str) -> None:
    desk.app.provide(Pool, desk.open_pool, per="app")

    @desk.app.workflow
    def number(*, pool: Inject[Pool], run: BlockingRun) -> int:
        return pool.number + run.get(Pool).number

    with nexus.sync(desk.app, backend=backend) as blocking:
        assert blocking.execute_workflow("number").results == 2
        with desk.app.override(Pool, Pool(50)):
            assert blocking.execute_workflow("number").results == 100
    assert desk.log == ["open 1", "close 1"]


# ---- with the options of steps


async def test_each_attempt_gets_its_own() -> None:
    desk, clock = Desk(), FakeClock()
    desk.app = nexus.create_nexus(NexusConfig(), clock=clock)
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow(retry=Retry(attempts=2, wait=timedelta()))
    async def number(*, pool: Inject[Pool], run: Run) -> int:
        assert await run.get(Pool) is pool
        if pool.number == 1:
            raise OSError("not yet")
        return pool.number

    results: list[Any] = []

    async def execute() -> None:
        results.append((await desk.app.execute_workflow("number")).results)

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await clock.advance(1)
    assert results == [2]
    assert desk.log == ["open 1", "told OSError", "close 1", "open 2", "close 2"]


async def test_a_step_that_yields_has_it_until_its_last_item(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def count(*, pool: Inject[Pool]) -> AsyncIterator[bool]:
        for _ in range(3):
            yield pool.closed

    assert (await desk.app.execute_workflow("count")).results == [False, False, False]
    assert desk.log == ["open 1", "close 1"]


async def test_a_def_step_on_the_event_loop_gets_them(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow(run_in="inline")
    def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    assert (await desk.app.execute_workflow("number")).results == 1


def work_in_a_process(pool: Inject[Pool]) -> None: ...


def test_nothing_is_lent_to_another_process() -> None:
    workflow = Workflow("far")
    workflow.step(run_in="process")(work_in_a_process)
    with pytest.raises(nexus.RegistrationError, match="run_in='process' can't take dependencies"):
        nexus.create_nexus(NexusConfig()).register(workflow)
