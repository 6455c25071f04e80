"""The official MCP client, connected in memory, in both eras of the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.session import ClientRequestContext, ElicitationFnT
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LOG_LEVEL_META_KEY,
    CallToolResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    GetPromptRequest,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
)

import nexus
from nexus.abc import Guard
from nexus.exceptions import PermissionDeniedError, RegistrationError, UnauthenticatedError
from nexus.models import Call, Scope
from nexus_mcp import META_EXECUTION_TIME, META_REQUEST_ID, META_RUN_ID, META_WORKFLOW_VERSION, server
from tests.mcp_desk import Desk

pytestmark = pytest.mark.anyio

LEGACY = "legacy"
MODERN = "2026-07-28"


@pytest.fixture(params=[LEGACY, MODERN])
def mode(request: pytest.FixtureRequest) -> str:
    era: str = request.param
    return era


@asynccontextmanager
async def connected(mode: str, *, files_root: Path | None = None, **options: Any) -> AsyncIterator[tuple[Client, Desk]]:
    desk = Desk.open(files_root)
    async with desk.app, Client(server(desk.app), mode=mode, **options) as client:
        yield client, desk


def answering(*contents: dict[str, Any] | str, heard: list[ElicitRequestFormParams] | None = None) -> ElicitationFnT:
    """Fill in one form after the other; a string is an action other than accept."""
    left = list(contents)

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        if heard is not None:
            heard.append(params)
        content = left.pop(0)
        return ElicitResult(action=content) if isinstance(content, str) else ElicitResult(action="accept", content=content)  # type: ignore[arg-type]

    return answer


def text_of(result: CallToolResult) -> str:
    content = result.content[0]
    assert content.type == "text"
    return content.text


async def test_workflows_are_tools(mode: str) -> None:
    async with connected(mode) as (client, _):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert list(tools) == ["add", "both", "fail", "hang", "keep", "order", "rank", "read", "refuse", "steps"]
    assert tools["rank"].description == "Rank an airport."
    assert tools["rank"].input_schema["properties"]["place"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
        "default": 1,
        "description": "From the top.",
    }
    assert tools["rank"].input_schema["required"] == ["airport"]
    assert tools["add"].annotations is not None
    assert tools["add"].annotations.read_only_hint
    assert tools["add"].annotations.idempotent_hint


async def test_the_server_says_what_it_is(mode: str) -> None:
    async with connected(mode if mode == LEGACY else "auto") as (client, _):
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("Desk", "3.2.1")
        assert client.instructions == "Airports."


async def test_an_output_is_structured_and_said_by_the_schema(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("rank", {"airport": "ATL"})

    assert not result.is_error
    assert result.structured_content == {"airport": "ATL", "place": 1, "delayed": None}
    assert json.loads(text_of(result)) == result.structured_content


async def test_a_scalar_output_is_wrapped(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("add", {"a": 2, "b": 3})

    assert result.structured_content == {"result": 5}


async def test_no_output_at_all_is_null(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("hang", {"seconds": 0})

    assert result.structured_content == {"result": None}


async def test_a_result_names_its_run(mode: str) -> None:
    async with connected(mode) as (client, desk):
        result = await client.call_tool("add", {"a": 2, "b": 3})
        assert result.meta is not None
        record = (await desk.app.execute_workflow("add", {"a": 1, "b": 1})).run_id

    assert len(result.meta[META_RUN_ID]) == len(record)
    assert result.meta[META_WORKFLOW_VERSION] == "1"
    assert result.meta[META_EXECUTION_TIME] >= 0
    assert result.meta[META_REQUEST_ID]


async def test_all_problems_come_at_once(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("rank", {"place": 99, "more": 1})

    assert result.is_error
    assert result.structured_content["code"] == "invalid_argument"
    assert {problem["pointer"] for problem in result.structured_content["details"]["errors"]} == {"/airport", "/place", "/more"}
    for pointer in ("/airport", "/place", "/more"):
        assert f"{pointer}: " in text_of(result)


async def test_an_unknown_tool_is_refused_with_the_nearest_name(mode: str) -> None:
    async with connected(mode) as (client, _):
        with pytest.raises(MCPError, match="did you mean 'rank'") as raised:
            await client.call_tool("rnak", {})

    assert raised.value.code == INVALID_PARAMS
    assert raised.value.data["code"] == "not_found"


async def test_an_operation_that_does_not_show_on_mcp_is_unknown(mode: str) -> None:
    async with connected(mode) as (client, _):
        for name in ("runs.get", "runs_get"):
            with pytest.raises(MCPError) as raised:
                await client.call_tool(name, {"run_id": "x"})
            assert raised.value.data["code"] == "not_found"


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "link.txt"])
async def test_a_path_that_leaves_the_files_root_opens_no_file(mode: str, tmp_path: Path, path: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    async with connected(mode, files_root=inside) as (client, _):
        result = await client.call_tool("read", {"file": path})

    assert result.is_error
    assert result.structured_content["code"] == "invalid_argument"
    assert result.structured_content["details"]["errors"][0]["pointer"] == "/file"


async def test_a_path_below_the_files_root_is_read(mode: str, tmp_path: Path) -> None:
    (tmp_path / "rain.csv").write_text("10.9")
    async with connected(mode, files_root=tmp_path) as (client, _):
        result = await client.call_tool("read", {"file": "rain.csv"})

    assert result.structured_content == {"result": "10.9"}


async def test_what_a_workflow_raised_is_not_told(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("fail", {})

    assert result.is_error
    assert result.structured_content["code"] == "failed"
    assert "hunter2" not in result.model_dump_json()
    assert "request id" in text_of(result)


async def test_what_a_workflow_chose_to_say_is_a_tool_error(mode: str) -> None:
    async with connected(mode) as (client, _):
        result = await client.call_tool("refuse", {"code": "not_found"})

    assert result.is_error
    assert result.structured_content == {"code": "not_found", "message": "not today", "details": {"day": "Monday"}}


async def test_a_workflow_that_is_registered_later_can_be_called(mode: str) -> None:
    async with connected(mode, cache=None) as (client, desk):
        before = await client.list_tools()

        @desk.app.workflow
        def later() -> int:
            return 7

        after = await client.list_tools()
        result = await client.call_tool("later", {})

    assert "later" not in {tool.name for tool in before.tools}
    assert "later" in {tool.name for tool in after.tools}
    assert result.structured_content == {"result": 7}


async def test_an_older_version_has_its_version_in_its_name(mode: str) -> None:
    async with connected(mode, cache=None) as (client, desk):
        assert (await client.call_tool("add", {"a": 1, "b": 1})).structured_content == {"result": 2}

        @nexus.workflow(name="add", version="2")
        def add_more(a: int, b: int) -> int:
            return a + b + 100

        desk.app.register(add_more)
        newest = await client.call_tool("add", {"a": 1, "b": 1})
        older = await client.call_tool("add.v1", {"a": 1, "b": 1})
        names = {tool.name for tool in (await client.list_tools()).tools}

    assert newest.structured_content == {"result": 102}
    assert older.structured_content == {"result": 2}
    assert {"add", "add.v1"} <= names


async def test_two_workflows_of_one_tool_name_are_an_error_that_names_both(mode: str) -> None:
    async with connected(mode, cache=None) as (client, desk):
        await client.list_tools()

        @nexus.workflow(name="a.b")
        def dotted() -> int:
            return 1

        @nexus.workflow(name="a_b")
        def underlined() -> int:
            return 2

        desk.app.register(dotted, underlined)
        with pytest.raises(MCPError, match=r"a\.b@1 .* and a_b@1 .* both be the MCP tool 'a_b'") as raised:
            await client.list_tools()
        with pytest.raises(MCPError, match="both be the MCP tool"):
            await client.call_tool("a_b", {})
        assert (await client.call_tool("add", {"a": 1, "b": 1})).structured_content == {"result": 2}

    assert raised.value.code == INTERNAL_ERROR
    assert raised.value.data["code"] == RegistrationError.default_code


class Refuse(Guard):
    """Refuse every call in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.seen: list[str | None] = []

    async def check(self, call: Call) -> None:
        self.seen.append(None if call.operation is None else call.operation.name)
        raise self.error


