"""The floors: the same work with nothing around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.asgi import post
from benchmarks.harness import Work
from benchmarks.work import chain_source, functions, wide_source


def encoded(value: Any) -> bytes:
    """Return the body that carries a value."""
    return json.dumps(value).encode()


async def _app(_: Any, receive: Any, send: Any) -> None:
    ordered = json.loads((await receive())["body"])
    answer = {"item": ordered["item"], "total": ordered["quantity"] * ordered["price"], "tags": ordered["tags"]}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": encoded(answer)})


@asynccontextmanager
async def rest() -> AsyncIterator[Work]:
    """A bare ASGI function, which checks nothing."""
    yield Work(unit=post(_app, "/orders"), write=encoded, read=json.loads)


@asynccontextmanager
async def chain(length: int) -> AsyncIterator[Work]:
    """Steps awaited one after another."""
    steps = list(functions(chain_source(length, "async def")).values())

    async def unit(inputs: Mapping[str, int]) -> int:
        result = inputs["start"]
        for step in steps:
            result = await step(result)
        return result

    yield Work(unit=unit)


@asynccontextmanager
async def wide(width: int) -> AsyncIterator[Work]:
    """Steps awaited one after another, although they need not be."""
    *steps, total = functions(wide_source(width, "async def")).values()

    async def unit(inputs: Mapping[str, int]) -> Any:
        return await total(*[await step(inputs["start"]) for step in steps])

    yield Work(unit=unit)


@asynccontextmanager
async def wide_tasks(width: int) -> AsyncIterator[Work]:
    """A task for each step, in one task group."""
    *steps, total = functions(wide_source(width, "async def")).values()

    async def unit(inputs: Mapping[str, int]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step(inputs["start"])) for step in steps]
        return await total(*[task.result() for task in tasks])

    yield Work(unit=unit)
