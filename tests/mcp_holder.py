"""The official client, with as much of the extension `io.modelcontextprotocol/tasks` as the tests need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import anyio
import attrs
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp_types import CallToolResult, GetTaskRequestParams, Request, RequestParams, Result
from pydantic import TypeAdapter

__all__ = ["IDENTIFIER", "Holder", "Tasks"]

IDENTIFIER = "io.modelcontextprotocol/tasks"
ANYTHING: TypeAdapter[Any] = TypeAdapter(dict[str, Any])


class TaskResult(Result):
    """What a call gives that became a task."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None


class TaskRequest(Request[GetTaskRequestParams, str]):
    """`tasks/get`, `tasks/cancel`, and what is there no more."""

    name_param: ClassVar[str | None] = "taskId"


class UpdateParams(RequestParams):
    """The parameters of `tasks/update`."""

    task_id: str
    input_responses: dict[str, Any]


class UpdateRequest(Request[UpdateParams, str]):
    """`tasks/update`."""

    name_param: ClassVar[str | None] = "taskId"


class Tasks(ClientExtension):
    """The client's half of the extension, as far as the tests need it: calls give the task."""

    identifier = IDENTIFIER

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(task: TaskResult, context: ClaimContext) -> CallToolResult:
            raise AssertionError("the tests look after the task themselves")

        return [ResultClaim(result_type="task", model=TaskResult, resolve=resolve)]


@attrs.define(eq=False)
class Holder:
    """A client with its tasks."""

    client: Client

    async def begin(self, tool: str, **arguments: Any) -> TaskResult:
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True)
        assert isinstance(result, TaskResult)
        return result

    async def ask(self, method: str, task_id: str) -> dict[str, Any]:
        request = TaskRequest(method=method, params=GetTaskRequestParams(task_id=task_id))
        reply: dict[str, Any] = await self.client.session.send_request(request, ANYTHING)
        return reply

    async def answer(self, task_id: str, **responses: Any) -> dict[str, Any]:
        params = UpdateParams(task_id=task_id, input_responses=dict(responses))
        request = UpdateRequest(method="tasks/update", params=params)
        reply: dict[str, Any] = await self.client.session.send_request(request, ANYTHING)
        return reply

    async def until(self, task_id: str, *statuses: str) -> dict[str, Any]:
        with anyio.fail_after(5):
            while True:
                task = await self.ask("tasks/get", task_id)
                if task["status"] in statuses:
                    return task
                await anyio.wait_all_tasks_blocked()
