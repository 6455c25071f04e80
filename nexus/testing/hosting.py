"""Clients that live in tasks of their own, so that any fixture may open one and any test may close it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Generic, TypeVar

import anyio
import attrs

from nexus.testing.client import Client

__all__ = ["Clients"]

CLEAN_UP_S: Final = 60

T = TypeVar("T")


@attrs.define(eq=False)
class _Host(Generic[T]):
    """
    Enters and leaves one context in one task.

    A test plugin may run a fixture's setup, the test and the fixture's teardown in three tasks, and no task group spans them.
    A cancel scope must be left in the task that entered it, so there has to be one task from the first to the last.
    """

    context: AbstractAsyncContextManager[T]
    _opened: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    _wanted_no_more: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    _closed: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    _task: Any = attrs.field(default=None, init=False)
    _value: list[T] = attrs.field(factory=list, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)

    async def open(self) -> T:
        self._task = _spawn(self._live)
        await self._opened.wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._value[0]

    async def close(self) -> None:
        self._wanted_no_more.set()
        with anyio.CancelScope(shield=True), anyio.fail_after(CLEAN_UP_S):
            await self._closed.wait()
        if self._error is not None:
            raise self._error

    async def _live(self) -> None:
        try:
            async with self.context as value:
                self._value.append(value)
                self._opened.set()
                await self._wanted_no_more.wait()
        except Exception as error:  # noqa: BLE001 - kept for whoever opens or closes: nobody awaits this task
            self._error = error
        finally:
            self._opened.set()
            self._closed.set()


@attrs.define(eq=False)
class Clients:
    """What the fixture `nexus_client` is: call it with what `Client` takes, and await the client, started."""

    _open: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)

    async def __call__(self, app: Any, **options: Any) -> Client:
        """
        Return a client of the application, open until the test function ends.

        Args:
            app: A `Nexus`; started here if it is not.
            options: What else `Client` takes: `channel`, `principal`, `answers`.
        """
        host = _Host(Client(app, **options))
        self._open.push_async_callback(host.close)
        return await host.open()

    async def aclose(self) -> None:
        """Close all clients, the last one first; they are all closed, also if one of them raises."""
        await self._open.aclose()


def _spawn(function: Callable[[], Awaitable[None]]) -> object:
    """Start a task that belongs to nobody but the event loop, with the caller's context variables."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())
    return asyncio.ensure_future(function())
