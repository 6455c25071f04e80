"""Serves an application with uvicorn, and stops it as a service manager expects."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any, Final

import anyio
import uvicorn

from nexus import Nexus
from nexus.exceptions import ConfigurationError
from nexus_starlette.application import Application, asgi

__all__ = ["serve"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
BACKLOG: Final = 2048
LAST_MOMENT_S: Final = 0.1
"""What uvicorn gets to close connections when the grace period is over."""
SIGNALLED: Final = 128
"""Added to a signal's number: the exit status of what a signal ended, as shells have it."""


class _Server(uvicorn.Server):
    """
    A uvicorn server that goes on listening while requests in flight are finished, so that `/health/ready` can say so.

    Signals are its caller's business: uvicorn raises them again when it is done, which would end the process with 143.
    """

    def __init__(self, config: uvicorn.Config, app: Nexus, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._announce = announce
        self._in_flight: set[asyncio.Task[None]] | None = None
        self._deadline = 0.0

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    def drain(self) -> None:
        """Begin to stop: accept no work, finish what there is."""
        self._app.stop_accepting()
        self._in_flight = set(self.server_state.tasks)
        self._deadline = anyio.current_time() + self._app.config.shutdown_grace.total_seconds()

    async def on_tick(self, counter: int) -> bool:
        await super().on_tick(counter)
        if self._in_flight is None:
            return False
        left = self._deadline - anyio.current_time()
        self.config.timeout_graceful_shutdown = max(left, LAST_MOMENT_S)  # type: ignore[assignment]  # any number of seconds will do
        return left <= 0 or all(task.done() for task in self._in_flight)


def serve(app: Nexus, *, host: str | None = None, port: int | None = None) -> int:
    """
    Serve an application until a signal, and return the exit status.

    SIGINT or SIGTERM turns `/health/ready` to 503 and refuses new runs; what is in flight has `shutdown_grace` to end, and the
    status is 0. Another signal after that cancels what is left; the status is then 128 and the signal's number. A line on
    stderr says where it listens as soon as it does.

    Args:
        app: The application, not started.
        host: The address to listen on; by default `channels.api.host`.
        port: The TCP port, 0 for any free one; by default `channels.api.port`.

    Raises:
        ConfigurationError: Nothing can listen there.
        NexusError: The application can't be started.
    """
    settings = app.config.channels.api
    application = asgi(app)
    with _listen(settings.host if host is None else host, settings.port if port is None else port) as listener:
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Which proxies may say who the caller is, the guards decide.
            proxy_headers=False,
            ws="none",
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            return runner.run(_serve(application, config, listener))


async def _serve(application: Application, config: uvicorn.Config, listener: socket.socket) -> int:
    app = application.app
    server = _Server(config, app, lambda: _say(f"{app.title} listens on {_address(listener)}"))
    received: list[int] = []
    with anyio.CancelScope() as scope:

        def on_signal(number: int) -> None:
            received.append(number)
            if len(received) > 1 or not server.started:
                scope.cancel()
            else:
                server.drain()

        with _handled(on_signal):
            async with app:
                await server.serve([listener])
    return SIGNALLED + received[-1] if len(received) > 1 else 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"can't listen on {host}, port {port}: {error.strerror}; use another host or port") from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def _handled(on_signal: Callable[[int], None]) -> Iterator[None]:
    """Call back on the loop for each signal; in another thread than the main one there are none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: FrameType | None) -> Any:
        loop.call_soon_threadsafe(on_signal, number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
