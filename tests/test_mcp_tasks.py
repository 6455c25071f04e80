"""Tasks of MCP 2025-11-25: a background run that the client asked for as a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CancelTaskRequest,
    CancelTaskRequestParams,
    CancelTaskResult,
    GetTaskRequest,
    GetTaskRequestParams,
    GetTaskResult,
    ListTasksRequest,
    ListTasksResult,
)

from nexus import Principal, Request
from nexus.memory import MemoryRunStore
from nexus.models import APPLICATION, Caller, Scope
from nexus.testing import FakeClock
from nexus.testing.recording import Recorder
from nexus_mcp import META_IDEMPOTENCY_KEY, META_RUN_ID, server
from tests.mcp_peer import Peer, connected
from tests.mcp_task_desk import TaskDesk

pytestmark = pytest.mark.anyio

RELATED = "io.modelcontextprotocol/related-task"
CALL: Any = {"tools": {"call": {}}}
DAYS_MS = 24 * 3600 * 1000


@asynccontextmanager
async def served(*answers: Any, **options: Any) -> AsyncIterator[tuple[Peer, TaskDesk]]:
    desk = TaskDesk()
    async with desk.app, connected(server(desk.app), *answers, **options) as peer:
        yield peer, desk


def as_principal(desk: TaskDesk, name: str) -> Any:
    """Return the application as it is for callers whom the host has verified."""
    recorder = Recorder(desk.app)
    recorder.verified = Principal(id=name)
    return server(recorder)


# ---- what is declared


async def test_the_server_declares_tasks() -> None:
    async with served() as (peer, _):
        assert peer.hello["capabilities"]["tasks"] == {"cancel": {}, "requests": CALL}
        assert "extensions" not in peer.hello["capabilities"]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18"])
async def test_an_older_revision_has_no_tasks(version: str) -> None:
    async with served(version=version) as (peer, desk):
        desk.gate.set()
        called = await peer.request("tools/call", name="slow", arguments={}, task={})
        assert "tasks" not in peer.hello["capabilities"]
        assert "task" not in called
        assert called["structuredContent"]["run_id"]
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            with pytest.raises(MCPError) as raised:
                await peer.request(method, taskId=called["structuredContent"]["run_id"])
            assert raised.value.code == METHOD_NOT_FOUND


async def test_only_tools_whose_work_takes_long_can_be_tasks() -> None:
    async with served() as (peer, _):
        tools = {tool["name"]: tool for tool in (await peer.request("tools/list"))["tools"]}
        with pytest.raises(MCPError, match="can't be called as a task") as raised:
            await peer.begin("quick")

    assert tools["slow"]["execution"] == {"taskSupport": "optional"}
    assert "execution" not in tools["quick"]
    assert raised.value.code == METHOD_NOT_FOUND


async def test_without_a_task_the_same_tool_gives_its_run() -> None:
    async with served() as (peer, desk):
        desk.gate.set()
        called = await peer.request("tools/call", name="slow", arguments={})

    assert called["structuredContent"]["status"] == "pending"
    assert "runs_wait" in called["content"][0]["text"]


# ---- the life of a task


async def test_a_task_is_a_run_in_the_background() -> None:
    async with served() as (peer, desk):
        reply = await peer.request("tools/call", name="slow", arguments={"text": "hello"}, task={"ttl": 1})
        task = reply["task"]
        run = await desk.app.executor.runs.get(Scope.ALL, task["taskId"])
        working = await peer.until(task["taskId"], "working")
        desk.gate.set()
        completed = await peer.until(task["taskId"], "completed")

    assert task["status"] == "working"
    assert task["createdAt"] == run.created_at.isoformat()
    assert {"pollInterval", "lastUpdatedAt", "statusMessage"} <= task.keys()
    assert reply["_meta"][RELATED] == {"taskId": run.id}
    assert reply["_meta"][META_RUN_ID] == run.id
    assert run.id in reply["_meta"]["io.modelcontextprotocol/model-immediate-response"]
    assert "content" not in reply
    assert RELATED not in working.get("_meta", {})
    assert "pollInterval" not in completed


async def test_the_result_is_what_the_tool_gives() -> None:
    async with served() as (peer, desk):
        task = await peer.begin("slow", text="hello")
        desk.gate.set()
        result = await peer.result(task["taskId"])
        tools = {tool["name"]: tool for tool in (await peer.request("tools/list"))["tools"]}

    assert (result["isError"], result["structuredContent"]) == (False, {"text": "hello"})
    assert result["_meta"][RELATED] == {"taskId": task["taskId"]}
    assert result["_meta"][META_RUN_ID] == task["taskId"]
    Draft202012Validator(tools["slow"]["outputSchema"]).validate(result["structuredContent"])


async def test_a_result_that_is_no_object_is_wrapped_as_of_any_tool() -> None:
    async with served() as (peer, desk):
        desk.gate.set()
        result = await peer.result((await peer.begin("count", upto=3))["taskId"])
        tools = {tool["name"]: tool for tool in (await peer.request("tools/list"))["tools"]}

    assert result["structuredContent"] == {"result": 3}
    Draft202012Validator(tools["count"]["outputSchema"]).validate(result["structuredContent"])


async def test_the_result_is_waited_for() -> None:
    async with served() as (peer, desk), anyio.create_task_group() as tasks:
        task = await peer.begin("slow")
        results: list[Any] = []

        async def wait() -> None:
            results.append(await peer.result(task["taskId"]))

        tasks.start_soon(wait)
        assert (await peer.until(task["taskId"], "working"))["statusMessage"]
        await anyio.wait_all_tasks_blocked()
        assert results == []
        desk.gate.set()

    assert results[0]["structuredContent"] == {"text": "done"}


async def test_the_result_can_be_had_again() -> None:
    async with served() as (peer, desk):
        desk.gate.set()
        task = await peer.begin("slow")
        first, second = [await peer.result(task["taskId"]) for _ in range(2)]

    assert first["structuredContent"] == second["structuredContent"]


@pytest.mark.parametrize(("tool", "code", "told"), [("fail", "failed", "request id"), ("refuse", "conflict", "not today")])
async def test_a_run_that_fails_is_a_task_that_failed(tool: str, code: str, told: str) -> None:
    async with served() as (peer, _):
        task = await peer.begin(tool)
        failed = await peer.until(task["taskId"], "failed")
        result = await peer.result(task["taskId"])

    assert told in failed["statusMessage"]
    assert (result["isError"], result["structuredContent"]["code"]) == (True, code)
    assert "hunter2" not in str([failed, result])


async def test_an_output_that_is_no_json_is_an_internal_error() -> None:
    async with served() as (peer, _):
        with pytest.raises(MCPError, match="could not be answered") as raised:
            await peer.result((await peer.begin("odd"))["taskId"])

    assert raised.value.code == INTERNAL_ERROR


async def test_what_is_wrong_with_a_call_is_told_in_place_of_a_task() -> None:
    async with served() as (peer, _):
        with pytest.raises(MCPError, match="/upto: ") as raised:
            await peer.begin("count", upto="many", more=1)
        with pytest.raises(MCPError, match="did you mean 'slow'") as unknown:
            await peer.begin("slwo")

    assert raised.value.code == unknown.value.code == INVALID_PARAMS
    assert {error["pointer"] for error in raised.value.data["details"]["errors"]} == {"/upto", "/more"}


async def test_a_task_is_kept_as_long_as_the_record_of_its_run() -> None:
    async with served() as (peer, desk):
        begun = await peer.begin("slow", ttl=5)
        await desk.clock.advance(3600)
        later = await peer.task(begun["taskId"])
        desk.gate.set()
        completed = await peer.until(begun["taskId"], "completed")
        await desk.clock.advance(timedelta(days=1).total_seconds())
        after = await peer.task(begun["taskId"])

    assert begun["ttl"] == 2 * DAYS_MS
    assert later["ttl"] == completed["ttl"] == after["ttl"] == 2 * DAYS_MS + 3600 * 1000
    assert completed["lastUpdatedAt"] > completed["createdAt"]


async def test_the_same_key_is_the_same_task() -> None:
    desk = TaskDesk()
    async with desk.app, connected(as_principal(desk, "ada")) as peer:
        key = {META_IDEMPOTENCY_KEY: "once"}
        first, second = [await peer.begin("slow", _meta=key) for _ in range(2)]
        desk.gate.set()
        await peer.result(first["taskId"])

    assert first["taskId"] == second["taskId"]
    assert desk.ended == ["done"]


async def test_progress_is_told_to_who_waits_for_the_result() -> None:
    async with served() as (peer, desk), anyio.create_task_group() as tasks:
        task = await peer.begin("count", upto=2)

        async def wait() -> None:
            await peer.result(task["taskId"], _meta={"progressToken": "t"})

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        desk.gate.set()

    told = [(heard["method"], heard["params"].get("progress")) for heard in peer.heard]
    assert told == [("notifications/progress", 1), ("notifications/progress", 2), ("notifications/message", None)]
    assert {heard["params"]["_meta"][RELATED]["taskId"] for heard in peer.heard} == {task["taskId"]}


# ---- cancelling


async def test_a_task_is_cancelled_and_stays_so() -> None:
    async with served() as (peer, desk):
        task = await peer.begin("slow")
        await peer.until(task["taskId"], "working")
        await anyio.wait_all_tasks_blocked()
        cancelled = await peer.request("tasks/cancel", taskId=task["taskId"])
        desk.gate.set()
        result = await peer.result(task["taskId"])
        with pytest.raises(MCPError, match="it is cancelled") as raised:
            await peer.request("tasks/cancel", taskId=task["taskId"])

    assert (cancelled["status"], cancelled["taskId"]) == ("cancelled", task["taskId"])
    assert desk.ended == ["cancelled"]
    assert (result["isError"], result["structuredContent"]["code"]) == (True, "cancelled")
    assert raised.value.code == INVALID_PARAMS


async def test_a_task_that_has_ended_is_not_cancelled() -> None:
    async with served() as (peer, desk):
        desk.gate.set()
        task = await peer.begin("slow")
        await peer.result(task["taskId"])
        with pytest.raises(MCPError, match="it is completed") as raised:
            await peer.request("tasks/cancel", taskId=task["taskId"])
        assert (await peer.task(task["taskId"]))["status"] == "completed"

    assert raised.value.code == INVALID_PARAMS


async def test_who_waits_for_the_result_learns_that_it_was_cancelled() -> None:
    async with served() as (peer, _), anyio.create_task_group() as tasks:
        task = await peer.begin("slow")

        async def wait() -> None:
            assert (await peer.result(task["taskId"]))["structuredContent"]["code"] == "cancelled"

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await peer.request("tasks/cancel", taskId=task["taskId"])


# ---- whose tasks


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
async def test_a_task_that_is_not_there_is_unknown(method: str) -> None:
    async with served() as (peer, _):
        with pytest.raises(MCPError, match="there is no run") as raised:
            await peer.request(method, taskId="0" * 32)

    assert raised.value.code == INVALID_PARAMS


async def test_nobody_has_the_tasks_of_another() -> None:
    desk = TaskDesk()
    async with (
        desk.app,
        connected(as_principal(desk, "ada")) as ada,
        connected(as_principal(desk, "bob")) as bob,
    ):
        task = await ada.begin("slow")
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            with pytest.raises(MCPError, match="there is no run") as raised:
                await bob.request(method, taskId=task["taskId"])
            assert raised.value.code == INVALID_PARAMS
        assert (await bob.request("tasks/list"))["tasks"] == []
        assert [listed["taskId"] for listed in (await ada.request("tasks/list"))["tasks"]] == [task["taskId"]]
        await anyio.wait_all_tasks_blocked()
        assert desk.ended == []
        desk.gate.set()
        assert (await ada.result(task["taskId"]))["isError"] is False


async def test_tasks_are_listed_page_by_page() -> None:
    desk = TaskDesk()
    desk.gate.set()
    async with desk.app, connected(as_principal(desk, "ada")) as peer:
        begun = {(await peer.begin("slow"))["taskId"] for _ in range(60)}
        first = await peer.request("tasks/list")
        second = await peer.request("tasks/list", cursor=first["nextCursor"])
        with pytest.raises(MCPError) as raised:
            await peer.request("tasks/list", cursor="nonsense")

    assert {task["taskId"] for page in (first, second) for task in page["tasks"]} == begun
    assert "nextCursor" not in second
    assert raised.value.code == INVALID_PARAMS


async def test_the_anonymous_are_shown_no_list() -> None:
    async with served() as (peer, desk):
        desk.gate.set()
        await peer.begin("slow")
        assert (await peer.request("tasks/list"))["tasks"] == []


# ---- questions


async def test_a_question_is_put_to_who_waits_for_the_result() -> None:
    async with served({"answer": True}) as (peer, _):
        task = await peer.begin("keep")
        waiting = await peer.until(task["taskId"], "input_required")
        result = await peer.result(task["taskId"])
        completed = await peer.task(task["taskId"])

    assert waiting["statusMessage"] == "Keep the outliers?"
    assert [form["message"] for form in peer.asked] == ["Keep the outliers?"]
    assert peer.asked[0]["_meta"][RELATED] == {"taskId": task["taskId"]}
    assert result["structuredContent"] == {"result": "kept"}
    assert completed["status"] == "completed"


async def test_a_wrong_answer_is_asked_for_again() -> None:
    async with served({"answer": "perhaps"}, {"answer": False}) as (peer, _):
        result = await peer.result((await peer.begin("keep"))["taskId"])

    assert "perhaps" in peer.asked[1]["message"]
    assert result["structuredContent"] == {"result": "dropped"}


async def test_a_question_that_is_declined_cancels_the_task() -> None:
    async with served("decline") as (peer, _):
        task = await peer.begin("keep")
        result = await peer.result(task["taskId"])
        cancelled = await peer.task(task["taskId"])

    assert (result["isError"], result["structuredContent"]["code"]) == (True, "cancelled")
    assert cancelled["status"] == "cancelled"


async def answer_elsewhere(desk: TaskDesk, run_id: str, given: Any) -> None:
    caller = Caller(channel="inprocess", principal=APPLICATION)
    request = Request(operation="runs.answer", arguments={"run_id": run_id, "answer": given}, caller=caller)
    assert (await desk.app.dispatch(request)).error is None


@pytest.mark.parametrize(("tool", "elicits", "given"), [("keep", False, True), ("log_in", True, "hunter2")])
async def test_a_task_whose_client_can_not_be_asked_says_so_and_is_answered_elsewhere(
    tool: str, elicits: bool, given: Any
) -> None:
    async with served(elicits=elicits) as (peer, desk):
        task = await peer.begin(tool)
        await peer.until(task["taskId"], "input_required")
        with pytest.raises(MCPError, match=r"answer by runs\.answer on another channel") as raised:
            await peer.result(task["taskId"])
        await answer_elsewhere(desk, task["taskId"], given)
        result = await peer.result(task["taskId"])

    assert raised.value.code == INTERNAL_ERROR
    assert peer.asked == []
    assert result["isError"] is False


async def test_the_result_of_a_run_that_another_process_carries_is_waited_for() -> None:
    store, clock = MemoryRunStore(), FakeClock()
    carrier, other = (TaskDesk(clock=clock, run_store=store) for _ in range(2))
    results: list[Any] = []
    async with (
        carrier.app,
        other.app,
        connected(server(carrier.app)) as here,
        connected(server(other.app)) as there,
        anyio.create_task_group() as tasks,
    ):
        task = await here.begin("slow")

        async def wait() -> None:
            results.append(await there.result(task["taskId"]))

        tasks.start_soon(wait)
        await clock.advance(2)
        with pytest.raises(MCPError, match="another process carries it") as raised:
            await there.request("tasks/cancel", taskId=task["taskId"])
        assert results == []
        carrier.gate.set()
        await here.result(task["taskId"])
        await clock.advance(2)

    assert raised.value.code == INTERNAL_ERROR
    assert results[0]["structuredContent"] == {"text": "done"}


# ---- the end of the server, and the official client


async def test_a_server_that_stops_begins_no_tasks_and_gives_the_results_of_those_that_are_there() -> None:
    async with served() as (peer, desk):
        task = await peer.begin("slow")
        desk.app.stop_accepting()
        with pytest.raises(MCPError, match="stopping") as raised:
            await peer.begin("slow")
        assert (await peer.task(task["taskId"]))["status"] == "working"
        desk.gate.set()
        assert (await peer.result(task["taskId"]))["isError"] is False

    assert raised.value.code == INTERNAL_ERROR


async def test_who_waits_for_a_task_that_the_end_of_the_server_cuts_off_is_told() -> None:
    desk = TaskDesk(shutdown_grace=0.05)
    results: list[Any] = []

    async def wait(peer: Peer, task_id: str) -> None:
        results.append(await peer.result(task_id))

    async with connected(server(desk.app)) as peer, anyio.create_task_group() as tasks, desk.app:
        tasks.start_soon(wait, peer, (await peer.begin("slow"))["taskId"])
        await anyio.wait_all_tasks_blocked()

    assert results[0]["structuredContent"]["code"] == "unavailable"
    assert "stopped" in results[0]["content"][0]["text"]


async def test_the_official_client_looks_after_a_task() -> None:
    desk = TaskDesk()
    async with desk.app, Client(as_principal(desk, "ada"), mode="legacy") as client:
        session = client.session
        task_id = (await client.call_tool("slow", {})).structured_content["run_id"]
        await anyio.wait_all_tasks_blocked()
        task = await session.send_request(GetTaskRequest(params=GetTaskRequestParams(task_id=task_id)), GetTaskResult)
        listed = await session.send_request(ListTasksRequest(), ListTasksResult)
        request = CancelTaskRequest(params=CancelTaskRequestParams(task_id=task_id))
        cancelled = await session.send_request(request, CancelTaskResult)

    assert (task.status, cancelled.status) == ("working", "cancelled")
    assert [one.task_id for one in listed.tasks] == [task_id]