async def test_what_a_guard_refuses_is_a_tool_error(mode: str) -> None:
    async with connected(mode) as (client, desk):
        desk.app.add_guard(Refuse(PermissionDeniedError("not you")))
        result = await client.call_tool("add", {"a": 1, "b": 1})

    assert result.structured_content == {"code": "permission_denied", "message": "not you", "details": {}}


async def test_who_is_not_known_gets_a_json_rpc_error(mode: str) -> None:
    async with connected(mode) as (client, desk):
        desk.app.add_guard(Refuse(UnauthenticatedError("who are you?")))
        with pytest.raises(MCPError, match="who are you") as raised:
            await client.call_tool("add", {"a": 1, "b": 1})

    assert raised.value.code == INVALID_REQUEST
    assert raised.value.data["code"] == "unauthenticated"


async def test_a_fault_of_ours_is_an_internal_error(mode: str) -> None:
    async with connected(mode) as (client, desk):
        desk.app.add_guard(Refuse(ZeroDivisionError("secret")))
        with pytest.raises(MCPError, match="internal error") as raised:
            await client.call_tool("add", {"a": 1, "b": 1})

    assert raised.value.code == INTERNAL_ERROR
    assert "secret" not in str(raised.value.error)


async def test_an_output_that_is_no_json_is_an_internal_error(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(mode) as (client, desk):

        @desk.app.workflow
        def odd() -> Any:
            return object()

        with pytest.raises(MCPError, match="could not be answered") as raised:
            await client.call_tool("odd", {})

    assert raised.value.code == INTERNAL_ERROR
    assert raised.value.data["code"] == "internal"
    assert "tool 'odd'" in caplog.text


async def test_guards_see_a_message_that_is_no_request(mode: str) -> None:
    guard = Refuse(PermissionDeniedError("not you"))
    async with connected(mode) as (client, desk):
        desk.app.add_guard(guard)
        with pytest.raises(MCPError):
            await client.session.send_request(GetPromptRequest(params=GetPromptRequestParams(name="none")), GetPromptResult)

    assert guard.seen == [None]


async def test_progress_is_told_while_the_run_goes_on(mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with connected(mode) as (client, _):
        result = await client.call_tool("steps", {"count": 3}, progress_callback=hear)

    assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert result.structured_content == {"result": 3}


async def test_messages_are_told_to_a_client_that_hears_them(mode: str) -> None:
    heard: list[LoggingMessageNotificationParams] = []

    async def hear(params: LoggingMessageNotificationParams) -> None:
        heard.append(params)

    meta: Any = {LOG_LEVEL_META_KEY: "info"} if mode == MODERN else None
    async with connected(mode, logging_callback=hear) as (client, _):
        if mode == LEGACY:
            with pytest.warns(UserWarning, match="deprecated"):
                await client.set_logging_level("info")
        await client.call_tool("steps", {"count": 2}, meta=meta)

    assert [(message.level, message.logger, message.data) for message in heard] == [
        ("info", "steps", {"message": "done", "step_number": 1}),
        ("info", "steps", {"message": "done", "step_number": 2}),
    ]


async def test_messages_are_not_told_to_a_client_that_did_not_ask() -> None:
    heard: list[LoggingMessageNotificationParams] = []

    async def hear(params: LoggingMessageNotificationParams) -> None:
        heard.append(params)

    async with connected(MODERN, logging_callback=hear) as (client, _):
        await client.call_tool("steps", {"count": 1})

    assert heard == []


async def test_a_question_is_a_form(mode: str) -> None:
    heard: list[ElicitRequestFormParams] = []
    async with connected(mode, elicitation_callback=answering({"answer": True}, heard=heard)) as (client, _):
        result = await client.call_tool("keep", {})

    assert result.structured_content == {"result": "kept"}
    assert [form.message for form in heard] == ["Keep the outliers?"]
    assert heard[0].requested_schema == {"type": "object", "properties": {"answer": {"type": "boolean"}}, "required": ["answer"]}


async def test_a_wrong_answer_is_asked_for_again(mode: str) -> None:
    heard: list[ElicitRequestFormParams] = []
    answers = answering({"answer": "perhaps"}, {"answer": False}, heard=heard)
    async with connected(mode, elicitation_callback=answers) as (client, _):
        result = await client.call_tool("keep", {})

    assert result.structured_content == {"result": "dropped"}
    assert heard[1].message.startswith("Keep the outliers?\n\nThe last answer was not taken: ")
    assert "perhaps" in heard[1].message


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_question_that_is_declined_cancels_the_run(mode: str, action: str) -> None:
    async with connected(mode, elicitation_callback=answering(action)) as (client, _):
        result = await client.call_tool("keep", {})

    assert result.is_error
    assert result.structured_content["code"] == "cancelled"
    assert "declined" in text_of(result)


async def test_a_flat_class_is_asked_for_by_its_fields(mode: str) -> None:
    heard: list[ElicitRequestFormParams] = []
    answers = answering({"size": "small", "count": 4}, heard=heard)
    async with connected(mode, elicitation_callback=answers) as (client, _):
        result = await client.call_tool("order", {})

    assert result.structured_content == {"size": "small", "count": 4}
    assert heard[0].requested_schema["properties"]["size"] == {"type": "string", "enum": ["small", "large"], "default": "large"}
    assert heard[0].requested_schema["properties"]["count"]["default"] == 2


async def test_two_steps_may_ask_side_by_side(mode: str) -> None:
    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"answer": 12 if "rows" in params.message else "m"})

    async with connected(mode, elicitation_callback=answer) as (client, _):
        result = await client.call_tool("both", {})

    assert result.structured_content == {"rows": 12, "size": "m"}


