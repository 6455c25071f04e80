"""
The API channel of Nexus: REST over ASGI.

`asgi(app)` is an ASGI application for any server, `mount(host, app)` makes an application part of a Starlette or FastAPI
host, and `serve(app)` runs it with uvicorn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexus_starlette.application import asgi, mount
from nexus_starlette.channel import ApiChannel

if TYPE_CHECKING:
    from nexus_starlette.serving import serve

__all__ = ["ApiChannel", "asgi", "mount", "serve"]


def __getattr__(name: str) -> Any:
    if name != "serve":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # uvicorn is for those who have no server of their own.
    from nexus_starlette.serving import serve  # noqa: PLC0415

    return serve
