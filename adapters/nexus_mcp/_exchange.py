"""One HTTP request to the MCP endpoint: what of it the SDK does not see to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import anyio
import anyio.abc
import attrs

from nexus.abc import Clock, Gateway

__all__ = ["EXCHANGE", "Exchange", "Watch"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EXCHANGE: Final = "nexus.mcp.exchange"
"""Where the exchange is in the ASGI scope."""

LOOK_EVERY_S: Final = 0.1
PING_EVERY_S: Final = 15.0
CHALLENGE: Final = (b"www-authenticate", b"Bearer")
STREAM: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """
    One HTTP request and its response.

    The start of a response is kept until its body begins, so that a refusal which a tool's call meets can still become 401.

    Attributes:
        listens: Whether it is a stream of what concerns no request, which stays open, and may stay empty.
        streams: Whether the client takes a stream of events in place of a JSON document.
        understood: Whether the message reached the protocol; else the response's status says why not.
        challenge: Whether the caller has to say who it is.
        calls: The calls in flight that it brought.
        scope: Cancelled when the client has gone.
    """

    receive: Receive
    send: Send
    listens: bool = False
    streams: bool = False
    understood: bool = False
    challenge: bool = False
    status: int = 0
    calls: set[anyio.CancelScope] = attrs.field(factory=set)
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    _attended: anyio.CancelScope | None = attrs.field(default=None, init=False)
    _start: Message | None = attrs.field(default=None, init=False)
    _streaming: anyio.Lock | None = attrs.field(default=None, init=False)
    _answering: bool = attrs.field(default=False, init=False)

    async def reply(self, message: Message) -> None:
        """Take what the SDK sends (ASGI)."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._answering = True
            if not self.listens:
                self._start = message
                return
        elif self._streaming is not None:
            async with self._streaming:
                body = b"event: message\r\ndata: " + message.get("body", b"") + b"\r\n\r\n"
                await self.send({**message, "body": body})
            return
        elif self._start is not None:
            start, self._start = self._start, None
            if self.challenge:
                start = {**start, "status": 401, "headers": [*start.get("headers", ()), CHALLENGE]}
            await self.send(start)
        await self.send(message)

    def finish(self) -> None:
        """End what belongs to the request: it has been answered, or nobody waits for the answer."""
        for call in self.calls:
            call.cancel()
        if self._attended is not None:
            self._attended.cancel()

    async def close(self) -> None:
        """End a stream that was cut off."""
        if self._answering:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    def attend(self, tasks: anyio.abc.TaskGroup, clock: Clock) -> None:
        """Watch for the client to go, and keep the connection in use; once."""
        if self._attended is None and not self.listens:
            self._attended = anyio.CancelScope()
            tasks.start_soon(self._attend, self._attended, clock)

    async def _attend(self, attended: anyio.CancelScope, clock: Clock) -> None:
        with attended:
            async with anyio.create_task_group() as tasks:
                if self.streams:
                    tasks.start_soon(self._ping, clock)
                if await self._has_gone():
                    self.scope.cancel()
                    tasks.cancel_scope.cancel()

    async def _has_gone(self) -> bool:
        """Wait for what the client says last."""
        try:
            message = await self.receive()
        except Exception:  # noqa: BLE001 - whatever stands between may not like to be asked, and the others are still watched
            return False
        return bool(message["type"] == "http.disconnect")

    async def _ping(self, clock: Clock) -> None:
        """Become a stream when the answer is long in coming, as the SDK does: a proxy would close a silent connection."""
        await clock.sleep(PING_EVERY_S)
        if self._answering:
            return
        self._streaming = anyio.Lock()
        try:
            async with self._streaming:
                await self.send({"type": "http.response.start", "status": 200, "headers": STREAM})
            while not self._answering:
                async with self._streaming:
                    await self.send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})
                await clock.sleep(PING_EVERY_S)
        except OSError:
            # ASGI 2.4: this is how a server says that the client has gone.
            self.scope.cancel()


@attrs.define(eq=False)
class Watch:
    """
    The requests in flight that need somebody to notice when their client goes.

    A task for each would cost a short call more than its work does; so one looks now and then who is still there.
    """

    gateway: Gateway
    _open: set[Exchange] = attrs.field(factory=set, init=False)
    _wanted: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def add(self, exchange: Exchange) -> None:
        """Begin to look after it."""
        if not self._open:
            self._wanted.set()
        self._open.add(exchange)

    def discard(self, exchange: Exchange) -> None:
        """Leave it alone from now on."""
        self._open.discard(exchange)

    async def run(self) -> None:
        """Look, until cancelled."""
        clock = self.gateway.clock
        async with anyio.create_task_group() as tasks:
            while True:
                await self._wanted.wait()
                await clock.sleep(LOOK_EVERY_S)
                for exchange in self._open:
                    exchange.attend(tasks, clock)
                    if exchange.listens and not self.gateway.ready:
                        # Nothing comes any more, and a server that stops would wait for the client to hang up.
                        exchange.scope.cancel()
                if not self._open:
                    self._wanted = anyio.Event()
