"""The way of a request: identity, guards, look-up, arguments, log."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Annotated, Any

import annotated_types
import anyio
import pytest

import nexus
from nexus import (
    Nexus,
    PermissionDeniedError,
    Principal,
    Request,
    Response,
    Run,
    Session,
    UnauthenticatedError,
    WorkflowNotFoundError,
)
from nexus.abc import Guard
from nexus.memory import MemorySessionStore
from nexus.models import Call, Caller
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


@nexus.workflow
async def add(a: int, b: Annotated[int, annotated_types.Le(10)] = 2) -> int:
    """Add two numbers."""
    return a + b


@nexus.workflow(channels=["api"])
async def only_api() -> int:
    return 1


class Recording(Guard):
    """A guard that notes what it saw, and refuses some."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.saw: list[tuple[str, str | None]] = []

    async def check(self, call: Call) -> None:
        self.saw.append((call.principal.id, None if call.operation is None else call.operation.name))
        if call.request.operation == self.refused:
            raise PermissionDeniedError("not you")


def app_of(**options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(add, only_api)
    return app


async def call(app: Nexus, operation: str, /, caller: Caller | None = None, **arguments: Any) -> Response:
    return await app.dispatch(Request(operation=operation, arguments=arguments, caller=caller or Caller(channel="api")))


async def test_a_request_is_carried_out_and_its_run_recorded() -> None:
    app = app_of()
    response = await call(app, "add", a=1)
    assert response.data == 3
    assert response.run is not None
    record = await app.executor.runs.get(nexus.models.Scope.ALL, response.run.id)
    assert (record.status, record.output, record.channel, record.principal) == ("succeeded", 3, "api", "anonymous")


async def test_all_problems_of_the_arguments_come_at_once() -> None:
    response = await call(app_of(), "add", b=11, c=1)
    assert isinstance(response.error, nexus.InvalidArgumentError)
    assert sorted(problem.pointer for problem in response.error.problems) == ["/a", "/b", "/c"]


async def test_an_unknown_name_suggests_the_nearest_that_shows_on_the_channel() -> None:
    app = app_of()
    response = await call(app, "only_ap")
    assert isinstance(response.error, WorkflowNotFoundError)
    assert "did you mean 'only_api'" in response.error.message
    elsewhere = await call(app, "only_ap", Caller(channel="mcp"))
    assert elsewhere.error is not None
    assert "only_api" not in elsewhere.error.message


async def test_an_operation_of_another_channel_is_not_found() -> None:
    response = await call(app_of(), "only_api", Caller(channel="mcp"))
    assert isinstance(response.error, WorkflowNotFoundError)


async def test_an_unknown_version_lists_the_versions() -> None:
    response = await call(app_of(), "add@7", a=1)
    assert response.error is not None
    assert "there are: 1" in response.error.message


async def test_guards_run_in_order_and_the_first_refusal_stands() -> None:
    first, second, third = Recording(), Recording(refused="add"), Recording()
    response = await call(app_of(guards=[first, second, third]), "add", a=1)
    assert isinstance(response.error, PermissionDeniedError)
    assert (len(first.saw), len(second.saw), len(third.saw)) == (1, 1, 0)


async def test_guards_come_before_an_unknown_name_is_told() -> None:
    guard = Recording(refused="nothing")
    response = await call(app_of(guards=[guard]), "nothing")
    assert isinstance(response.error, PermissionDeniedError)
    assert guard.saw == [("anonymous", None)]


async def test_guards_come_before_the_arguments() -> None:
    response = await call(app_of(guards=[Recording(refused="add")]), "add", nonsense=1)
    assert isinstance(response.error, PermissionDeniedError)


async def test_a_guard_may_be_added_later() -> None:
    app = app_of()
    app.add_guard(Recording(refused="add"))
    response = await call(app, "add", a=1)
    assert isinstance(response.error, PermissionDeniedError)


async def test_a_guard_that_breaks_refuses_and_its_reason_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Guard):
        async def check(self, call: Call) -> None:
            raise OSError("the policy server is down")

    with caplog.at_level(logging.ERROR, "nexus.request"):
        response = await call(app_of(guards=[Broken()]), "add", a=1)
    assert response.error is not None
    assert response.error.code == "internal"
    assert "policy" not in response.error.message
    assert "policy server is down" in caplog.text
    assert response.request_id in caplog.text


