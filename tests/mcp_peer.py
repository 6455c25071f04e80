"""A client of MCP's handshake era, by hand: the official one has the types of tasks, but refuses a task in place of a result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

__all__ = ["Peer", "connected"]


@attrs.define(eq=False)
class Peer:
    """
    One connection.

    Attributes:
        answers: What forms are filled in with, one after the other; a string is an action other than accept.
        asked: The parameters of each form.
        heard: The notifications.
        hello: What the server said of itself.
    """

    writer: MemoryObjectSendStream[SessionMessage | Exception]
    answers: list[Mapping[str, Any] | str]
    asked: list[Mapping[str, Any]] = attrs.field(factory=list)
    heard: list[Mapping[str, Any]] = attrs.field(factory=list)
    hello: Mapping[str, Any] = attrs.field(factory=dict)
    _replies: dict[int, Mapping[str, Any]] = attrs.field(factory=dict)
    _waiting: dict[int, anyio.Event] = attrs.field(factory=dict)

    async def request(self, method: str, /, **params: Any) -> Any:
        """Ask, and return the result."""
        number = len(self._waiting) + 1
        replied = self._waiting[number] = anyio.Event()
        await self._send({"id": number, "method": method, "params": params})
        with anyio.fail_after(10):
            await replied.wait()
        reply = self._replies.pop(number)
        if "error" in reply:
            raise MCPError(reply["error"]["code"], reply["error"]["message"], reply["error"].get("data"))
        return reply["result"]

    async def begin(self, tool: str, *, _meta: Mapping[str, Any] | None = None, ttl: int = 60_000, **arguments: Any) -> Any:
        """Call a tool as a task, and return that."""
        meta = {} if _meta is None else {"_meta": _meta}
        result = await self.request("tools/call", name=tool, arguments=arguments, task={"ttl": ttl}, **meta)
        return result["task"]

    async def task(self, task_id: str) -> Any:
        """Return the task as it is."""
        return await self.request("tasks/get", taskId=task_id)

    async def result(self, task_id: str, **more: Any) -> Any:
        """Wait for the task's result."""
        return await self.request("tasks/result", taskId=task_id, **more)

    async def until(self, task_id: str, status: str) -> Any:
        """Return the task as soon as it has that status."""
        with anyio.fail_after(5):
            while True:
                task = await self.task(task_id)
                if task["status"] == status:
                    return task
                await anyio.wait_all_tasks_blocked()

    async def greet(self, version: str, capabilities: Mapping[str, Any]) -> None:
        about = {"name": "peer", "version": "1"}
        self.hello = await self.request("initialize", protocolVersion=version, capabilities=dict(capabilities), clientInfo=about)
        await self._send({"method": "notifications/initialized"})

    async def read(self, reader: MemoryObjectReceiveStream[SessionMessage | Exception]) -> None:
        async for incoming in reader:
            assert isinstance(incoming, SessionMessage)
            message = incoming.message.model_dump(mode="json", by_alias=True, exclude_none=True)
            if "method" not in message:
                self._replies[message["id"]] = message
                self._waiting[message["id"]].set()
            elif "id" in message:
                await self._fill_in(message)
            else:
                self.heard.append(message)

    async def _fill_in(self, message: Mapping[str, Any]) -> None:
        self.asked.append(message["params"])
        given = self.answers.pop(0)
        result = {"action": given} if isinstance(given, str) else {"action": "accept", "content": given}
        await self._send({"id": message["id"], "result": result})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self.writer.send(SessionMessage(jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0", **message})))


@asynccontextmanager
async def connected(
    server: Server[Any], *answers: Mapping[str, Any] | str, version: str = "2025-11-25", elicits: bool = True
) -> AsyncIterator[Peer]:
    """Connect to a server in memory."""
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    peer = Peer(to_server, list(answers))
    async with to_server, from_client, to_client, from_server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, from_client, to_client, server.create_initialization_options())
        tasks.start_soon(peer.read, from_server)
        await peer.greet(version, {"elicitation": {}} if elicits else {})
        yield peer
        tasks.cancel_scope.cancel()
