"""That what steps borrow is closed, however the work ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import nexus
from nexus import (
    Inject,
    NexusConfig,
    Problem,
    Run,
    Workflow,
    WorkflowFailedError,
)
from nexus.dependencies import lifetimes
from nexus.testing import FakeClock
from tests.dependency_desk import Desk, Pool, Repository, failure_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- how it ends


async def test_a_context_manager_is_told_how_the_step_failed_and_can_not_make_it_a_success(desk: Desk) -> None:
    @asynccontextmanager
    async def forgiving() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        except LookupError as error:
            desk.log.append(str(error))

    desk.app.provide(Pool, forgiving)

    @desk.app.workflow
    async def fail(*, pool: Inject[Pool]) -> None:
        raise LookupError("no such thing")

    assert isinstance(await failure_of(desk.app.execute_workflow("fail")), LookupError)
    assert desk.log == ["no such thing"]


async def test_a_context_manager_may_say_what_a_failure_means(desk: Desk) -> None:
    @asynccontextmanager
    async def translating() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        except LookupError:
            raise Problem("not_found", "there is no such airport") from None

    desk.app.provide(Pool, translating)

    @desk.app.workflow
    async def fail(*, pool: Inject[Pool]) -> None:
        raise LookupError("no such thing")

    with pytest.raises(Problem, match="no such airport"):
        await desk.app.execute_workflow("fail")


@pytest.mark.parametrize("per", ["step", "run"])
@pytest.mark.parametrize("started", [False, True])
async def test_what_can_not_be_closed_fails_the_run(desk: Desk, per: Any, started: bool) -> None:
    async def uncommitted(pool: Pool) -> AsyncIterator[Repository]:
        yield Repository(pool)
        raise OSError("the disk is full")

    desk.app.provide(Pool, desk.open_pool, per=per)
    desk.app.provide(Repository, uncommitted, per=per)

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    async def execute() -> BaseException | None:
        return await failure_of(desk.app.execute_workflow("use"))

    if started:
        async with desk.app:
            error = await execute()
    else:
        error = await execute()
    assert isinstance(error, OSError)
    assert any("closing Repository" in note for note in error.__notes__)
    assert desk.log == ["open 1", "told OSError", "close 1"]


@pytest.mark.parametrize("per", ["step", "run"])
async def test_what_is_open_is_closed_when_the_next_can_not_be_opened(desk: Desk, per: Any) -> None:
    async def broken(pool: Pool) -> Repository:
        raise OSError("no route to host")

    desk.app.provide(Pool, desk.open_pool, per=per)
    desk.app.provide(Repository, broken, per=per)

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    error = await failure_of(desk.app.execute_workflow("use"))
    assert isinstance(error, OSError)
    assert any("opening Repository" in note for note in error.__notes__)
    assert desk.log == ["open 1", "told OSError", "close 1"]


async def test_the_log_has_why_it_could_not_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    app = nexus.create_nexus(NexusConfig())

    def broken() -> Pool:
        raise OSError("no route to host")

    app.provide(Pool, broken)

    @app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    with pytest.raises(WorkflowFailedError) as caught:
        await app.execute_workflow("use")
    assert "no route" not in str(caught.value)
    (line,) = [record for record in caplog.records if record.name == "nexus.run"]
    assert line.exc_info is not None
    assert "no route to host" in str(line.exc_info[1])


@pytest.mark.parametrize("per", ["step", "run"])
@pytest.mark.parametrize("started", [False, True])
async def test_a_cancelled_run_closes_what_it_had(desk: Desk, per: Any, started: bool) -> None:
    desk.app.provide(Pool, desk.open_pool, per=per)
    waiting = anyio.Event()

    @desk.app.workflow
    async def wait(*, pool: Inject[Pool]) -> None:
        waiting.set()
        await anyio.sleep_forever()

    async def check() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(desk.app.execute_workflow, "wait")
            await waiting.wait()
            group.cancel_scope.cancel()

    with anyio.fail_after(5):
        if started:
            async with desk.app:
                await check()
        else:
            await check()
    assert desk.log[0] == "open 1"
    assert desk.log[1].startswith("told Cancelled")
    assert desk.log[2:] == ["close 1"]


async def test_a_run_that_is_cancelled_while_it_closes_something_gives_it_a_moment(desk: Desk) -> None:
    closing, go_on = anyio.Event(), anyio.Event()

    async def slow() -> AsyncIterator[Pool]:
        yield Pool()
        closing.set()
        await go_on.wait()
        desk.log.append("closed")

    desk.app.provide(Pool, slow)

    @desk.app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    with anyio.fail_after(5):
        async with desk.app:
            handle = await desk.app.submit_workflow("use")
            async with anyio.create_task_group() as group:
                await closing.wait()
                group.start_soon(handle.cancel)
                await anyio.wait_all_tasks_blocked()
                go_on.set()
            assert (await handle.status()).status == "cancelled"
    assert desk.log == ["closed"]


async def test_what_takes_too_long_to_close_after_a_cancellation_is_left_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifetimes, "CLEAN_UP_S", 0.01)
    app, using = nexus.create_nexus(NexusConfig()), anyio.Event()

    async def stuck() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        finally:
            await anyio.sleep_forever()

    app.provide(Pool, stuck)

    @app.workflow
    async def use(*, pool: Inject[Pool]) -> None:
        using.set()
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with app:
            handle = await app.submit_workflow("use")
            await using.wait()
            await handle.cancel()
            assert (await handle.status()).status == "cancelled"
    (line,) = [record for record in caplog.records if record.name == "nexus.dependency"]
    assert line.exc_info is not None
    assert "to close Pool took longer" in str(line.exc_info[1])


async def test_what_fails_to_close_after_a_cancellation_leaves_the_run_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    app, using = nexus.create_nexus(NexusConfig()), anyio.Event()

    async def broken() -> AsyncIterator[Pool]:
        try:
            yield Pool()
        finally:
            raise OSError("already gone")

    app.provide(Pool, broken)

    @app.workflow
    async def use(*, pool: Inject[Pool]) -> None:
        using.set()
        await anyio.sleep_forever()

    async with app:
        handle = await app.submit_workflow("use")
        await using.wait()
        await handle.cancel()
        assert (await handle.status()).status == "cancelled"
    assert [record.name for record in caplog.records] == ["nexus.dependency"]


async def test_a_run_that_is_cancelled_while_something_opens_waits_for_nothing(desk: Desk) -> None:
    opening = anyio.Event()

    async def hanging(pool: Pool) -> Repository:
        opening.set()
        await anyio.sleep_forever()
        raise AssertionError("never")

    desk.app.provide(Pool, desk.open_pool)
    desk.app.provide(Repository, hanging)

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    with anyio.fail_after(5):
        async with desk.app:
            handle = await desk.app.submit_workflow("use")
            await opening.wait()
            await handle.cancel()
    assert desk.log[-1] == "close 1"


async def test_the_first_failure_of_steps_side_by_side_closes_what_the_others_had() -> None:
    desk, workflow, waiting = Desk(), Workflow("race"), anyio.Event()
    desk.app.provide(Pool, desk.open_pool)

    @workflow.step
    async def slow(pool: Inject[Pool]) -> int:
        waiting.set()
        await anyio.sleep_forever()
        return 1

    @workflow.step
    async def failing(run: Run) -> int:
        await waiting.wait()
        raise LookupError("no such thing")

    @workflow.step
    async def both(slow: int, failing: int) -> int:
        return 1

    desk.app.register(workflow)
    with anyio.fail_after(5):
        assert isinstance(await failure_of(desk.app.execute_workflow("race")), LookupError)
    assert desk.log[-1] == "close 1"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("started", [False, True])
async def test_a_caller_that_is_cancelled_by_asyncio_itself_leaves_nothing_open(
    desk: Desk, anyio_backend: str, started: bool
) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def wait(*, pool: Inject[Pool]) -> None:
        await anyio.sleep_forever()

    async def check() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(desk.app.execute_workflow("wait"), 0.01)

    if started:
        async with desk.app:
            await check()
    else:
        await check()
    assert desk.log == ["open 1", "told CancelledError", "close 1"]


async def test_a_step_that_exits_the_process_ends_its_run_only(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def leave(*, pool: Inject[Pool]) -> None:
        sys.exit(3)

    async with desk.app:
        assert isinstance(await failure_of(desk.app.execute_workflow("leave")), RuntimeError)
        assert isinstance(await failure_of(desk.app.execute_workflow("leave")), RuntimeError)
    assert desk.log == ["open 1", "told SystemExit", "close 1", "open 2", "told SystemExit", "close 2"]


async def test_a_step_that_takes_no_notice_of_its_cancellation_commits_nothing(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)
    using = anyio.Event()

    @desk.app.workflow
    async def ignore(*, pool: Inject[Pool]) -> None:
        using.set()
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()

    async with desk.app:
        handle = await desk.app.submit_workflow("ignore")
        await using.wait()
        await handle.cancel()
    assert desk.log[1].startswith("told Cancelled")


async def test_a_run_that_waits_for_an_answer_keeps_what_it_has(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def ask(*, pool: Inject[Pool], run: Run) -> bool:
        return await run.ask("Go on?", bool) and not pool.closed

    async with desk.app:
        handle = await desk.app.submit_workflow("ask")
        while (await handle.status()).status != "waiting":
            await anyio.lowlevel.checkpoint()
        assert desk.log == ["open 1"]
        await handle.answer(True)
        assert await handle.result() is True
    assert desk.log == ["open 1", "close 1"]


async def test_why_it_could_not_be_opened_is_logged_where_nobody_waits_any_more(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    opening, go_on = anyio.Event(), anyio.Event()

    async def broken() -> Pool:
        opening.set()
        await go_on.wait()
        raise OSError("no route to host")

    desk.app.provide(Pool, broken, per="app")

    @desk.app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    with anyio.fail_after(5):
        async with desk.app:
            handle = await desk.app.submit_workflow("use")
            await opening.wait()
            await handle.cancel()
            go_on.set()
            await FakeClock().advance(0)
    assert [record.name for record in caplog.records] == ["nexus.dependency"]
