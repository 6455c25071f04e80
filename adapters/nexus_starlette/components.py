"""The parts of the OpenAPI document that are the same for every application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nexus.exceptions import CODES
from nexus_starlette.references import reference_to
from nexus_starlette.routes import FORM, JSON

__all__ = [
    "ERRORS",
    "FILTERS",
    "HEADERS",
    "PARAMETERS",
    "RESPONSES",
    "SCHEMAS",
    "enveloped",
    "failures",
    "form_content",
    "json_content",
    "names_paths",
    "schema",
]

Json = Mapping[str, Any]


def _closed(properties: Json, *, optional: tuple[str, ...] = (), **keywords: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **keywords}


def schema(name: str) -> dict[str, str]:
    """Return a reference to a schema of this module."""
    return reference_to("schemas", name)


STRING: Final = {"type": "string"}
TIME: Final = {"type": "string", "format": "date-time"}
FLAG: Final = {"type": "boolean"}
OBJECT: Final = {"type": "object"}
STATUSES: Final = ["pending", "running", "waiting", "succeeded", "failed", "cancelled"]

SCHEMAS: Final[Json] = {
    "NexusMetadata": _closed(
        {
            "timestamp": TIME,
            "version": {"type": "string", "description": "The application's version."},
            "request_id": {"type": "string", "description": "The id under which the log knows the request."},
            "deprecated": {"type": "string", "description": "What to use instead of the workflow that was called."},
        },
        optional=("deprecated",),
    ),
    "NexusError": _closed(
        {
            "code": {"type": "string", "enum": sorted(CODES)},
            "message": {"type": "string", "description": "What is wrong and what to do."},
            "details": _closed(
                {"errors": {"type": "array", "items": schema("NexusProblem")}},
                optional=("errors",),
                description="More for programs; `errors` where the arguments don't fit, all of them at once.",
            ),
        }
    ),
    "NexusProblem": _closed(
        {
            "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) to the argument."},
            "message": {"type": "string", "description": "What was expected and what came."},
        }
    ),
    "NexusFailure": _closed(
        {
            "success": {"const": False},
            "data": {"type": "null"},
            "error": schema("NexusError"),
            "metadata": schema("NexusMetadata"),
        }
    ),
    "NexusQuestion": _closed(
        {
            "name": STRING,
            "text": STRING,
            "schema": {"type": "object", "description": "JSON Schema of the answer."},
            "step": STRING,
            "of": {
                "type": "string",
                "description": "Who may answer, `role:NAME` or `principal:ID`; without it, whoever started the run.",
            },
            "default": {"description": "What is proposed."},
            "expires_at": {"type": "string", "format": "date-time", "description": "Until when an answer is taken."},
        },
        optional=("of", "default", "expires_at"),
    ),
    "NexusStep": _closed(
        {
            "name": STRING,
            "status": {"enum": ["succeeded", "failed", "cancelled", "skipped"]},
            "attempts": {"type": "integer", "description": "How often it was tried; 0 where it was not called."},
            "started": {"type": "number", "description": "Seconds since the run was started."},
            "ended": {"type": "number", "description": "Seconds since the run was started."},
        }
    ),
    "NexusFile": _closed(
        {
            "name": {"type": "string", "description": "As the results name it, but for a number where two have the same."},
            "media_type": STRING,
            "href": {"type": "string", "format": "uri-reference", "description": "Where it can be downloaded."},
        }
    ),
    "NexusRun": _closed(
        {
            "run_id": STRING,
            "workflow": STRING,
            "workflow_version": STRING,
            "status": {"enum": STATUSES},
            "version": {"type": "integer", "description": "Rises with each change of the record."},
            "request_id": STRING,
            "channel": STRING,
            "principal": STRING,
            "parent": {"type": ["string", "null"], "description": "The run whose step started it."},
            "retry_of": {"type": ["string", "null"], "description": "The run of which this is a retry."},
            "created_at": TIME,
            "ended_at": {**TIME, "type": ["string", "null"]},
            "execution_time": {"type": ["number", "null"], "description": "Seconds."},
            "cached": {"type": "boolean", "description": "Whether the results are those of an earlier run."},
            "inputs": {"type": "object", "description": "What the workflow was called with."},
            "redacted": {
                "type": "array",
                "items": STRING,
                "description": "JSON pointers (RFC 6901) to what has *** in place of secrets: `/inputs/token`, `/results`.",
            },
            "questions": {"type": "array", "items": schema("NexusQuestion")},
            "steps": {"type": "array", "items": schema("NexusStep")},
            "results": {"description": "The output, where the run succeeded."},
            "files": {"type": "array", "items": schema("NexusFile"), "description": "What the results name, where it is a file."},
            "error": schema("NexusError"),
        },
        optional=("results", "files", "error"),
    ),
    "NexusRunPage": _closed(
        {
            "items": {"type": "array", "items": schema("NexusRun")},
            "cursor": {"type": ["string", "null"], "description": "As `after` it gives the next page; null at the end."},
        }
    ),
    "NexusWorkflow": _closed(
        {
            "name": STRING,
            "version": STRING,
            "kind": STRING,
            "newest": {"type": "boolean", "description": "Whether the name alone means this version."},
            "summary": STRING,
            "description": STRING,
            "tags": {"type": "array", "items": STRING},
            "read_only": FLAG,
            "destructive": FLAG,
            "idempotent": FLAG,
            "deprecated": {"type": ["string", "null"], "description": "What to use instead."},
            "background": {"type": "boolean", "description": "Whether it is not waited for: it is answered with the run, 202."},
        }
    ),
    "NexusDescribedWorkflow": {
        "allOf": [schema("NexusWorkflow"), _closed({"input_schema": OBJECT, "output_schema": OBJECT})],
    },
    "NexusSchemas": _closed({"input": OBJECT, "output": OBJECT}),
    "NexusGraph": _closed(
        {
            "steps": {"type": "array", "items": schema("NexusGraphStep")},
            "output": {"type": "string", "description": "The step whose result is the workflow's."},
            "mermaid": {"type": "string", "description": "The graph as a Mermaid diagram."},
        }
    ),
    "NexusGraphStep": _closed(
        {
            "name": STRING,
            "needs": {"type": "array", "items": STRING, "description": "The steps that come before."},
            "each": {"type": ["string", "null"], "description": "What it fans out over: a step, or an input."},
            "conditional": {"type": "boolean", "description": "Whether it may be skipped."},
        }
    ),
    "NexusSchedule": _closed(
        {
            "name": STRING,
            "workflow": {"type": "string", "description": "`name@version`."},
            "cron": STRING,
            "timezone": STRING,
            "jitter": {"type": "number", "description": "Seconds."},
            "missed": {"enum": ["skip", "once", "all"]},
            "overlap": {"enum": ["skip", "allow", "cancel"]},
            "paused": FLAG,
            "next": {"type": "array", "items": TIME, "description": "The next due times; none while it is paused."},
            "last": {
                "oneOf": [
                    {"type": "null"},
                    _closed({"time": TIME, "run_id": STRING, "status": {"type": ["string", "null"]}}),
                ],
                "description": "The last firing: when it was due or triggered, its run, and how that ended; null if it is lost.",
            },
        }
    ),
    "NexusHealth": _closed({"status": {"const": "ok"}}),
}

HEADERS: Final[Json] = {
    "X-Request-ID": {"schema": STRING, "description": "The id under which the log knows the request."},
    "X-Nexus-Version": {"schema": STRING, "description": "The version of Nexus."},
    "RateLimit-Policy": {
        "schema": STRING,
        "description": "The limits that the request counted against (draft-ietf-httpapi-ratelimit-headers-11): `q` calls in `w` "
        "seconds. Not there without any, nor on a stream of events.",
    },
    "RateLimit": {
        "schema": STRING,
        "description": "What is left of them: `r` more calls, and more than that in `t` seconds. Of a call that was refused for "
        "them, those that it exceeds.",
    },
}

PARAMETERS: Final[Json] = {
    "Workflow": {
        "name": "workflow",
        "in": "path",
        "required": True,
        "schema": STRING,
        "description": "`name`, its newest version, or `name@version`.",
    },
    "Run": {"name": "run_id", "in": "path", "required": True, "schema": STRING},
    "File": {"name": "name", "in": "path", "required": True, "schema": STRING, "description": "The file's, as the run has it."},
    "Schedule": {"name": "schedule", "in": "path", "required": True, "schema": STRING, "description": "Its name."},
    "Status": {"name": "status", "in": "query", "schema": {"enum": STATUSES}, "description": "Only runs of this status."},
    "OfWorkflow": {"name": "workflow", "in": "query", "schema": STRING, "description": "Only runs of the workflow of this name."},
    "After": {"name": "after", "in": "query", "schema": STRING, "description": "The cursor of the page before."},
    "Limit": {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        "description": "At most this many.",
    },
    "RequestId": {
        "name": "X-Request-ID",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "description": "An id for the log; another than of this form is not used.",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": "The same caller, workflow and key get the same run and its result, however often.",
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": STRING,
        "description": "The id of the event that came last.",
    },
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "schema": STRING,
        "description": "`respond-async` (RFC 7240): answer as soon as the run is recorded, do not wait for it. "
        '`handling=lenient`: the arguments are text, `"3"` is good enough for an integer.',
    },
}

FILTERS: Final = ("Status", "OfWorkflow", "After", "Limit")
"""The parameters of a listing of runs."""

RETRY_AFTER: Final = {"schema": {"type": "integer"}, "description": "In how many seconds to try again."}

ERRORS: Final[Mapping[str, tuple[str, str, Json]]] = {
    "400": ("Malformed", "The body is not JSON, or not the form that it is said to be.", {}),
    "401": ("Unauthenticated", "No or bad credentials.", {"WWW-Authenticate": {"schema": STRING}}),
    "403": ("PermissionDenied", "The caller may not.", {}),
    "404": ("NotFound", "There is no such thing, or it is not the caller's.", {}),
    "406": ("NotAcceptable", "The caller does not accept what this path answers with.", {}),
    "409": ("Conflict", "The thing has changed, or is not in a state that allows this.", {}),
    "413": ("PayloadTooLarge", "The body is too long.", {}),
    "415": ("WrongContentType", "The body is not said to be JSON in UTF-8, or a form.", {}),
    "422": ("InvalidArgument", "The arguments don't fit; all problems at once.", {}),
    "429": ("ResourceExhausted", "A rate, quota or capacity is used up.", {"Retry-After": RETRY_AFTER}),
    "499": ("Cancelled", "Somebody cancelled the run.", {}),
    "500": ("Failed", "The workflow failed, or Nexus did.", {}),
    "503": ("Unavailable", "A part is down, stopping or not started.", {"Retry-After": RETRY_AFTER}),
    "504": ("DeadlineExceeded", "It took longer than it may.", {}),
}
"""By status: the name of the response, what it means, and its headers."""


def json_content(content: Json) -> dict[str, Any]:
    """Return the `content` of a JSON body of that schema."""
    return {JSON: {"schema": content}}


def form_content(inputs: Json) -> dict[str, Any]:
    """Return the `content` of a form with files, for inputs of that schema that are paths; else nothing."""
    properties = {name: _with_files(each) for name, each in inputs.get("properties", {}).items()}
    if properties == inputs.get("properties", {}):
        return {}
    return {FORM: {"schema": {**inputs, "properties": properties}}}


def _with_files(each: Any) -> Any:
    if not isinstance(each, Mapping):
        return each
    if each.get("format") == "path":
        return {**{name: value for name, value in each.items() if name != "default"}, "format": "binary"}
    parts = {"items": _with_files(each["items"])} if "items" in each else {}
    return {**each, **parts, **({"anyOf": [_with_files(member) for member in each["anyOf"]]} if "anyOf" in each else {})}


def names_paths(part: Any) -> bool:
    """Whether a path is somewhere in what a schema describes, as far as it can be seen without its references."""
    if isinstance(part, Mapping):
        return part.get("format") == "path" or any(names_paths(value) for value in part.values())
    return isinstance(part, list) and any(names_paths(value) for value in part)


def _headers(more: Json) -> dict[str, Any]:
    return {**{name: reference_to("headers", name) for name in HEADERS}, **more}


def enveloped(description: str, data: Json, headers: Json | None = None) -> dict[str, Any]:
    """Return the response that has *data* in the envelope."""
    envelope = _closed({"success": {"const": True}, "data": data, "metadata": schema("NexusMetadata")})
    return {"description": description, "headers": _headers(headers or {}), "content": json_content(envelope)}


RESPONSES: Final[Json] = {
    name: {"description": description, "headers": _headers(headers), "content": json_content(schema("NexusFailure"))}
    for name, description, headers in ERRORS.values()
}


def failures(*statuses: str) -> dict[str, Any]:
    """Return the error responses of those statuses, or of all."""
    return {status: reference_to("responses", ERRORS[status][0]) for status in statuses or ERRORS}
