"""How the writer's thread wakes those who wait on the event loop: all that a transaction has served with one call."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import anyio
import attrs

__all__ = ["AsyncioCallers", "Callers", "Order", "OtherCallers", "callers_here"]


class Order:
    """
    Something that the writer is to do, and what came of it.

    Attributes:
        job: Called with the connection, on the writer's thread.
        is_one_statement: It changes something with at most one statement, the last; else it gets a savepoint of its own.
        waiter: What its caller waits for.
    """

    __slots__ = ("error", "is_one_statement", "job", "result", "waiter")

    def __init__(self, job: Callable[[Any], Any], *, is_one_statement: bool, waiter: Any) -> None:
        self.job = job
        self.is_one_statement = is_one_statement
        self.waiter = waiter
        self.result: Any = None
        self.error: BaseException | None = None


class Callers(Protocol):
    """Those who wait on one event loop."""

    def waiter(self) -> Any:
        """Return what one of them waits for."""
        ...

    async def wait(self, waiter: Any) -> None:
        """Wait until it is woken, also where it is cancelled meanwhile."""
        ...

    def wake(self, orders: Sequence[Order], then: Callable[[], None] | None = None) -> None:
        """Wake those whose orders these are, after *then* was called on the loop; called on the writer's thread."""
        ...


@attrs.define(eq=False)
class AsyncioCallers:
    """On asyncio: futures, which cost a third of anyio's events."""

    loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _shield: type[anyio.CancelScope] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # The class of this event loop's own: `anyio.CancelScope()` looks it up each time.
        self._shield = type(anyio.CancelScope())

    def waiter(self) -> asyncio.Future[None]:
        """See `Callers.waiter`."""
        return self.loop.create_future()

    async def wait(self, waiter: asyncio.Future[None]) -> None:
        """See `Callers.wait`."""
        with self._shield(shield=True):
            await waiter

    def wake(self, orders: Sequence[Order], then: Callable[[], None] | None = None) -> None:
        """See `Callers.wake`."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._wake, orders, then)

    def _wake(self, orders: Sequence[Order], then: Callable[[], None] | None) -> None:
        if then is not None:
            then()
        for order in orders:
            if not order.waiter.done():
                order.waiter.set_result(None)


def _trio_token() -> Any:
    # Only where it runs: it need not be installed.
    return importlib.import_module("trio").lowlevel.current_trio_token()


@attrs.define(eq=False)
class OtherCallers:
    """On trio."""

    token: Any = attrs.field(factory=_trio_token)

    def waiter(self) -> anyio.Event:
        """See `Callers.waiter`."""
        return anyio.Event()

    async def wait(self, waiter: anyio.Event) -> None:
        """See `Callers.wait`."""
        with anyio.CancelScope(shield=True):
            await waiter.wait()

    def wake(self, orders: Sequence[Order], then: Callable[[], None] | None = None) -> None:
        """See `Callers.wake`."""
        with suppress(RuntimeError):  # as above; trio's `RunFinishedError` is one
            self.token.run_sync_soon(self._wake, orders, then)

    def _wake(self, orders: Sequence[Order], then: Callable[[], None] | None) -> None:
        if then is not None:
            then()
        for order in orders:
            order.waiter.set()


def callers_here() -> Callers:
    """Return those of the event loop that runs here."""
    try:
        return AsyncioCallers()
    except RuntimeError:
        return OtherCallers()
