"""MCP messages to requests, and responses to MCP results. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, CallToolRequestParams, ErrorData

from nexus.abc import Gateway
from nexus.exceptions import (
    ConflictError,
    InvalidArgumentError,
    NexusError,
    Problem,
    UnavailableError,
    WorkflowFailedError,
    details_of,
    result_too_large,
)
from nexus.models import Caller, Question, Request, Response, RunRecord
from nexus_mcp._elicitation import NO_SECRETS, asks_for_secret, form
from nexus_mcp._tools import SUBMITTED

__all__ = [
    "META_CACHED",
    "META_EXECUTION_TIME",
    "META_IDEMPOTENCY_KEY",
    "META_REQUEST_ID",
    "META_RUN_ID",
    "META_WORKFLOW_VERSION",
    "RefusedError",
    "error_of_run",
    "goes_on",
    "meta_of",
    "open_questions",
    "parse_answer",
    "parse_call",
    "protocol_error",
    "refusal",
    "render_ended",
    "render_error",
    "render_output",
    "render_question",
    "render_questions",
    "render_submitted",
    "secret_asked",
    "with_output",
]

META_IDEMPOTENCY_KEY: Final = "nexus/idempotency_key"
META_REQUEST_ID: Final = "nexus/request_id"
META_RUN_ID: Final = "nexus/run_id"
META_WORKFLOW_VERSION: Final = "nexus/workflow_version"
META_EXECUTION_TIME: Final = "nexus/execution_time"
META_CACHED: Final = "nexus/cached"

# JSON-RPC 2.0, section 5.1. What a tool did itself is a tool error, which the model behind the client sees.
PROTOCOL_ERRORS: Final[Mapping[str, int]] = {
    "malformed_request": INVALID_REQUEST,
    "unauthenticated": INVALID_REQUEST,
    "payload_too_large": INVALID_REQUEST,
    "not_found": INVALID_PARAMS,
    "internal": INTERNAL_ERROR,
}

REFUSALS: Final[Mapping[str, int]] = {
    "invalid_argument": INVALID_PARAMS,
    "conflict": INVALID_PARAMS,
    "unavailable": INTERNAL_ERROR,
    "deadline_exceeded": INTERNAL_ERROR,
}


class RefusedError(MCPError):
    """A JSON-RPC error that says what the gateway said."""


def parse_call(params: CallToolRequestParams, operation: str, caller: Caller, *, detach: bool = False) -> Request:
    """Return a tool's call as a request; *detach* where its work goes on in the background."""
    meta: Mapping[str, Any] = params.meta or {}
    key = meta.get(META_IDEMPOTENCY_KEY)
    if key is not None and not isinstance(key, str):
        raise InvalidArgumentError(f"_meta: {META_IDEMPOTENCY_KEY!r} must be a string")
    return Request(operation=operation, arguments=params.arguments or {}, caller=caller, idempotency_key=key, detach=detach)


def parse_answer(run_id: str, question: str, answer: Any, caller: Caller, *, detach: bool = False) -> Request:
    """Return the answer to one question of a waiting run as a request; *detach* where nobody waits for what comes of it."""
    return Request(
        operation="runs.answer",
        arguments={"run_id": run_id, "question": question, "answer": answer},
        caller=caller,
        lenient=True,
        detach=detach,
    )


def render_output(gateway: Gateway, response: Response, *, wraps: bool) -> dict[str, Any]:
    """Return the result of a call that succeeded, the same object as structure and as text; or a refusal if it is too long."""
    encoded = gateway.encode({"result": response.data} if wraps else response.data, remote=True)
    if len(encoded) > gateway.max_value_bytes:
        return render_error(gateway, response, result_too_large(len(encoded), gateway.max_value_bytes))
    return {
        "content": [{"type": "text", "text": encoded.decode()}],
        "structuredContent": msgspec.json.decode(encoded),
        "isError": False,
        "resultType": "complete",
        "_meta": meta_of(response),
    }


def render_submitted(gateway: Gateway, response: Response, run: RunRecord) -> dict[str, Any]:
    """Return the result of a call whose work goes on in the background: how to ask for its results."""
    view = run.view()
    way = "Call runs_wait with this run_id for its results, runs_get to look at it, runs_cancel to stop it."
    return {
        "content": [{"type": "text", "text": f"{goes_on(run)} {way}"}],
        "structuredContent": gateway.to_builtins({name: view[name] for name in SUBMITTED["properties"]}),
        "isError": False,
        "resultType": "complete",
        "_meta": meta_of(response),
    }


def render_ended(gateway: Gateway, response: Response, *, wraps: bool) -> dict[str, Any]:
    """
    Return the result of a run that has ended, as the call that began it would have given it.

    Raises:
        RefusedError: That would have been a JSON-RPC error.
    """
    response = with_output(response)
    error = response.error
    if error is None and response.run is not None:
        error = error_of_run(response.run)
    if error is not None:
        return render_error(gateway, response, error)
    return render_output(gateway, response, wraps=wraps)


