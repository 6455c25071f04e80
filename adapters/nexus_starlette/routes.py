"""The paths of the API channel, and what each of them calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from nexus.exceptions import MalformedRequestError, NotFoundError

__all__ = ["BY_METHODS", "EXECUTE", "FILE", "FIXED", "LIVE", "OPENAPI", "READY", "ROUTES", "Endpoint", "find"]

ADMIN: Final = "/api/admin/"
JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
MERMAID: Final = "text/vnd.mermaid"
EVENT_STREAM: Final = "text/event-stream"

Kind = Literal["execute", "operation", "file", "openapi", "health"]
Method = Literal["GET", "POST", "PUT", "DELETE"]


@attrs.frozen(kw_only=True)
class Endpoint:
    """
    What one method of one kind of path does.

    Attributes:
        kind: How it is carried out.
        operation: The built-in operation that it calls.
        target: The argument of the operation that the `{id}` of the path is; empty where the path has none.
        media: What it can answer with, the default first.
        tells_secret: What it answers is for the caller alone, and kept by no cache.
    """

    kind: Kind
    method: Method = "GET"
    operation: str = ""
    target: str = ""
    media: tuple[str, ...] = (JSON,)
    tells_secret: bool = False

    @property
    def has_body(self) -> bool:
        """Whether its arguments are in the body."""
        return self.method in {"POST", "PUT"}


Endpoints = tuple[Endpoint, ...]
"""What a path does, by methods."""


EXECUTE: Final = Endpoint(kind="execute", method="POST", target="workflow", media=(JSON, EVENT_STREAM))
EVENTS: Final = Endpoint(kind="operation", operation="runs.events", target="run_id", media=(EVENT_STREAM,))
FILE: Final = Endpoint(kind="file", operation="runs.file", target="run_id")
OPENAPI: Final = Endpoint(kind="openapi", operation="workflows.list")
LIVE: Final = Endpoint(kind="health")
READY: Final = Endpoint(kind="health")

ROUTES: Final[Mapping[str, Endpoint | Endpoints]] = {
    "/api/workflows": Endpoint(kind="operation", operation="workflows.list"),
    "/api/workflows/{id}": Endpoint(kind="operation", operation="workflows.get", target="workflow"),
    "/api/workflows/{id}/schema": Endpoint(kind="operation", operation="workflows.schema", target="workflow"),
    "/api/workflows/{id}/graph": Endpoint(
        kind="operation", operation="workflows.graph", target="workflow", media=(JSON, MERMAID)
    ),
    "/api/workflows/{id}/execute": EXECUTE,
    "/api/runs": Endpoint(kind="operation", operation="runs.list"),
    "/api/runs/{id}": Endpoint(kind="operation", operation="runs.get", target="run_id"),
    "/api/runs/{id}/files/{name}": FILE,
    "/api/runs/{id}/events": EVENTS,
    "/api/runs/{id}/wait": Endpoint(kind="operation", method="POST", operation="runs.wait", target="run_id"),
    "/api/runs/{id}/cancel": Endpoint(kind="operation", method="POST", operation="runs.cancel", target="run_id"),
    "/api/runs/{id}/retry": Endpoint(kind="operation", method="POST", operation="runs.retry", target="run_id"),
    "/api/runs/{id}/answer": Endpoint(
        kind="operation", method="POST", operation="runs.answer", target="run_id", media=(JSON, EVENT_STREAM)
    ),
    "/api/admin/schedules": Endpoint(kind="operation", operation="schedules.list"),
    **{
        f"/api/admin/schedules/{{id}}/{verb}": Endpoint(
            kind="operation", method="POST", operation=f"schedules.{verb}", target="schedule"
        )
        for verb in ("pause", "resume", "trigger")
    },
    "/api/sessions": (
        Endpoint(kind="operation", operation="sessions.list"),
        Endpoint(kind="operation", method="POST", operation="sessions.open", tells_secret=True),
    ),
    "/api/sessions/current": (
        Endpoint(kind="operation", operation="sessions.current"),
        Endpoint(kind="operation", method="PUT", operation="sessions.change"),
        Endpoint(kind="operation", method="DELETE", operation="sessions.end"),
    ),
    "/api/sessions/{id}": Endpoint(kind="operation", method="DELETE", operation="sessions.revoke", target="session_id"),
    **{
        f"/api/{room}keys": (
            Endpoint(kind="operation", operation=f"{prefix}keys.list"),
            Endpoint(kind="operation", method="POST", operation=f"{prefix}keys.issue", tells_secret=True),
        )
        for room, prefix in (("", ""), ("admin/", "admin."))
    },
    **{
        f"/api/{room}keys/{{id}}": Endpoint(kind="operation", method="DELETE", operation=f"{prefix}keys.revoke", target="key_id")
        for room, prefix in (("", ""), ("admin/", "admin."))
    },
    "/api/admin/sessions": Endpoint(kind="operation", operation="admin.sessions.list"),
    "/api/admin/sessions/{id}": Endpoint(
        kind="operation", method="DELETE", operation="admin.sessions.revoke", target="session_id"
    ),
    "/openapi.json": OPENAPI,
    "/health/live": LIVE,
    "/health/ready": READY,
}
"""
Every path, with `{id}` for the name of a workflow (`name` or `name@version`) or of a schedule, or the id of a run, a session or a
key; `{name}` for a file's.
"""

BY_METHODS: Final = {path: found if isinstance(found, tuple) else (found,) for path, found in ROUTES.items()}
FIXED: Final = {path: endpoints for path, endpoints in BY_METHODS.items() if "{id}" not in path}
WITH_ID: Final = {tuple(path.split("/{id}")): endpoints for path, endpoints in BY_METHODS.items() if "{id}" in path}


def find(path: str, method: str) -> tuple[Endpoint, str]:
    """
    Return what a path calls, and its `{id}`, `{id}/{name}` or an empty string. One slash too many at the end does no harm.

    Raises:
        NotFoundError: There is no such path.
        MalformedRequestError: It does not take this method.
    """
    endpoints, target = _found(path.removesuffix("/"))
    for endpoint in endpoints:
        if method == endpoint.method or (method == "HEAD" and endpoint.method == "GET"):
            return endpoint, target
    allow = tuple(
        each for endpoint in endpoints for each in (("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,))
    )
    raise MalformedRequestError(f"this path does not take {method}; use {' or '.join(allow)}", reason="method", allow=allow)


def _found(path: str) -> tuple[Endpoints, str]:
    if path in FIXED:
        return FIXED[path], ""
    parts = path.split("/", 4)
    if len(parts) > len(("", "api", "workflows")) and parts[3]:
        rest = f"/{parts[4]}" if len(parts) > 4 else ""  # noqa: PLR2004 - what comes after the id
        endpoints = WITH_ID.get((f"/{parts[1]}/{parts[2]}", rest))
        if endpoints is not None:
            return endpoints, parts[3]
        below, _, name = rest.rpartition("/")
        endpoints = WITH_ID.get((f"/{parts[1]}/{parts[2]}", f"{below}/{{name}}")) if name else None
        if endpoints is not None:
            return endpoints, f"{parts[3]}/{name}"
    if path.startswith(ADMIN):
        room, _, rest = path.removeprefix(ADMIN).partition("/")
        target, slash, rest = rest.partition("/")
        endpoints = WITH_ID.get((f"{ADMIN}{room}", f"{slash}{rest}"))
        if endpoints is not None and target:
            return endpoints, target
    raise NotFoundError("there is nothing at this path; GET /openapi.json lists what there is")
