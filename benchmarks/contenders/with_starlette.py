"""Starlette as its documentation shows it; it checks nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.asgi import lifespan, post
from benchmarks.contenders.plain import encoded
from benchmarks.harness import Work


async def _orders(request: Request) -> JSONResponse:
    ordered = await request.json()
    return JSONResponse({"item": ordered["item"], "total": ordered["quantity"] * ordered["price"], "tags": ordered["tags"]})


@asynccontextmanager
async def rest() -> AsyncIterator[Work]:
    """One route."""
    app = Starlette(routes=[Route("/orders", _orders, methods=["POST"])])
    async with lifespan(app):
        yield Work(unit=post(app, "/orders"), write=encoded, read=json.loads)
