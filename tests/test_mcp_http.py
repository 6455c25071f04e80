"""The MCP channel over HTTP: the official client against uvicorn, and the endpoint called as an ASGI application."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest
import uvicorn
from mcp import Client
from mcp.client.session import ClientRequestContext, ElicitationFnT
from mcp_types import ElicitRequestParams, ElicitResult
from starlette.applications import Starlette

import nexus
from nexus.abc import Guard
from nexus.exceptions import RegistrationError, UnauthenticatedError
from nexus.models import Call, Principal
from nexus.testing import FakeClock
from nexus_mcp import McpChannel
from nexus_mcp._exchange import Exchange
from nexus_starlette import mount
from tests.mcp_desk import Desk

pytestmark = pytest.mark.anyio

LEGACY = "legacy"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn and the SDK's streams of events are for asyncio only."""
    return "asyncio"


@pytest.fixture(params=[LEGACY, MODERN])
def mode(request: pytest.FixtureRequest) -> str:
    era: str = request.param
    return era


@asynccontextmanager
async def channel(desk: Desk) -> AsyncIterator[McpChannel]:
    made = desk.app.add_channel(McpChannel)
    assert isinstance(made, McpChannel)
    async with desk.app:
        yield made


@asynccontextmanager
async def served(files_root: Path | None = None, principal: Principal | None = None) -> AsyncIterator[tuple[str, Desk]]:
    """Serve on a free port, as a host that may have verified the caller."""
    desk = Desk.open(files_root)
    async with channel(desk) as endpoint:

        async def host(scope: Any, receive: Any, send: Any) -> None:
            assert endpoint.matches(scope)
            await endpoint(scope if principal is None else {**scope, "nexus.principal": principal}, receive, send)

        config = uvicorn.Config(host, port=0, lifespan="off", log_level="warning", ws="none")
        server = uvicorn.Server(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}/mcp", desk
            server.should_exit = True


def call(tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments or {}, "_meta": {**META, **more}},
    }


def headers(tool: str, **more: str) -> dict[str, str]:
    return {**HEADERS, "mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool, **more}


async def test_a_tool_is_called_over_http(mode: str) -> None:
    async with served() as (url, _), Client(url, mode=mode) as client:
        tools = await client.list_tools()
        result = await client.call_tool("rank", {"airport": "ATL", "place": 2})

    assert "rank" in {tool.name for tool in tools.tools}
    assert result.structured_content == {"airport": "ATL", "place": 2, "delayed": None}


async def test_without_a_mode_the_client_finds_the_newest() -> None:
    async with served() as (url, _), Client(f"{url}/") as client:
        assert client.protocol_version == MODERN
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}


async def test_a_file_outside_is_refused_over_http(mode: str, tmp_path: Path) -> None:
    async with served(tmp_path) as (url, _), Client(url, mode=mode) as client:
        result = await client.call_tool("read", {"file": "../other"})

    assert result.structured_content["code"] == "invalid_argument"


async def test_progress_is_streamed(mode: str) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with served() as (url, _), Client(url, mode=mode) as client:
        result = await client.call_tool("steps", {"count": 3}, progress_callback=hear)

    assert heard == [1, 2, 3]
    assert result.structured_content == {"result": 3}


def answering(*contents: dict[str, Any] | str) -> ElicitationFnT:
    left = list(contents)

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        content = left.pop(0)
        return ElicitResult(action=content) if isinstance(content, str) else ElicitResult(action="accept", content=content)  # type: ignore[arg-type]

    return answer


async def test_a_wrong_answer_then_a_right_one_end_a_run_over_http(mode: str) -> None:
    answers = answering({"answer": "perhaps"}, {"answer": True})
    async with served() as (url, _), Client(url, mode=mode, elicitation_callback=answers) as client:
        result = await client.call_tool("keep", {})

    assert result.structured_content == {"result": "kept"}


async def test_a_declined_question_cancels_the_run_over_http(mode: str) -> None:
    async with served() as (url, _), Client(url, mode=mode, elicitation_callback=answering("decline")) as client:
        result = await client.call_tool("keep", {})

    assert result.structured_content["code"] == "cancelled"


