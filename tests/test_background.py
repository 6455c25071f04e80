"""Long work: a remote caller is given its run at once, looks after it, and may go away; others wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from jsonschema import Draft202012Validator

import nexus
from nexus import NexusConfig, NotFoundError, Principal, Request, Run, UnavailableError
from nexus.abc import Interaction
from nexus.memory import MemoryRunStore
from nexus.models import Answers, Caller, Event, Question
from nexus.testing import Client, FakeClock
from nexus_click import invoke
from nexus_mcp import server
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

TENDING = ["runs_cancel", "runs_get", "runs_wait"]


class Slow:
    """A workflow that is held until a test lets it go on."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.gate = anyio.Event()
        self.ended: list[str] = []
        self.app = nexus.create_nexus(NexusConfig(), clock=self.clock)
        self.app.workflow(name="slow", background=True, **options)(self._slow())

    def _slow(self) -> Any:
        async def slow(number: int = 1) -> dict[str, int]:
            """Take long."""
            try:
                await self.gate.wait()
            except BaseException:
                self.ended.append("cancelled")
                raise
            self.ended.append("done")
            if number < 0:
                raise nexus.Problem("conflict", "not below zero")
            return {"number": number}

        return slow

    @asynccontextmanager
    async def api(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(asgi(self.app))
        async with self.app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http

    @asynccontextmanager
    async def mcp(self) -> AsyncIterator[Any]:
        mcp = pytest.importorskip("mcp")
        async with self.app, mcp.Client(server(self.app)) as client:
            yield client


# ---- the API


async def test_over_the_api_it_is_accepted_at_once() -> None:
    slow = Slow()
    async with slow.api() as http:
        reply = await http.post("/api/workflows/slow/execute", json={"inputs": {"number": 7}})
        run = reply.json()["data"]
        assert (reply.status_code, run["status"]) == (202, "pending")
        assert reply.headers["location"] == f"/api/runs/{run['run_id']}"
        assert "preference-applied" not in reply.headers
        slow.gate.set()
        waited = await http.post(f"/api/runs/{run['run_id']}/wait")
        assert (waited.status_code, waited.json()["data"]["results"]) == (200, {"number": 7})


async def test_who_would_hear_its_events_is_given_the_run_and_may_follow_it() -> None:
    slow = Slow()
    async with slow.api() as http:
        reply = await http.post("/api/workflows/slow/execute", headers={"accept": "text/event-stream"})
        run_id = reply.json()["data"]["run_id"]
        assert reply.status_code == 202
        slow.gate.set()
        followed = await http.get(f"/api/runs/{run_id}/events")
    assert "event: run.succeeded" in followed.text
    assert slow.ended == ["done"]


async def test_wrong_arguments_are_still_told_at_once() -> None:
    async with Slow().api() as http:
        assert (await http.post("/api/workflows/slow/execute", json={"inputs": {"number": "x"}})).status_code == 422


async def test_waiting_is_bounded_and_shows_the_run_as_it_is() -> None:
    slow = Slow()
    async with slow.api() as http, anyio.create_task_group() as group:
        run_id = (await http.post("/api/workflows/slow/execute")).json()["data"]["run_id"]

        async def wait(body: dict[str, Any]) -> None:
            reply = await http.post(f"/api/runs/{run_id}/wait", json=body)
            assert (reply.status_code, reply.json()["data"]["status"]) == (202, "running")

        group.start_soon(wait, {"timeout": 5})
        group.start_soon(wait, {})
        await slow.clock.advance(5)
        await slow.clock.advance(25)
        slow.gate.set()


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
async def test_waiting_for_no_time_is_refused(timeout: Any) -> None:
    async with Slow().api() as http:
        run_id = (await http.post("/api/workflows/slow/execute")).json()["data"]["run_id"]
        assert (await http.post(f"/api/runs/{run_id}/wait", json={"timeout": timeout})).status_code == 422
        await http.post(f"/api/runs/{run_id}/cancel")


async def test_a_failure_is_in_the_record() -> None:
    slow = Slow()
    slow.gate.set()
    async with slow.api() as http:
        run_id = (await http.post("/api/workflows/slow/execute", json={"inputs": {"number": -1}})).json()["data"]["run_id"]
        run = (await http.post(f"/api/runs/{run_id}/wait")).json()["data"]
    assert (run["status"], run["error"]["code"]) == ("failed", "conflict")


async def test_the_run_of_another_cannot_be_waited_for() -> None:
    slow = Slow()
    async with slow.app as app:
        handle = await app.submit_workflow("slow", principal=Principal(id="ada"))
        async with Client(app, principal="bob") as client:
            with pytest.raises(NotFoundError):
                await client.call("runs.wait", run_id=handle.id)
        await handle.cancel()


async def test_who_waits_may_go_away_and_the_run_goes_on() -> None:
    slow = Slow()
    async with Client(slow.app) as client:
        async with anyio.create_task_group() as group:
            run = await client.submit("slow")
            group.start_soon(lambda: client.call("runs.wait", run_id=run.id))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        slow.gate.set()
        assert await run.result() == {"number": 1}
    assert slow.ended == ["done"]


async def test_waiting_ends_with_the_deadline_of_who_waits() -> None:
    slow = Slow()
    async with slow.app as app, anyio.create_task_group() as group:
        handle = await app.submit_workflow("slow")

        async def wait() -> None:
            deadline = slow.clock.now() + timedelta(seconds=3)
            response = await app.dispatch(
                Request(
                    operation="runs.wait",
                    arguments={"run_id": handle.id},
                    caller=Caller(channel="inprocess", principal=nexus.models.APPLICATION),
                    deadline=deadline,
                )
            )
            assert response.error is not None
            assert response.error.code == "deadline_exceeded"

        group.start_soon(wait)
        await slow.clock.advance(3)
        slow.gate.set()


# ---- MCP


async def test_over_mcp_a_tool_gives_the_run_and_says_how_to_ask() -> None:
    slow = Slow()
    async with slow.mcp() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == [*TENDING, "slow"]
        result = await client.call_tool("slow", {"number": 7})
        started = result.structured_content
        Draft202012Validator(tools["slow"].output_schema).validate(started)
        assert (result.is_error, started["status"]) == (False, "pending")
        assert started["run_id"] in result.content[0].text
        assert "runs_wait" in result.content[0].text
        about = {"run_id": started["run_id"]}
        await anyio.wait_all_tasks_blocked()
        assert (await client.call_tool("runs_get", about)).structured_content["status"] == "running"
        slow.gate.set()
        run = (await client.call_tool("runs_wait", about)).structured_content
    assert (run["status"], run["results"]) == ("succeeded", {"number": 7})


async def test_over_mcp_it_can_be_cancelled() -> None:
    slow = Slow()
    async with slow.mcp() as client:
        about = {"run_id": (await client.call_tool("slow", {})).structured_content["run_id"]}
        await anyio.wait_all_tasks_blocked()
        assert (await client.call_tool("runs_cancel", about)).structured_content["status"] == "cancelled"
    assert slow.ended == ["cancelled"]


async def test_the_tools_for_runs_show_only_where_background_work_does() -> None:
    app = nexus.create_nexus(NexusConfig())

    def names(channel: str) -> list[str]:
        return [operation.name for operation in app.operations(channel=channel) if operation.name.startswith("runs.")]

    @app.workflow
    async def quick() -> None: ...

    assert names("mcp") == []
    assert app.operation("runs.wait", channel="mcp") is None

    @app.workflow(background=True, channels=["api"])
    async def slow() -> None: ...

    assert names("mcp") == []

    @app.workflow(background=True)
    async def slower() -> None: ...

    assert names("mcp") == ["runs.cancel", "runs.get", "runs.wait"]
    assert app.operation("runs.wait", channel="mcp") is not None
    assert app.operation("runs.answer", channel="mcp") is None
    assert {"runs.answer", "runs.wait"} <= set(names("api"))


def asking(**options: Any) -> nexus.Nexus:
    app = nexus.create_nexus(NexusConfig(), **options)

    @app.workflow(background=True)
    async def asks(*, run: Run) -> str:
        """Ask, and tell how it goes."""
        name = await run.ask("Name?", str, name="name")
        await run.progress(1, 1)
        return name

    return app


@asynccontextmanager
async def answering(app: nexus.Nexus, mode: str, *answers: dict[str, Any] | str) -> AsyncIterator[Any]:
    """Connect a client that fills in forms; a string is an action other than accept."""
    mcp = pytest.importorskip("mcp")
    left = list(answers)

    async def fill_in(_context: Any, _params: Any) -> Any:
        given = left.pop(0)
        if isinstance(given, str):
            return mcp.types.ElicitResult(action=given)
        return mcp.types.ElicitResult(action="accept", content=given)

    async with app, mcp.Client(server(app), mode=mode, elicitation_callback=fill_in if answers else None) as client:
        yield client
        assert left == []


ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])


