"""Calls an ASGI application as a server would, without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

App = Callable[[Any, Any, Any], Awaitable[None]]


class RefusedError(Exception):
    """The answer was not 200."""


@attrs.define(eq=False)
class _Exchange:
    body: bytes
    status: int = 0
    answer: bytes = b""
    taken: bool = False

    async def receive(self) -> dict[str, Any]:
        if self.taken:  # the caller stays
            await asyncio.get_running_loop().create_future()
        self.taken = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message.get("body", b"")


def post(app: App, path: str, *headers: tuple[bytes, bytes]) -> Callable[[bytes], Awaitable[bytes]]:
    """Return a function that posts a JSON body there and returns the answer's, or raises `RefusedError`."""
    common = [(b"host", b"localhost:8000"), (b"user-agent", b"benchmarks"), (b"content-type", b"application/json"), *headers]
    unchanging = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }

    async def unit(body: bytes) -> bytes:
        exchange = _Exchange(body)
        headers = [*common, (b"content-length", b"%d" % len(body))]
        await app({**unchanging, "headers": headers, "state": {}}, exchange.receive, exchange.send)
        if exchange.status != 200:
            raise RefusedError(f"{exchange.status}: {exchange.answer!r}")
        return exchange.answer

    return unit


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Start the application and stop it, in a task of its own as a server does."""
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

    async def say(event: str) -> None:
        await to_app.put({"type": f"lifespan.{event}"})
        answer = await from_app.get()
        if answer["type"] != f"lifespan.{event}.complete":
            raise RuntimeError(answer.get("message", "the application's lifespan failed"))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_run(app, scope, to_app, from_app))
        await say("startup")
        yield
        await say("shutdown")


async def _run(app: App, scope: Any, to_app: asyncio.Queue[dict[str, Any]], from_app: asyncio.Queue[dict[str, Any]]) -> None:
    await app(scope, to_app.get, from_app.put)
