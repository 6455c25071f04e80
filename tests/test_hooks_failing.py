"""Hooks that fail, and hooks of runs that fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

import anyio
import pytest

import nexus
from nexus import CancelledError, Nexus, Principal, Problem, RunContext, Workflow, WorkflowFailedError
from nexus.testing import FakeClock
from nexus.workflows import hooks

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada")


@pytest.fixture
def app() -> Nexus:
    return nexus.create_nexus(nexus.NexusConfig())


def log_of(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Return run, hook and error of each hook that was logged as failed."""
    lines = [(line, line.__dict__["nexus"]) for line in caplog.records if line.levelno == logging.ERROR]
    return [
        (told["run_id"], told["hook"].rpartition(".")[2], str(line.exc_info[1]))
        for line, told in lines
        if line.exc_info and "hook" in told
    ]


# ---- a hook that fails


@pytest.mark.parametrize("kind", ["function", "graph"])
async def test_where_a_hook_before_a_run_fails_no_step_runs(app: Nexus, kind: str) -> None:
    called: list[str] = []
    app.before_run(lambda run: called.append("before"))

    @app.before_run
    async def fails(run: RunContext) -> None:
        raise ValueError("secret")

    app.before_run(lambda run: called.append("not reached"))
    app.after_run(lambda run: called.append("after"))
    app.on_run_error(lambda run: called.append(f"error {run.error.code}" if run.error else ""))
    graph = Workflow("graph")

    @graph.step
    async def one() -> None:
        called.append("step")

    @graph.step
    async def two(one: None) -> None: ...

    app.register(graph)
    app.workflow(name="function")(one)
    async with app:
        handle = await app.submit_workflow(kind)
        with pytest.raises(WorkflowFailedError) as caught:
            await handle.result()
        record = await handle.status()
    assert called == ["before", "error failed"]
    assert "secret" not in str(caught.value)
    assert (record.status, list(record.steps)) == ("failed", [])
    assert record.error is not None
    assert (record.error.code, record.error.message) == ("failed", "ValueError: secret")


async def test_a_problem_of_a_hook_before_a_run_is_the_run_s_answer(app: Nexus) -> None:
    problem = Problem("permission_denied", "closed on Sundays", day="Sunday")

    @app.before_run
    def closed(run: RunContext) -> None:
        raise problem

    @app.workflow
    async def work() -> None: ...

    with pytest.raises(Problem) as caught:
        await app.execute_workflow(work)
    assert caught.value is problem


