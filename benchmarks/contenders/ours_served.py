"""Ours by its channels, called as ASGI applications: guards, memory stores and the log that exist so far."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any

import attrs
from msgspec import Meta

import nexus_starlette
from benchmarks.asgi import lifespan, post
from benchmarks.contenders.ours import Passing
from benchmarks.contenders.plain import encoded
from benchmarks.harness import Work
from benchmarks.mcp_wire import HEADERS, call, structured
from nexus import Nexus, create_nexus
from nexus.config import NexusConfig


@attrs.frozen
class Invoice:
    """What is answered."""

    item: str
    total: float
    tags: list[str]


async def invoice_for(item: str, quantity: Annotated[int, Meta(ge=1)], price: float, tags: list[str]) -> Invoice:
    """Answer an order."""
    return Invoice(item, quantity * price, tags)


def _application() -> Nexus:
    app = create_nexus(NexusConfig(), guards=[Passing()])
    app.register(invoice_for)
    return app


def _posted(order: Any) -> bytes:
    return encoded({"inputs": order})


def _results(answer: bytes) -> Any:
    return json.loads(answer)["data"]["results"]


@contextmanager
def _logged() -> Iterator[None]:
    """A host that writes the line of each request, to nowhere."""
    logger = logging.getLogger("nexus")
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        handler = logging.StreamHandler(nowhere)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)


@asynccontextmanager
async def rest_logged() -> AsyncIterator[Work]:
    """The API channel, and a line of log for each request."""
    with _logged():
        async with rest() as work:
            yield work


@asynccontextmanager
async def rest(others: int = 0) -> AsyncIterator[Work]:
    """The API channel, with that many other workflows beside the one that is called."""
    app = _application()
    for number in range(others):
        app.register(_renamed(f"other_{number}"))
    face = nexus_starlette.asgi(app)
    async with lifespan(face):
        yield Work(unit=post(face, "/api/workflows/invoice_for/execute"), write=_posted, read=_results)


def _renamed(name: str) -> FunctionType:
    """Return a copy of the workflow's function under another name."""
    copy = FunctionType(invoice_for.__code__, globals(), name, invoice_for.__defaults__, invoice_for.__closure__)
    copy.__qualname__, copy.__annotations__, copy.__doc__ = name, invoice_for.__annotations__, invoice_for.__doc__
    return copy


@asynccontextmanager
async def tools() -> AsyncIterator[Work]:
    """The MCP channel."""
    face = nexus_starlette.asgi(_application())
    async with lifespan(face):
        yield Work(unit=post(face, "/mcp", *HEADERS), write=call, read=structured)
