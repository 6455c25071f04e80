"""What a client knows of the operations of a server: workflows as it was told, and the paths of what is built in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus.models import Hints, Operation
from nexus_client.addresses import path_of

__all__ = ["BUILT_IN", "BuiltIn", "workflow_of"]

Json = Mapping[str, Any]

TEXT: Final[Json] = {"type": "string"}
RUN_ID: Final = {"run_id": {**TEXT, "description": "The run's id."}}
WORKFLOW: Final = {"workflow": {**TEXT, "description": "`name` (its newest version) or `name@version`."}}
SCHEDULE: Final = {"schedule": {**TEXT, "description": "The schedule's name."}}
STATUS: Final = ["pending", "running", "waiting", "succeeded", "failed", "cancelled"]
FILTERS: Final[Json] = {
    "status": {"anyOf": [{"enum": STATUS}, {"type": "null"}], "default": None, "description": "Only runs of this status."},
    "workflow": {"type": ["string", "null"], "default": None, "description": "Only runs of the workflow of this name."},
    "after": {"type": ["string", "null"], "default": None, "description": "The cursor of the page before."},
    "limit": {"type": "integer", "default": 20, "minimum": 1, "maximum": 100, "description": "At most this many."},
}
TIMEOUT: Final = {
    "type": "number",
    "exclusiveMinimum": 0,
    "default": 30.0,
    "description": "Seconds; then the run is shown as it is.",
}
WAIT: Final = {
    "type": "boolean",
    "default": False,
    "description": "Answer when the run has ended, or waits for an answer; not at once.",
}
ANSWER: Final[Json] = {
    **RUN_ID,
    "answer": {"description": "The answer, as the question's schema has it."},
    "question": {"type": ["string", "null"], "default": None, "description": "Its name, where several are open."},
}
SESSION_ID: Final = {"session_id": {**TEXT, "description": "The session's id, which is not its token."}}
KEY_ID: Final = {"key_id": {**TEXT, "description": "The key's id, which opens nothing alone."}}
PAGING: Final[Json] = {name: FILTERS[name] for name in ("after", "limit")}
CHANGE: Final[Json] = {
    "state": {"type": "object", "description": "What is kept in the session from now on."},
    "version": {"type": "integer", "description": "The session's version that this is a change of."},
}
NAMES: Final[Json] = {"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}], "default": None}
ISSUE: Final[Json] = {
    "name": {**TEXT, "description": "What it is for."},
    "roles": {**NAMES, "description": "The roles that its bearer has."},
    "days": {"type": ["integer", "null"], "default": None, "minimum": 1, "description": "How long it is good."},
    "scopes": {**NAMES, "description": "Patterns of the permissions to which it is limited: workflow:report:*"},
}
BEARER: Final[Json] = {
    "principal": {**TEXT, "description": "Whom its bearer is taken for."},
    "roles": {"type": "array", "items": TEXT, "default": [], "description": "The roles that its bearer has."},
    "tenant": {"type": ["string", "null"], "default": None, "description": "The tenant that the bearer belongs to."},
}
FILE_NAME: Final = {"name": {**TEXT, "description": "The file's name, as the run shows it."}}


@attrs.frozen(kw_only=True)
class BuiltIn:
    """
    A built-in operation, and where it is on a server.

    Attributes:
        path: With `{name}` for arguments.
        properties: Of the JSON Schema of its arguments; those without a default are required.
    """

    name: str
    method: str = "GET"
    path: str
    summary: str
    properties: Json = attrs.field(factory=dict)
    required: tuple[str, ...] = ()

    @property
    def operation(self) -> Operation:
        """The operation as gateways have it."""
        schema = {"type": "object", "properties": self.properties, "required": list(self.required)}
        return Operation(name=self.name, kind="admin", summary=self.summary, input_schema=lambda: schema)

    def placed(self, arguments: Json) -> tuple[str, dict[str, Any]]:
        """
        Return the path with the arguments that belong into it, and the other arguments.

        Raises:
            InvalidArgumentError: One that belongs into it is not there.
        """
        names = [name for name in self.required if f"{{{name}}}" in self.path]
        missing = [ArgumentProblem(f"/{name}", "missing; expected a string") for name in names if not arguments.get(name)]
        if missing:
            raise InvalidArgumentError(f"the arguments of {self.name!r} don't fit", missing)
        rest = {name: value for name, value in arguments.items() if name not in names}
        return path_of(self.path, **{name: str(arguments[name]) for name in names}), rest


def _on_run(verb: str, summary: str, properties: Json = RUN_ID, required: tuple[str, ...] = ("run_id",)) -> BuiltIn:
    path = f"/api/runs/{{run_id}}/{verb}"
    return BuiltIn(name=f"runs.{verb}", method="POST", path=path, summary=summary, properties=properties, required=required)


def _on_workflow(name: str, path: str, summary: str) -> BuiltIn:
    return BuiltIn(
        name=f"workflows.{name}",
        path=f"/api/workflows/{{workflow}}{path}",
        summary=summary,
        properties=WORKFLOW,
        required=("workflow",),
    )


def _on_schedule(verb: str, summary: str, properties: Json = SCHEDULE) -> BuiltIn:
    return BuiltIn(
        name=f"schedules.{verb}",
        method="POST",
        path=f"/api/admin/schedules/{{schedule}}/{verb}",
        summary=summary,
        properties=properties,
        required=("schedule",),
    )


def _list(name: str, path: str, summary: str) -> BuiltIn:
    return BuiltIn(name=name, path=path, summary=summary, properties=PAGING)


def _revoke(name: str, path: str, summary: str, target: Json) -> BuiltIn:
    (argument,) = target
    path = f"{path}/{{{argument}}}"
    return BuiltIn(name=name, method="DELETE", path=path, summary=summary, properties=target, required=(argument,))


BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    each.name: each
    for each in (
        BuiltIn(name="workflows.list", path="/api/workflows", summary="List the workflows."),
        _on_workflow("get", "", "Show a workflow, with the schemas of its inputs and output."),
        _on_workflow("schema", "/schema", "Show the schemas of a workflow's inputs and output."),
        _on_workflow("graph", "/graph", "Show the graph of a workflow."),
        BuiltIn(name="runs.list", path="/api/runs", summary="List runs, newest first.", properties=FILTERS),
        BuiltIn(name="runs.get", path="/api/runs/{run_id}", summary="Show a run.", properties=RUN_ID, required=("run_id",)),
        BuiltIn(
            name="runs.file",
            path="/api/runs/{run_id}/files/{name}",
            summary="Download a file that the output of a run names.",
            properties={**RUN_ID, **FILE_NAME},
            required=("run_id", "name"),
        ),
        _on_run("wait", "Wait until a run has ended or asks something, and show it.", {**RUN_ID, "timeout": TIMEOUT}),
        _on_run("cancel", "Cancel a run, and show it once its clean-up is done."),
        _on_run(
            "retry", "Run a run that failed or was cancelled again, without the steps that have succeeded, and show the new run."
        ),
        _on_run(
            "answer",
            "Answer a question of a waiting run, and show the run once it has ended or waits again.",
            ANSWER,
            ("run_id", "answer"),
        ),
        BuiltIn(
            name="schedules.list",
            path="/api/admin/schedules",
            summary="List the schedules, with their next due times and their last firing.",
        ),
        _on_schedule("pause", "Let a schedule fire no more in this process, until it is resumed, and show it."),
        _on_schedule("resume", "Let a paused schedule fire again, from now on, and show it."),
        _on_schedule("trigger", "Fire a schedule now, paused or not, and show the run.", {**SCHEDULE, "wait": WAIT}),
        _list("sessions.list", "/api/sessions", "List one's own sessions, oldest first."),
        _list("keys.list", "/api/keys", "List one's own API keys, oldest first."),
        _list("admin.sessions.list", "/api/admin/sessions", "List sessions, oldest first."),
        _list("admin.keys.list", "/api/admin/keys", "List API keys, oldest first."),
        _revoke("sessions.revoke", "/api/sessions", "End one of one's own sessions.", SESSION_ID),
        _revoke("keys.revoke", "/api/keys", "Revoke one of one's own API keys.", KEY_ID),
        _revoke("admin.sessions.revoke", "/api/admin/sessions", "End a session, whosever it is.", SESSION_ID),
        _revoke("admin.keys.revoke", "/api/admin/keys", "Revoke an API key, whosever it is.", KEY_ID),
        BuiltIn(
            name="sessions.open",
            method="POST",
            path="/api/sessions",
            summary="Open a session, whose token is good on every channel; it takes the place of this one.",
        ),
        BuiltIn(name="sessions.current", path="/api/sessions/current", summary="Show who is asking, and the session."),
        BuiltIn(name="sessions.end", method="DELETE", path="/api/sessions/current", summary="End this session."),
        BuiltIn(
            name="sessions.change",
            method="PUT",
            path="/api/sessions/current",
            summary="Replace what is kept in this session.",
            properties=CHANGE,
            required=("state", "version"),
        ),
        BuiltIn(
            name="keys.issue",
            method="POST",
            path="/api/keys",
            summary="Issue an API key of one's own; it is shown once.",
            properties=ISSUE,
            required=("name",),
        ),
        BuiltIn(
            name="admin.keys.issue",
            method="POST",
            path="/api/admin/keys",
            summary="Issue an API key for anybody; it is shown once.",
            properties={**ISSUE, **BEARER},
            required=("name", "principal"),
        ),
    )
}


def workflow_of(view: Json) -> Operation:
    """Return the operation that a server shows, with its schemas where those are shown too."""
    return Operation(
        name=view["name"],
        kind="workflow",
        version=view["version"],
        newest=view["newest"],
        summary=view["summary"],
        description=view["description"],
        tags=view["tags"],
        hints=Hints(read_only=view["read_only"], destructive=view["destructive"], idempotent=view["idempotent"]),
        deprecated=view["deprecated"] or "",
        background=view["background"],
        input_schema=lambda: view.get("input_schema", {}),
        output_schema=lambda: view.get("output_schema", {}),
    )
