"""An application that lends, and notes what becomes of what it has lent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

import nexus
from nexus import Nexus, NexusConfig, WorkflowFailedError

__all__ = ["Desk", "Pool", "Repository", "failure_of"]


@attrs.define(eq=False)
class Pool:
    """What most of these tests borrow."""

    number: int = 1
    closed: bool = False


@attrs.define(eq=False)
class Repository:
    pool: Pool


@attrs.define
class Desk:
    """An application that provides pools, and notes what becomes of them."""

    log: list[str] = attrs.field(factory=list)
    pools: list[Pool] = attrs.field(factory=list)
    app: Nexus = attrs.field(factory=lambda: nexus.create_nexus(NexusConfig()))

    async def open_pool(self) -> AsyncIterator[Pool]:
        pool = Pool(len(self.pools) + 1)
        self.pools.append(pool)
        self.log.append(f"open {pool.number}")
        await anyio.lowlevel.checkpoint()
        try:
            yield pool
        except BaseException as error:
            self.log.append(f"told {type(error).__name__}")
            raise
        finally:
            await anyio.lowlevel.checkpoint()
            pool.closed = True
            self.log.append(f"close {pool.number}")


async def failure_of(work: Awaitable[Any]) -> BaseException | None:
    with pytest.raises(WorkflowFailedError) as caught:
        await work
    return caught.value.__cause__
