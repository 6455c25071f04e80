"""Durable runs: resumed where they were when their process stopped, or died."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
import httpx
import pytest

import nexus
from nexus import Nexus, RegistrationError, Run, UnavailableError, Workflow, WorkflowFailedError
from nexus.memory import MemoryRunStore, MemoryStepStore
from nexus.models import APPLICATION, Principal, RunRecord, Scope
from nexus.testing import FakeClock
from nexus.workflows.live import SILENT
from nexus.workflows.local import LocalRuntime
from nexus_starlette import asgi
from tests.durable_stores import noted

pytestmark = pytest.mark.anyio

LEASE = 30


class SharedRuns(MemoryRunStore):
    """Records that several applications of this process have."""

    shared = True


@attrs.define
class World:
    """What outlives an application: its stores, its clock, and what its steps have done."""

    runs: SharedRuns = attrs.field(factory=SharedRuns)
    steps: MemoryStepStore = attrs.field(factory=MemoryStepStore)
    clock: FakeClock = attrs.field(factory=FakeClock)
    done: list[str] = attrs.field(factory=list)

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


def chain(world: World, wait: anyio.Event | None = None, name: str = "chain") -> Workflow:
    """Return three steps, of which the second waits."""
    made = Workflow(name, durable=True)

    @made.step
    async def first(number: int) -> int:
        world.done.append("first")
        return number + 1

    @made.step
    async def second(first: int) -> int:
        if wait is not None:
            await wait.wait()
        world.done.append("second")
        return first * 2

    @made.step
    async def third(second: int) -> str:
        world.done.append("third")
        return f"got {second}"

    return made


async def stopped_in_the_middle(world: World, *what: Any, **options: Any) -> str:
    """Start a run of `chain`, stop the application while the second step waits, and return the run's id."""
    async with world.app(*(what or (chain(world, anyio.Event()),))) as app:
        handle = await app.submit_workflow("chain", {"number": 1}, **options)
        await world.clock.advance(0)
    assert world.done == ["first"]
    return handle.id


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_whose_process_is_killed_after_each_result_in_turn_finishes_and_calls_no_step_twice(
    anyio_backend: str, tmp_path: Path
) -> None:
    results = 9
    for number in range(1, results + 1):
        killed = await anyio.run_process(
            [sys.executable, "-m", "tests.durable_desk", str(tmp_path), str(number), str(number)], check=False
        )
        assert killed.returncode == -9, killed.stderr
    last = await anyio.run_process(
        [sys.executable, "-m", "tests.durable_desk", str(tmp_path), str(results + 1), "0"], stderr=subprocess.STDOUT
    )
    assert last.stdout.decode() == "succeeded 4.5 for 3 stops, 1 without a seat, 0.0 off\n"
    assert sorted(noted(tmp_path)) == sorted(
        [
            "stops",
            *(f"leg of stop {number}" for number in range(3)),
            *(f"seat on stop {number}" for number in range(3)),
            "weather",
            "bill",
        ]
    )


async def test_a_run_that_the_stop_of_its_application_meets_goes_on_at_the_next_start(world: World) -> None:
    run_id = await stopped_in_the_middle(world)
    assert (await world.record(run_id)).status == "running"
    async with world.app(chain(world)) as app:
        record = await app.executor.runtime.settled(run_id)
    assert (record.status, record.output) == ("succeeded", "got 4")
    assert world.done == ["first", "second", "third"]


async def test_a_restored_step_is_in_the_record_as_not_tried(world: World) -> None:
    run_id = await stopped_in_the_middle(world)
    async with world.app(chain(world)) as app:
        record = await app.executor.runtime.settled(run_id)
    assert [(step.name, step.status, step.attempts) for step in record.steps] == [
        ("first", "succeeded", 0),
        ("second", "succeeded", 1),
        ("third", "succeeded", 1),
    ]


async def test_what_is_kept_of_a_run_goes_when_it_has_succeeded(world: World) -> None:
    run_id = await stopped_in_the_middle(world)
    assert set(await world.steps.all(run_id)) == {"first"}
    async with world.app(chain(world)) as app:
        await app.executor.runtime.settled(run_id)
        await world.clock.advance(0)
        assert await world.steps.all(run_id) == {}


