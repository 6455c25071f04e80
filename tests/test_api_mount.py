"""The ASGI application's life, and its way into an application that is there already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nexus import Nexus, Run, create_nexus
from nexus.abc import Channel
from nexus.config import NexusConfig
from nexus.exceptions import AdapterError, ConfigurationError, UnavailableError
from nexus.models import Principal
from nexus_starlette import asgi, mount

pytestmark = pytest.mark.anyio


def desk(**channels: Any) -> Nexus:
    app = create_nexus(NexusConfig(title="Desk").merge(channels=channels))

    @app.workflow
    async def who(run: Run) -> str:
        return run.principal.id

    @app.workflow
    async def ask(run: Run) -> bool:
        return await run.ask("Sure?", bool)

    return app


@asynccontextmanager
async def living(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an ASGI application with its lifespan, as a server does: in one task from the first to the last."""
    to_app, from_server = anyio.create_memory_object_stream[Any](2)
    to_server, from_app = anyio.create_memory_object_stream[Any](2)
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    with to_app, from_server, to_server, from_app:
        async with anyio.create_task_group() as group:
            group.start_soon(application, scope, from_server.receive, to_server.send)
            await to_app.send({"type": "lifespan.startup"})
            assert await from_app.receive() == {"type": "lifespan.startup.complete"}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://host") as client:
                yield client
            await to_app.send({"type": "lifespan.shutdown"})
            assert await from_app.receive() == {"type": "lifespan.shutdown.complete"}


class Broken(Channel):
    name = "broken"

    def __init__(self, gateway: Any, config: Any) -> None: ...

    async def start(self, exit_stack: AsyncExitStack) -> None:
        raise UnavailableError("the cable is cut")


class BrokenAtTheEnd(Broken):
    async def start(self, exit_stack: AsyncExitStack) -> None:
        exit_stack.callback(self.fail)

    def fail(self) -> None:
        raise LookupError("the cable is lost")


async def lifespan_of(application: Any) -> list[Any]:
    """Run the lifespan of an application that fails in it, and return what it said."""
    said: list[Any] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    with pytest.raises((UnavailableError, ExceptionGroup)):
        await application({"type": "lifespan"}, receive, send)
    return said


async def test_the_lifespan_starts_and_stops_the_application() -> None:
    app = desk()
    async with living(asgi(app)) as client:
        assert app.ready
        response = await client.post("/api/workflows/who/execute")
    assert response.json()["data"]["results"] == "anonymous"
    assert not app.ready


async def test_an_application_that_cannot_start_says_why() -> None:
    app = desk()
    app.add_channel(Broken)
    assert await lifespan_of(asgi(app)) == [{"type": "lifespan.startup.failed", "message": "the cable is cut"}]
    assert not app.ready


async def test_an_application_that_cannot_stop_says_where() -> None:
    app = desk()
    app.add_channel(BrokenAtTheEnd)
    started, stopped = await lifespan_of(asgi(app))
    assert started == {"type": "lifespan.startup.complete"}
    assert stopped["type"] == "lifespan.shutdown.failed"
    assert "LookupError: the cable is lost" in stopped["message"]


async def test_a_web_socket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await asgi(desk())({"type": "websocket", "path": "/ws"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_an_api_that_is_switched_off_is_not_served() -> None:
    with pytest.raises(ConfigurationError):
        asgi(desk(api={"enabled": False}, mcp={"enabled": False}))


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


def without_mcp(error: AdapterError) -> Callable[[Nexus, str], Channel]:
    """Return what finds channels where the one of MCP can't be loaded."""
    found = Nexus.channel

    def channel(app: Nexus, name: str) -> Channel:
        if name == "mcp":
            raise error
        return found(app, name)

    return channel


async def test_an_application_is_served_without_mcp_where_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    error = AdapterError("adapter 'channel.mcp' needs 'mcp'")
    error.__cause__ = ModuleNotFoundError("mcp")
    monkeypatch.setattr(Nexus, "channel", without_mcp(error))
    app = desk()
    assert [type(face).__name__ for face in asgi(app).faces] == ["ApiChannel"]


async def test_an_adapter_for_mcp_that_is_broken_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nexus, "channel", without_mcp(AdapterError("it is there twice")))
    with pytest.raises(AdapterError, match="twice"):
        asgi(desk())


async def test_an_application_is_mounted_in_a_host_without_a_lifespan() -> None:
    app = desk()
    host = Starlette(routes=[Route("/", home)])
    mount(host, app, at="/nexus")
    async with living(host) as client:
        ready = app.ready
        own = await client.get("/")
        asked = await client.post("/nexus/api/workflows/ask/execute")
        found = await client.get(asked.headers["location"])
        outside = await client.get("/api/workflows")
    assert ready
    assert own.text == "home"
    assert asked.headers["location"].startswith("/nexus/api/runs/")
    assert found.json()["data"]["status"] == "waiting"
    assert outside.status_code == 404
    assert not app.ready


async def test_a_host_with_a_lifespan_keeps_it_around_that_of_the_application() -> None:
    app = desk()
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(_host: Starlette) -> AsyncIterator[dict[str, str]]:
        seen.append(app.ready)
        yield {"pool": "open"}
        seen.append(app.ready)

    async def pool(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.pool)

    host = Starlette(routes=[Route("/pool", pool)], lifespan=lifespan)
    mount(host, app)
    state: dict[str, str] = {}

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await host({**scope, "state": state}, receive, send)

    async with living(with_state) as client:
        seen.append(app.ready)
        response = await client.get("/pool")
    assert response.text == "open"
    assert seen == [False, True, False]


async def test_the_hosts_root_answers_probes_unless_the_host_does() -> None:
    host = Starlette(routes=[Route("/health/live", home)])
    mount(host, desk())
    async with living(host) as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
        below = await client.get("/nexus/health/live")
    assert live.text == "home"
    assert ready.json()["data"] == below.json()["data"] == {"status": "ok"}


async def test_a_host_that_knows_its_caller_says_so() -> None:
    class Verified:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "nexus.principal": Principal(id="ada")}, receive, send)

    host = Starlette(middleware=[Middleware(Verified)])
    mount(host, desk())
    async with living(host) as client:
        response = await client.post("/nexus/api/workflows/who/execute", headers={"Authorization": "Basic dTpw"})
    assert response.json()["data"]["results"] == "ada"


async def test_a_middleware_of_the_host_that_wraps_requests_does_no_harm() -> None:
    async def stamp(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-stamp"] = "seen"
        return response

    host = Starlette(middleware=[Middleware(BaseHTTPMiddleware, dispatch=stamp)])
    mount(host, desk())
    async with living(host) as client:
        response = await client.post("/nexus/api/workflows/who/execute")
    assert (response.status_code, response.headers["x-stamp"]) == (200, "seen")