async def test_a_rejected_message_passes_the_guards_too() -> None:
    malformed = nexus.MalformedRequestError("not JSON")
    assert (await app_of().reject(Caller(channel="api"), malformed)).error is malformed
    refused = await app_of(guards=[Recording(refused="")]).reject(Caller(channel="api"), malformed)
    assert isinstance(refused.error, PermissionDeniedError)


async def test_a_credential_that_nobody_knows_is_not_anonymous() -> None:
    response = await call(app_of(), "add", Caller(channel="api", credential="made up"), a=1)
    assert isinstance(response.error, UnauthenticatedError)


async def test_the_token_of_a_live_session_is_its_principal() -> None:
    clock, store, guard = FakeClock(), MemorySessionStore(), Recording()
    session = Session(
        id="s1",
        principal=Principal(id="ada", tenant_id="engines"),
        created_at=clock.now(),
        expires_at=clock.now() + timedelta(minutes=1),
    )
    await store.add(session, token_hash=hashlib.sha256(b"secret").digest())
    app = app_of(session_store=store, clock=clock, guards=[guard])
    response = await call(app, "add", Caller(channel="api", credential="secret"), a=1)
    assert response.run is not None
    assert (response.run.principal, response.run.tenant, response.run.session) == ("ada", "engines", "s1")
    assert guard.saw == [("ada", "add")]
    await clock.advance(timedelta(minutes=31))
    late = await call(app, "add", Caller(channel="api", credential="secret"), a=1)
    assert isinstance(late.error, UnauthenticatedError)


def test_a_credential_is_never_shown() -> None:
    assert "hunter2" not in repr(Caller(channel="api", credential="hunter2"))


async def test_the_line_of_a_request_names_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nexus.request"):
        response = await call(app_of(), "add", Caller(channel="api", address="10.0.0.1"), a=1)
    assert response.request_id in caplog.text
    assert "operation='add'" in caplog.text
    assert "code='ok'" in caplog.text
    assert caplog.records[0].__dict__["nexus"]["address"] == "10.0.0.1"


async def test_a_caller_that_goes_away_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    started = anyio.Event()

    @nexus.workflow
    async def slow() -> int:
        started.set()
        await anyio.sleep_forever()
        return 1

    app = app_of()
    app.register(slow)
    with caplog.at_level(logging.INFO, "nexus.request"):
        async with anyio.create_task_group() as group:
            group.start_soon(call, app, "slow")
            await started.wait()
            group.cancel_scope.cancel()
    assert "code='cancelled'" in caplog.text


async def test_a_request_timeout_is_the_deadline_of_those_who_bring_none() -> None:
    clock = FakeClock()

    @nexus.workflow
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    app = nexus.create_nexus(nexus.NexusConfig(request_timeout="20 s"), clock=clock)
    app.register(slow)
    responses = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            responses.append(await call(app, "slow"))

        group.start_soon(run)
        await clock.advance(21)
    assert responses[0].error is not None
    assert responses[0].error.code == "deadline_exceeded"


async def test_inside_a_run_the_caller_is_that_of_the_run() -> None:
    app = app_of()

    @app.workflow
    async def inner(*, run: Run) -> str:
        return run.principal.id

    @app.workflow
    async def outer() -> str:
        return str((await app.execute_workflow("inner")).results)

    assert (await app.execute_workflow("outer")).results == "application"
    assert (await app.execute_workflow("outer", principal=Principal(id="ada"))).results == "ada"


