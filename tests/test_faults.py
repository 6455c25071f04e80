"""What happens when a part fails: the store, the process, the caller."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import attrs
import pytest

import nexus
import nexus.testing
from nexus import ConflictError, Nexus, NexusConfig, Request, Response, Run, UnavailableError
from nexus.abc import Clock, Interaction
from nexus.clock import SystemClock
from nexus.memory import MemoryRunStore
from nexus.models import APPLICATION, Answers, Caller, Event, Question, RunRecord, Scope

pytestmark = pytest.mark.anyio


class Later(Interaction):
    answers = Answers.LATER

    async def tell(self, event: Event) -> None:
        pass

    async def ask(self, question: Question) -> Any:
        raise AssertionError(question)


@attrs.define(eq=False)
class FailingStore(MemoryRunStore):
    """A store that can be switched off."""

    down: bool = False

    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        if self.down:
            raise UnavailableError("the store is down")
        return await MemoryRunStore.create(self, scope, run, key=key, inputs_hash=inputs_hash)

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        if self.down:
            raise OSError("disk full")
        return await MemoryRunStore.save(self, run, expected_version=expected_version)


@attrs.define(eq=False)
class RacingStore(MemoryRunStore):
    """A store in which somebody else was faster, some times."""

    races: int = 0

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        if self.races:
            self.races -= 1
            kept = await self.get(Scope.ALL, run.id)
            await MemoryRunStore.save(self, kept, expected_version=kept.version)
        return await MemoryRunStore.save(self, run, expected_version=expected_version)


@nexus.workflow
async def add(a: int) -> int:
    return a + 1


@nexus.workflow
async def book(*, run: Run) -> str:
    return await run.ask("Which seat?", str, name="seat")


def app_of(*what: nexus.Workflow | Callable[..., Any], **options: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(), **options)
    app.register(*(what or (add, book)))
    return app


async def call(app: Nexus, operation: str, /, **arguments: Any) -> Response:
    return await app.dispatch(Request(operation=operation, arguments=arguments, caller=Caller(channel="api")), Later())


async def started(app: Nexus) -> str:
    response = await call(app, "book")
    assert response.run is not None
    return response.run.id


async def test_a_store_that_is_down_is_told_and_the_application_recovers() -> None:
    store = FailingStore()
    app = app_of(run_store=store)
    store.down = True
    assert (await call(app, "add", a=1)).error is not None
    store.down = False
    assert (await call(app, "add", a=1)).data == 2


async def test_a_store_that_fails_while_a_run_is_carried_ends_that_run_only(caplog: pytest.LogCaptureFixture) -> None:
    store, go = FailingStore(), anyio.Event()

    @nexus.workflow
    async def work() -> int:
        await go.wait()
        return 1

    async with app_of(work, add, run_store=store) as app:
        with caplog.at_level(logging.ERROR, "nexus.run"):
            handle = await app.submit_workflow("work")
            while (await handle.status()).status == "pending":
                await anyio.lowlevel.checkpoint()
            store.down = True
            go.set()
            while "disk full" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        store.down = False
        assert (await app.execute_workflow("add", {"a": 1})).results == 2


async def test_a_run_whose_record_can_not_be_changed_ends_for_who_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    async with app_of(run_store=store) as app:
        handle = await app.submit_workflow("add", {"a": 1})
        store.down = True
        with anyio.fail_after(5), pytest.raises(UnavailableError, match="could not be stored"):
            await handle.result()
        assert "disk full" in caplog.text
        store.down = False
        assert (await call(app, "add", a=1)).data == 2


@pytest.mark.parametrize("detach", [True, False])
async def test_a_run_that_can_not_be_started_leaves_no_record_that_waits_for_ever(detach: bool) -> None:
    class StoppingStore(MemoryRunStore):
        async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
            record = await super().create(scope, run, key=key, inputs_hash=inputs_hash)
            leave.set()
            await stopped.wait()
            return record

    store, leave, stopped = StoppingStore(), anyio.Event(), anyio.Event()
    app = app_of(run_store=store)

    async def submit() -> None:
        request = Request(operation="book", arguments={}, caller=Caller(channel="api"), detach=detach)
        assert isinstance((await app.dispatch(request, Later())).error, UnavailableError)

    with pytest.raises(UnavailableError, match="async with app"):
        await app.submit_workflow("add", {"a": 1})
    assert not leave.is_set()
    async with anyio.create_task_group() as group:
        async with app:
            group.start_soon(submit)
            await leave.wait()
        stopped.set()
    page = await store.list(Scope.ALL, where={}, after=None, limit=10)
    assert [(record.status, record.error and record.error.code) for record in page.items] == [("failed", "unavailable")]


async def test_what_a_run_tells_after_its_caller_has_left_is_not_sent_to_that_caller() -> None:
    heard: list[str] = []
    go_on = anyio.Event()

    class Listening(Later):
        async def tell(self, event: Event) -> None:
            heard.append(event.data["message"])

    @nexus.workflow
    async def chatty(*, run: Run) -> str:
        await run.ask("First?", str, name="first")
        await run.progress(1, message="to the second caller")
        await run.ask("Second?", str, name="second")
        await run.progress(2, message="to nobody")
        await go_on.wait()
        return "done"

    async with app_of(chatty) as app:
        response = await call(app, "chatty")
        assert response.run is not None
        run_id = response.run.id
        arguments = {"run_id": run_id, "answer": "x"}
        request = Request(operation="runs.answer", arguments=arguments, caller=Caller(channel="api"))
        again = await app.dispatch(request, Listening())
        assert again.run is not None
        assert again.run.status == "waiting"
        live = app.executor.runtime.books.live[run_id]  # type: ignore[attr-defined]  # who is attached shows nowhere else
        assert not isinstance(live.interaction, Listening)
        go_on.set()
        await call(app, "runs.answer", run_id=run_id, answer="y")
    assert heard == ["to the second caller"]


@attrs.define(eq=False)
class SlowStore(MemoryRunStore):
    """A store that replies late, when others see the change already."""

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        saved = await MemoryRunStore.save(self, run, expected_version=expected_version)
        if run.status == "waiting":
            await self.reply.wait()
        return saved

    reply: anyio.Event = attrs.field(factory=anyio.Event)


async def test_an_answer_that_comes_before_the_store_has_replied_is_not_lost() -> None:
    store = SlowStore()
    async with app_of(run_store=store) as app:
        handle = await app.submit_workflow("book")
        with anyio.fail_after(5):
            while not (await handle.status()).questions:
                await anyio.lowlevel.checkpoint()
            async with anyio.create_task_group() as group:
                answer = partial(app.executor.answer, question="seat", answer="12A")
                group.start_soon(answer, Scope.ALL, APPLICATION, handle.id, Later())
                while (await handle.status()).questions:
                    await anyio.lowlevel.checkpoint()
                store.reply.set()
            assert await handle.result() == "12A"


async def test_work_that_is_done_is_not_refused_because_the_store_is_full() -> None:
    async with app_of(run_store=MemoryRunStore(max_runs=2)) as app:
        await started(app)
        await started(app)
        assert (await call(app, "add", a=1)).data == 2


async def test_questions_of_def_steps_leave_threads_for_the_others() -> None:
    @nexus.workflow
    def asking(run: nexus.BlockingRun) -> str:
        return run.ask("Seat?", str)

    @nexus.workflow
    def plain() -> int:
        return 1

    async with app_of(asking, plain) as app:
        for _ in range(41):
            await call(app, "asking")
        with anyio.fail_after(10):
            assert (await call(app, "plain")).data == 1


@pytest.mark.parametrize("kind", ["async", "def", "lanes"])
async def test_a_step_that_exits_ends_its_run_and_not_the_application(kind: str) -> None:
    workflow = nexus.Workflow("leaving", output="both")

    @workflow.step
    async def both() -> int:
        sys.exit(3)

    @nexus.workflow(name="leaving")
    async def single() -> int:
        sys.exit(3)

    @nexus.workflow(name="leaving")
    def threaded() -> int:
        sys.exit(3)

    if kind == "lanes":

        @workflow.step
        async def other() -> int:
            return 1

    async with app_of(workflow if kind == "lanes" else single if kind == "async" else threaded, add) as app:
        handle = await app.submit_workflow("leaving")
        with pytest.raises(nexus.WorkflowFailedError) as caught:
            await handle.result()
        assert "sys.exit(3)" in str(caught.value.__cause__)
        assert (await call(app, "add", a=1)).data == 2


async def test_what_a_run_raised_is_not_in_what_channels_show_of_it() -> None:
    @nexus.workflow
    async def leaky() -> int:
        raise RuntimeError("hunter2")

    async with app_of(leaky) as app:
        handle = await app.submit_workflow("leaky")
        with pytest.raises(nexus.WorkflowFailedError):
            await handle.result()
        shown = await call(app, "runs.get", run_id=handle.id)
        assert "hunter2" not in str(app.to_builtins((await handle.status()).view()))
        assert shown.error is not None
        record = await handle.status()
        assert record.error is not None
        assert "hunter2" in record.error.message


async def test_an_answer_that_races_with_another_change_is_not_lost() -> None:
    store = RacingStore()
    async with app_of(run_store=store) as app:
        run_id = await started(app)
        store.races = 3
        response = await call(app, "runs.answer", run_id=run_id, answer="12A")
        assert response.run is not None
        assert (response.run.status, response.run.output) == ("succeeded", "12A")


async def test_a_record_that_never_stands_still_is_a_conflict() -> None:
    store = RacingStore()
    async with app_of(run_store=store) as app:
        run_id = await started(app)
        store.races = 10_000
        response = await call(app, "runs.answer", run_id=run_id, answer="12A")
        assert isinstance(response.error, ConflictError)
        store.races = 0


async def test_answering_a_run_that_no_process_carries_is_unavailable() -> None:
    store = MemoryRunStore()
    async with app_of(run_store=store) as app:
        run_id = await started(app)
        waiting = await store.get(Scope.ALL, run_id)
    others = MemoryRunStore()
    async with app_of(run_store=others) as app:
        await others.create(Scope.ALL, waiting)
        response = await call(app, "runs.answer", run_id=run_id, answer="12A")
        assert isinstance(response.error, UnavailableError)


async def test_a_question_that_its_step_gives_up_is_withdrawn() -> None:
    go_on = anyio.Event()

    @nexus.workflow
    async def impatient(*, run: Run) -> str:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def give_up() -> None:
                    await go_on.wait()
                    scope.cancel()

                group.start_soon(give_up)
                return await run.ask("Seat?", str)
        return "any seat"

    async with app_of(impatient) as app:
        response = await call(app, "impatient")
        assert response.run is not None
        go_on.set()
        record = await _ended(app, response.run.id)
        assert (record.output, record.questions) == ("any seat", {})


async def _ended(app: Nexus, run_id: str) -> RunRecord:
    with anyio.fail_after(5):
        while True:
            record = await app.executor.find(Scope.ALL, run_id)
            if record.ended:
                return record
            await anyio.lowlevel.checkpoint()


async def test_two_open_questions_of_one_name_are_a_mistake_of_the_workflow(caplog: pytest.LogCaptureFixture) -> None:
    @nexus.workflow
    async def muddled(*, run: Run) -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: run.ask("First?", str, name="same"))
            while not run._live.questions:  # noqa: SLF001 - waits until the first is open
                await anyio.lowlevel.checkpoint()
            await run.ask("Second?", str, name="same")
        return "never"

    async with app_of(muddled) as app:
        await call(app, "muddled")
        with anyio.fail_after(5):
            while "open already" not in caplog.text:
                await anyio.lowlevel.checkpoint()


async def test_a_full_store_refuses_new_runs_and_keeps_the_waiting_ones() -> None:
    async with app_of(run_store=MemoryRunStore(max_runs=2)) as app:
        first, second = await started(app), await started(app)
        third = await call(app, "book")
        assert third.error is not None
        assert third.error.code == "resource_exhausted"
        for run_id in (first, second):
            assert (await call(app, "runs.get", run_id=run_id)).data["status"] == "waiting"
        await call(app, "runs.answer", run_id=first, answer="12A")
        assert await started(app)


async def test_a_clock_that_jumps_back_does_not_end_or_stretch_a_run() -> None:
    clock = nexus.testing.FakeClock()

    @nexus.workflow(timeout=30)
    async def jumpy() -> int:
        clock.set(clock.now().replace(year=2000))
        return 1

    result = await app_of(jumpy, clock=clock).execute_workflow("jumpy")
    assert result.results == 1
    assert result.execution_time >= 0


async def test_the_system_clock_sleeps_and_times_out() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    with clock.timeout(0.01) as scope:
        await clock.sleep(60)
    assert scope.cancel_called
    assert clock.monotonic() - before >= 0.01
    assert clock.now().tzinfo is not None
