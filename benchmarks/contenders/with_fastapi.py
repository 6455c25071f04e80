"""FastAPI as its documentation shows it: a model in, a model out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from benchmarks.asgi import lifespan, post
from benchmarks.contenders.plain import encoded
from benchmarks.contenders.pydantic_order import Invoice, Order, invoice_for
from benchmarks.harness import Work


async def _orders(order: Order) -> Invoice:
    return invoice_for(order)


@asynccontextmanager
async def rest() -> AsyncIterator[Work]:
    """One route, and nothing else of what a service needs."""
    app = FastAPI()
    app.post("/orders")(_orders)
    async with lifespan(app):
        yield Work(unit=post(app, "/orders"), write=encoded, read=json.loads)
