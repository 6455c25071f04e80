"""Tasks over streamable HTTP, in both eras, against uvicorn."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import httpx
import pytest
import uvicorn
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS

from nexus import Principal
from nexus.abc import Guard
from nexus.clock import SystemClock
from nexus.exceptions import UnauthenticatedError
from nexus.models import Call
from nexus_mcp import McpChannel
from tests.mcp_task_desk import TaskDesk

pytestmark = pytest.mark.anyio

MODERN = "2026-07-28"
IDENTIFIER = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn and the SDK's streams of events are for asyncio only."""
    return "asyncio"


class Doorkeeper(Guard):
    """Let nobody in."""

    async def check(self, call: Call) -> None:
        raise UnauthenticatedError("who are you?")


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, TaskDesk]]:
    """Serve on a free port, as a host that takes callers at their word."""
    desk = TaskDesk(clock=SystemClock())
    endpoint = desk.app.add_channel(McpChannel)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        user = dict(scope["headers"]).get(b"x-user")
        verified = {} if user is None else {"nexus.principal": Principal(id=user.decode())}
        await endpoint({**scope, **verified}, receive, send)  # type: ignore[operator]

    server = uvicorn.Server(uvicorn.Config(host, port=0, lifespan="off", log_level="warning", ws="none"))
    async with desk.app, anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await anyio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp", desk
        desk.gate.set()
        server.should_exit = True