@ERAS
async def test_over_mcp_who_waits_for_a_run_is_asked_what_it_asks(mode: str) -> None:
    async with answering(asking(), mode, {"answer": "Ada"}) as client:
        about = {"run_id": (await client.call_tool("asks", {})).structured_content["run_id"]}
        run = (await client.call_tool("runs_wait", about)).structured_content
    assert (run["status"], run["results"]) == ("succeeded", "Ada")


@ERAS
async def test_over_mcp_who_waits_is_asked_again_after_a_wrong_answer(mode: str) -> None:
    async with answering(asking(), mode, {"answer": 7}, {"answer": "Ada"}) as client:
        about = {"run_id": (await client.call_tool("asks", {})).structured_content["run_id"]}
        run = (await client.call_tool("runs_wait", about)).structured_content
    assert (run["status"], run["results"]) == ("succeeded", "Ada")


@ERAS
async def test_over_mcp_who_waits_and_declines_sees_the_run_cancelled(mode: str) -> None:
    async with answering(asking(), mode, "decline") as client:
        about = {"run_id": (await client.call_tool("asks", {})).structured_content["run_id"]}
        result = await client.call_tool("runs_wait", about)
    assert (result.is_error, result.structured_content["status"]) == (False, "cancelled")


@ERAS
async def test_over_mcp_who_waits_and_can_not_be_asked_is_shown_the_question(mode: str) -> None:
    async with answering(asking(), mode) as client:
        about = {"run_id": (await client.call_tool("asks", {})).structured_content["run_id"]}
        run = (await client.call_tool("runs_wait", about)).structured_content
        await client.call_tool("runs_cancel", about)
    assert (run["status"], run["questions"][0]["text"]) == ("waiting", "Name?")