async def test_who_waits_for_a_run_that_a_stop_meets_is_told_that_it_goes_on(world: World) -> None:
    told: list[str] = []

    async def wait(app: Nexus) -> None:
        with pytest.raises(UnavailableError, match="goes on when it is started again") as caught:
            await app.execute_workflow("chain", {"number": 1})
        told.append(caught.value.details["run_id"])

    async with anyio.create_task_group() as tasks, world.app(chain(world, anyio.Event())) as app:
        tasks.start_soon(wait, app)
        await world.clock.advance(0)
    assert (await world.record(told[0])).status == "running"


async def test_a_caller_that_goes_away_leaves_a_durable_run_alone(world: World) -> None:
    wait = anyio.Event()
    async with world.app(chain(world, wait)) as app:
        with anyio.CancelScope() as caller:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(app.execute_workflow, "chain", {"number": 1})
                await world.clock.advance(0)
                caller.cancel()
        (record,) = (await world.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        assert record.status == "running"
        wait.set()
        assert (await app.executor.runtime.settled(record.id)).output == "got 4"


async def test_a_durable_run_needs_a_started_application(world: World) -> None:
    with pytest.raises(UnavailableError, match="async with app:"):
        await world.app(chain(world)).execute_workflow("chain", {"number": 1})


async def test_a_durable_run_that_is_cancelled_has_ended(world: World) -> None:
    async with world.app(chain(world, anyio.Event())) as app:
        handle = await app.submit_workflow("chain", {"number": 1})
        await world.clock.advance(0)
        assert (await handle.cancel()).status == "cancelled"
    async with world.app(chain(world)):
        assert (await handle.status()).status == "cancelled"


async def test_a_durable_run_that_fails_has_ended_and_keeps_its_results(world: World) -> None:
    made = Workflow("trip", durable=True)

    @made.step
    async def first() -> int:
        return 1

    @made.step
    async def second(first: int) -> int:
        raise LookupError("no seat")

    async with world.app(made) as app:
        handle = await app.submit_workflow("trip")
        with pytest.raises(WorkflowFailedError):
            await handle.result()
        assert set(await world.steps.all(handle.id)) == {"first"}


async def test_a_durable_function_is_stored_too(world: World) -> None:
    @nexus.workflow(durable=True)
    async def double(number: int) -> int:
        return 2 * number

    async with world.app(double) as app:
        assert (await app.execute_workflow("double", {"number": 4})).results == 8


async def test_a_run_that_waits_keeps_its_question_and_is_answered_after_a_restart(world: World) -> None:
    def talk() -> Workflow:
        made = Workflow("talk", durable=True)

        @made.step
        async def before() -> int:
            world.done.append("before")
            return 1

        @made.step
        async def asks(before: int, *, run: Run) -> str:
            name = await run.ask("Who?", str)
            world.done.append(f"asked {name}")
            seat = await run.ask("Which seat?", str, name="seat")
            return f"{name} at the {seat}"

        return made

    async with world.app(talk()) as app:
        handle = await app.submit_workflow("talk")
        await handle.answer("ada", "asks.1")
        assert list((await handle.status()).questions) == ["seat"]
    waiting = await world.record(handle.id)
    assert (waiting.status, list(waiting.questions)) == ("waiting", ["seat"])
    async with world.app(talk()) as app:
        await world.clock.advance(0)
        assert list((await world.record(handle.id)).questions) == ["seat"]
        record = await app.executor.answer(Scope.ALL, APPLICATION, handle.id, SILENT, question="seat", answer="window")
        assert record.output == "ada at the window"
    assert world.done == ["before", "asked ada", "asked ada"]


async def test_an_answer_that_comes_before_the_step_asks_again_is_taken(world: World) -> None:
    gate: list[anyio.Event] = []

    def talk() -> Workflow:
        made = Workflow("talk", durable=True)

        @made.step
        async def asks(*, run: Run) -> bool:
            for event in gate:
                await event.wait()
            return await run.ask("Keep it?", bool, name="keep")

        return made

    async with world.app(talk()) as app:
        handle = await app.submit_workflow("talk")
        await app.executor.runtime.settled(handle.id)
    gate.append(anyio.Event())
    async with world.app(talk()) as app, anyio.create_task_group() as tasks:
        answer = partial(app.executor.answer, question="keep", answer=True)
        tasks.start_soon(answer, Scope.ALL, APPLICATION, handle.id, SILENT)
        await world.clock.advance(0)
        gate[0].set()
    assert (await world.record(handle.id)).output is True


async def test_a_question_is_open_again_where_the_whole_task_was_cancelled(world: World) -> None:
    @nexus.workflow(durable=True)
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep it?", bool, name="keep")

    ids: list[str] = []

    async def host() -> None:
        async with world.app(keep) as app:
            ids.append((await app.submit_workflow("keep")).id)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host)
        await world.clock.advance(0)
        tasks.cancel_scope.cancel()
    record = await world.record(ids[0])
    assert (record.status, list(record.questions)) == ("waiting", ["keep"])


