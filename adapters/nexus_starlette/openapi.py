"""`/openapi.json`: the API of an application as OpenAPI 3.1, a path for each workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from nexus.abc import Gateway
from nexus.models import Operation
from nexus_starlette.components import (
    FILTERS,
    HEADERS,
    PARAMETERS,
    RESPONSES,
    SCHEMAS,
    enveloped,
    failures,
    form_content,
    json_content,
    names_paths,
    schema,
)
from nexus_starlette.references import Components, reference_to
from nexus_starlette.routes import BY_METHODS, EVENT_STREAM, MERMAID, Endpoint

__all__ = ["Document", "describe"]

Json = Mapping[str, Any]

LOCATION: Final = {"Location": {"schema": {"type": "string", "format": "uri-reference"}, "description": "The run."}}

EVENTS_CONTENT: Final = {EVENT_STREAM: {"schema": {"type": "string"}}}
DEPRECATION: Final = {"Deprecation": {"schema": {"type": "string"}, "description": "This path is deprecated (RFC 9745)."}}

VARY: Final = {"Vary": {"schema": {"const": "accept"}, "description": "Which of its forms this is, `Accept` decides."}}


@attrs.define(eq=False)
class Document:
    """The document, made anew when there is something else to describe than the last time."""

    gateway: Gateway
    _described: tuple[Sequence[Operation], str] | None = attrs.field(default=None, init=False)
    _text: bytes = attrs.field(default=b"", init=False)

    def of(self, listing: Sequence[Json], root: str) -> bytes:
        """
        Return the document as JSON.

        Args:
            listing: What `workflows.list` gave to this caller.
            root: Where the application is mounted, without a slash at the end.
        """
        found = (self.gateway.operation(f"{entry['name']}@{entry['version']}") for entry in listing)
        described = ([operation for operation in found if operation is not None and operation.kind == "workflow"], root)
        if described != self._described:
            self._text = self.gateway.encode(describe(self.gateway, *described))
            self._described = described
        return self._text


def describe(gateway: Gateway, operations: Sequence[Operation], root: str = "") -> dict[str, Any]:
    """
    Return the document.

    Args:
        gateway: Has the title, the description and the version.
        operations: The workflows to describe.
        root: Where the application is mounted.
    """
    components = Components(SCHEMAS)
    workflows = {f"/api/workflows/{_path_name(each)}/execute": {"post": _execution(each, components)} for each in operations}
    info = {"title": gateway.title, "version": gateway.version}
    return {
        "openapi": "3.1.0",
        "info": {**info, "description": gateway.description} if gateway.description else info,
        **({"servers": [{"url": root}]} if root else {}),
        "paths": {**workflows, **_fixed_paths(), **_identity_paths(gateway)},
        "components": {
            "schemas": components.schemas,
            "responses": RESPONSES,
            "parameters": PARAMETERS,
            "headers": HEADERS,
        },
    }


def _path_name(operation: Operation) -> str:
    return operation.name if operation.newest else operation.reference


def _execution(operation: Operation, components: Components) -> dict[str, Any]:
    inputs = components.take(operation.input_schema)
    output = components.take(operation.output_schema)
    required = bool(inputs.get("required"))
    body = {"type": "object", "properties": {"inputs": inputs}, "additionalProperties": False}
    metadata = {
        "type": "object",
        "properties": {
            "execution_time": {"type": "number", "description": "Seconds."},
            "workflow_version": {"type": "string"},
            "cached": {"const": True, "description": "The results are those of an earlier run of the same inputs."},
        },
        "required": ["execution_time", "workflow_version"],
    }
    data: dict[str, Any] = {
        "type": "object",
        "properties": {"run_id": {"type": "string"}, "results": output, "metadata": metadata},
        "required": ["run_id", "results", "metadata"],
    }
    if names_paths(operation.output_schema):
        data["properties"]["files"] = {"type": "array", "items": schema("NexusFile"), "description": "What the results name."}
    content = {
        **json_content({**body, "required": ["inputs"]} if required else body),
        **form_content(inputs),
    }
    notice = f"Deprecated: {operation.deprecated}" if operation.deprecated else ""
    description = "\n\n".join(text for text in (notice, operation.description) if text)
    results = enveloped("The results.", data, DEPRECATION if notice else None)
    return {
        "operationId": f"execute_{_path_name(operation)}",
        **({"summary": operation.summary} if operation.summary else {}),
        **({"description": description} if description else {}),
        **({"deprecated": True} if notice else {}),
        "tags": list(operation.tags) or ["workflows"],
        "parameters": [reference_to("parameters", name) for name in ("RequestId", "Prefer", "IdempotencyKey")],
        "requestBody": {
            "required": required,
            "content": content,
        },
        "responses": {
            "200": {**results, "content": {**results["content"], **EVENTS_CONTENT}},
            "202": enveloped(_why_accepted(operation), schema("NexusRun"), {**LOCATION, **(DEPRECATION if notice else {})}),
            **failures(),
        },
    }


def _why_accepted(operation: Operation) -> str:
    if operation.background:
        return "The run, which goes on by itself."
    return "The run waits for an answer, or was asked not to be waited for."


def _fixed_paths() -> dict[str, Any]:
    listed = {"type": "array", "items": schema("NexusWorkflow")}
    graph = enveloped("Its steps.", schema("NexusGraph"), VARY)
    graph["content"][MERMAID] = {"schema": {"type": "string"}}
    answer = {
        "type": "object",
        "properties": {
            "answer": {"description": "Fits the question's schema."},
            "question": {"type": "string", "description": "Its name; needed only where several are open."},
        },
        "required": ["answer"],
        "additionalProperties": False,
    }
    wait = {
        "type": "object",
        "properties": {"timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds; 30 if not given."}},
        "additionalProperties": False,
    }
    one = "/api/workflows/{workflow}"
    run = "/api/runs/{run_id}"
    return {
        "/api/workflows": _get("list_workflows", "The workflows that the caller may use.", enveloped("All of them.", listed)),
        one: _get("get_workflow", "A workflow with its schemas.", enveloped("It.", schema("NexusDescribedWorkflow")), "Workflow"),
        f"{one}/schema": _get("get_workflow_schema", "Its schemas.", enveloped("Them.", schema("NexusSchemas")), "Workflow"),
        f"{one}/graph": _get("get_workflow_graph", "Its steps, and a diagram of them.", graph, "Workflow"),
        "/api/runs": _listing(),
        run: _get("get_run", "The record of a run.", enveloped("It.", schema("NexusRun")), "Run"),
        f"{run}/files/{{name}}": {"get": _download()},
        f"{run}/events": {"get": _following()},
        f"{run}/wait": _post("wait_for_run", "Wait until a run has ended or asks.", wait, required=False),
        f"{run}/cancel": _post("cancel_run", "Cancel a run, and wait until its clean-up is done.", None),
        f"{run}/retry": _post(
            "retry_run", "Run a run that failed or was cancelled again, without the steps that have succeeded.", None, "Prefer"
        ),
        f"{run}/answer": _post("answer_run", "Answer a question of a waiting run.", answer),
        **_schedule_paths(),
        "/openapi.json": {
            "get": {
                "operationId": "get_openapi",
                "summary": "This document.",
                "tags": ["application"],
                "responses": {
                    "200": {"description": "OpenAPI 3.1.", "content": json_content({"type": "object"})},
                    **_get_failures(),
                },
            }
        },
        "/health/live": _health("get_health_live", "Whether the process answers.", {}),
        "/health/ready": _health("get_health_ready", "Whether new requests are welcome.", failures("503")),
    }


def _schedule_paths() -> dict[str, Any]:
    all_of_them = enveloped("All of them.", {"type": "array", "items": schema("NexusSchedule")})
    listing = _get("list_schedules", "The schedules, with their next due times and last firing.", all_of_them, tag="schedules")
    wait = {"type": "boolean", "description": "Answer when the run has ended, or waits for an answer; not at once."}
    body = {"type": "object", "properties": {"wait": wait}, "additionalProperties": False}
    paths: dict[str, Any] = {"/api/admin/schedules": listing}
    for verb, summary, answer in (
        ("pause", "Let it fire no more, until it is resumed.", enveloped("The schedule.", schema("NexusSchedule"))),
        ("resume", "Let it fire again, from now on.", enveloped("The schedule.", schema("NexusSchedule"))),
        ("trigger", "Fire it now, paused or not.", enveloped("The run, which is the application's.", schema("NexusRun"))),
    ):
        post = _post(f"{verb}_schedule", summary, None, parameter="Schedule", tag="schedules")["post"]
        post["responses"] = {"200": answer, **failures()}
        paths[f"/api/admin/schedules/{{schedule}}/{verb}"] = {"post": post}
    post["requestBody"] = {"required": False, "content": json_content(body)}
    return paths


def _identity_paths(gateway: Gateway) -> dict[str, Any]:
    """Return the paths of sessions and keys, as the catalogue describes their operations."""
    paths: dict[str, Any] = {}
    for path, endpoints in BY_METHODS.items():
        for endpoint in endpoints:
            operation = gateway.operation(endpoint.operation)
            if operation is not None and operation.name.removeprefix("admin.").partition(".")[0] in {"sessions", "keys"}:
                named = path.replace("{id}", f"{{{endpoint.target}}}")
                paths.setdefault(named, {})[endpoint.method.lower()] = _described(endpoint, operation)
    return paths


def _described(endpoint: Endpoint, operation: Operation) -> dict[str, Any]:
    given = operation.input_schema
    properties = {name: each for name, each in given.get("properties", {}).items() if name != endpoint.target}
    required = [name for name in given.get("required", ()) if name != endpoint.target]
    parameters: list[Any] = [reference_to("parameters", "RequestId")]
    if endpoint.target:
        parameters.append({"name": endpoint.target, "in": "path", "required": True, "schema": {"type": "string"}})
    described: dict[str, Any] = {
        "operationId": operation.name.replace(".", "_"),
        "summary": operation.summary,
        "tags": [operation.name.rpartition(".")[0]],
        "parameters": parameters,
        "responses": {"200": enveloped("It.", {"type": "object"}), **failures()},
    }
    if endpoint.has_body and properties:
        body = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        described["requestBody"] = {"required": bool(required), "content": json_content(body)}
    elif not endpoint.has_body:
        parameters += [{"name": name, "in": "query", "schema": each} for name, each in properties.items()]
    return described


def _get_failures() -> dict[str, Any]:
    return failures("401", "403", "404", "406", "429", "500", "503")


def _get(operation_id: str, summary: str, response: Json, parameter: str = "", tag: str = "") -> dict[str, Any]:
    names = [parameter, "RequestId"] if parameter else ["RequestId"]
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": [tag or ("runs" if parameter == "Run" else "workflows")],
            "parameters": [reference_to("parameters", name) for name in names],
            "responses": {"200": response, **_get_failures()},
        }
    }


def _following() -> dict[str, Any]:
    return {
        "operationId": "get_run_events",
        "summary": "Follow what a run tells, until it has ended.",
        "description": "Server-sent events. Each has the id that, sent back as `Last-Event-ID`, goes on after it.",
        "tags": ["runs"],
        "parameters": [reference_to("parameters", name) for name in ("Run", "LastEventId", "RequestId")],
        "responses": {
            "200": {"description": "The events, from the first one on.", "content": EVENTS_CONTENT},
            "204": {"description": "The run has ended, and there are no more."},
            **_get_failures(),
        },
    }


def _download() -> dict[str, Any]:
    content = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    told = {"Content-Disposition": {"schema": {"type": "string"}}, "ETag": {"schema": {"type": "string"}}}
    return {
        "operationId": "get_run_file",
        "summary": "Download a file that the results of a run name.",
        "description": "It is there as long as the run's record, at most until the application stops.",
        "tags": ["runs"],
        "parameters": [reference_to("parameters", name) for name in ("Run", "File", "RequestId")],
        "responses": {
            "200": {"description": "The file, to be saved.", "headers": told, "content": content},
            "206": {"description": "The part of it that `Range` asked for.", "content": content},
            **failures("401", "403", "404", "429", "500", "503"),
            "416": {"description": "It has no such part."},
        },
    }


def _listing() -> dict[str, Any]:
    return {
        "get": {
            "operationId": "list_runs",
            "summary": "The caller's runs, newest first.",
            "tags": ["runs"],
            "parameters": [reference_to("parameters", name) for name in (*FILTERS, "RequestId")],
            "responses": {
                "200": enveloped("A page of them.", schema("NexusRunPage")),
                **_get_failures(),
                **failures("400", "422"),
            },
        }
    }


def _post(
    operation_id: str,
    summary: str,
    body: Json | None,
    *headers: str,
    parameter: str = "Run",
    tag: str = "runs",
    required: bool = True,
) -> dict[str, Any]:
    return {
        "post": {
            "operationId": operation_id,
            "summary": summary,
            "tags": [tag],
            "parameters": [reference_to("parameters", name) for name in (parameter, "RequestId", *headers)],
            **({} if body is None else {"requestBody": {"required": required, "content": json_content(body)}}),
            "responses": {
                "200": enveloped("The run has ended.", schema("NexusRun")),
                "202": enveloped("The run goes on, or waits for another answer.", schema("NexusRun"), LOCATION),
                **failures(),
            },
        }
    }


def _health(operation_id: str, summary: str, failed: Json) -> dict[str, Any]:
    healthy = enveloped("Yes.", schema("NexusHealth"))
    return {
        "get": {"operationId": operation_id, "summary": summary, "tags": ["application"], "responses": {"200": healthy, **failed}}
    }