async def test_a_call_that_is_given_up_stops_its_run(mode: str) -> None:
    async with served() as (url, desk), Client(url, mode=mode) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "hang", {})
            await desk.begun.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(0.3):
            await desk.ended.wait()


@attrs.define(eq=False)
class Wire:
    """A bare connection, to go away without a word."""

    stream: anyio.abc.SocketStream
    port: int

    async def post(self, message: Mapping[str, Any], **lines: str) -> None:
        body = json.dumps(message).encode()
        head = {"host": f"127.0.0.1:{self.port}", **HEADERS, **lines, "content-length": str(len(body))}
        start = "POST /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items())
        await self.stream.send(start.encode() + b"\r\n" + body)


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    port = httpx.URL(url).port
    assert port is not None
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Wire(stream, port)


@pytest.mark.parametrize("more", [{}, {"progressToken": "t"}], ids=["document", "stream"])
async def test_a_client_that_hangs_up_stops_its_run(more: dict[str, Any]) -> None:
    async with served() as (url, desk):
        async with wire(url) as connection:
            await connection.post(call("hang", **more), **headers("hang"))
            await desk.begun.wait()
        with anyio.fail_after(0.3):
            await desk.ended.wait()


async def handshake(client: httpx.AsyncClient, url: str) -> str:
    hello = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }
    reply = await client.post(url, json=hello, headers=HEADERS)
    session = reply.headers["mcp-session-id"]
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await client.post(url, json=ready, headers={**HEADERS, "mcp-session-id": session})
    return str(session)


async def test_a_client_of_the_handshake_era_that_hangs_up_stops_its_run() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hang", "arguments": {}}}
    async with served() as (url, desk):
        async with httpx.AsyncClient() as client:
            session = await handshake(client, url)
        async with wire(url) as connection:
            await connection.post(message, **{"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"})
            await desk.begun.wait()
        with anyio.fail_after(0.3):
            await desk.ended.wait()


async def test_the_stream_of_what_concerns_no_request_ends_when_the_application_stops() -> None:
    async with served() as (url, desk), httpx.AsyncClient() as client:
        session = await handshake(client, url)
        listening = {"accept": "text/event-stream", "mcp-session-id": session}
        async with client.stream("GET", url, headers=listening) as stream:
            assert stream.status_code == 200
            desk.app.stop_accepting()
            with anyio.fail_after(2):
                assert await stream.aread() == b""


async def test_the_level_of_messages_is_kept_by_connection() -> None:
    heard: list[str] = []

    async def hear(params: Any) -> None:
        heard.append(params.level)

    async with (
        served() as (url, _),
        Client(url, mode=LEGACY, logging_callback=hear) as quiet,
        Client(url, mode=LEGACY, logging_callback=hear) as loud,
    ):
        with pytest.warns(UserWarning, match="deprecated"):
            await quiet.set_logging_level("error")
        with pytest.warns(UserWarning, match="deprecated"):
            await loud.set_logging_level("debug")
        await quiet.call_tool("steps", {"count": 1})
        assert heard == []
        await loud.call_tool("steps", {"count": 1})

    assert heard == ["info", "debug"]