async def test_a_run_resumed_knows_who_started_it(world: World) -> None:
    seen: list[Any] = []
    wait = [anyio.Event()]

    @nexus.workflow(durable=True)
    async def whoami(*, run: Run) -> str:
        if wait:
            await wait[0].wait()
        seen.append((run.principal.id, run.tenant and run.tenant.id, run.channel))
        return run.principal.id

    ada = Principal(id="ada", tenant_id="acme", roles={"pilot"})
    async with world.app(whoami) as app:
        handle = await app.submit_workflow("whoami", principal=ada)
        await world.clock.advance(0)
    wait.clear()
    async with world.app(whoami) as app:
        await app.executor.runtime.settled(handle.id)
    assert seen == [("ada", "acme", "inprocess")]


async def test_a_run_of_a_workflow_that_changed_is_ended_and_says_why(world: World) -> None:
    run_id = await stopped_in_the_middle(world)
    changed = Workflow("chain", durable=True)

    @changed.step
    async def first(number: int) -> float:
        return number

    async with world.app(changed):
        record = await world.record(run_id)
    assert record.status == "failed"
    assert record.error is not None
    assert (record.error.code, "its workflow is not registered as it was; retry it" in record.error.message) == (
        "unavailable",
        True,
    )


async def test_a_run_that_is_not_durable_ends_when_its_process_has_gone(world: World) -> None:
    @nexus.workflow
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep it?", bool)

    dead = RunRecord(
        id="f00",
        workflow="keep",
        workflow_version="1",
        status="waiting",
        request_id="r",
        channel="api",
        principal="ada",
        tenant=None,
        session=None,
        created_at=world.clock.now(),
        owner="a process that was killed",
    )
    await world.runs.create(Scope.ALL, dead)
    async with world.app(keep):
        record = await world.record("f00")
    assert record.error is not None
    assert (record.status, record.error.code) == ("failed", "unavailable")
    assert record.error.message == "the process that carried it has gone"


async def test_the_runs_of_another_application_are_left_alone_while_it_lives(world: World) -> None:
    @nexus.workflow
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep it?", bool, name="keep")

    async with world.app(keep) as one, world.app(keep):
        handle = await one.submit_workflow("keep")
        await world.clock.advance(10 * LEASE)
        assert (await handle.status()).status == "waiting"
        assert (await handle.answer(True)).output is True


async def test_a_run_is_taken_over_by_another_application_when_its_lease_has_expired(world: World) -> None:
    wait = anyio.Event()
    async with world.app(chain(world, wait)) as dead:
        handle = await dead.submit_workflow("chain", {"number": 1})
        await world.clock.advance(0)
        now = world.clock.now()
        await world.runs.claim(str(dead.executor.runtime.owner), until=now, now=now)
        async with world.app(chain(world)) as alive:
            record = await alive.executor.runtime.settled(handle.id)
            assert record.output == "got 4"
            await world.clock.advance(0)
            wait.set()
            await world.clock.advance(0)
            assert (await world.record(handle.id)).owner == alive.executor.runtime.owner


