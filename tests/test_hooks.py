"""A user's code before, after, and on error of a run."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import attrs
import pytest

import nexus
from nexus import Nexus, Principal, RegistrationError, Run, RunContext, Workflow, WorkflowFailedError
from nexus.testing import Client, FakeClock

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada")


@pytest.fixture
def app() -> Nexus:
    return nexus.create_nexus(nexus.NexusConfig())


async def test_hooks_are_called_around_the_steps_the_outer_ones_first_and_last(app: Nexus) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[RunContext], None]:
        return lambda run: calls.append(name)

    app.before_run(note("before, second"))
    app.before_run(note("before, third"))
    app.before_run(order=-1)(note("before, first"))
    app.after_run(note("after, second"))
    app.after_run(note("after, first"))
    app.after_run(order=-1)(note("after, third"))
    app.on_run_error(note("error"))

    @app.workflow
    async def work() -> None:
        calls.append("step")

    await app.execute_workflow(work)
    assert calls == ["before, first", "before, second", "before, third", "step", "after, first", "after, second", "after, third"]


async def test_hooks_of_an_error_are_called_in_reverse_order_and_those_after_a_run_are_not(app: Nexus) -> None:
    calls: list[str] = []
    app.after_run(lambda run: calls.append("after"))
    app.on_run_error(lambda run: calls.append("second"))
    app.on_run_error(lambda run: calls.append("first"))
    app.on_run_error(order=-1)(lambda run: calls.append("third"))

    @app.workflow
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(WorkflowFailedError):
        await app.execute_workflow(fails)
    assert calls == ["first", "second", "third"]


async def test_a_hook_is_told_of_its_run(app: Nexus) -> None:
    told: list[RunContext] = []
    app.before_run(told.append)
    app.after_run(told.append)

    @app.workflow(version="3")
    async def double(number: int, *, run: Run) -> int:
        return 2 * number

    async with app:
        result = await app.execute_workflow(double, {"number": "4"} | {"number": 4}, principal=ADA)
    before, after = told
    assert (before.run_id, before.workflow, before.version, before.channel) == (result.run_id, "double", "3", "inprocess")
    assert (before.principal, before.session.principal, before.tenant) == (ADA, ADA, None)
    assert (dict(before.inputs), before.output, before.error) == ({"number": 4}, None, None)
    assert (dict(after.inputs), after.output, after.request_id) == ({"number": 4}, 8, before.request_id)


async def test_what_a_hook_is_told_can_not_be_changed(app: Nexus) -> None:
    told: list[RunContext] = []
    app.before_run(told.append)

    @app.workflow
    async def double(number: int) -> int:
        return 2 * number

    await app.execute_workflow(double, {"number": 1})
    with pytest.raises(TypeError):
        told[0].inputs["number"] = 2  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told[0].output = 2  # type: ignore[misc]


async def test_a_hook_is_async_or_called_in_a_thread(app: Nexus) -> None:
    threads: list[int] = []

    class Hook:
        async def __call__(self, run: RunContext) -> None:
            threads.append(threading.get_ident())

    @app.before_run
    async def on_the_loop(run: RunContext) -> None:
        await anyio.lowlevel.checkpoint()
        threads.append(threading.get_ident())

    @app.before_run
    def in_a_thread(run: RunContext) -> None:
        threads.append(threading.get_ident())

    async def coroutine(name: str, run: RunContext) -> None:
        threads.append(threading.get_ident())

    @app.before_run
    @functools.wraps(on_the_loop)
    def hands_on(run: RunContext) -> Any:
        return on_the_loop(run)

    app.before_run(Hook())
    app.before_run(functools.partial(coroutine, "name"))

    @app.workflow
    async def work() -> None: ...

    await app.execute_workflow(work)
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, False, True, True, True]


async def test_the_decorated_function_is_returned_unchanged(app: Nexus) -> None:
    def hook(run: RunContext) -> None: ...

    assert app.before_run(hook) is app.after_run(workflow="x")(hook) is app.on_run_error(order=1)(hook) is hook


# ---- which runs


@pytest.mark.parametrize(
    ("workflow", "hooked"),
    [
        (None, ["report@1", "report@2", "other@1"]),
        ("report", ["report@1", "report@2"]),
        ("report@1", ["report@1"]),
        (["report@2", "other"], ["report@2", "other@1"]),
        ({"other"}, ["other@1"]),
    ],
)
async def test_a_hook_is_called_for_the_workflows_that_it_names(app: Nexus, workflow: Any, hooked: list[str]) -> None:
    called: list[str] = []
    app.before_run(workflow=workflow)(lambda run: called.append(f"{run.workflow}@{run.version}"))

    @app.workflow(name="report")
    async def old() -> None: ...

    @app.workflow(name="report", version="2")
    async def new() -> None: ...

    @app.workflow
    async def other() -> None: ...

    async with app:
        for name in ("report@1", "report@2", "other"):
            await app.execute_workflow(name)
    assert called == hooked


async def test_a_hook_may_name_what_is_registered_before_or_after_it(app: Nexus) -> None:
    called: list[str] = []

    @nexus.workflow
    async def function() -> None: ...

    graph = Workflow("graph")

    @graph.step
    async def step() -> None: ...

    app.register(function)
    app.before_run(workflow=[function, graph])(lambda run: called.append(run.workflow))
    app.register(graph)
    app.workflow(name="other")(step)
    for name in ("function", "graph", "other"):
        await app.execute_workflow(name)
    assert called == ["function", "graph"]


async def test_a_hook_that_comes_later_is_called_from_then_on(app: Nexus) -> None:
    called: list[str] = []

    @app.workflow
    async def work() -> None: ...

    async with app:
        await app.execute_workflow(work)
        app.before_run(lambda run: called.append("first"))
        await app.execute_workflow(work)
        app.before_run(workflow=work)(lambda run: called.append("second"))
        await app.execute_workflow(work)
    assert called == ["first", "first", "second"]


async def test_a_run_is_hooked_once_whoever_starts_it(app: Nexus) -> None:
    called: list[str] = []

    @app.before_run
    async def before(run: RunContext) -> None:
        called.append(f"before {run.workflow}")

    @app.after_run
    async def after(run: RunContext) -> None:
        called.append(f"after {run.workflow}")

    @app.workflow
    async def inner() -> None: ...

    @app.workflow
    async def outer(*, run: Run) -> bool:
        await run.execute("inner")
        return await run.ask("Go on?", bool)

    async with app:
        handle = await app.submit_workflow(outer)
        await anyio.wait_all_tasks_blocked()
        assert called == ["before outer", "before inner", "after inner"]
        await handle.answer(True)
        assert called == ["before outer", "before inner", "after inner", "after outer"]


async def test_what_a_schedule_fires_is_hooked() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)
    called: list[str] = []

    @app.before_run
    async def note(run: RunContext) -> None:
        called.append(run.workflow)

    @app.workflow(schedule="* * * * *")
    async def tick() -> None: ...

    async with app:
        await clock.advance(60)
    assert called == ["tick"]


async def test_the_same_idempotency_key_is_one_run_for_hooks_too(app: Nexus) -> None:
    called: list[str] = []
    app.before_run(lambda run: called.append(run.run_id))

    @app.workflow
    async def work() -> None: ...

    async with app:
        first = await app.execute_workflow(work, idempotency_key="k")
        again = await app.execute_workflow(work, idempotency_key="k")
    assert called == [first.run_id] == [again.run_id]


@pytest.mark.parametrize("channel", ["api", "mcp"])
async def test_runs_of_every_channel_are_hooked(app: Nexus, channel: Any) -> None:
    called: list[str] = []
    app.before_run(lambda run: called.append(run.channel))

    @app.workflow
    async def work() -> None: ...

    async with Client(app, channel=channel) as client:
        await client.execute("work")
    assert called == [channel]


async def test_steps_of_a_graph_and_of_a_hooked_function_have_times_of_their_own() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)

    @app.before_run
    async def before(run: RunContext) -> None:
        await clock.sleep(2)

    @app.after_run
    async def after(run: RunContext) -> None:
        await clock.sleep(4)

    @app.workflow
    async def work() -> None:
        await clock.sleep(3)

    async with app:
        handle = await app.submit_workflow(work)
        await clock.advance(9)
        record = await handle.status()
    assert record.duration == 9
    assert [(step.name, step.started, step.ended, step.status) for step in record.steps] == [("work", 2, 5, "succeeded")]


async def test_a_hook_is_called_in_the_caller_s_name_and_by_the_task_that_carries_the_run(app: Nexus) -> None:
    who: list[str] = []
    tasks: list[int] = []

    @app.workflow
    async def inner(*, run: Run) -> None:
        who.append(run.principal.id)

    @app.workflow
    async def outer() -> None:
        tasks.append(anyio.get_current_task().id)

    @app.before_run(workflow=outer)
    async def before(run: RunContext) -> None:
        tasks.append(anyio.get_current_task().id)
        await app.execute_workflow(inner)

    await app.execute_workflow(outer, principal=ADA)
    assert who == ["ada"]
    assert tasks == [anyio.get_current_task().id] * 2


# ---- what can't be a hook


async def test_a_workflow_that_is_not_there_is_told_when_the_application_starts(app: Nexus) -> None:
    @app.workflow
    async def process_data() -> None: ...

    @app.before_run(workflow="process_dat")
    async def hook(run: RunContext) -> None: ...

    with pytest.raises(
        RegistrationError, match=r"hook, before_run: there is no workflow 'process_dat'; did you mean 'process_data'\?"
    ):
        async with app:
            pass
    assert not app.started


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ("work@2", "there is no version '2' of 'work'; there are: 1"),
        ("runs.cancel", "there is no workflow 'runs.cancel'"),
        (print, "builtins:print is not registered; app.register it first"),
    ],
)
async def test_a_workflow_that_is_not_there_is_told_at_once_where_the_application_is_started(
    app: Nexus, workflow: Any, message: str
) -> None:
    @app.workflow
    async def work() -> None: ...

    async with app:
        with pytest.raises(RegistrationError, match=message):
            app.after_run(workflow=workflow)(lambda run: None)
        await app.execute_workflow(work)


def test_lambdas_in_one_line_are_two_hooks(app: Nexus) -> None:
    called: list[int] = []
    hooks = [lambda run: called.append(1), lambda run: called.append(2)]
    for hook in hooks:
        app.before_run(hook)

    @app.workflow
    async def work() -> None: ...

    with nexus.sync(app) as desk:
        desk.execute_workflow(work)
    assert called == [1, 2]


async def yields(run: RunContext) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("work", {}, r"a hook is a function, not 'work'; write @app.before_run\(workflow='work'\)"),
        (RunContext, {}, "a hook is a function, not <class"),
        (yields, {}, "yields, before_run: a hook can't yield"),
        (lambda: None, {}, "give it one parameter"),
        (lambda run, output: None, {}, "give it one parameter"),
        (print, {"order": "1"}, "order='1': give a whole number"),
        (print, {"workflow": 3}, "workflow= names 3"),
        (print, {"workflow": ["a", 3]}, "workflow= names 3"),
        (print, {"workflow": []}, "workflow= names no workflow at all"),
    ],
)
def test_what_can_not_be_a_hook_is_told_at_once(app: Nexus, function: Any, options: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        app.before_run(**options)(function)


def test_a_hook_that_is_written_anew_takes_the_place_of_the_old_one(app: Nexus) -> None:
    called: list[str] = []
    cell = "@app.before_run\nasync def hook(run):\n    called.append({!r})\n"
    for number, text in enumerate(("old", "new")):
        exec(compile(cell.format(text), f"<cell {number}>", "exec"), {"app": app, "called": called, "__name__": "notebook"})  # noqa: S102

    @app.workflow
    async def work() -> None: ...

    with nexus.sync(app) as desk:
        desk.execute_workflow(work)
    assert called == ["new"]
