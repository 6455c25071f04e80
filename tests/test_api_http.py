"""The API over real connections: two clients at once, clients that leave, bodies that are too long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
import uvicorn

from nexus import Nexus, Run, create_nexus
from nexus.config import NexusConfig
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn is asyncio only."""
    return "asyncio"


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def listening(app: Nexus) -> AsyncIterator[int]:
    """Serve the application on a free port, and give the port."""
    config = uvicorn.Config(asgi(app), port=0, lifespan="off", log_config=None, ws="none")
    server = Server(config)
    async with app, anyio.create_task_group() as group:
        group.start_soon(server.serve)
        with anyio.fail_after(5):
            await server.listening.wait()
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True


def desk(**settings: Any) -> Nexus:
    return create_nexus(NexusConfig(title="Desk", **settings))


async def post(port: int, workflow: str, body: bytes = b"", *headers: str) -> anyio.abc.SocketStream:
    """Send a request, and give the connection on which the answer will come."""
    stream = await anyio.connect_tcp("127.0.0.1", port)
    lines = [f"POST /api/workflows/{workflow}/execute HTTP/1.1", "Host: x", "Content-Type: application/json", *headers, "", ""]
    await stream.send("\r\n".join(lines).encode() + body)
    return stream


async def rest_of(stream: anyio.abc.SocketStream) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    with anyio.fail_after(5):
        try:
            while True:
                received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return received


async def test_two_clients_are_served_at_once() -> None:
    app = desk()
    arrived: list[str] = []
    all_there = anyio.Event()

    @app.workflow
    async def meet(name: str) -> str:
        arrived.append(name)
        if len(arrived) == 2:
            all_there.set()
        await all_there.wait()
        return name

    results: list[str] = []

    async def call(client: httpx.AsyncClient, name: str) -> None:
        response = await client.post("/api/workflows/meet/execute", json={"inputs": {"name": name}})
        results.append(response.json()["data"]["results"])

    async with listening(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(call, client, "ada")
                group.start_soon(call, client, "bob")
    assert sorted(results) == ["ada", "bob"]


async def test_a_client_that_disconnects_stops_the_work_within_300_ms() -> None:
    app = desk()
    started, stopped = anyio.Event(), anyio.Event()

    @app.workflow
    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with listening(app) as port:
        stream = await post(port, "work", b"", "Content-Length: 0")
        with anyio.fail_after(5):
            await started.wait()
        await stream.aclose()
        with anyio.fail_after(0.3):
            await stopped.wait()


async def test_a_submitted_run_goes_on_when_its_client_disconnects() -> None:
    app = desk()
    started, go_on, ended = anyio.Event(), anyio.Event(), anyio.Event()

    @app.workflow
    async def work() -> None:
        started.set()
        await go_on.wait()
        ended.set()

    async with listening(app) as port:
        stream = await post(port, "work", b"", "Content-Length: 0", "Prefer: respond-async", "Connection: close")
        answer = await rest_of(stream)
        await stream.aclose()
        await started.wait()
        await anyio.sleep(0.3)
        go_on.set()
        with anyio.fail_after(5):
            await ended.wait()
    assert answer.startswith(b"HTTP/1.1 202")


async def test_a_waiting_run_belongs_to_nobodys_connection() -> None:
    app = desk()

    @app.workflow
    async def ask(run: Run) -> bool:
        return await run.ask("Sure?", bool)

    async with listening(app) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            asked = await client.post("/api/workflows/ask/execute")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as another:
            answered = await another.post(f"{asked.headers['location']}/answer", json={"answer": True})
    assert answered.json()["data"]["results"] is True


async def test_a_body_that_is_announced_too_long_is_refused_before_it_comes() -> None:
    async with listening(desk(max_body_bytes=1000)) as port:
        stream = await post(port, "any", b"{", "Content-Length: 1000000000")
        answer = await rest_of(stream)
        await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer
    assert b"connection: close" in answer


async def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked() -> None:
    async with listening(desk(max_body_bytes=1000)) as port:
        stream = await post(port, "any", b"", "Content-Length: 1000000000", "Expect: 100-continue")
        answer = await rest_of(stream)
        await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_of_unknown_length_is_refused_at_the_limit() -> None:
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    async with listening(desk(max_body_bytes=1000)) as port:
        stream = await post(port, "any", chunk * 3, "Transfer-Encoding: chunked")
        answer = await rest_of(stream)
        await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_client_that_sends_too_much_without_listening_can_still_read_why() -> None:
    async with listening(desk(max_body_bytes=1000)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        response = await client.post("/api/workflows/any/execute", json={"inputs": {"x": "y" * 5_000_000}})
        after = await client.get("/health/live")
    assert (response.status_code, after.status_code) == (413, 200)
