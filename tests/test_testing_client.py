"""The client that tests use, on every channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import attrs
import pytest

from nexus import (
    AdapterError,
    CancelledError,
    ConflictError,
    InvalidArgumentError,
    Nexus,
    NexusConfig,
    NotFoundError,
    Principal,
    Run,
    UnavailableError,
    Workflow,
    WorkflowFailedError,
    WorkflowNotFoundError,
    create_nexus,
    testing,
)
from nexus.testing import Client, FakeClock, Wire
from nexus.testing.asgi import exchange
from nexus.testing.hosting import Clients

pytestmark = pytest.mark.anyio

EVERYWHERE = pytest.mark.parametrize("channel", ["inprocess", "api", "cli", "mcp"])


@attrs.frozen
class Summary:
    rows: int
    wettest: str


async def summarise(rows: int = 3, *, run: Run) -> Summary:
    for row in range(1, rows + 1):
        await run.progress(row, rows)
    await run.log.info("read", rows=rows)
    return Summary(rows, "2015-03-15")


async def keep(*, run: Run) -> str:
    return "kept" if await run.ask("Keep it?", bool, name="keep") else "dropped"


async def fails() -> None:
    raise ZeroDivisionError


async def sleeps(*, run: Run) -> None:
    await anyio.sleep_forever()


def two_steps() -> Workflow:
    flow = Workflow("two_steps")

    @flow.step
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @flow.step(each={"number": "numbers"})
    async def halves(number: int) -> float:
        return 6 / (number - 2)

    return flow


@pytest.fixture
def app() -> Nexus:
    app = create_nexus(NexusConfig())
    for function in (summarise, keep, fails, sleeps):
        app.workflow(function)
    app.register(two_steps())
    return app


async def test_an_application_is_started_and_stopped_if_it_was_not(app: Nexus) -> None:
    async with Client(app):
        assert app.started
    assert not app.started


@EVERYWHERE
async def test_an_application_that_is_started_stays_so(app: Nexus, channel: Any) -> None:
    async with app:
        async with Client(app, channel=channel) as client:
            assert await client.execute_json("summarise") == {"rows": 3, "wettest": "2015-03-15"}
        assert app.started


async def test_an_application_is_stopped_if_the_channel_does_not_start(app: Nexus) -> None:
    class Broken(Wire):
        async def start(self, exit_stack: Any) -> None:
            await exit_stack.enter_async_context(anyio.create_task_group())
            raise OSError("the wire is cut")

        async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any: ...
        async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any: ...

    with pytest.raises(OSError, match="the wire is cut"):
        async with Client(app, channel=Broken):
            pytest.fail("it did not start")
    assert not app.started


async def test_in_process_an_output_is_the_python_value(app: Nexus) -> None:
    async with Client(app) as client:
        assert await client.execute("summarise", rows=1) == Summary(1, "2015-03-15")


@EVERYWHERE
async def test_everywhere_an_output_can_be_had_as_json_has_it(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        assert await client.execute_json("summarise", rows=1) == {"rows": 1, "wettest": "2015-03-15"}


@EVERYWHERE
async def test_a_workflow_may_be_named_by_what_was_registered(app: Nexus, channel: Any) -> None:
    flow = two_steps()
    app.register(flow)
    async with Client(app, channel=channel) as client:
        assert await client.execute_json(summarise, rows=2) == {"rows": 2, "wettest": "2015-03-15"}
        assert await client.execute(flow, count=2) == [-3.0, -6.0]


async def test_what_was_not_registered_is_not_found(app: Nexus) -> None:
    async with Client(app) as client:
        with pytest.raises(WorkflowNotFoundError, match="test_testing_client:two_steps is not registered"):
            await client.execute(two_steps)


async def test_in_process_a_failure_has_its_cause(app: Nexus) -> None:
    async with Client(app) as client:
        with pytest.raises(WorkflowFailedError) as failure:
            await client.execute("fails")
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


@EVERYWHERE
async def test_an_error_of_the_test_itself_comes_out_alone(app: Nexus, channel: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Client(app, channel=channel):
            raise ZeroDivisionError


@EVERYWHERE
async def test_what_a_run_tells_can_be_looked_at_on_every_channel(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        await client.execute("summarise", rows=2)
        assert [event.type for event in client.events] == ["run.progress", "run.progress", "run.log"]
        assert client.assert_event("run.progress", done=2, total=2) is client.events[1]
        with pytest.raises(AssertionError, match=r"did not tell run\.progress\(done=3\); it told:\n  run\.progress\(done=1,"):
            client.assert_event("run.progress", done=3)
        await client.execute("summarise", rows=0)
        assert [event.type for event in client.events] == ["run.log"]


@EVERYWHERE
async def test_the_record_of_the_last_run_can_be_looked_at_on_every_channel(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel, principal=Principal(id="ada")) as client:
        await client.execute("summarise")
        assert (client.last_run.channel, client.last_run.principal, client.last_run.status) == (channel, "ada", "succeeded")
        with pytest.raises(WorkflowFailedError):
            await client.execute("fails")
        assert client.last_run.status == "failed"


@EVERYWHERE
async def test_an_unknown_workflow_is_the_same_error_on_every_channel(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        with pytest.raises(WorkflowNotFoundError, match="did you mean 'summarise'"):
            await client.execute("sumarise")


async def test_a_call_that_was_no_run_has_no_record(app: Nexus) -> None:
    async with Client(app) as client:
        with pytest.raises(WorkflowNotFoundError):
            await client.execute("nothing_like_this")
        with pytest.raises(AssertionError, match="there was no run"):
            _ = client.last_run


@EVERYWHERE
async def test_steps_can_be_looked_at_on_every_channel(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        await client.execute("two_steps", count=2)
        client.assert_steps("halves", "numbers")
        client.assert_steps("numbers", "halves", in_order=True)
        with pytest.raises(AssertionError, match="step 'numbers' was run too"):
            client.assert_steps("halves")


async def test_steps_of_a_run_that_failed_are_shown_with_why(app: Nexus) -> None:
    async with Client(app) as client:
        with pytest.raises(WorkflowFailedError):
            await client.execute("two_steps", count=3)
        with pytest.raises(AssertionError, match=r"halves\[2\] failed \(.* s\): ZeroDivisionError"):
            client.assert_steps("numbers", "halves")


@EVERYWHERE
async def test_a_question_without_an_answer_is_an_error_of_the_test(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel, answers={"overwrite": True}) as client:
        with pytest.raises(AssertionError, match=r"the run asked 'keep' \('Keep it\?'\), and `answers` has only 'overwrite'"):
            await client.execute("keep")
        assert client.last_run.status == "cancelled"


@pytest.mark.parametrize("channel", ["inprocess", "api", "cli"])
async def test_built_in_operations_can_be_called(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        assert "keep" in {entry["name"] for entry in await client.call("workflows.list")}
        schema = await client.call("workflows.schema", workflow="summarise")
        assert schema["input"]["properties"]["rows"]["type"] == "integer"
        await client.execute("summarise")
        run_id = client.last_run.id
        assert (await client.call("runs.get", run_id=run_id))["status"] == "succeeded"
        with pytest.raises(NotFoundError):
            await client.call("runs.get", run_id="0" * 32)


async def test_built_in_operations_do_not_show_on_mcp(app: Nexus) -> None:
    async with Client(app, channel="mcp") as client:
        with pytest.raises(NotFoundError):
            await client.call("workflows.list")


async def test_the_api_has_a_path_for_some_operations_only(app: Nexus) -> None:
    async with Client(app, channel="api") as client:
        with pytest.raises(TypeError, match=r"no path for 'runs\.file'; it has one for each of: workflows\.list, "):
            await client.call("runs.file")
        with pytest.raises(InvalidArgumentError, match="limit: unknown argument"):
            await client.call("workflows.list", limit=3)


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_submitted_run_is_looked_after_by_its_handle(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        run = await client.submit("summarise", rows=2)
        assert app.to_builtins(await run.result()) == {"rows": 2, "wettest": "2015-03-15"}
        assert (await run.status()).status == "succeeded"


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_the_questions_of_a_submitted_run_are_answered_while_its_result_is_awaited(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel, answers={"keep": ["perhaps", True]}) as client:
        run = await client.submit("keep")
        assert await run.result() == "kept"


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_submitted_run_that_nobody_answers_has_no_result(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        run = await client.submit("keep")
        with pytest.raises(UnavailableError, match="nobody can answer here"):
            await run.result()
        assert (await run.status()).status == "cancelled"


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_submitted_run_can_be_answered_by_hand(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        run = await client.submit("keep")
        with anyio.fail_after(5):
            while (await run.status()).status != "waiting":
                await anyio.lowlevel.checkpoint()
        with pytest.raises(InvalidArgumentError):
            await run.answer("perhaps")
        assert (await run.status()).status == "waiting"
        assert (await run.answer(answer=False, question="keep")).status == "succeeded"
        assert await run.result() == "dropped"
        with pytest.raises(ConflictError):
            await run.answer(answer=True)


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_submitted_run_can_be_cancelled(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        run = await client.submit("sleeps")
        assert (await run.cancel()).status == "cancelled"
        with pytest.raises(CancelledError):
            await run.result()


@pytest.mark.parametrize("channel", ["cli", "mcp"])
async def test_on_some_channels_nothing_can_be_submitted(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        with pytest.raises(TypeError, match=r"this channel can't submit; use Client\(app\) or"):
            await client.submit("summarise")


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_submitted_run_that_failed_raises_when_its_result_is_asked_for(app: Nexus, channel: Any) -> None:
    async with Client(app, channel=channel) as client:
        run = await client.submit("fails")
        with pytest.raises(WorkflowFailedError):
            await run.result()


async def test_an_unknown_channel_is_named_with_those_there_are(app: Nexus) -> None:
    with pytest.raises(
        ValueError, match="no client for channel 'fax'; use one of: inprocess, api, cli, mcp, or a subclass of Wire"
    ):
        Client(app, channel="fax")  # type: ignore[arg-type]


@pytest.mark.parametrize("channel", ["api", "cli", "mcp"])
async def test_a_channel_whose_adapter_is_not_installed_says_so(
    app: Nexus, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus.adapters._entry_points", lambda: ())
    with pytest.raises(AdapterError, match=f"there is no adapter 'channel.{channel}'"):
        async with Client(app, channel=channel):
            pytest.fail("there is no such channel")
    assert not app.started


async def test_a_command_that_is_none_fails_with_what_it_said(app: Nexus) -> None:
    async with Client(app, channel="cli") as client:
        with pytest.raises(AssertionError, match="'--format json --verison' ended with 2 and said: "):
            await client.execute("--verison")


async def test_an_mcp_error_that_is_none_of_ours_comes_as_it_is(app: Nexus, monkeypatch: pytest.MonkeyPatch) -> None:
    mcp = pytest.importorskip("mcp")

    async def refuse(*_arguments: Any, **_options: Any) -> None:
        raise mcp.MCPError(-32000, "gone")

    async with Client(app, channel="mcp") as client:
        monkeypatch.setattr(mcp.Client, "call_tool", refuse)
        with pytest.raises(mcp.MCPError, match="gone"):
            await client.execute("summarise")


async def test_an_asgi_application_that_answers_half_is_an_error() -> None:
    async def half(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})

    with pytest.raises(AssertionError, match="GET /: the application returned without a whole response"):
        await exchange(half, "GET", "/")


async def test_an_asgi_application_may_wait_for_the_client_to_leave_as_long_as_it_likes() -> None:
    left = []

    async def waits(_scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"{}"
        with anyio.move_on_after(0.01):
            left.append(await receive())
        await send({"type": "http.response.start", "status": 204, "headers": [(b"x-kind", b"empty")]})
        await send({"type": "http.response.body"})

    reply = await exchange(waits, "POST", "/", body=b"{}")
    assert (reply.status, reply.headers, reply.body, left) == (204, {"x-kind": "empty"}, b"", [])


async def test_time_that_the_test_owns_lets_a_step_run_out_of_it() -> None:
    clock = FakeClock()
    app = create_nexus(NexusConfig(), clock=clock)

    async def never() -> None:
        await anyio.sleep_forever()

    app.workflow(timeout=30)(never)
    codes: list[str] = []

    async def call(client: Client) -> None:
        try:
            await client.execute("never")
        except Exception as error:  # noqa: BLE001 - its code is what is compared
            codes.append(getattr(error, "code", repr(error)))

    channels: Sequence[Any] = ("inprocess", "api", "cli", "mcp")
    for channel in channels:
        async with Client(app, channel=channel) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(call, client)
            await clock.advance(29)
            assert codes == []
            await clock.advance(1)
            assert codes == ["deadline_exceeded"]
        codes.clear()


async def test_the_fixture_is_there(app: Nexus, nexus_client: Clients) -> None:
    client = await nexus_client(app)
    assert await client.execute("summarise", rows=0) == Summary(0, "2015-03-15")


async def test_clients_of_the_fixture_live_until_they_are_closed(app: Nexus) -> None:
    clients = Clients()
    first = await clients(app)
    second = await clients(app, channel="api")
    assert await first.execute_json("summarise") == await second.execute_json("summarise")
    assert app.started
    await clients.aclose()
    assert not app.started


async def test_clients_of_the_fixture_may_be_closed_by_another_task(app: Nexus) -> None:
    clients = Clients()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clients, app)
    assert app.started
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clients.aclose)
    assert not app.started


async def test_a_client_of_the_fixture_that_does_not_open_says_why(app: Nexus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus.adapters._entry_points", lambda: ())
    clients = Clients()
    with pytest.raises(AdapterError):
        await clients(app, channel="api")
    await clients.aclose()
    assert not app.started


async def test_a_client_of_the_fixture_that_does_not_close_says_why_and_the_others_are_closed(app: Nexus) -> None:
    class Sticky(Wire):
        async def start(self, exit_stack: Any) -> None:
            exit_stack.callback(divmod, 1, 0)

        async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any: ...
        async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any: ...

    clients = Clients()
    await clients(app)
    await clients(app, channel=Sticky)
    with pytest.raises(ZeroDivisionError):
        await clients.aclose()
    assert not app.started


def test_the_public_names_are_those_that_can_be_imported() -> None:
    assert dir(testing) == sorted(testing.__all__)
    assert all(getattr(testing, name) is not None for name in testing.__all__)
    with pytest.raises(AttributeError, match=r"module 'nexus\.testing' has no attribute 'Clint'"):
        _ = testing.Clint
