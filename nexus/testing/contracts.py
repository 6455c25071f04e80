"""
What every store's tests have in common.

An outside author subclasses a suite in a test file of their own, and says how a store is made:

    from nexus.testing import RunStoreContract

    class TestOurRunStore(RunStoreContract):
        def make_store(self):
            return OurRunStore("postgresql://localhost/tests")

Every promise of the docstrings in `nexus.abc` is a test there. They run by anyio's pytest plugin on every event loop that is
installed; a store for one of them only overrides the fixture `anyio_backend` in its class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import anyio
import pytest

from nexus.abc import Service
from nexus.exceptions import NexusError
from nexus.models import ANONYMOUS, Page, Scope

__all__ = ["StoreContract"]

S = TypeVar("S", bound=Service)
T = TypeVar("T")

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
INSTANT: Final = timedelta(microseconds=1)
ADA: Final = Scope(tenant="analytics", principal="ada")
BOB: Final = Scope(tenant="analytics", principal="bob")
ADA_ELSEWHERE: Final = Scope(tenant="billing", principal="ada")
RIVALS: Final = 20


def anonymous(session: str) -> Scope:
    """Return the scope of an anonymous caller with that session."""
    return Scope(tenant=None, principal=ANONYMOUS.id, session=session)


class StoreContract(ABC, Generic[S]):
    """The base of the suites: makes, starts and closes the store under test."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make_store(self) -> S:
        """Return a new store with nothing in it, not started. Fixtures of the class may prepare the place it keeps things in."""

    @asynccontextmanager
    async def opened(self, store: S | None = None) -> AsyncIterator[S]:
        """Start the store, and close it afterwards; override it to clean up what outlives a store."""
        async with AsyncExitStack() as exit_stack:
            opened = self.make_store() if store is None else store
            await opened.start(exit_stack)
            yield opened


async def rivals(call: Callable[[int], Awaitable[T]]) -> tuple[list[T], list[NexusError]]:
    """Make the call many times at once, and return what the winners got and why the losers lost."""
    won: list[T] = []
    lost: list[NexusError] = []

    async def one(number: int) -> None:
        try:
            won.append(await call(number))
        except NexusError as error:
            lost.append(error)

    async with anyio.create_task_group() as tasks:
        for number in range(RIVALS):
            tasks.start_soon(one, number)
    return won, lost


async def walk(read: Callable[[str | None], Awaitable[Page[T]]], *, at_most: int = 100) -> Sequence[Sequence[T]]:
    """Read page after page until there is no cursor, and return their items."""
    pages: list[Sequence[T]] = []
    after: str | None = None
    while len(pages) < at_most:
        page = await read(after)
        pages.append(page.items)
        after = page.cursor
        if after is None:
            return pages
    raise AssertionError(f"the listing still has a cursor after {at_most} pages")


def flat(pages: Sequence[Sequence[Any]]) -> list[str]:
    """Return the ids of all items of all pages, in order."""
    return [item.id for page in pages for item in page]
