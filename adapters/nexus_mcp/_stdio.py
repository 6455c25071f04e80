"""MCP over standard input and output."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final, Self, cast

import anyio
import attrs
from mcp.server.stdio import stdio_server

from nexus import Nexus
from nexus.exceptions import ConfigurationError
from nexus_mcp._server import server
from nexus_mcp._tools import Tools

__all__ = ["serve_stdio"]

CHUNK: Final = 65_536
STDIN, STDOUT, STDERR = 0, 1, 2


async def serve_stdio(app: Nexus) -> None:
    """
    Start the application and serve MCP on standard input and output, until the input ends, or SIGTERM or SIGINT comes.

    Meanwhile whatever else the process prints goes to standard error, and whatever reads standard input finds it empty.
    Schedules don't fire: each client starts a process of its own.

    Raises:
        RegistrationError: Two operations would bear the same tool's name.
        ConfigurationError: The channel is switched off.
    """
    if not app.config.channels.mcp.enabled:
        raise ConfigurationError("MCP is switched off in this application: channels.mcp.enabled is false")
    app.scheduler.fires = False
    with _taken() as (lines, replies):
        async with app:
            Tools(app).check()
            sdk = server(app)
            async with anyio.create_task_group() as tasks:
                if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
                    tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
                async with stdio_server(lines, replies) as (reader, writer):
                    await sdk.run(reader, writer, sdk.create_initialization_options())
                tasks.cancel_scope.cancel()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


@contextmanager
def _taken() -> Iterator[tuple[anyio.AsyncFile[str], anyio.AsyncFile[str]]]:
    """Keep the two streams for the protocol, from the first line of the application's start to the last of its end."""
    wire_in, wire_out = os.dup(STDIN), os.dup(STDOUT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    os.dup2(STDERR, STDOUT)
    sys.stdout.flush()
    try:
        with os.fdopen(wire_out, "w", encoding="utf-8", newline="\n", closefd=False) as replies, redirect_stdout(sys.stderr):
            yield cast("anyio.AsyncFile[str]", _lines(wire_in)), anyio.wrap_file(replies)
    finally:
        sys.stdout.flush()
        os.dup2(wire_in, STDIN)
        os.dup2(wire_out, STDOUT)
        os.close(wire_in)
        os.close(wire_out)


def _lines(descriptor: int) -> Any:
    if sys.platform == "win32":
        return anyio.wrap_file(os.fdopen(descriptor, encoding="utf-8", errors="replace", closefd=False))
    return Lines(descriptor)


@attrs.define(eq=False)
class Lines:
    """
    The lines of a file descriptor, for `async for`.

    A read in a thread, as the SDK has it, can't be given up: the process would not end before the next line.
    """

    _descriptor: int
    _complete: deque[bytes] = attrs.field(factory=deque, init=False)
    _begun: list[bytes] = attrs.field(factory=list, init=False)
    _blocks: bool = attrs.field(default=True, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._complete:
            chunk = await self._read()
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                self._complete.append(b"".join([*self._begun, line]))
                self._begun = []
            self._begun.append(rest)
            if not chunk:
                raise StopAsyncIteration
        return self._complete.popleft().decode("utf-8", "replace")

    async def _read(self) -> bytes:
        if self._blocks:
            try:
                await anyio.wait_readable(self._descriptor)
            except PermissionError:
                # A file, or /dev/null: epoll(7) takes neither, and neither lets a reader wait.
                self._blocks = False
        return os.read(self._descriptor, CHUNK)
