"""Serves an application with uvicorn, and stops it as a service manager expects."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Final

import anyio
import attrs
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexus import Nexus
from nexus.exceptions import ConfigurationError, NexusError, PermissionDeniedError, UnavailableError
from nexus_starlette import render
from nexus_starlette.application import asgi

__all__ = ["listen", "serve"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
BACKLOG: Final = 2048
LAST_WORDS_S: Final = 1
"""What is left for replies to be sent when the application has stopped."""
SIGNALLED: Final = 128
"""Added to a signal's number: the exit status of what a signal ended, as shells have it."""


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals alone: it would raise them again at its end, which ends the process with 143."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


@attrs.define(eq=False)
class _Calls:
    """
    Passes requests on, and knows when no call is in flight. A `GET` may be an open stream, which is not waited for.

    Attributes:
        local_names: The hosts that a request may name, where it listens on loopback: a page in a browser can let a name of its
            own point there (DNS rebinding).
    """

    app: Nexus
    application: ASGIApp
    local_names: frozenset[str] | None
    _in_flight: int = attrs.field(default=0, init=False)
    _ended: asyncio.Event | None = attrs.field(default=None, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.local_names is not None and _host_of(scope) not in self.local_names:
            error = PermissionDeniedError("the Host header names another place; add the name to channels.api.allowed_hosts")
            await self._refuse(send, error)
            return
        if scope["method"] != "POST":
            await self.application(scope, receive, send)
            return
        self._in_flight += 1
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.application(scope, receive, note)
        except asyncio.CancelledError:
            # The grace is over. A `def` step could not be stopped, and its caller has waited until it returned.
            if started or self.app.ready:
                raise
            await self._refuse(send, UnavailableError("the application stopped before the run ended"))
        finally:
            self._in_flight -= 1
            if self._ended is not None:
                self._ended.set()

    async def _refuse(self, send: Send, error: NexusError) -> None:
        answer = render.failed(uuid.uuid4().hex, error)
        body = self.app.encode(render.envelope(answer, now=self.app.clock.now(), version=self.app.version))
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def until_none(self) -> None:
        while self._in_flight:
            self._ended = asyncio.Event()
            await self._ended.wait()


@attrs.define(eq=False)
class _Service:
    """The life of an application with a server: the server listens first to last, the application stops before it."""

    app: Nexus
    calls: _Calls
    server: _Server
    listener: socket.socket
    _scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, init=False)
    _stop: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _signals: list[int] = attrs.field(factory=list, init=False)

    async def run(self) -> int:
        """Return the exit status."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            try:
                with self._scope, _handled(self._on_signal):
                    await self._live(group)
            except Exception as error:  # noqa: BLE001 - raised below: out of here it would be in an ExceptionGroup
                failure = error
            self.server.should_exit = True
            self.server.force_exit = len(self._signals) > 1
        if failure is not None:
            raise failure
        return SIGNALLED + self._signals[-1] if len(self._signals) > 1 else 0

    async def _live(self, group: anyio.abc.TaskGroup) -> None:
        async with self.app:
            group.start_soon(self.server.serve, [self.listener])
            await self._stop.wait()
            self.app.stop_accepting()
            self._scope.deadline = anyio.current_time() + self.app.config.shutdown_grace.total_seconds()
            await self.calls.until_none()

    def _on_signal(self, number: int) -> None:
        self._signals.append(number)
        self._stop.set()
        if len(self._signals) > 1 or not self.app.started:
            self._scope.cancel()


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
    with listen(settings.host if host is None else host, settings.port if port is None else port) as listener:
        calls = _Calls(app, asgi(app), _local_names(listener, (settings.host, *settings.allowed_hosts)))
        config = uvicorn.Config(
            calls,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Which proxies may say who the caller is, the guards decide.
            proxy_headers=False,
            timeout_graceful_shutdown=LAST_WORDS_S,
            ws="none",
        )

        async def run() -> int:
            server = _Server(config, lambda: _say(f"{app.title} listens on {_address(listener)}"))
            return await _Service(app, calls, server, listener).run()

        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            return runner.run(run())


def listen(host: str, port: int) -> socket.socket:
    """
    Listen on an address.

    Raises:
        ConfigurationError: Nothing can listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"can't listen on {host}, port {port}: {error.strerror}; use another host or port") from error
    # Head and body of a reply are two writes: with Nagle's algorithm the second would wait for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _local_names(listener: socket.socket, more: Sequence[str]) -> frozenset[str] | None:
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", *(f"[{name}]" if ":" in name else name.lower() for name in more)})


def _host_of(scope: Scope) -> str:
    """Return the host that the request names, without its port."""
    host: str = next((value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"), "")
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


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

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_signal, number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
