"""A channel of your own: a line `name {json}` over TCP, answered by a line of JSON. `app.add_channel(LineChannel)` adds it."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, suppress

import anyio.abc
import attrs
from anyio.streams.buffered import BufferedByteReceiveStream

from nexus.abc import Channel, Gateway
from nexus.config import NexusConfig
from nexus.exceptions import MalformedRequestError, details_of
from nexus.models import Caller, Request, Response


def parse(line: bytes) -> Request:
    """Return the request that a line is."""
    name, _, arguments = line.decode(errors="replace").strip().partition(" ")
    try:
        return Request(operation=name, arguments={**json.loads(arguments or "{}")}, caller=Caller(channel="line"))
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedRequestError('a line is a name and a JSON object: add {"a": 1}') from error


def render(response: Response) -> dict[str, object]:
    """Return what the line that answers says."""
    return {"error": details_of(response.error)} if response.error else {"result": response.data}


@attrs.define(eq=False)
class LineChannel(Channel):
    """Answers the lines of each connection, one after another."""

    name = "line"
    gateway: Gateway
    config: NexusConfig
    port: int = 9099

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Listen, until the application stops."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        await exit_stack.enter_async_context(listener)
        tasks = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.callback(tasks.cancel_scope.cancel)
        self.port = listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()
        tasks.start_soon(listener.serve, self.converse)

    async def converse(self, stream: anyio.abc.SocketStream) -> None:
        """Answer one connection, until it leaves or sends something that is no line."""
        with suppress(anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
            async with stream, BufferedByteReceiveStream(stream) as lines:
                while line := await lines.receive_until(b"\n", 65_536):
                    try:
                        response = await self.gateway.dispatch(parse(line))
                    except MalformedRequestError as error:
                        response = await self.gateway.reject(Caller(channel="line"), error)
                    await stream.send(self.gateway.encode(render(response), remote=True) + b"\n")