async def test_who_was_suspended_for_longer_than_its_lease_drops_what_others_have_taken(world: World) -> None:
    async with world.app(chain(world, anyio.Event())) as slow:
        handle = await slow.submit_workflow("chain", {"number": 1})
        await world.clock.advance(0)
        world.clock.set(world.clock.now() + timedelta(seconds=LEASE + 1))
        await world.runs.claim("other", until=world.clock.now() + timedelta(hours=1), now=world.clock.now())
        await world.clock.advance(LEASE)
        record = await world.record(handle.id)
        assert (record.owner, record.status) == ("other", "running")
        assert isinstance(slow.executor.runtime, LocalRuntime)
        assert handle.id not in slow.executor.runtime.books.live


async def test_each_start_is_another_owner(world: World) -> None:
    app = world.app(chain(world))
    async with app:
        first = app.executor.runtime.owner
    async with app:
        assert app.executor.runtime.owner not in {first, None, ""}


async def test_a_store_that_fails_when_a_lease_is_renewed_is_asked_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(SharedRuns):
        failures = 0

        async def claim(self, *args: Any, **options: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError("the disk is away")
            return await super().claim(*args, **options)

    runs = world.runs = Flaky()
    async with world.app(chain(world)) as app:
        runs.failures = 1
        await world.clock.advance(LEASE)
        assert (await app.execute_workflow("chain", {"number": 1})).results == "got 4"
    assert "renew lease of runs" in caplog.text


async def test_a_run_of_a_workflow_with_a_limit_of_its_own_takes_its_place_again(world: World) -> None:
    made = chain(world, anyio.Event())
    run_id = await stopped_in_the_middle(world, made)
    async with world.app(chain(world)) as app:
        assert (await app.executor.runtime.settled(run_id)).status == "succeeded"
        assert (await app.execute_workflow("chain", {"number": 2})).results == "got 6"


async def test_a_result_that_is_not_what_the_hint_says_fails_the_run(world: World) -> None:
    @nexus.workflow(durable=True)
    async def count() -> int:
        return "many"  # type: ignore[return-value]

    async with world.app(count) as app:
        with pytest.raises(WorkflowFailedError) as caught:
            await app.execute_workflow("count")
    assert "step 'count' of a durable workflow does not return what its hint says" in str(caught.value.__cause__)


async def test_a_store_without_room_fails_the_run_with_its_reason(world: World) -> None:
    world.steps = MemoryStepStore(max_bytes=10)

    @nexus.workflow(durable=True)
    async def long() -> str:
        return "x" * 100

    async with world.app(long) as app:
        with pytest.raises(nexus.Problem) as caught:
            await app.execute_workflow("long")
    assert caught.value.code == "resource_exhausted"


def frame() -> object: ...


class Frame:
    def __init__(self, rows: int) -> None:
        self.rows = rows


async def untyped():  # type: ignore[no-untyped-def]  # noqa: ANN201 - that is the point
    return 1


async def anything() -> Any:
    return 1


async def unheard_of() -> Frame:
    return Frame(1)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (frame, "step 'frame' of a durable workflow does not say what it returns"),
        (untyped, "step 'untyped' of a durable workflow does not say what it returns"),
        (anything, "step 'anything' of a durable workflow does not say what it returns"),
        (unheard_of, r"step 'unheard_of' of a durable workflow returns .*Frame, which can't be stored: .*app\.codec"),
    ],
)
def test_a_step_whose_result_cannot_be_stored_is_refused_at_registration(function: Any, reason: str) -> None:
    made = Workflow("trip", output="last", durable=True)
    made.step(function)

    @made.step(after=function.__name__)
    async def last() -> int:
        return 1

    with pytest.raises(RegistrationError, match=reason):
        nexus.create_nexus(nexus.NexusConfig()).register(made)


async def test_what_a_codec_teaches_can_be_stored(world: World) -> None:
    made = Workflow("trip", durable=True)
    made.step(unheard_of)

    @made.step
    async def last(unheard_of: Frame) -> int:
        return unheard_of.rows

    app = world.app()
    app.codec(Frame, encode=lambda frame: frame.rows, decode=Frame, schema={"type": "integer"})
    app.register(made)
    async with app:
        assert (await app.execute_workflow("trip")).results == 1


