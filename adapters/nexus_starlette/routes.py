"""The paths of the API channel, and what each of them calls."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from nexus.exceptions import MalformedRequestError, NotFoundError

__all__ = ["EXECUTE", "FILE", "LIVE", "OPENAPI", "READY", "ROUTES", "Endpoint", "find"]

ADMIN: Final = "/api/admin/"
JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
MERMAID: Final = "text/vnd.mermaid"
EVENT_STREAM: Final = "text/event-stream"

Kind = Literal["execute", "operation", "file", "openapi", "health"]


@attrs.frozen(kw_only=True)
class Endpoint:
    """
    What one kind of path does.

    Attributes:
        kind: How it is carried out.
        operation: The built-in operation that it calls.
        target: The argument of the operation that the `{id}` of the path is; empty where the path has none.
        media: What it can answer with, the default first.
    """

    kind: Kind
    method: Literal["GET", "POST"] = "GET"
    operation: str = ""
    target: str = ""
    media: tuple[str, ...] = (JSON,)

    @property
    def allow(self) -> tuple[str, ...]:
        """The methods that this path takes."""
        return ("GET", "HEAD") if self.method == "GET" else ("POST",)

    def require(self, method: str) -> None:
        """
        Let the method pass if the path takes it.

        Raises:
            MalformedRequestError: It takes others.
        """
        if method != self.method and method not in self.allow:
            allowed = " or ".join(self.allow)
            raise MalformedRequestError(f"this path does not take {method}; use {allowed}", reason="method", allow=self.allow)


EXECUTE: Final = Endpoint(kind="execute", method="POST", target="workflow", media=(JSON, EVENT_STREAM))
EVENTS: Final = Endpoint(kind="operation", operation="runs.events", target="run_id", media=(EVENT_STREAM,))
FILE: Final = Endpoint(kind="file", operation="runs.file", target="run_id")
OPENAPI: Final = Endpoint(kind="openapi", operation="workflows.list")
LIVE: Final = Endpoint(kind="health")
READY: Final = Endpoint(kind="health")

ROUTES: Final = {
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
    "/openapi.json": OPENAPI,
    "/health/live": LIVE,
    "/health/ready": READY,
}
"""
Every path, with `{id}` for the name of a workflow (`name` or `name@version`) or of a schedule, or the id of a run; `{name}` for a
file's.
"""

FIXED: Final = {path: endpoint for path, endpoint in ROUTES.items() if "{id}" not in path}
WITH_ID: Final = {tuple(path.split("/{id}")): endpoint for path, endpoint in ROUTES.items() if "{id}" in path}


def find(path: str) -> tuple[Endpoint, str]:
    """
    Return what a path calls, and its `{id}`, `{id}/{name}` or an empty string. One slash too many at the end does no harm.

    Raises:
        NotFoundError: There is no such path.
    """
    path = path.removesuffix("/")
    parts = path.split("/", 4)
    if len(parts) > len(("", "api", "workflows")) and parts[3]:
        rest = f"/{parts[4]}" if len(parts) > 4 else ""  # noqa: PLR2004 - what comes after the id
        endpoint = WITH_ID.get((f"/{parts[1]}/{parts[2]}", rest))
        if endpoint is not None:
            return endpoint, parts[3]
        below, _, name = rest.rpartition("/")
        endpoint = WITH_ID.get((f"/{parts[1]}/{parts[2]}", f"{below}/{{name}}")) if name else None
        if endpoint is not None:
            return endpoint, f"{parts[3]}/{name}"
    if path in FIXED:
        return FIXED[path], ""
    if path.startswith(ADMIN):
        room, _, rest = path.removeprefix(ADMIN).partition("/")
        target, _, rest = rest.partition("/")
        endpoint = WITH_ID.get((f"{ADMIN}{room}", f"/{rest}"))
        if endpoint is not None and target:
            return endpoint, target
    raise NotFoundError("there is nothing at this path; GET /openapi.json lists what there is")