@ERAS
async def test_over_mcp_who_waits_hears_how_the_run_goes(mode: str) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with answering(asking(), mode, {"answer": "Ada"}) as client:
        about = {"run_id": (await client.call_tool("asks", {})).structured_content["run_id"]}
        await client.call_tool("runs_wait", about, progress_callback=hear)
    assert heard == [1]


async def test_an_answer_takes_no_part_of_the_time_for_which_a_run_is_waited_for() -> None:
    slow = Slow()

    class Thoughtful(Interaction):
        answers = Answers.NOW

        async def tell(self, event: Event) -> None: ...

        async def ask(self, question: Question) -> Any:
            await slow.clock.advance(3600)
            return True

    @slow.app.workflow(background=True)
    async def confirm(*, run: Run) -> bool:
        return await run.ask("Go on?", bool)

    async with slow.app as app:
        handle = await app.submit_workflow("confirm")
        response = await app.dispatch(
            Request(
                operation="runs.wait",
                arguments={"run_id": handle.id, "timeout": 5},
                caller=Caller(channel="inprocess", principal=nexus.models.APPLICATION),
            ),
            Thoughtful(),
        )
    assert (response.data["status"], response.data["results"]) == ("succeeded", True)


async def test_who_waits_for_a_run_of_another_process_is_shown_its_question() -> None:
    store = MemoryRunStore()
    carrier, other = (asking(run_store=store) for _ in range(2))
    mcp = pytest.importorskip("mcp")

    async def never(_context: Any, _params: Any) -> Any:
        raise AssertionError("what it would answer could not be handed on")

    async with carrier, other, mcp.Client(server(other), mode="legacy", elicitation_callback=never) as client:
        caller = Caller(channel="mcp", principal=nexus.models.ANONYMOUS)
        begun = await carrier.dispatch(Request(operation="asks", arguments={}, caller=caller, detach=True))
        assert begun.run is not None
        await anyio.wait_all_tasks_blocked()
        run = (await client.call_tool("runs_wait", {"run_id": begun.run.id})).structured_content
    assert run["status"] == "waiting"


