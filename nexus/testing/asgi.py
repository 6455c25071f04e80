"""Calls of an ASGI application without a server: on asyncio and trio, with nothing to install."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import attrs

__all__ = ["Reply", "exchange"]


@attrs.frozen
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def exchange(
    app: Any, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, **scope: Any
) -> Reply:
    """
    Send one HTTP request, and return the response.

    Args:
        app: An ASGI application.
        method: `GET`, `POST` …
        path: Not encoded.
        body: Of the request.
        headers: Of the request; the content type is JSON if there is a body.
        scope: More of the ASGI scope.

    Raises:
        AssertionError: The application returned without a whole response.
    """
    sent = {"host": "testserver", **({"content-type": "application/json"} if body else {}), **(headers or {})}
    whole = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        **scope,
    }
    request = [{"type": "http.request", "body": body, "more_body": False}]
    response: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if request:
            return request.pop()
        while True:  # the client stays, so no disconnect ever comes
            await anyio.sleep_forever()

    async def send(message: dict[str, Any]) -> None:
        response.append(message)

    await app(whole, receive, send)
    if not response or response[0]["type"] != "http.response.start" or response[-1].get("more_body"):
        raise AssertionError(f"{method} {path}: the application returned without a whole response: {response}")
    return Reply(
        response[0]["status"],
        {name.decode(): value.decode() for name, value in response[0]["headers"]},
        b"".join(message.get("body", b"") for message in response[1:]),
    )