class Note(Guard):
    """Note who calls, and refuse if told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[Call] = []

    async def check(self, call: Call) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


async def test_a_caller_whom_the_host_has_verified_is_known(mode: str) -> None:
    ada = Principal(id="ada")
    note = Note()
    async with served(principal=ada) as (url, desk), Client(url, mode=mode) as client:
        desk.app.add_guard(note)
        await client.call_tool("add", {"a": 1, "b": 1})

    assert note.calls[0].principal == ada
    assert note.calls[0].request.caller.address == "127.0.0.1"


async def test_a_run_of_a_verified_caller_takes_its_answer(mode: str) -> None:
    ada = Principal(id="ada")
    async with (
        served(principal=ada) as (url, _),
        Client(url, mode=mode, elicitation_callback=answering({"answer": False})) as client,
    ):
        result = await client.call_tool("keep", {})

    assert result.structured_content == {"result": "dropped"}


@asynccontextmanager
async def posting(**settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Desk]]:
    """Call the endpoint as an ASGI application."""
    desk = Desk.open(**settings)
    async with channel(desk) as endpoint:
        transport = httpx.ASGITransport(app=endpoint)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            yield client, desk


async def test_who_is_not_known_is_challenged() -> None:
    async with posting() as (client, desk):
        desk.app.add_guard(Note(UnauthenticatedError("who are you?")))
        reply = await client.post("/mcp", json=call("add"), headers=headers("add"))

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["error"]["data"]["code"] == "unauthenticated"


async def test_who_is_not_known_is_challenged_in_the_handshake_era() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {}}}
    async with served() as (url, desk), httpx.AsyncClient() as client:
        session = await handshake(client, url)
        desk.app.add_guard(Note(UnauthenticatedError("who are you?")))
        reply = await client.post(url, json=message, headers={**HEADERS, "mcp-session-id": session})

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "who are you?" in reply.text


@pytest.mark.parametrize("credential", ["Bearer nonsense", "Basic eDp5"])
async def test_a_bad_credential_is_never_anonymous(credential: str) -> None:
    async with posting() as (client, _):
        reply = await client.post("/mcp", json=call("add", {"a": 1, "b": 1}), headers=headers("add", authorization=credential))

    assert reply.status_code == 401


async def test_a_call_that_asks_for_nothing_else_is_answered_by_one_document() -> None:
    async with posting() as (client, _):
        reply = await client.post("/mcp", json=call("add", {"a": 1, "b": 1}), headers=headers("add"))

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["result"]["structuredContent"] == {"result": 2}


REFUSED = [
    ("not JSON", headers("add"), b"{", 400, "malformed_request"),
    ("not an MCP message", headers("add"), b"[]", 400, "malformed_request"),
    ("wrong content type", headers("add") | {"content-type": "text/plain"}, b"{}", 415, "malformed_request"),
    ("not JSON, handshake era", HEADERS, b"{", 400, "malformed_request"),
    ("wrong accept", headers("add") | {"accept": "text/html"}, b"{}", 406, "malformed_request"),
    ("too long", headers("add"), b"x" * 2001, 413, "payload_too_large"),
    ("too long, handshake era", HEADERS, b"x" * 2001, 413, "payload_too_large"),
    ("another host", headers("add") | {"host": "evil.example"}, b"{}", 421, "permission_denied"),
    ("another origin", headers("add") | {"origin": "https://evil.example"}, b"{}", 403, "permission_denied"),
    ("unknown session", HEADERS | {"mcp-session-id": "none"}, b"{}", 404, "not_found"),
]


@pytest.mark.parametrize(("sent", "body", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_a_message_that_is_no_request_is_refused_and_noted(
    sent: dict[str, str], body: bytes, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    note = Note()
    async with posting(max_body_bytes=2000) as (client, desk):
        desk.app.add_guard(note)
        reply = await client.post("/mcp", content=body, headers=sent)

    assert reply.status_code == status
    assert [call.operation for call in note.calls] == [None]


async def test_a_body_that_is_too_long_is_not_read_to_its_end() -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 100

    async with posting(max_body_bytes=250) as (_, desk):
        status = await Chunks(desk.app.channel("mcp"), body()).send()

    assert status == 413
    assert read == 3


@attrs.define(eq=False)
class Chunks:
    """A request whose body comes in pieces."""

    endpoint: Any
    pieces: AsyncIterator[bytes]

    async def send(self) -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": await anext(self.pieces), "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        lines = [(name.encode(), value.encode()) for name, value in headers("add", host="localhost").items()]
        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": lines, "client": None}
        await self.endpoint(scope, receive, send)
        return int(sent[0]["status"])


@pytest.mark.parametrize(("method", "sent"), [("PUT", HEADERS), ("GET", headers("add")), ("PATCH", HEADERS)])
async def test_a_wrong_method_is_refused_with_those_that_are_allowed(method: str, sent: dict[str, str]) -> None:
    async with posting() as (client, _):
        reply = await client.request(method, "/mcp", headers=sent)

    assert reply.status_code == 405
    assert "POST" in reply.headers["allow"]


async def test_a_channel_that_is_not_started_says_so() -> None:
    desk = Desk.open()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=McpChannel(desk.app, desk.app.config)), base_url="http://localhost"
    ) as client:
        reply = await client.post("/mcp", json={}, headers=HEADERS)

    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


async def test_a_collision_keeps_the_channel_from_starting() -> None:
    desk = Desk.open()

    @nexus.workflow(name="a.b")
    def dotted() -> int:
        return 1

    @nexus.workflow(name="a_b")
    def underlined() -> int:
        return 2

    desk.app.register(dotted, underlined)
    async with AsyncExitStack() as stack:
        with pytest.raises(RegistrationError, match="both be the MCP tool"):
            await McpChannel(desk.app, desk.app.config).start(stack)


async def test_an_error_that_stops_the_application_is_not_wrapped() -> None:
    desk = Desk.open()
    stack = AsyncExitStack()

    async def failing() -> None:
        async with stack:
            await McpChannel(desk.app, desk.app.config).start(stack)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()


async def test_a_channel_can_be_started_again() -> None:
    desk = Desk.open()
    made = McpChannel(desk.app, desk.app.config)
    for _ in range(2):
        async with AsyncExitStack() as stack:
            await made.start(stack)


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/mcp", "", True),
        ("/mcp/", "", True),
        ("/mcp/more", "", False),
        ("/api/mcp", "", False),
        ("/nexus/mcp", "/nexus", True),
        ("/mcp", "/nexus", True),
        ("/nexus/mcp", "", False),
    ],
)
async def test_the_path_below_the_mount_decides(path: str, root: str, expected: bool) -> None:
    desk = Desk.open()

    assert McpChannel(desk.app, desk.app.config).matches({"type": "http", "path": path, "root_path": root}) is expected


async def test_only_http_is_answered() -> None:
    desk = Desk.open()

    assert not McpChannel(desk.app, desk.app.config).matches({"type": "websocket", "path": "/mcp"})


async def test_an_answer_that_is_long_in_coming_becomes_a_stream() -> None:
    clock = FakeClock()
    sent: list[Any] = []
    gone = anyio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    exchange = Exchange(receive=receive, send=send, streams=True)
    async with anyio.create_task_group() as tasks:
        exchange.attend(tasks, clock)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(15)
        await anyio.wait_all_tasks_blocked()
        await exchange.reply({"type": "http.response.start", "status": 200, "headers": []})
        await exchange.reply({"type": "http.response.body", "body": b"{}"})
        exchange.finish()

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body", "http.response.body"]
    assert (b"content-type", b"text/event-stream") in sent[0]["headers"]
    assert [message["body"] for message in sent[1:]] == [b": ping\r\n\r\n", b"event: message\r\ndata: {}\r\n\r\n"]


async def test_the_client_is_watched_once() -> None:
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    exchange = Exchange(receive=receive, send=send)
    async with anyio.create_task_group() as tasks:
        exchange.attend(tasks, FakeClock())
        exchange.attend(tasks, FakeClock())

    assert asked == 1
    assert exchange.scope.cancel_called


async def test_who_stands_between_and_cannot_be_asked_is_left_alone() -> None:
    async def receive() -> Any:
        raise RuntimeError("not twice")

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    exchange = Exchange(receive=receive, send=send)
    async with anyio.create_task_group() as tasks:
        exchange.attend(tasks, FakeClock())

    assert not exchange.scope.cancel_called


async def test_a_ping_that_reaches_nobody_stops_the_run() -> None:
    clock = FakeClock()

    async def send(_message: Any) -> None:
        raise OSError("gone")

    async def receive() -> Any:
        await anyio.sleep_forever()

    exchange = Exchange(receive=receive, send=send, streams=True)
    async with anyio.create_task_group() as tasks:
        exchange.attend(tasks, clock)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(15)
        await anyio.wait_all_tasks_blocked()
        exchange.finish()

    assert exchange.scope.cancel_called


async def test_the_endpoint_is_below_where_the_application_is_mounted() -> None:
    host = Starlette()
    desk = Desk.open()
    mount(host, desk.app, at="/nexus")
    async with desk.app:
        transport = httpx.ASGITransport(app=host)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            reply = await client.post("/nexus/mcp/", json=call("add", {"a": 1, "b": 1}), headers=headers("add"))

    assert reply.json()["result"]["structuredContent"] == {"result": 2}
