"""One ASGI application out of the channels that answer HTTP, and the way into an application that is there already."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import attrs
from starlette.applications import Starlette
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from nexus import Nexus
from nexus.abc import HttpFace
from nexus.adapters import available
from nexus.exceptions import AdapterError, ConfigurationError, NexusError

__all__ = ["Application", "asgi", "mount"]

OURS: Final = ("api", "mcp")
WELL_KNOWN: Final = ("/health/live", "/health/ready")


@attrs.define(eq=False)
class Application:
    """
    The ASGI application: starts and stops the Nexus application with its lifespan, and finds the channel for each request.

    Attributes:
        app: The Nexus application.
        faces: Its HTTP channels, at least one: the first whose `matches` says so gets a request, else the last.
    """

    app: Nexus
    faces: Sequence[HttpFace]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI scope of any type."""
        if scope["type"] == "http":
            for face in self.faces:
                if face.matches(scope):
                    break
            await face(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        stage = "startup"
        try:
            async with self.app:
                stage = "shutdown"
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{stage}.failed", "message": _reason(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _reason(error: Exception) -> str:
    """Return the text of an error that was made to be read, and of any other where it comes from."""
    return str(error) if isinstance(error, NexusError) else "".join(traceback.format_exception(error))


def asgi(app: Nexus) -> Application:
    """
    Return the ASGI application of an application that has not been started: its lifespan starts and stops it.

    Its channels are those of one's own that answer HTTP, the API and, where its adapter is installed, MCP, unless the
    configuration turns them off. The path of a request says which of them it is for.

    Args:
        app: The application.

    Raises:
        ConfigurationError: There is none: both are turned off, and no other was added.
    """
    settings = app.config.channels
    names = [name for name, enabled in (("mcp", settings.mcp.enabled), ("api", settings.api.enabled)) if enabled]
    own = [cast("HttpFace", channel) for channel in app.channels if channel.name not in OURS and hasattr(channel, "matches")]
    faces = own + [face for face in (_face(app, name) for name in names) if face is not None]
    if not faces:
        raise ConfigurationError("no channel that answers HTTP is turned on; set channels.api.enabled or channels.mcp.enabled")
    return Application(app, faces)


def _face(app: Nexus, name: str) -> HttpFace | None:
    """Return the channel, or None where its extra is not installed."""
    try:
        return cast("HttpFace", app.channel(name))
    except AdapterError as error:
        if name in available("channel") and not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        return None


def mount(host: Starlette, app: Nexus, *, at: str = "/nexus") -> None:
    """
    Put an application into a Starlette or FastAPI host, before the host is started.

    It starts after what the host's lifespan opens and stops before that is closed. `/health/live` and `/health/ready` are put
    at the host's root too, each unless the host has a route for it by now. A middleware of the host that has verified the
    caller puts a `nexus.models.Principal` under `scope["nexus.principal"]`.

    Args:
        host: The application to be a part of.
        app: The application.
        at: The path below which its routes are, without a slash at the end.
    """
    application = asgi(app)
    inner = host.router.lifespan_context

    @asynccontextmanager
    async def joined(served: Any) -> AsyncIterator[Any]:
        async with inner(served) as state, app:
            yield state

    host.router.lifespan_context = joined
    for path in WELL_KNOWN:
        if not _has_route(host, path):
            host.router.routes.append(Route(path, endpoint=application, include_in_schema=False))
    host.mount(at, application)


def _has_route(host: Starlette, path: str) -> bool:
    scope = {"type": "http", "path": path, "root_path": "", "method": "GET", "headers": []}
    return any(route.matches(scope)[0] is not Match.NONE for route in host.router.routes)
