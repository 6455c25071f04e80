"""The extension `io.modelcontextprotocol/tasks` of MCP 2026-07-28 (SEP-2663), by the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ElicitRequestParams,
    ElicitResult,
)

from nexus import Principal, Request
from nexus.models import APPLICATION, Caller
from nexus.testing.recording import Recorder
from nexus_mcp import META_RUN_ID, server
from tests.mcp_holder import IDENTIFIER, Holder, Tasks
from tests.mcp_task_desk import TaskDesk

pytestmark = pytest.mark.anyio

MODERN = "2026-07-28"
DAYS_MS = 24 * 3600 * 1000


async def never(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    raise AssertionError("forms of a task come with the task")


def yes(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


@asynccontextmanager
async def connected(
    desk: TaskDesk, *, principal: str | None = None, knows_tasks: bool = True, elicits: bool = True
) -> AsyncIterator[Holder]:
    gateway: Any = desk.app
    if principal is not None:
        gateway = Recorder(desk.app)
        gateway.verified = Principal(id=principal)
    options: Mapping[str, Any] = {"elicitation_callback": never} if elicits else {}
    extensions = [Tasks()] if knows_tasks else None
    async with Client(server(gateway), mode=MODERN, extensions=extensions, **options) as client:
        yield Holder(client)


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Holder, TaskDesk]]:
    desk = TaskDesk()
    async with desk.app, connected(desk, **options) as holder:
        yield holder, desk


async def test_the_server_declares_the_extension_and_not_what_came_before_it() -> None:
    desk = TaskDesk()
    async with desk.app, Client(server(desk.app)) as client:
        capabilities = client.server_capabilities
        tools = (await client.list_tools()).tools
        assert client.protocol_version == MODERN

    assert capabilities is not None
    assert capabilities.extensions == {IDENTIFIER: {}}
    assert capabilities.tasks is None
    assert {tool.execution for tool in tools} == {None}


async def test_long_work_becomes_a_task_for_a_client_that_knows_them() -> None:
    async with served() as (holder, desk):
        begun = await holder.begin("slow", text="hello")
        working = await holder.ask("tasks/get", begun.task_id)
        desk.gate.set()
        completed = await holder.until(begun.task_id, "completed")

    assert (begun.status, begun.ttl_ms, begun.poll_interval_ms) == ("working", 2 * DAYS_MS, 1000)
    assert begun.meta is not None
    assert begun.meta[META_RUN_ID] == begun.task_id
    assert (working["status"], working["resultType"]) == ("working", "complete")
    assert completed["resultType"] == "complete"
    assert completed["result"]["structuredContent"] == {"text": "hello"}
    assert completed["result"]["resultType"] == "complete"


async def test_a_client_without_tasks_is_given_the_run() -> None:
    async with served(knows_tasks=False) as (holder, desk):
        desk.gate.set()
        called = await holder.client.call_tool("slow", {})
        run = await holder.client.call_tool("runs_wait", {"run_id": called.structured_content["run_id"]})

    assert run.structured_content["results"] == {"text": "done"}


async def test_short_work_becomes_no_task() -> None:
    async with served() as (holder, _):
        assert (await holder.client.call_tool("quick", {})).structured_content == {"result": 1}


async def test_wrong_arguments_are_told_as_by_any_tool() -> None:
    async with served() as (holder, _):
        result = await holder.client.call_tool("count", {"upto": "many"})

    assert result.is_error
    assert result.structured_content["code"] == "invalid_argument"


@pytest.mark.parametrize(("tool", "code"), [("fail", "failed"), ("refuse", "conflict")])
async def test_a_run_that_fails_completes_its_task_with_a_tool_error(tool: str, code: str) -> None:
    async with served() as (holder, _):
        task = await holder.until((await holder.begin(tool)).task_id, "completed", "failed")

    assert task["status"] == "completed"
    assert (task["result"]["isError"], task["result"]["structuredContent"]["code"]) == (True, code)
    assert "hunter2" not in str(task)


async def test_a_task_fails_where_there_is_no_result_to_tell_it_by() -> None:
    async with served() as (holder, _):
        task = await holder.until((await holder.begin("odd")).task_id, "completed", "failed")

    assert (task["status"], task["error"]["code"]) == ("failed", INTERNAL_ERROR)
    assert "result" not in task


async def test_a_task_is_cancelled() -> None:
    async with served() as (holder, desk):
        begun = await holder.begin("slow")
        await anyio.wait_all_tasks_blocked()
        acknowledged = [await holder.ask("tasks/cancel", begun.task_id) for _ in range(2)]
        task = await holder.ask("tasks/get", begun.task_id)

    assert [reply["resultType"] for reply in acknowledged] == ["complete", "complete"]
    assert "taskId" not in acknowledged[0]
    assert task["status"] == "cancelled"
    assert desk.ended == ["cancelled"]


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
async def test_a_task_that_is_not_there_is_unknown(method: str) -> None:
    async with served() as (holder, _):
        with pytest.raises(MCPError, match="there is no run") as raised:
            await holder.ask(method, "0" * 32)
        with pytest.raises(MCPError, match="there is no run"):
            await holder.answer("0" * 32, name=yes(answer=True))

    assert raised.value.code == INVALID_PARAMS


async def test_nobody_has_the_tasks_of_another() -> None:
    desk = TaskDesk()
    async with desk.app, connected(desk, principal="ada") as ada, connected(desk, principal="bob") as bob:
        begun = await ada.begin("keep")
        key = next(iter((await ada.until(begun.task_id, "input_required"))["inputRequests"]))
        for method in ("tasks/get", "tasks/cancel"):
            with pytest.raises(MCPError, match="there is no run"):
                await bob.ask(method, begun.task_id)
        with pytest.raises(MCPError, match="there is no run"):
            await bob.answer(begun.task_id, **{key: yes(answer=False)})
        await ada.answer(begun.task_id, **{key: yes(answer=True)})
        task = await ada.until(begun.task_id, "completed")

    assert task["result"]["structuredContent"] == {"result": "kept"}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
async def test_a_client_that_has_not_said_that_it_knows_tasks_is_refused(method: str) -> None:
    async with served(knows_tasks=False) as (holder, _):
        with pytest.raises(MCPError) as raised:
            await holder.ask(method, "0" * 32)

    assert raised.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
    assert raised.value.data == {"requiredCapabilities": {"extensions": {IDENTIFIER: {}}}}


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
async def test_methods_of_the_revision_before_are_not_there(method: str) -> None:
    async with served() as (holder, desk):
        desk.gate.set()
        begun = await holder.begin("slow")
        with pytest.raises(MCPError) as raised:
            await holder.ask(method, begun.task_id)

    assert raised.value.code == METHOD_NOT_FOUND


# ---- questions


async def test_a_question_comes_with_the_task_and_is_answered_by_an_update() -> None:
    async with served() as (holder, _):
        begun = await holder.begin("keep")
        asking = await holder.until(begun.task_id, "input_required")
        again = await holder.ask("tasks/get", begun.task_id)
        ignored = await holder.answer(begun.task_id, other=yes(answer=False), another={"of": "no kind"})
        acknowledged = await holder.answer(begun.task_id, **{"keep.1": yes(answer=True)})
        task = await holder.until(begun.task_id, "completed")

    assert list(asking["inputRequests"]) == ["keep.1"]
    assert asking["inputRequests"]["keep.1"]["method"] == "elicitation/create"
    assert asking["inputRequests"]["keep.1"]["params"]["message"] == "Keep the outliers?"
    assert again["inputRequests"] == asking["inputRequests"]
    assert ignored["resultType"] == acknowledged["resultType"] == "complete"
    assert task["result"]["structuredContent"] == {"result": "kept"}


async def test_a_wrong_answer_is_asked_for_again_under_another_key() -> None:
    async with served() as (holder, _):
        begun = await holder.begin("keep")
        await holder.until(begun.task_id, "input_required")
        await holder.answer(begun.task_id, **{"keep.1": yes(answer="perhaps")})
        asking = await holder.ask("tasks/get", begun.task_id)
        await holder.answer(begun.task_id, **{"keep.1": yes(answer=True)})
        ignored = await holder.ask("tasks/get", begun.task_id)
        await holder.answer(begun.task_id, **{"keep.1#2": yes(answer=False)})
        task = await holder.until(begun.task_id, "completed")

    assert list(asking["inputRequests"]) == list(ignored["inputRequests"]) == ["keep.1#2"]
    assert "perhaps" in asking["inputRequests"]["keep.1#2"]["params"]["message"]
    assert task["result"]["structuredContent"] == {"result": "dropped"}


async def test_what_is_no_filled_in_form_is_asked_for_again() -> None:
    async with served() as (holder, _):
        begun = await holder.begin("keep")
        await holder.until(begun.task_id, "input_required")
        await holder.answer(begun.task_id, **{"keep.1": {"roots": []}})
        asking = await holder.ask("tasks/get", begun.task_id)
        await holder.answer(begun.task_id, **{"keep.1#2": yes(answer=True)})
        task = await holder.until(begun.task_id, "completed")

    assert "expected the result of an elicitation" in asking["inputRequests"]["keep.1#2"]["params"]["message"]
    assert task["result"]["structuredContent"] == {"result": "kept"}


async def test_a_question_that_is_declined_cancels_the_task() -> None:
    async with served() as (holder, _):
        begun = await holder.begin("keep")
        await holder.until(begun.task_id, "input_required")
        await holder.answer(begun.task_id, **{"keep.1": ElicitResult(action="decline")})
        task = await holder.ask("tasks/get", begun.task_id)

    assert task["status"] == "cancelled"


async def test_a_client_that_can_not_be_asked_is_told_what_it_misses() -> None:
    async with served(elicits=False) as (holder, _):
        begun = await holder.begin("keep")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MCPError) as raised:
            await holder.ask("tasks/get", begun.task_id)

    assert raised.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
    assert raised.value.data == {"requiredCapabilities": {"elicitation": {}}}


async def test_a_secret_is_not_asked_for_and_may_come_another_way() -> None:
    async with served() as (holder, desk):
        begun = await holder.begin("log_in")
        await anyio.wait_all_tasks_blocked()
        task = await holder.ask("tasks/get", begun.task_id)
        arguments = {"run_id": begun.task_id, "answer": "hunter2"}
        caller = Caller(channel="inprocess", principal=APPLICATION)
        await desk.app.dispatch(Request(operation="runs.answer", arguments=arguments, caller=caller))
        completed = await holder.ask("tasks/get", begun.task_id)

    assert task["status"] == "working"
    assert "inputRequests" not in task
    assert "runs.answer on another channel" in task["statusMessage"]
    assert completed["result"]["structuredContent"] == {"result": 7}


async def test_what_is_remembered_of_wrong_answers_goes_with_the_task() -> None:
    desk = TaskDesk()
    sdk = server(desk.app)
    async with desk.app, Client(sdk, mode=MODERN, extensions=[Tasks()], elicitation_callback=never) as client:
        holder = Holder(client)
        begun = await holder.begin("keep")
        await holder.until(begun.task_id, "input_required")
        for attempt in ("keep.1", "keep.1#2"):
            await holder.answer(begun.task_id, **{attempt: yes(answer="perhaps")})
        entry = sdk.get_request_handler("tasks/update")
        assert entry is not None
        kept: dict[Any, Any] = entry.handler.__self__.refused  # type: ignore[attr-defined]
        assert list(kept) == [(begun.task_id, "keep.1")]
        await holder.answer(begun.task_id, **{"keep.1#3": yes(answer=True)})
        await holder.until(begun.task_id, "completed")

    assert kept == {}