async def test_a_failing_hook_after_a_run_is_logged_and_changes_nothing(app: Nexus, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []
    app.after_run(lambda run: called.append("other"))
    app.on_run_error(lambda run: called.append("error"))

    @app.after_run
    async def fails(run: RunContext) -> None:
        raise Problem("conflict", "too late")

    @app.after_run
    def leaves(run: RunContext) -> None:
        raise SystemExit(3)

    @app.workflow
    async def work() -> int:
        return 1

    result = await app.execute_workflow(work)
    assert (result.results, called) == (1, ["other"])
    where = f"hook {__name__}:{leaves.__qualname__}"
    assert log_of(caplog) == [
        (result.run_id, "leaves", f"{where} called sys.exit(3)"),
        (result.run_id, "fails", "too late"),
    ]


async def test_a_failing_hook_on_an_error_is_logged_and_changes_nothing(app: Nexus, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []
    app.on_run_error(lambda run: called.append(run.run_id))

    @app.on_run_error
    async def fails(run: RunContext) -> None:
        raise Problem("conflict", "another")

    @app.workflow
    async def work() -> None:
        raise Problem("not_found", "the reason")

    with pytest.raises(Problem, match="the reason"):
        await app.execute_workflow(work)
    assert log_of(caplog) == [(called[0], "fails", "another")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_hook_that_ends_in_a_cancellation_of_its_own_fails_like_any_other(app: Nexus) -> None:
    @app.before_run
    async def gives_up(run: RunContext) -> None:
        raise asyncio.CancelledError

    @app.workflow
    async def work() -> None: ...

    with pytest.raises(WorkflowFailedError) as caught:
        await app.execute_workflow(work)
    assert "gives_up raised CancelledError, though nobody cancelled it" in str(caught.value.__cause__)


# ---- why a run did not succeed


def errors_of(app: Nexus) -> list[Any]:
    errors: list[Any] = []

    @app.on_run_error
    async def note(run: RunContext) -> None:
        await anyio.lowlevel.checkpoint()
        errors.append(run.error)

    return errors


async def test_a_hook_is_told_what_the_workflow_raised(app: Nexus) -> None:
    errors = errors_of(app)
    reason = ValueError("no")

    @app.workflow
    async def work() -> None:
        raise reason

    with pytest.raises(WorkflowFailedError) as caught:
        await app.execute_workflow(work)
    assert [(error.code, error.message, error.__cause__) for error in errors] == [("failed", caught.value.message, reason)]


async def test_a_hook_is_told_that_the_run_was_cancelled(app: Nexus) -> None:
    errors = errors_of(app)

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    async with app:
        handle = await app.submit_workflow(work)
        await anyio.wait_all_tasks_blocked()
        await handle.cancel()
        assert [error.code for error in errors] == ["cancelled"]
        with pytest.raises(CancelledError):
            await handle.result()


async def test_a_hook_is_told_that_the_caller_went_away(app: Nexus) -> None:
    errors = errors_of(app)

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(app.execute_workflow, work)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert [(error.code, error.message) for error in errors] == [("cancelled", "its caller went away")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_hook_is_told_of_a_task_that_is_cancelled_natively(app: Nexus) -> None:
    errors = errors_of(app)

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    task = asyncio.create_task(app.execute_workflow(work))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [error.code for error in errors] == ["cancelled"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_natively_in_a_hook_leaves_the_record_of_its_run(app: Nexus) -> None:
    ids: list[str] = []

    @app.on_run_error
    async def hangs(run: RunContext) -> None:
        ids.append(run.run_id)
        await anyio.sleep_forever()

    @app.workflow
    async def work() -> None:
        raise Problem("conflict", "the reason")

    task = asyncio.create_task(app.execute_workflow(work))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await app.executor.find(nexus.models.Scope.ALL, ids[0])
    assert record.error is not None
    assert (ids, record.error.code) == ([record.id], "conflict")


async def test_a_hook_is_told_that_the_time_ran_out_also_during_another(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)
    errors = errors_of(app)

    slow, hooked = Workflow("slow", timeout=5), Workflow("hooked", timeout=5)

    @slow.step
    async def long() -> None:
        await clock.sleep(10)

    @hooked.step
    async def short() -> None: ...

    app.register(slow, hooked)

    @app.after_run(workflow=hooked)
    async def slow_hook(run: RunContext) -> None:
        await clock.sleep(10)

    async with app:
        for workflow in (slow, hooked):
            handle = await app.submit_workflow(workflow)
            await clock.advance(6)
            with pytest.raises(nexus.DeadlineExceededError):
                await handle.result()
    assert [error.code for error in errors] == ["deadline_exceeded"] * 2
    assert log_of(caplog) == []


async def test_what_comes_back_too_late_is_an_error_and_nothing_after_the_run(app: Nexus) -> None:
    errors = errors_of(app)
    after: list[str] = []
    app.after_run(lambda run: after.append(run.run_id))

    @app.workflow
    async def takes_no_notice() -> int:
        with anyio.CancelScope(shield=True):
            await stop.wait()
        return 1

    stop = anyio.Event()
    async with app, anyio.create_task_group() as group:
        handle = await app.submit_workflow(takes_no_notice)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(handle.cancel)
        await anyio.wait_all_tasks_blocked()
        stop.set()
    assert ([error.code for error in errors], after) == (["cancelled"], [])


async def test_a_hook_is_told_of_a_run_that_never_had_its_turn() -> None:
    app = nexus.create_nexus(nexus.NexusConfig(concurrency=1))
    errors = errors_of(app)
    before: list[str] = []

    @app.before_run
    async def note(run: RunContext) -> None:
        before.append(run.run_id)

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    async with app:
        first = await app.submit_workflow(work)
        await anyio.wait_all_tasks_blocked()
        second = await app.submit_workflow(work)
        await anyio.wait_all_tasks_blocked()
        await second.cancel()
        assert (before, [error.code for error in errors]) == ([first.id], ["cancelled"])
        await first.cancel()


async def test_a_hook_is_told_of_a_run_that_the_application_drops() -> None:
    app = nexus.create_nexus(nexus.NexusConfig(shutdown_grace=0))
    errors = errors_of(app)

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    async with app:
        await app.submit_workflow(work)
        await anyio.wait_all_tasks_blocked()
    assert [error.code for error in errors] == ["unavailable"]


async def test_a_hook_that_takes_too_long_on_an_error_is_stopped_and_the_others_are_called(
    app: Nexus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "LIMIT_S", 0.01)
    errors = errors_of(app)

    @app.on_run_error
    async def hangs(run: RunContext) -> None:
        await anyio.sleep_forever()

    @app.workflow
    async def work() -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with app:
            handle = await app.submit_workflow(work)
            await anyio.wait_all_tasks_blocked()
            assert (await handle.cancel()).status == "cancelled"
    assert [error.code for error in errors] == ["cancelled"]
    assert [(run, hook) for run, hook, _ in log_of(caplog)] == [(handle.id, "hangs")]


async def test_a_hook_on_an_error_may_submit_what_takes_time() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)
    alerts: list[str] = []

    @app.workflow
    async def alert(code: str) -> None:
        await clock.sleep(60)
        alerts.append(code)

    @app.workflow(timeout=5)
    async def work() -> None:
        await clock.sleep(10)

    @app.on_run_error(workflow=work)
    async def tell(run: RunContext) -> None:
        assert run.error is not None
        await app.submit_workflow(alert, {"code": run.error.code})

    async with app:
        await app.submit_workflow(work)
        await clock.advance(66)
        assert alerts == ["deadline_exceeded"]


async def test_what_a_failing_hook_says_of_secrets_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = nexus.create_nexus(nexus.NexusConfig())

    @app.workflow
    async def log_in(token: Annotated[str, nexus.Secret()]) -> int:
        return len(token)

    @app.after_run
    async def tattle(context: RunContext) -> None:
        raise RuntimeError(f"{context!r} with {context.inputs['token']}")

    assert (await app.execute_workflow("log_in", {"token": "hunter2-hunter2"})).results == 15
    assert "tattle" in caplog.text
    assert "hunter2" not in caplog.text