async def test_without_elicitation_nobody_can_answer(mode: str) -> None:
    async with connected(mode) as (client, _):
        asked = await client.call_tool("keep", {})
        with_default = await client.call_tool("order", {})

    assert asked.structured_content["code"] == "unavailable"
    assert "default=" in text_of(asked)
    assert with_default.structured_content == {"size": "large", "count": 2}


async def test_a_client_that_fails_to_ask_makes_the_question_unavailable() -> None:
    async def fail(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        raise MCPError(INTERNAL_ERROR, "no screen")

    async with connected(LEGACY, elicitation_callback=fail) as (client, _):
        result = await client.call_tool("keep", {})

    assert result.structured_content["code"] == "unavailable"


async def keep_first_round(client: Client) -> InputRequiredResult:
    first = await client.session.call_tool("keep", {}, allow_input_required=True)
    assert isinstance(first, InputRequiredResult)
    assert first.request_state is not None
    return first


async def again(client: Client, name: str, first: InputRequiredResult, **responses: Any) -> Any:
    return await client.session.call_tool(
        name, {}, input_responses=responses or None, request_state=first.request_state, allow_input_required=True
    )


async def test_the_state_of_a_question_does_not_show_the_run() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, desk):
        first = await keep_first_round(client)
        runs = await desk.app.executor.runs.list(Scope.ALL, where={}, after=None, limit=10)

    assert first.input_requests is not None
    assert list(first.input_requests) == ["keep.1"]
    assert runs.items[0].id not in str(first.request_state)


