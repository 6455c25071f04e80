"""The tests that every runtime passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from nexus._gateway import Nexus
from nexus.abc import Interaction, Runtime
from nexus.exceptions import NotFoundError, UnavailableError
from nexus.models import Answers, Caller, Event, Question, Request, Response, RunRecord, Scope
from nexus.workflows.run import Run

__all__ = ["RuntimeContract"]

PATIENCE_S: Final = 30.0
LOOK_S: Final = 0.01
FAR_S: Final = 3600.0
CALLER: Final = Caller(channel="api")


async def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


async def fails() -> int:
    """Raise."""
    raise ValueError("on purpose")


async def asks(*, run: Run) -> str:
    """Ask, and say the answer twice."""
    answer = await run.ask("What?", str, name="what")
    return answer + answer


async def lingers(marker: Path) -> int:
    """Be there until somebody cancels it, and leave a note of its clean-up."""
    marker.with_suffix(".begun").touch()
    try:
        await anyio.sleep(FAR_S)
    finally:
        marker.touch()  # noqa: ASYNC240 - as above
    return 1


class Later(Interaction):
    """A caller that answers by a later call."""

    answers = Answers.LATER
    listens = False

    async def tell(self, event: Event) -> None:
        """Listen to nothing."""

    async def ask(self, question: Question) -> Any:
        """Never called."""
        raise AssertionError(question)


class RuntimeContract(ABC):
    """
    What a `Runtime` promises, to an application that carries its runs by it. Subclass it as `Test…`, with `make_app`.

        class TestOurRuntime(RuntimeContract):
            def make_app(self):
                return nexus.create_nexus(NexusConfig(shutdown_grace=0.1), runtime=OurRuntime(...))
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make_app(self) -> Nexus:
        """Return a new application with the runtime under test, not started; give it a short `shutdown_grace`."""

    def registered(self) -> Nexus:
        """Return the application with the workflows of the suite, which another process can import."""
        app = self.make_app()
        app.register(add, fails, asks, lingers)
        return app

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Nexus]:
        """Start the application."""
        with anyio.fail_after(PATIENCE_S):
            async with self.registered() as app:
                yield app

    async def test_a_run_is_carried_to_its_end_and_its_record_is_in_the_store(self) -> None:
        async with self.opened() as app:
            response = await call(app, "add", a=1)
            assert (response.error, response.data) == (None, 3)
            assert response.run is not None
            stored = await record_of(app, response.run.id)
            assert (stored.status, stored.output) == ("succeeded", 3)
            assert stored.ended_at is not None

    async def test_a_submitted_run_goes_on_by_itself(self) -> None:
        async with self.opened() as app:
            handle = await app.submit_workflow("add", {"a": 1})
            assert await handle.result() == 3
            record = await record_of(app, handle.id)
            assert (record.status, record.version > 1) == ("succeeded", True)

    async def test_what_a_workflow_raises_ends_its_run_and_no_other(self) -> None:
        async with self.opened() as app:
            failed = await app.submit_workflow("fails")
            settled = await runtime_of(app).settled(failed.id)
            assert settled.error is not None
            assert (settled.status, settled.error.code) == ("failed", "failed")
            assert (await call(app, "add", a=1)).data == 3

    async def test_submitting_needs_a_started_application(self) -> None:
        with pytest.raises(UnavailableError):
            await self.registered().submit_workflow("add", {"a": 1})

    async def test_a_run_that_nobody_knows_is_not_found(self) -> None:
        async with self.opened() as app:
            with pytest.raises(NotFoundError):
                await runtime_of(app).settled("nobody")

    async def test_a_run_that_asks_settles_and_goes_on_with_its_answer(self) -> None:
        async with self.opened() as app:
            waiting = (await call(app, "asks")).run
            assert waiting is not None
            assert (waiting.status, list(waiting.questions)) == ("waiting", ["what"])
            assert (await runtime_of(app).settled(waiting.id)).status == "waiting"
            answered = await call(app, "runs.answer", run_id=waiting.id, answer="go")
            assert answered.run is not None
            assert (answered.run.status, answered.run.output) == ("succeeded", "gogo")

    async def test_a_run_that_has_waited_is_nobodys_connections(self) -> None:
        async with self.opened() as app:
            handle = await app.submit_workflow("asks")
            async with anyio.create_task_group() as group:
                group.start_soon(runtime_of(app).settled, handle.id)
                await waiting_for(app, handle.id)
                group.cancel_scope.cancel()
            assert (await handle.answer("go")).output == "gogo"

    async def test_a_caller_that_leaves_before_that_cancels_the_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        async with self.opened() as app:
            async with anyio.create_task_group() as group:
                group.start_soon(call_with, app, "lingers", {"marker": str(marker)})
                await until_there(marker.with_suffix(".begun"))
                group.cancel_scope.cancel()
            await until_there(marker)
            (record,) = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
            assert record.status == "cancelled"

    async def test_cancelling_waits_for_the_clean_up(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        async with self.opened() as app:
            handle = await app.submit_workflow("lingers", {"marker": marker})
            await until_there(marker.with_suffix(".begun"))
            await runtime_of(app).cancel(handle.id)
            assert marker.exists()
            assert (await record_of(app, handle.id)).status == "cancelled"

    async def test_a_waiting_run_can_be_cancelled(self) -> None:
        async with self.opened() as app:
            handle = await app.submit_workflow("asks")
            await waiting_for(app, handle.id)
            await runtime_of(app).cancel(handle.id)
            record = await record_of(app, handle.id)
            assert (record.status, record.questions) == ("cancelled", {})

    async def test_cancelling_what_has_ended_changes_nothing(self) -> None:
        async with self.opened() as app:
            handle = await app.submit_workflow("add", {"a": 1})
            await handle.result()
            before = await record_of(app, handle.id)
            await runtime_of(app).cancel(handle.id)
            await runtime_of(app).cancel("nobody")
            assert await record_of(app, handle.id) == before

    async def test_what_the_stop_drops_is_failed_and_unavailable(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        async with self.opened() as app:
            handle = await app.submit_workflow("lingers", {"marker": marker})
            await until_there(marker.with_suffix(".begun"))
        record = await record_of(app, handle.id)
        assert record.error is not None
        assert (record.status, record.error.code, marker.exists()) == ("failed", "unavailable", True)

    async def test_events_come_in_order_or_are_said_not_to_be_kept(self) -> None:
        async with self.opened() as app:
            handle = await app.submit_workflow("add", {"a": 1})
            await handle.result()
            try:
                told = [event.type async for event in runtime_of(app).events(handle.id)]
            except UnavailableError:
                return
            assert (told[0], told[-1]) == ("run.started", "run.succeeded")


def runtime_of(app: Nexus) -> Runtime:
    """Return the runtime under test."""
    return app.executor.runtime


async def record_of(app: Nexus, run_id: str) -> RunRecord:
    """Return the record that is in the store."""
    return await app.executor.runs.get(Scope.ALL, run_id)


async def call(app: Nexus, operation: str, /, **arguments: Any) -> Response:
    """Call an operation, as one who answers questions by a later call."""
    return await call_with(app, operation, arguments)


async def call_with(app: Nexus, operation: str, arguments: dict[str, Any]) -> Response:
    """Call an operation with these arguments."""
    request = Request(operation=operation, arguments=arguments, caller=CALLER, trusted_files=True)
    return await app.dispatch(request, Later())


async def waiting_for(app: Nexus, run_id: str) -> None:
    """Wait until the run asks."""
    while (await record_of(app, run_id)).status != "waiting":  # noqa: ASYNC110 - the store tells nobody
        await anyio.sleep(LOOK_S)


async def until_there(file: Path) -> None:
    """Wait for the sign of a workflow that may run in another process."""
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - no event comes from there
        await anyio.sleep(LOOK_S)
