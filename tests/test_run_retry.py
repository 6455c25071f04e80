"""Runs that failed or were cancelled, run again without the steps that have succeeded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nexus
from nexus import ConflictError, Nexus, NotFoundError, Request, Run, Workflow, WorkflowFailedError, WorkflowNotFoundError
from nexus.memory import MemoryStepStore
from nexus.models import APPLICATION, Caller, Principal, RunRecord, Scope
from nexus.testing import Client, FakeClock
from nexus.workflows.live import SILENT
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio


class Desk:
    """Counts what its steps did, and says which fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: set[str] = set()

    def step(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise LookupError(name)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def trip(desk: Desk) -> Workflow:
    made = Workflow("trip")

    @made.step
    async def stops(count: int) -> list[str]:
        desk.step("stops")
        return [f"stop {number}" for number in range(count)]

    @made.step(each={"stop": "stops"}, limit=1)
    async def seats(stop: str) -> str:
        desk.step(stop)
        return f"seat on {stop}"

    @made.step
    async def bill(seats: list[str]) -> str:
        desk.step("bill")
        return ", ".join(seats)

    return made


def app_of(*what: Any, **options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(*what)
    return app


async def failed(app: Nexus, workflow: str = "trip", **inputs: Any) -> str:
    """Run a workflow that fails, and return the run's id."""
    handle = await app.submit_workflow(workflow, inputs)
    with pytest.raises(nexus.NexusError):
        await handle.result()
    return handle.id


BILL = "seat on stop 0, seat on stop 1, seat on stop 2"


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_failed_run_is_retried_from_the_step_that_failed(desk: Desk, channel: Any) -> None:
    desk.broken = {"bill"}
    async with Client(app_of(trip(desk)), channel=channel, principal="ada") as client:
        with pytest.raises(WorkflowFailedError):
            await client.execute("trip", count=3)
        before = client.last_run
        desk.broken, desk.calls = set(), []
        again = await client.call("runs.retry", run_id=before.id)
    assert (again["status"], again["results"], again["retry_of"]) == ("succeeded", BILL, before.id)
    assert again["run_id"] != before.id
    assert desk.calls == ["bill"]


async def test_the_steps_that_were_kept_are_in_the_record_as_not_tried(desk: Desk) -> None:
    desk.broken = {"bill"}
    async with app_of(trip(desk)) as app:
        run_id = await failed(app, count=1)
        desk.broken = set()
        record = await app.executor.retry(None, Scope.ALL, run_id, SILENT)
        record = await app.executor.runtime.settled(record.id)
    assert [(step.name, step.status, step.attempts) for step in record.steps] == [
        ("stops", "succeeded", 0),
        ("seats[0]", "succeeded", 0),
        ("bill", "succeeded", 1),
    ]


async def test_items_of_a_fan_out_that_succeeded_are_kept_where_another_failed(desk: Desk) -> None:
    desk.broken = {"stop 1"}
    async with app_of(trip(desk)) as app:
        run_id = await failed(app, count=3)
        desk.broken, desk.calls = set(), []
        handle = nexus.RunHandle(run_id, app.executor, Scope.ALL)
        assert await (await handle.retry()).result() == BILL
    assert desk.calls == ["stop 1", "stop 2", "bill"]


async def test_a_retry_that_fails_is_retried_with_all_that_has_succeeded_since(desk: Desk) -> None:
    desk.broken = {"stop 1"}
    async with app_of(trip(desk)) as app:
        handle = nexus.RunHandle(await failed(app, count=3), app.executor, Scope.ALL)
        desk.broken = {"bill"}
        second = await handle.retry()
        with pytest.raises(WorkflowFailedError):
            await second.result()
        desk.broken, desk.calls = set(), []
        assert await (await second.retry()).result() == BILL
    assert desk.calls == ["bill"]


async def test_a_cancelled_run_is_retried() -> None:
    calls: list[str] = []
    gate = [anyio.Event()]
    made = Workflow("trip")

    @made.step
    async def first() -> int:
        calls.append("first")
        return 1

    @made.step
    async def second(first: int) -> int:
        for event in gate:
            await event.wait()
        return first + 1

    clock = FakeClock()
    async with app_of(made, clock=clock) as app:
        handle = await app.submit_workflow("trip")
        await clock.advance(0)
        await handle.cancel()
        gate.clear()
        assert await (await handle.retry()).result() == 2
    assert calls == ["first"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_code_without_an_event_loop_retries_too(anyio_backend: str, desk: Desk) -> None:
    def work() -> Any:
        desk.broken = {"bill"}
        with nexus.sync(app_of(trip(desk))) as app:
            handle = app.submit_workflow("trip", {"count": 1})
            with pytest.raises(WorkflowFailedError):
                handle.result()
            desk.broken = set()
            return handle.retry().result()

    assert await anyio.to_thread.run_sync(work) == "seat on stop 0"
    assert desk.calls == ["stops", "stop 0", "bill", "bill"]


async def test_a_run_that_succeeded_is_not_retried(desk: Desk) -> None:
    async with Client(app_of(trip(desk)), principal="ada") as client:
        await client.execute("trip", count=1)
        with pytest.raises(ConflictError, match="is succeeded; only one that failed or was cancelled can be retried"):
            await client.call("runs.retry", run_id=client.last_run.id)


async def test_a_run_that_waits_is_not_retried() -> None:
    @nexus.workflow
    async def keep(*, run: Run) -> bool:
        return await run.ask("Keep it?", bool)

    async with app_of(keep) as app:
        handle = await app.submit_workflow("keep")
        await app.executor.runtime.settled(handle.id)
        with pytest.raises(ConflictError, match="is waiting"):
            await handle.retry()


async def test_who_may_not_see_a_run_can_not_retry_it(desk: Desk) -> None:
    desk.broken = {"bill"}
    app = app_of(trip(desk))
    async with Client(app, principal="ada") as ada, Client(app, principal="eve") as eve:
        with pytest.raises(WorkflowFailedError):
            await ada.execute("trip", count=1)
        with pytest.raises(NotFoundError):
            await eve.call("runs.retry", run_id=ada.last_run.id)


async def test_where_the_application_retries_the_run_of_another_it_is_still_that_ones(desk: Desk) -> None:
    desk.broken = {"bill"}
    app = app_of(trip(desk))
    async with Client(app, principal="ada") as ada, Client(app, principal=APPLICATION) as operator:
        with pytest.raises(WorkflowFailedError):
            await ada.execute("trip", count=1)
        desk.broken = set()
        again = await operator.call("runs.retry", run_id=ada.last_run.id)
        assert (await ada.call("runs.get", run_id=again["run_id"]))["principal"] == "ada"


async def test_who_retries_its_own_run_has_the_roles_it_has_now() -> None:
    roles: list[Any] = []

    @nexus.workflow
    async def board(*, run: Run) -> None:
        roles.append(run.principal.roles)
        if len(roles) == 1:
            raise LookupError

    pilot = Principal(id="ada", roles={"pilot"})
    async with Client(app_of(board), principal=pilot) as client:
        with pytest.raises(WorkflowFailedError):
            await client.execute("board")
        await client.call("runs.retry", run_id=client.last_run.id)
    assert roles == [{"pilot"}, {"pilot"}]


async def test_a_workflow_that_is_another_now_is_run_as_a_whole(desk: Desk) -> None:
    desk.broken = {"bill"}
    async with app_of(trip(desk)) as app:
        handle = nexus.RunHandle(await failed(app, count=1), app.executor, Scope.ALL)
        changed = Workflow("trip")
        changed.module, changed.place = "elsewhere", next(o.place for o in app.operations() if o.name == "trip")

        @changed.step
        async def stops(count: int) -> list[str]:
            desk.step("stops")
            return ["home"] * count

        app.register(changed)
        desk.calls = []
        assert await (await handle.retry()).result() == ["home"]
    assert desk.calls == ["stops"]


async def test_a_workflow_that_is_not_registered_any_more_can_not_be_retried(desk: Desk) -> None:
    app = app_of(trip(desk))
    lost = RunRecord(
        id="f00",
        workflow="gone",
        workflow_version="3",
        status="failed",
        request_id="r",
        channel="api",
        principal="ada",
        tenant=None,
        session=None,
        created_at=app.clock.now(),
    )
    await app.executor.runs.create(Scope.ALL, lost)
    async with app:
        with pytest.raises(WorkflowNotFoundError, match="gone@3 of run f00 is not registered any more"):
            await nexus.RunHandle("f00", app.executor, Scope.ALL).retry()


class Frame:
    """What JSON has no word for."""


async def test_a_step_whose_result_cannot_be_stored_is_run_again() -> None:
    calls: list[str] = []
    made = Workflow("trip", output="last")

    @made.step
    async def frame() -> Frame:
        calls.append("frame")
        return Frame()

    @made.step
    async def untyped():  # type: ignore[no-untyped-def]  # noqa: ANN202 - that is the point
        calls.append("untyped")
        return 1

    @made.step
    async def wrong() -> int:
        calls.append("wrong")
        return "many"  # type: ignore[return-value]

    @made.step
    async def good() -> int:
        calls.append("good")
        return 1

    @made.step
    async def last(frame: Frame, untyped: Any, wrong: int, good: int) -> int:
        if calls.count("frame") == 1:
            raise LookupError
        return good

    async with app_of(made) as app:
        handle = nexus.RunHandle(await failed(app), app.executor, Scope.ALL)
        assert await (await handle.retry()).result() == 1
    assert sorted(calls) == ["frame", "frame", "good", "untyped", "untyped", "wrong", "wrong"]


async def test_items_of_a_list_that_is_made_anew_are_run_again(desk: Desk) -> None:
    made = Workflow("trip", output="last")

    @made.step
    async def frames() -> list[Frame]:
        desk.step("frames")
        return [Frame()]

    @made.step(each={"frame": "frames"})
    async def rows(frame: Frame) -> int:
        desk.step("row")
        return 1

    @made.step
    async def last(rows: list[int]) -> int:
        desk.step("last")
        return sum(rows)

    desk.broken = {"last"}
    async with app_of(made) as app:
        handle = nexus.RunHandle(await failed(app), app.executor, Scope.ALL)
        desk.broken, desk.calls = set(), []
        assert await (await handle.retry()).result() == 1
    assert desk.calls == ["frames", "row", "last"]


async def test_what_is_streamed_is_run_again(desk: Desk) -> None:
    made = Workflow("trip", output="last")

    @made.step
    async def numbers() -> AsyncIterator[int]:
        desk.step("numbers")
        yield 1

    @made.step(each={"number": "numbers"})
    async def squares(number: int) -> int:
        desk.step("square")
        return number**2

    @made.step
    async def last(squares: list[int]) -> int:
        desk.step("last")
        return sum(squares)

    desk.broken = {"last"}
    async with app_of(made) as app:
        handle = nexus.RunHandle(await failed(app), app.executor, Scope.ALL)
        desk.broken, desk.calls = set(), []
        assert await (await handle.retry()).result() == 1
    assert desk.calls == ["numbers", "square", "last"]


async def test_a_step_that_was_skipped_is_skipped_again(desk: Desk) -> None:
    made = Workflow("trip", output="last")

    @made.step(when=lambda number: number > 10)
    async def discount(number: int) -> float:
        return 0.5

    @made.step
    async def last(number: int, discount: float = 0.0) -> float:
        desk.step("last")
        return number - discount

    desk.broken = {"last"}
    async with app_of(made) as app:
        handle = nexus.RunHandle(await failed(app, number=4), app.executor, Scope.ALL)
        desk.broken = set()
        assert await (await handle.retry()).result() == 4


async def test_a_result_of_none_is_kept_too(desk: Desk) -> None:
    made = Workflow("trip", output="last")

    @made.step
    async def nothing() -> None:
        desk.step("nothing")

    @made.step(after="nothing")
    async def last() -> int:
        desk.step("last")
        return 1

    desk.broken = {"last"}
    async with app_of(made) as app:
        handle = nexus.RunHandle(await failed(app), app.executor, Scope.ALL)
        desk.broken, desk.calls = set(), []
        assert await (await handle.retry()).result() == 1
    assert desk.calls == ["last"]


async def test_a_store_that_fails_changes_nothing_in_how_a_run_ends(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStepStore):
        async def put(self, run_id: str, step: str, result: bytes) -> None:
            raise OSError("the disk is full")

    desk.broken = {"bill"}
    async with Client(app_of(trip(desk), step_store=Broken()), principal="ada") as client:
        with pytest.raises(WorkflowFailedError):
            await client.execute("trip", count=1)
        desk.broken, desk.calls = set(), []
        await client.call("runs.retry", run_id=client.last_run.id)
    assert desk.calls == ["stops", "stop 0", "bill"]
    assert "keep step results" in caplog.text


async def test_a_run_with_a_secret_among_its_inputs_can_not_be_retried() -> None:
    @nexus.workflow
    async def login(pin: Annotated[str, nexus.Secret()]) -> None:
        raise LookupError

    async with app_of(login) as app:
        handle = nexus.RunHandle(await failed(app, "login", pin="1234"), app.executor, Scope.ALL)
        with pytest.raises(ConflictError, match="'pin' has a secret, which is not kept"):
            await handle.retry()


async def test_of_a_run_with_secrets_no_results_are_kept() -> None:
    steps = MemoryStepStore()
    made = Workflow("login")

    @made.step
    async def token(pin: Annotated[str, nexus.Secret()]) -> str:
        return f"token of {pin}"

    @made.step
    async def board(token: str) -> str:
        raise LookupError

    async with app_of(made, step_store=steps) as app:
        run_id = await failed(app, "login", pin="1234")
    assert await steps.all(run_id) == {}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_with_a_file_that_was_sent_along_can_not_be_retried(anyio_backend: str) -> None:
    @nexus.workflow
    async def read(file: Path) -> int:
        raise LookupError

    app = app_of(read)
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        await client.post("/api/workflows/read/execute", files={"file": ("rain.csv", b"1")})
        (record,) = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        refused = await client.post(f"/api/runs/{record.id}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert "'file' came as a file, which goes with its request" in refused.json()["error"]["message"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_over_http_a_retry_waits_or_is_only_accepted(desk: Desk) -> None:
    desk.broken = {"bill"}
    app = app_of(trip(desk))
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        await client.post("/api/workflows/trip/execute", json={"inputs": {"count": 1}}, headers={"Prefer": "respond-async"})
        (record,) = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        await app.executor.runtime.settled(record.id)
        again = await client.post(f"/api/runs/{record.id}/retry")
        assert (again.status_code, again.json()["error"]["code"]) == (500, "failed")
        desk.broken = set()
        later = await client.post(f"/api/runs/{record.id}/retry", headers={"Prefer": "respond-async"})
        assert (later.status_code, later.json()["data"]["status"]) == (202, "pending")
        assert later.headers["location"] == f"/api/runs/{later.json()['data']['run_id']}"
        done = await client.post(f"/api/runs/{record.id}/retry")
        assert (done.status_code, done.json()["data"]["results"]) == (200, "seat on stop 0")
        assert (await client.post("/api/runs/f00/retry")).status_code == 404


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_random_graph_is_retried_until_it_succeeds_and_calls_no_step_again_that_succeeded(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 8), label="steps")
    durable = data.draw(st.booleans(), label="durable")
    failures = {number: data.draw(st.integers(0, 3)) for number in range(count)}
    succeeded: list[int] = []
    made = Workflow("graph", output=f"step_{count - 1}", durable=durable)

    def add(number: int, needs: list[int]) -> None:
        async def step() -> int:
            await anyio.lowlevel.checkpoint()
            if failures[number]:
                failures[number] -= 1
                raise LookupError(number)
            succeeded.append(number)
            return number

        made.step(name=f"step_{number}", after=[f"step_{needed}" for needed in needs])(step)

    for number in range(count):
        needs = data.draw(st.sets(st.integers(0, number - 1)), label=f"needs of {number}") if number else set()
        add(number, sorted(needs))

    async def main() -> Any:
        async with app_of(made) as app:
            handle = await app.submit_workflow("graph")
            for _ in range(sum(failures.values()) + 1):
                try:
                    return await handle.result()
                except WorkflowFailedError:
                    handle = await handle.retry()
            return await handle.result()

    assert anyio.run(main) == count - 1
    assert sorted(succeeded) == list(range(count))


async def test_who_is_told_of_a_failure_is_told_which_run_can_be_retried() -> None:
    fails = [True]

    @nexus.workflow
    async def flaky() -> str:
        if fails.pop():
            raise OSError("not yet")
        return "done"

    app = nexus.create_nexus(nexus.NexusConfig())
    app.register(flaky)
    fails.insert(0, False)
    caller = Caller(channel="api")
    async with app:
        failed = await app.dispatch(Request(operation="flaky", arguments={}, caller=caller))
        assert failed.error is not None
        arguments = {"run_id": failed.error.details["run_id"]}
        again = await app.dispatch(Request(operation="runs.retry", arguments=arguments, caller=caller))
    assert again.run is not None
    assert again.run.output == "done"