async def test_a_retry_without_answers_asks_again() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, _):
        first = await keep_first_round(client)
        second = await again(client, "keep", first)
        result = await again(client, "keep", second, **{"keep.1": ElicitResult(action="accept", content={"answer": True})})

    assert isinstance(second, InputRequiredResult)
    assert result.structured_content == {"result": "kept"}


async def test_an_answer_of_another_kind_is_asked_for_again() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, _):
        first = await keep_first_round(client)
        second = await again(client, "keep", first, **{"keep.1": ListRootsResult(roots=[])})

    assert isinstance(second, InputRequiredResult)
    assert second.input_requests is not None
    assert "expected the result of an elicitation" in second.input_requests["keep.1"].params.message  # type: ignore[union-attr]


async def test_a_run_that_has_ended_gives_its_result_again() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, _):
        first = await keep_first_round(client)
        yes = ElicitResult(action="accept", content={"answer": True})
        results = [await again(client, "keep", first, **{"keep.1": yes}) for _ in range(2)]

    assert [result.structured_content for result in results] == [{"result": "kept"}] * 2


async def test_state_that_was_not_sealed_here_is_refused() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, _):
        first = await keep_first_round(client)
        with pytest.raises(MCPError, match="requestState"):
            await again(client, "order", first)


async def test_one_of_two_answers_leaves_the_other_question_open() -> None:
    async with connected(MODERN, elicitation_callback=answering()) as (client, _):
        first = await client.session.call_tool("both", {}, allow_input_required=True)
        assert isinstance(first, InputRequiredResult)
        while isinstance(first, InputRequiredResult) and len(first.input_requests or {}) < 2:
            first = await again(client, "both", first)
        second = await again(client, "both", first, rows=ElicitResult(action="accept", content={"answer": 3}))
        assert isinstance(second, InputRequiredResult)
        result = await again(client, "both", second, size=ElicitResult(action="accept", content={"answer": "s"}))

    assert list(second.input_requests or {}) == ["size"]
    assert result.structured_content == {"rows": 3, "size": "s"}


async def test_a_call_that_is_given_up_cancels_its_run(mode: str) -> None:
    async with connected(mode) as (client, desk), anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "hang", {})
        await desk.begun.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(0.3):
            await desk.ended.wait()
