"""The wire to the API channel: real HTTP messages to its ASGI application, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from nexus import adapters
from nexus.abc import Channel
from nexus.exceptions import UnavailableError
from nexus.models import MISSING, Question
from nexus.testing.asgi import exchange
from nexus.testing.wires import Wire, error_of

__all__ = ["ApiWire"]

ROUTES: Final = {
    "workflows.list": ("GET", "/api/workflows"),
    "workflows.get": ("GET", "/api/workflows/{workflow}"),
    "workflows.schema": ("GET", "/api/workflows/{workflow}/schema"),
    "workflows.graph": ("GET", "/api/workflows/{workflow}/graph"),
    "runs.list": ("GET", "/api/runs"),
    "runs.get": ("GET", "/api/runs/{run_id}"),
    "runs.wait": ("POST", "/api/runs/{run_id}/wait"),
    "runs.cancel": ("POST", "/api/runs/{run_id}/cancel"),
    "runs.retry": ("POST", "/api/runs/{run_id}/retry"),
    "runs.answer": ("POST", "/api/runs/{run_id}/answer"),
    "schedules.list": ("GET", "/api/admin/schedules"),
    "schedules.pause": ("POST", "/api/admin/schedules/{schedule}/pause"),
    "schedules.resume": ("POST", "/api/admin/schedules/{schedule}/resume"),
    "schedules.trigger": ("POST", "/api/admin/schedules/{schedule}/trigger"),
    "sessions.open": ("POST", "/api/sessions"),
    "sessions.list": ("GET", "/api/sessions"),
    "sessions.current": ("GET", "/api/sessions/current"),
    "sessions.change": ("PUT", "/api/sessions/current"),
    "sessions.end": ("DELETE", "/api/sessions/current"),
    "sessions.revoke": ("DELETE", "/api/sessions/{session_id}"),
    "keys.issue": ("POST", "/api/keys"),
    "keys.list": ("GET", "/api/keys"),
    "keys.revoke": ("DELETE", "/api/keys/{key_id}"),
    "admin.sessions.list": ("GET", "/api/admin/sessions"),
    "admin.sessions.revoke": ("DELETE", "/api/admin/sessions/{session_id}"),
    "admin.keys.issue": ("POST", "/api/admin/keys"),
    "admin.keys.list": ("GET", "/api/admin/keys"),
    "admin.keys.revoke": ("DELETE", "/api/admin/keys/{key_id}"),
}

OPEN: Final = frozenset({"pending", "running", "waiting"})


@attrs.define(eq=False)
class ApiWire(Wire):
    """
    JSON in, JSON out.

    A run that asks is answered by further requests; where nobody answers, its defaults are given, or it is cancelled. One that
    goes on in the background is waited for.
    """

    _channel: Any = attrs.field(default=None, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """See `Service.start`."""
        channel = adapters.load("channel.api", Channel)
        self._channel = channel(self.recorder, self.recorder.app.config)  # type: ignore[call-arg]  # a channel is made of these two
        await self._channel.start(exit_stack)

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """See `Wire.execute`."""
        data = await self._send("POST", f"/api/workflows/{workflow}/execute", {"inputs": inputs})
        while data.get("status") in OPEN:
            if data["status"] == "waiting":
                data = await self.answer_waiting(data["run_id"], _own_question(data))
            else:
                data = await self.call("runs.wait", {"run_id": data["run_id"]})
        if "error" in data:
            raise error_of(data["error"])
        return data["results"]

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """See `Wire.call`."""
        if operation not in ROUTES:
            raise TypeError(f"channel 'api' has no path for {operation!r}; it has one for each of: {', '.join(ROUTES)}")
        method, path = ROUTES[operation]
        in_body = {name: value for name, value in arguments.items() if f"{{{name}}}" not in path}
        if method in {"GET", "DELETE"}:
            return await self._send(method, path.format_map(arguments), query=in_body)
        return await self._send(method, path.format_map(arguments), in_body)

    async def submit(self, workflow: str, inputs: Mapping[str, Any]) -> str:
        """See `Wire.submit`."""
        data = await self._send("POST", f"/api/workflows/{workflow}/execute", {"inputs": inputs}, prefer="respond-async")
        run_id: str = data["run_id"]
        return run_id

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> Any:
        sent = b"" if body is None else self.recorder.app.encode(body)
        scope: dict[str, Any] = {} if self.principal is None else {"nexus.principal": self.principal}
        if query:
            scope["query_string"] = urlencode({name: value for name, value in query.items() if value is not None}).encode()
        reply = await exchange(self._channel, method, path, body=sent, headers=headers, **scope)
        envelope = reply.json
        if not envelope["success"]:
            raise error_of(envelope["error"])
        return envelope["data"]


def _own_question(run: Mapping[str, Any]) -> Question:
    for question in run["questions"]:
        if "of" not in question:
            return _question_of(question)
    asked = ", ".join(f"{question['name']!r} of {question['of']}" for question in run["questions"])
    raise UnavailableError(f"run {run['run_id']} waits for an answer: {asked}", run_id=run["run_id"])


def _question_of(shown: Mapping[str, Any]) -> Question:
    return Question(
        name=shown["name"], text=shown["text"], schema=shown["schema"], step=shown["step"], default=shown.get("default", MISSING)
    )