async def test_what_a_durable_step_yields_is_stored_as_a_list(world: World) -> None:
    good = Workflow("sums", output="total", durable=True)

    @good.step
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    @good.step(each={"number": "numbers"})
    async def squares(number: int) -> int:
        return number**2

    @good.step
    async def total(squares: list[int]) -> int:
        return sum(squares)

    kept: list[Mapping[str, bytes]] = []

    @good.step(after="total")
    async def last(*, run: Run) -> None:
        kept.append(await world.steps.all(run.id))

    async with world.app(good) as app:
        assert (await app.execute_workflow("sums")).results == 5
    assert set(kept[0]) == {"numbers", "squares[0]", "squares[1]", "squares[2]", "total"}


async def test_a_durable_workflow_is_retried_from_the_step_that_failed(world: World) -> None:
    broken = [True]
    made = Workflow("trip", durable=True)

    @made.step
    async def first() -> int:
        world.done.append("first")
        return 1

    @made.step
    async def second(first: int) -> int:
        world.done.append("second")
        if broken:
            raise LookupError("no seat")
        return first + 1

    async with world.app(made) as app:
        handle = await app.submit_workflow("trip")
        with pytest.raises(WorkflowFailedError):
            await handle.result()
        broken.clear()
        assert await (await handle.retry()).result() == 2
    assert world.done == ["first", "second", "second"]


async def test_records_and_results_go_after_the_retention(world: World) -> None:
    made = Workflow("trip", durable=True)

    @made.step
    async def first() -> int:
        return 1

    @made.step
    async def second(first: int) -> int:
        raise RuntimeError

    async with world.app(made) as app:
        handle = await app.submit_workflow("trip")
        with pytest.raises(WorkflowFailedError):
            await handle.result()
        world.clock.set(world.clock.now() + timedelta(days=29, hours=23))
        await world.clock.advance(timedelta(hours=1))
        assert set(await world.steps.all(handle.id)) == {"first"}
        await world.clock.advance(timedelta(hours=1))
        assert (await world.steps.all(handle.id)) == {}
        with pytest.raises(nexus.NotFoundError):
            await handle.status()


def test_a_secret_is_refused_at_registration_where_it_would_have_to_be_stored() -> None:
    @nexus.workflow(durable=True)
    async def login(password: Annotated[str, nexus.Secret()]) -> str:
        return "in"

    @nexus.workflow(durable=True)
    async def token() -> Annotated[str, nexus.Secret()]:
        return "hunter2"

    app = nexus.create_nexus(nexus.NexusConfig())
    with pytest.raises(RegistrationError, match="input 'password' of a durable workflow is a secret, which is not stored"):
        app.register(login)
    with pytest.raises(RegistrationError, match="step 'token' of a durable workflow returns a secret, which is not stored"):
        app.register(token)


async def test_a_secret_answer_is_asked_for_again_after_a_restart(world: World) -> None:
    def talk() -> Workflow:
        made = Workflow("talk", durable=True)

        @made.step
        async def asks(*, run: Run) -> int:
            password = await run.ask("Password?", Annotated[str, nexus.Secret()], name="password")
            world.done.append(password)
            await run.ask("Sure?", bool, name="sure")
            return len(password)

        return made

    async with world.app(talk()) as app:
        handle = await app.submit_workflow("talk")
        await handle.answer("hunter2")
    async with world.app(talk()) as app:
        again = nexus.RunHandle(handle.id, app.executor, Scope.ALL)
        await world.clock.advance(0)
        assert set((await again.status()).questions) == {"password", "sure"}
        await again.answer("hunter3", "password")
        await world.clock.advance(0)
        assert (await again.answer(True, "sure")).output == len("hunter3")
    assert world.done == ["hunter2", "hunter3"]


async def test_hooks_hear_of_a_run_when_it_ends_not_when_it_is_suspended(world: World) -> None:
    heard: list[str] = []

    def hooked(app: Nexus) -> Nexus:
        @app.on_run_error
        async def failed(run: nexus.RunContext) -> None:
            heard.append("failed")

        @app.after_run
        async def ended(run: nexus.RunContext) -> None:
            heard.append(f"ended with {run.output}")

        return app

    async with hooked(world.app(chain(world, anyio.Event()))) as app:
        handle = await app.submit_workflow("chain", {"number": 1})
        await world.clock.advance(0)
    assert heard == []
    async with hooked(world.app(chain(world))) as app:
        await app.executor.runtime.settled(handle.id)
    assert heard == ["ended with got 4"]