@attrs.define(eq=False)
class Poster:
    """A client of either era that posts what it likes."""

    http: httpx.AsyncClient
    url: str
    user: str = "ada"
    session: str = ""
    extensions: Mapping[str, Any] = attrs.field(factory=lambda: {IDENTIFIER: {}})

    def lines(self, method: str, name: str) -> dict[str, str]:
        era = {"mcp-session-id": self.session} if self.session else {"mcp-protocol-version": MODERN, "mcp-method": method}
        return {**HEADERS, "x-user": self.user, **era, **({"mcp-name": name} if name and not self.session else {})}

    def message(self, method: str, **params: Any) -> dict[str, Any]:
        capabilities = {"extensions": self.extensions, "elicitation": {}}
        prefix = "io.modelcontextprotocol"
        meta = {f"{prefix}/protocolVersion": MODERN, f"{prefix}/clientCapabilities": capabilities}
        more = {} if self.session else {"_meta": meta}
        return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, **more}}

    async def post(self, method: str, *, header: str | None = None, **params: Any) -> httpx.Response:
        named = str(params.get("name", params.get("taskId", ""))) if header is None else header
        return await self.http.post(self.url, json=self.message(method, **params), headers=self.lines(method, named))

    async def ask(self, method: str, **params: Any) -> Any:
        reply = await self.post(method, **params)
        return reply.json() if reply.headers["content-type"].startswith("application/json") else events(reply.text)[-1]

    async def greet(self) -> None:
        """Begin a session of the handshake era."""
        about = {"name": "test", "version": "1"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": about}
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        reply = await self.http.post(self.url, json=message, headers={**HEADERS, "x-user": self.user})
        self.session = reply.headers["mcp-session-id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self.http.post(self.url, json=ready, headers=self.lines("", ""))
        assert events(reply.text)[-1]["result"]["capabilities"]["tasks"].keys() == {"list", "cancel", "requests"}


def events(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data:")) for line in text.splitlines() if line.startswith("data: {")]


@asynccontextmanager
async def handshake(url: str, user: str = "ada") -> AsyncIterator[Poster]:
    async with httpx.AsyncClient(timeout=10) as http:
        poster = Poster(http, url, user)
        await poster.greet()
        yield poster


@asynccontextmanager
async def modern(url: str, user: str = "ada") -> AsyncIterator[Poster]:
    async with httpx.AsyncClient(timeout=10) as http:
        yield Poster(http, url, user)


async def test_a_task_of_the_handshake_era_outlives_the_session_that_began_it() -> None:
    async with served() as (url, desk):
        async with handshake(url) as poster:
            task = (await poster.ask("tools/call", name="slow", arguments={"text": "hello"}, task={}))["result"]["task"]
        async with handshake(url) as poster, handshake(url, "bob") as bob:
            listed = (await poster.ask("tasks/list"))["result"]["tasks"]
            refused = await bob.ask("tasks/result", taskId=task["taskId"])
            desk.gate.set()
            result = (await poster.ask("tasks/result", taskId=task["taskId"]))["result"]

    assert [one["taskId"] for one in listed] == [task["taskId"]]
    assert refused["error"]["code"] == INVALID_PARAMS
    assert result["structuredContent"] == {"text": "hello"}


async def test_a_form_comes_on_the_stream_of_who_waits_for_the_result() -> None:
    async with served() as (url, _), handshake(url) as poster:
        task_id = (await poster.ask("tools/call", name="keep", arguments={}, task={}))["result"]["task"]["taskId"]
        message = poster.message("tasks/result", taskId=task_id)
        seen: list[Any] = []
        async with poster.http.stream("POST", url, json=message, headers=poster.lines("", "")) as stream:
            async for line in stream.aiter_lines():
                seen += events(line)
                if seen and seen[-1].get("method") == "elicitation/create":
                    answer = {"jsonrpc": "2.0", "id": seen[-1]["id"], "result": {"action": "accept", "content": {"answer": True}}}
                    seen.append({})
                    await poster.http.post(url, json=answer, headers=poster.lines("", ""))

    assert seen[0]["params"]["_meta"][RELATED] == {"taskId": task_id}
    assert seen[-1]["result"]["structuredContent"] == {"result": "kept"}


async def test_who_waits_for_the_result_may_hang_up_and_the_run_goes_on() -> None:
    async with served() as (url, desk), handshake(url) as poster:
        task_id = (await poster.ask("tools/call", name="slow", arguments={}, task={}))["result"]["task"]["taskId"]
        with anyio.move_on_after(0.3):
            await poster.ask("tasks/result", taskId=task_id)
        assert (await poster.ask("tasks/get", taskId=task_id))["result"]["status"] == "working"
        desk.gate.set()
        result = (await poster.ask("tasks/result", taskId=task_id))["result"]

    assert desk.ended == ["done"]
    assert result["isError"] is False


async def test_a_task_of_the_extension_is_answered_by_documents() -> None:
    async with served() as (url, _), modern(url) as poster, modern(url, "bob") as bob:
        begun = await poster.post("tools/call", name="keep", arguments={})
        task_id = begun.json()["result"]["taskId"]
        asking = await poster.ask("tasks/get", taskId=task_id)
        refused = await bob.ask("tasks/get", taskId=task_id)
        given = {"keep.1": {"action": "accept", "content": {"answer": True}}}
        acknowledged = await poster.ask("tasks/update", taskId=task_id, inputResponses=given)
        with anyio.fail_after(5):
            task = await poster.ask("tasks/get", taskId=task_id)
            while task["result"]["status"] != "completed":
                task = await poster.ask("tasks/get", taskId=task_id)

    assert begun.headers["content-type"] == "application/json"
    assert begun.json()["result"]["resultType"] == "task"
    assert list(asking["result"]["inputRequests"]) == ["keep.1"]
    assert refused["error"]["code"] == INVALID_PARAMS
    assert acknowledged["result"].keys() == {"resultType", "_meta"}
    assert task["result"]["result"]["structuredContent"] == {"result": "kept"}


@pytest.mark.parametrize("header", ["another", ""], ids=["names another", "is not there"])
async def test_a_header_that_does_not_name_the_task_is_refused(header: str) -> None:
    async with served() as (url, desk), modern(url) as poster:
        desk.gate.set()
        task_id = (await poster.ask("tools/call", name="slow", arguments={}))["result"]["taskId"]
        reply = await poster.post("tasks/get", header=header, taskId=task_id)

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == HEADER_MISMATCH


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
async def test_who_is_not_known_is_challenged(method: str) -> None:
    async with served() as (url, desk), modern(url) as poster, handshake(url) as older:
        desk.app.add_guard(Doorkeeper())
        replies = [await one.post(method, taskId="0" * 32) for one in (poster, older)]

    assert [reply.status_code for reply in replies] == [401, 401]
    assert {reply.headers["www-authenticate"] for reply in replies} == {"Bearer"}
