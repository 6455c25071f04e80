"""Servers on this machine for those who call them: of an application, or of anything that speaks ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.from_thread
import uvicorn

from nexus import Nexus
from nexus_starlette import asgi
from tests.test_api_http import Server


@asynccontextmanager
async def listening_to(application: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port, and give the address."""
    config = uvicorn.Config(application, port=0, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        with anyio.fail_after(5):
            await server.listening.wait()
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            for each in server.servers:
                each.close()
            # All clients have gone; to wait for it as a server does that must not drop any takes a while.
            group.cancel_scope.cancel()


@contextmanager
def served(app: Nexus, *, around: Callable[[Any], Any] = lambda application: application) -> Iterator[str]:
    """
    Serve an application from a thread of its own, and give the address.

    Args:
        app: Not started.
        around: Returns what is served of its ASGI application.
    """

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        application = around(asgi(app))
        async with app, listening_to(application) as url:
            yield url

    with anyio.from_thread.start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(serving()) as url:
        yield url


@contextmanager
def answering(application: Any) -> Iterator[str]:
    """Serve something else than an application from a thread of its own, and give the address."""
    with (
        anyio.from_thread.start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(listening_to(application)) as url,
    ):
        yield url