def goes_on(run: RunRecord) -> str:
    """Say that nobody has to wait for the run."""
    return f"Run {run.id} of {run.workflow} is {run.status}, and goes on by itself."


def render_error(gateway: Gateway, response: Response, error: NexusError) -> dict[str, Any]:
    """
    Return the result of a call that failed, where MCP has it as a tool error.

    Raises:
        RefusedError: MCP has it as a JSON-RPC error.
    """
    refusal = protocol_error(error, run=response.run)
    if refusal is not None:
        refusal.data = gateway.to_builtins(refusal.data)
        raise RefusedError.from_error_data(refusal)
    return {
        "content": [{"type": "text", "text": _text(error)}],
        "structuredContent": gateway.to_builtins(details_of(error)),
        "isError": True,
        "resultType": "complete",
        "_meta": meta_of(response),
    }


def protocol_error(error: NexusError, *, run: RunRecord | None = None) -> ErrorData | None:
    """Return the JSON-RPC error, or None where it is a tool error: what a run ended with is one, but for faults of ours."""
    code = PROTOCOL_ERRORS.get(error.code)
    if code is None or (run is not None and error.code != "internal"):
        return None
    return ErrorData(code=code, message=error.message, data=details_of(error))


def refusal(gateway: Gateway, error: NexusError) -> RefusedError:
    """Return the JSON-RPC error for what has no result in which a tool error could be told."""
    code = PROTOCOL_ERRORS.get(error.code) or REFUSALS.get(error.code, INVALID_REQUEST)
    return RefusedError(code, _text(error), gateway.to_builtins(details_of(error)))


def render_questions(run: RunRecord, problems: Mapping[str, str]) -> dict[str, Any]:
    """
    Return what asks the caller for the open questions of a waiting run; its id goes along, to be sealed and sent back.

    Args:
        run: A run that waits.
        problems: By question, why its last answer was not taken.
    """
    requests = {question.name: render_question(question, problems.get(question.name)) for question in open_questions(run)}
    return {"resultType": "input_required", "inputRequests": requests, "requestState": run.id}


def render_question(question: Question, problem: str | None) -> dict[str, Any]:
    """Return what asks the caller for the answer to one question; *problem* is why the last one was not taken."""
    message, schema = form(question, problem)
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def with_output(response: Response) -> Response:
    """Return what became of an answer as the result of its run."""
    run = response.run
    if response.error is not None or run is None:
        return response
    try:
        return attrs.evolve(response, data=run.whole_output())
    except ConflictError as error:
        return attrs.evolve(response, error=error)


def secret_asked(run: RunRecord) -> UnavailableError | None:
    """Return why a waiting run can't be answered here, where it asks for a secret; None if it does not."""
    for question in open_questions(run):
        if asks_for_secret(question):
            return UnavailableError(
                f"{NO_SECRETS} (run {run.id}, asked: {question.text!r})", run_id=run.id, question=question.name
            )
    return None


def open_questions(run: RunRecord) -> list[Question]:
    """Return the questions of a waiting run that nobody has answered, and that its caller may."""
    return [question for question in run.own_questions if question.name not in run.answers]


def error_of_run(run: RunRecord) -> NexusError | None:
    """Return why the run has no output, None if it has one; what an exception of the workflow says is not repeated."""
    if run.status == "succeeded":
        return None
    if run.error is None:
        return UnavailableError(
            f"the run is {run.status}{_for_others(run)}, and this call can't wait for it; look at run {run.id} later",
            run_id=run.id,
            status=run.status,
        )
    if run.error.code == "failed":
        return WorkflowFailedError(f"the workflow failed; its log has the reason, under request id {run.request_id}")
    return Problem(run.error.code, run.error.message, **run.error.details)


def _for_others(run: RunRecord) -> str:
    asked = ", ".join(f"{question.text!r} of {question.of.partition(':')[2]!r}" for question in run.questions.values())
    return f" (asks {asked})" if asked else ""


def meta_of(response: Response) -> dict[str, Any]:
    """Return what a result says of its request and its run."""
    run = response.run
    if run is None:
        return {META_REQUEST_ID: response.request_id}
    meta = {
        META_REQUEST_ID: response.request_id,
        META_RUN_ID: run.id,
        META_WORKFLOW_VERSION: run.workflow_version,
        META_EXECUTION_TIME: run.duration,
    }
    return {**meta, META_CACHED: True} if run.cached else meta


def _text(error: NexusError) -> str:
    """Return the error for a reader: a model corrects its next call by all that is wrong with this one."""
    problems = error.problems if isinstance(error, InvalidArgumentError) else ()
    told = (f"{problem.pointer or '/'}: {problem.message}" for problem in problems)
    return "\n".join([error.message, *(f"- {line}" for line in told if line not in error.message)])