async def test_a_durable_run_that_takes_too_long_has_failed(world: World) -> None:
    @nexus.workflow(durable=True, timeout=5)
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    async with world.app(slow) as app:
        handle = await app.submit_workflow("slow")
        await world.clock.advance(5)
        assert (await handle.status()).status == "failed"


async def test_a_timeout_is_for_the_whole_of_a_run_that_is_resumed(world: World) -> None:
    workflow = Workflow("slow", durable=True, timeout=5)

    @workflow.step
    async def wait() -> int:
        await world.clock.sleep(4)
        return 1

    async with world.app(workflow) as app:
        handle = await app.submit_workflow("slow")
        await world.clock.advance(3)
    async with world.app(workflow) as app:
        await world.clock.advance(0)
        await world.clock.advance(2)
        record = await app.executor.find(Scope.ALL, handle.id)
        assert record.error is not None
        assert (record.status, record.error.message) == ("failed", "the run took longer than its workflow allows (5 s)")


async def test_a_run_whose_time_was_over_before_it_is_resumed_has_failed(world: World) -> None:
    workflow = Workflow("slow", durable=True, timeout=5)

    @workflow.step
    async def wait() -> int:
        world.done.append("begun")
        await world.clock.sleep(4)
        return 1

    async with world.app(workflow) as app:
        handle = await app.submit_workflow("slow")
        await world.clock.advance(1)
    await world.clock.advance(60)
    async with world.app(workflow) as app:
        record = await app.executor.runtime.settled(handle.id)
        assert record.error is not None
        assert (record.status, record.error.code) == ("failed", "deadline_exceeded")
    assert world.done == ["begun"]


async def test_who_waits_no_longer_leaves_a_durable_run_to_go_on(world: World) -> None:
    wait = anyio.Event()
    async with world.app(chain(world, wait)) as app, anyio.create_task_group() as tasks:

        async def impatient() -> None:
            with pytest.raises(nexus.DeadlineExceededError, match="goes on; look for it by its id"):
                await app.execute_workflow("chain", {"number": 1}, timeout=5)

        tasks.start_soon(impatient)
        await world.clock.advance(5)
        (record,) = (await world.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        wait.set()
        assert (await app.executor.runtime.settled(record.id)).output == "got 4"


async def test_one_workflow_that_runs_a_durable_one_gets_its_result(world: World) -> None:
    @nexus.workflow
    async def outer(*, run: Run) -> str:
        return f"{await run.execute('chain', number=1)}, outside"

    async with world.app(chain(world), outer) as app:
        assert (await app.execute_workflow("outer")).results == "got 4, outside"


async def test_the_same_key_gets_the_same_durable_run(world: World) -> None:
    async with world.app(chain(world)) as app:
        first = await app.execute_workflow("chain", {"number": 1}, idempotency_key="k")
        assert (await app.execute_workflow("chain", {"number": 1}, idempotency_key="k")).run_id == first.run_id
    assert world.done == ["first", "second", "third"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_durable_workflow_takes_no_file_that_is_sent_along(anyio_backend: str, world: World) -> None:
    @nexus.workflow(durable=True)
    async def read(file: Path) -> int:
        return 1

    app = world.app(read)
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        refused = await client.post("/api/workflows/read/execute", files={"file": ("rain.csv", b"1")})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert "name a file below files_root" in refused.json()["error"]["message"]


async def test_a_question_expires_when_it_would_have_also_after_a_restart(world: World) -> None:
    @nexus.workflow(durable=True)
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep it?", bool, default=False, name="keep", timeout=100)

    async with world.app(keep) as app:
        handle = await app.submit_workflow("keep")
        await world.clock.advance(60)
    async with world.app(keep):
        await world.clock.advance(39)
        assert (await world.record(handle.id)).status == "waiting"
        await world.clock.advance(1)
        assert (await world.record(handle.id)).output is False
