"""
Runs as MCP tasks. Pure.

Two revisions have them, and differ on the wire: MCP 2025-11-25 (basic/utilities/tasks), where the client asks for a task, and the
extension `io.modelcontextprotocol/tasks` of MCP 2026-07-28 (SEP-2663), where the server decides, for clients that know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from mcp_types import GetTaskRequestParams

__all__ = [
    "CAPABILITY",
    "CORE",
    "EXTENSION",
    "UpdateTaskParams",
    "created",
    "extension_task",
    "handed_over",
    "related_to",
    "task_of",
    "with_related",
]

CORE: Final = "2025-11-25"
"""The revision that has tasks itself."""

EXTENSION: Final = "io.modelcontextprotocol/tasks"
RELATED: Final = "io.modelcontextprotocol/related-task"
IMMEDIATE: Final = "io.modelcontextprotocol/model-immediate-response"

CAPABILITY: Final[Mapping[str, Any]] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
POLL_EVERY_MS: Final = 1000

# Where the result of a call has the task that takes its place: the SDK lets no handler of `tools/call` return that itself.
CREATED: Final = "nexus/task"

STATUSES: Final[Mapping[str, str]] = {
    "pending": "working",
    "running": "working",
    "waiting": "input_required",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


class UpdateTaskParams(GetTaskRequestParams):
    """The parameters of `tasks/update` (SEP-2663); what is under a key that nothing asks for may be anything."""

    input_responses: dict[str, Any]


def task_of(run: Mapping[str, Any], *, now: datetime, retention: timedelta) -> dict[str, Any]:
    """
    Return the run as a task of MCP 2025-11-25.

    Its time to live is until when the record is kept, counted from its creation as the protocol has it: of a run that goes on, if
    it ended now.

    Args:
        run: Its record as channels show it (`RunRecord.view`); its id is the task's.
        now: The time.
        retention: How long the record is kept after its end.
    """
    created_at, ended_at = run["created_at"], run["ended_at"]
    kept = (ended_at or now) - created_at + retention
    task = {
        "taskId": run["run_id"],
        "status": "working" if _waits_for_others(run) else STATUSES[run["status"]],
        "createdAt": created_at.isoformat(),
        "lastUpdatedAt": (ended_at or created_at).isoformat(),
        "ttl": kept // timedelta(milliseconds=1),
    }
    message = _message(run)
    if message is not None:
        task["statusMessage"] = message
    if ended_at is None:
        task["pollInterval"] = POLL_EVERY_MS
    return task


def extension_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same task as the extension has it, whose names say the unit."""
    names = {"ttl": "ttlMs", "pollInterval": "pollIntervalMs"}
    return {names.get(name, name): value for name, value in task.items()}


def related_to(task_id: str) -> dict[str, Any]:
    """Return the `_meta` of a message that belongs to a task."""
    return {RELATED: {"taskId": task_id}}


def with_related(result: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """Return a result that names the task it is of."""
    return {**result, "_meta": {**result.get("_meta", {}), **related_to(task_id)}}


def created(submitted: Mapping[str, Any], task: Mapping[str, Any], immediate: str) -> dict[str, Any]:
    """
    Return the result of a call that began a task, still in the form of a result of `tools/call`; see `handed_over`.

    Args:
        submitted: The result that a client without tasks gets.
        task: The task.
        immediate: What the host may tell its model at once.
    """
    return {**submitted, "_meta": {**submitted["_meta"], CREATED: {"task": task, "immediate": immediate}}}


def handed_over(result: dict[str, Any]) -> dict[str, Any]:
    """Return `CreateTaskResult` in place of the result of a call that began a task; any other result as it is."""
    meta = result.get("_meta") or {}
    begun = meta.get(CREATED)
    if begun is None:
        return result
    rest = {key: value for key, value in meta.items() if key != CREATED}
    task = begun["task"]
    return {"task": task, "_meta": {**rest, **related_to(task["taskId"]), IMMEDIATE: begun["immediate"]}}


def _waits_for_others(run: Mapping[str, Any]) -> bool:
    """Whether it has asked, and the answer is not for its caller to give."""
    return run["status"] == "waiting" and all("of" in question for question in run["questions"])


def _message(run: Mapping[str, Any]) -> str | None:
    if "error" in run:
        told: str = run["error"]["message"]
        return told
    if run["status"] == "waiting":
        return "; ".join(question["text"] for question in run["questions"])
    return {"pending": "The run waits for its turn.", "running": "The run goes on."}.get(run["status"])