# ---- where the caller waits


async def test_in_process_and_on_the_command_line_it_is_waited_for() -> None:
    slow = Slow()
    slow.gate.set()
    async with slow.app as app:
        assert (await app.execute_workflow("slow", {"number": 3})).results == {"number": 3}
        result = await invoke(app, ["--format", "json", "slow", "--number", "4"])
        assert (result.exit_code, result.stdout) == (0, '{"number":4}\n')


@pytest.mark.parametrize("channel", ["inprocess", "api", "cli", "mcp"])
async def test_a_client_of_a_test_gets_the_output_on_every_channel(channel: Any) -> None:
    slow = Slow()
    slow.gate.set()
    async with Client(slow.app, channel=channel) as client:
        assert await client.execute("slow", number=5) == {"number": 5}
        with pytest.raises(nexus.NexusError, match="not below zero") as caught:
            await client.execute("slow", number=-1)
    assert caught.value.code == "conflict"


@pytest.mark.parametrize("channel", ["api", "mcp"])
async def test_a_question_in_the_background_is_answered(channel: Any) -> None:
    async with Client(asking(), channel=channel, answers={"name": "Ada"}) as client:
        assert await client.execute("asks") == "Ada"


async def test_a_question_in_the_background_that_nobody_can_answer_over_mcp_is_told() -> None:
    async with Client(asking(), channel="mcp") as client:
        with pytest.raises(UnavailableError, match="asks 'Name"):
            await client.execute("asks")
        await client.call("runs.cancel", run_id=client.last_run.id)


async def test_an_answer_for_whose_consequences_nobody_waits_is_taken_at_once() -> None:
    slow = Slow()

    @slow.app.workflow(background=True)
    async def confirm(*, run: Run) -> bool:
        answer = await run.ask("Go on?", bool)
        await slow.gate.wait()
        return answer

    async with slow.app as app:
        caller = Caller(channel="inprocess", principal=nexus.models.APPLICATION)
        handle = await app.submit_workflow("confirm")
        await anyio.wait_all_tasks_blocked()
        arguments = {"run_id": handle.id, "answer": True}
        for _ in range(2):
            request = Request(operation="runs.answer", arguments=arguments, caller=caller, detach=True)
            assert (await app.dispatch(request)).data["status"] == "running"
        slow.gate.set()
        assert await handle.result() is True


async def test_a_listing_says_that_it_is_not_waited_for() -> None:
    async with Client(Slow().app, channel="api") as client:
        assert [view["background"] for view in await client.call("workflows.list")] == [True]


async def test_what_is_kept_of_background_work_is_given_again() -> None:
    slow = Slow(cache=60, read_only=True)
    slow.gate.set()
    async with Client(slow.app, channel="api") as client:
        for _ in range(2):
            assert await client.execute("slow") == {"number": 1}
        assert client.last_run.cached
    assert slow.ended == ["done"]
