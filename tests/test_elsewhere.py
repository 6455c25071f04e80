"""Runs that are answered, cancelled and waited for in another process than the one that carries them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
import pytest

import nexus
from nexus import Nexus, Run, UnavailableError
from nexus.memory import MemoryRunStore, MemoryStepStore
from nexus.models import APPLICATION, RunRecord, Scope
from nexus.testing import FakeClock
from nexus.workflows.live import SILENT

pytestmark = pytest.mark.anyio


class SharedRuns(MemoryRunStore):
    """Records that several applications of this process have."""

    shared = True


@attrs.define
class World:
    """What two processes share."""

    runs: SharedRuns = attrs.field(factory=SharedRuns)
    steps: MemoryStepStore = attrs.field(factory=MemoryStepStore)
    clock: FakeClock = attrs.field(factory=FakeClock)

    def app(self, *what: Any) -> Nexus:
        config = nexus.NexusConfig(shutdown_grace=timedelta(0))
        app = nexus.create_nexus(config, run_store=self.runs, step_store=self.steps, clock=self.clock)
        app.register(*what)
        return app

    async def record(self, run_id: str) -> RunRecord:
        return await self.runs.get(Scope.ALL, run_id)


@pytest.fixture
def world() -> World:
    return World()


@nexus.workflow
async def keep(*, run: Run) -> str:
    return f"kept {await run.ask('What?', str, name='what')}"


def answering(app: Nexus, run_id: str, answer: Any, told: list[RunRecord]) -> Callable[[], Any]:
    async def answered() -> None:
        told.append(await app.executor.answer(Scope.ALL, APPLICATION, run_id, SILENT, question=None, answer=answer))

    return answered


async def test_an_answer_that_is_taken_elsewhere_is_seen_within_a_second(world: World) -> None:
    told: list[RunRecord] = []
    async with world.app(keep) as here, world.app(keep) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("keep")
        await world.clock.advance(0)
        tasks.start_soon(answering(there, handle.id, "this", told))
        await world.clock.advance(0)
        assert (await world.record(handle.id)).status == "running"
        await world.clock.advance(1)
        assert (await world.record(handle.id)).output == "kept this"
        await world.clock.advance(1)
    assert [record.output for record in told] == ["kept this"]


async def test_who_answers_elsewhere_gets_the_next_question(world: World) -> None:
    @nexus.workflow
    async def two(*, run: Run) -> str:
        return f"{await run.ask('One?', str)} {await run.ask('Two?', str)}"

    told: list[RunRecord] = []
    async with world.app(two) as here, world.app(two) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("two")
        await world.clock.advance(0)
        for answer in ("a", "b"):
            tasks.start_soon(answering(there, handle.id, answer, told))
            await world.clock.advance(2)
    assert [(record.status, list(record.questions)) for record in told] == [("waiting", ["two.2"]), ("succeeded", [])]
    assert told[-1].output == "a b"


async def test_a_run_that_is_cancelled_elsewhere_ends_within_a_second(world: World) -> None:
    cleaned: list[str] = []

    @nexus.workflow
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("up")

    told: list[RunRecord] = []
    async with world.app(slow) as here, world.app(slow) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("slow")
        await world.clock.advance(0)

        async def cancel() -> None:
            told.append(await there.executor.cancel(Scope.ALL, handle.id))

        tasks.start_soon(cancel)
        await world.clock.advance(2)
    assert ([record.status for record in told], cleaned) == (["cancelled"], ["up"])


async def test_a_waiting_run_is_cancelled_elsewhere(world: World) -> None:
    async with world.app(keep) as here, world.app(keep) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("keep")
        await world.clock.advance(0)
        tasks.start_soon(there.executor.cancel, Scope.ALL, handle.id)
        await world.clock.advance(2)
        assert (await handle.status()).status == "cancelled"


async def test_a_run_is_waited_for_elsewhere(world: World) -> None:
    done = anyio.Event()

    @nexus.workflow
    async def slow() -> int:
        await done.wait()
        return 7

    told: list[RunRecord] = []
    async with world.app(slow) as here, world.app(slow) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("slow")

        async def wait() -> None:
            told.append(await there.executor.wait(Scope.ALL, handle.id, 60, SILENT))

        tasks.start_soon(wait)
        await world.clock.advance(5)
        assert told == []
        done.set()
        await world.clock.advance(1)
        assert [record.output for record in told] == [7]


async def test_waiting_elsewhere_ends_with_its_time(world: World) -> None:
    async with world.app(keep) as here, world.app(keep) as there, anyio.create_task_group() as tasks:

        @here.workflow
        async def endless() -> None:
            await anyio.sleep_forever()

        handle = await here.submit_workflow("endless")
        told: list[RunRecord] = []

        async def wait() -> None:
            told.append(await there.executor.wait(Scope.ALL, handle.id, 3, SILENT))

        tasks.start_soon(wait)
        await world.clock.advance(3)
        assert [record.status for record in told] == ["running"]


async def test_the_same_key_elsewhere_gets_the_run_that_is_carried_here(world: World) -> None:
    done = anyio.Event()
    called: list[str] = []

    @nexus.workflow
    async def slow() -> int:
        called.append("here")
        await done.wait()
        return 7

    results: list[Any] = []
    async with world.app(slow) as here, world.app(slow) as there, anyio.create_task_group() as tasks:

        async def ask(app: Nexus) -> None:
            results.append((await app.execute_workflow("slow", idempotency_key="k")).results)

        for app in (here, there):
            tasks.start_soon(ask, app)
            await world.clock.advance(0)
        done.set()
        await world.clock.advance(2)
    assert (results, called) == ([7, 7], ["here"])


async def test_a_run_that_was_to_be_cancelled_when_its_process_died_is_cancelled(world: World) -> None:
    @nexus.workflow(durable=True)
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    async with world.app(slow) as here:
        handle = await here.submit_workflow("slow")
        await world.clock.advance(0)
    record = await world.record(handle.id)
    await world.runs.save(record.changed(cancelling=True), expected_version=record.version)
    async with world.app(slow):
        assert (await world.record(handle.id)).status == "cancelled"


async def test_an_answer_that_is_taken_elsewhere_while_the_run_asks_on_is_not_lost(world: World) -> None:
    go = anyio.Event()
    asking = nexus.Workflow("asking", output="both")

    @asking.step
    async def first(*, run: Run) -> str:
        return await run.ask("First?", str, name="first")

    @asking.step
    async def second(*, run: Run) -> str:
        await go.wait()
        return await run.ask("Second?", str, name="second")

    @asking.step
    async def both(first: str, second: str) -> str:
        return first + second

    told: list[RunRecord] = []
    async with world.app(asking) as here, world.app(asking) as there, anyio.create_task_group() as tasks:
        handle = await here.submit_workflow("asking")
        await world.clock.advance(0)
        tasks.start_soon(answering(there, handle.id, "a", told))
        await world.clock.advance(0)
        go.set()
        await world.clock.advance(2)
        tasks.start_soon(answering(there, handle.id, "b", told))
        await world.clock.advance(2)
        assert (await world.record(handle.id)).output == "ab"


async def test_a_secret_is_answered_only_where_the_run_is_carried(world: World) -> None:
    @nexus.workflow
    async def login(*, run: Run) -> int:
        return len(await run.ask("Password?", Annotated[str, nexus.Secret()]))

    async with world.app(login) as here, world.app(login) as there:
        handle = await here.submit_workflow("login")
        await world.clock.advance(0)
        with pytest.raises(UnavailableError, match="only that may have its secrets"):
            await answering(there, handle.id, "hunter2", [])()
        assert (await world.record(handle.id)).status == "waiting"


async def test_a_store_that_fails_when_it_is_looked_into_is_asked_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(SharedRuns):
        broken = False

        async def get(self, scope: Scope, run_id: str) -> RunRecord:
            if self.broken:
                raise OSError("no connection")
            return await super().get(scope, run_id)

    world.runs = flaky = Flaky()
    async with world.app(keep) as here:
        handle = await here.submit_workflow("keep")
        await world.clock.advance(0)
        record = await world.record(handle.id)
        await flaky.save(record.changed(cancelling=True), expected_version=record.version)
        flaky.broken = True
        await world.clock.advance(1)
        flaky.broken = False
        await world.clock.advance(1)
        assert (await handle.status()).status == "cancelled"
    assert "look for answers taken elsewhere" in caplog.text


async def test_two_applications_on_one_file_see_each_others_runs(tmp_path: Path) -> None:
    def app() -> Nexus:
        made = nexus.create_nexus(nexus.NexusConfig(database_url=f"sqlite:///{tmp_path}/nexus.db"))
        made.register(keep)
        return made

    told: list[RunRecord] = []
    with anyio.fail_after(20):
        async with app() as here, app() as there:
            handle = await here.submit_workflow("keep")
            await there.executor.runtime.settled(handle.id)
            await answering(there, handle.id, "this", told)()
            assert await handle.result() == "kept this"
            other = await here.submit_workflow("keep")
            assert (await there.executor.cancel(Scope.ALL, other.id)).status == "cancelled"
    assert [record.output for record in told] == ["kept this"]
