"""Server-sent events: a reply that goes on while something happens (HTML Standard, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
import attrs
from starlette.types import Receive, Send

from nexus.abc import Clock
from nexus.models import Event
from nexus_starlette.routes import EVENT_STREAM

__all__ = ["frame", "send_frames", "shown"]

HEARTBEAT_S: Final = 15.0
"""Between two comments that keep proxies from taking a silent connection for a dead one."""

HEADERS: Final = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store"),
    # Asks nginx not to hold the events back until there are enough of them.
    (b"x-accel-buffering", b"no"),
]


def frame(data: bytes, *, event: str, event_id: str | None = None) -> bytes:
    """
    Return one event as it is sent.

    Args:
        data: JSON in one line.
        event: Its type.
        event_id: What the caller sends back as `Last-Event-ID` to go on from here.
    """
    identity = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (identity, event.encode(), data)


def shown(event: Event) -> dict[str, Any]:
    """Return an event as callers see it."""
    return {
        "id": event.id,
        "type": event.type,
        "time": event.time,
        "run_id": event.run_id,
        "request_id": event.request_id,
        "data": event.data,
    }


async def send_frames(
    frames: AsyncIterator[bytes], receive: Receive, send: Send, *, headers: list[tuple[bytes, bytes]], clock: Clock
) -> None:
    """
    Answer with frames, and with a sign of life where none come for a while, until there are no more or the client leaves.

    Args:
        frames: What to send; it is left alone, not closed, where the client leaves.
        receive: Says that the client has left; the body has been read.
        send: Takes the reply; a client that reads slowly holds it up.
        headers: Beside those of every stream of events.
        clock: On which the time between two signs of life passes.
    """
    sending = Sending(send)
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
    async with anyio.create_task_group() as group:

        async def keep_alive() -> None:
            while True:
                await clock.sleep(HEARTBEAT_S)
                await sending.body(b":\n\n")

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(keep_alive)
        group.start_soon(until_gone)
        async for each in frames:
            await sending.body(each)
        await sending.body(b"", more=False)
        group.cancel_scope.cancel()


@attrs.define(eq=False)
class Sending:
    """Sends one part of the body at a time."""

    _send: Send
    _turn: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def body(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        async with self._turn:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