async def test_inside_a_run_the_session_is_that_of_the_run() -> None:
    app = app_of()

    @app.workflow
    async def inner(*, run: Run) -> str:
        return run.session.id

    @app.workflow
    async def outer(*, run: Run) -> bool:
        return bool(run.session.id == (await app.execute_workflow("inner")).results)

    assert (await call(app, "outer")).data is True
    assert (await app.execute_workflow("outer")).results is True


async def test_an_error_that_a_workflow_meets_in_a_call_of_its_own_is_its_failure() -> None:
    app = app_of()

    @app.workflow
    async def outer() -> int:
        return int((await app.execute_workflow("add", {"a": "hunter2"})).results)

    response = await call(app, "outer")
    assert response.error is not None
    assert response.error.code == "failed"
    assert "hunter2" not in response.error.message
    with pytest.raises(nexus.WorkflowFailedError) as caught:
        await app.execute_workflow("outer")
    assert isinstance(caught.value.__cause__, nexus.InvalidArgumentError)


async def test_a_run_in_flight_may_still_call_workflows_while_the_application_stops() -> None:
    async with app_of() as app:

        @app.workflow
        async def outer() -> int:
            app.stop_accepting()
            return int((await app.execute_workflow("add", {"a": 1})).results)

        assert (await app.execute_workflow("outer")).results == 3


async def test_inside_a_run_the_deadline_is_inherited() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)
    codes: list[str] = []

    @app.workflow
    async def inner() -> int:
        await anyio.sleep_forever()
        return 1

    @app.workflow
    async def outer() -> int:
        with anyio.CancelScope(shield=True):
            try:
                await app.execute_workflow("inner", timeout=100)
            except nexus.DeadlineExceededError as error:
                codes.append(error.code)
        return 1

    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(nexus.DeadlineExceededError):
                await app.execute_workflow("outer", timeout=5)

        group.start_soon(run)
        await clock.advance(6)
    assert codes == ["deadline_exceeded"]


async def test_what_is_not_registered_can_not_be_executed() -> None:
    async def stranger() -> int:
        return 1

    with pytest.raises(WorkflowNotFoundError, match=r"app\.register it first"):
        await app_of().execute_workflow(stranger)


async def test_an_operation_is_not_a_workflow() -> None:
    async with app_of() as app:
        with pytest.raises(WorkflowNotFoundError, match="use dispatch"):
            await app.execute_workflow("workflows.list")


async def test_workflows_are_listed_described_and_drawn() -> None:
    app = app_of()
    listing = await call(app, "workflows.list")
    assert [(item["name"], item["summary"]) for item in listing.data] == [("add", "Add two numbers."), ("only_api", "")]
    described = await call(app, "workflows.get", workflow="add")
    assert described.data["input_schema"]["required"] == ["a"]
    schema = await call(app, "workflows.schema", workflow="add@1")
    assert schema.data["output"]["type"] == "integer"
    graph = await call(app, "workflows.graph", workflow="add")
    assert graph.data["steps"] == [{"name": "add", "needs": [], "each": None, "conditional": False}]
    missing = await call(app, "workflows.graph", workflow="ad")
    assert missing.error is not None
    assert "did you mean 'add'" in missing.error.message


async def test_a_listing_shows_what_shows_on_the_channel() -> None:
    listing = await call(app_of(), "workflows.list", Caller(channel="cli"))
    assert [item["name"] for item in listing.data] == ["add"]


async def test_built_in_operations_do_not_show_on_mcp() -> None:
    app = app_of()
    assert [operation.name for operation in app.operations(channel="mcp")] == ["add"]
    response = await call(app, "workflows.list", Caller(channel="mcp"))
    assert isinstance(response.error, WorkflowNotFoundError)


async def test_an_application_that_stops_takes_no_new_runs() -> None:
    async with app_of() as app:
        assert app.ready
        app.stop_accepting()
        assert not app.ready
        response = await call(app, "add", a=1)
        assert response.error is not None
        assert response.error.code == "unavailable"
        assert (await call(app, "workflows.list")).error is None
