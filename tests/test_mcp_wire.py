"""MCP messages to requests, and responses to MCP results, without a server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import attrs
import pytest
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, CallToolRequestParams, Implementation

from nexus.abc import Gateway
from nexus.exceptions import (
    ArgumentProblem,
    CancelledError,
    InternalError,
    InvalidArgumentError,
    MalformedRequestError,
    NexusError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    Problem,
    UnauthenticatedError,
)
from nexus.models import Caller, Principal, Question, Response, RunError, RunRecord
from nexus_mcp._caller import bound_principal, caller_of, caller_of_scope
from nexus_mcp._channel import foreign, refused_status
from nexus_mcp._wire import (
    RefusedError,
    error_of_run,
    open_questions,
    parse_answer,
    parse_call,
    render_error,
    render_output,
    render_questions,
)


class Encoder:
    max_value_bytes = 1_000_000

    """The part of a gateway that results are written with."""

    def encode(self, value: Any, *, remote: bool = False) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode()

    def to_builtins(self, value: Any) -> Any:
        return json.loads(self.encode(value))


GATEWAY = cast("Gateway", Encoder())
CALLER = Caller(channel="mcp")


def record(status: Any = "succeeded", **options: Any) -> RunRecord:
    return RunRecord(
        id="run1",
        workflow="top",
        workflow_version="2",
        status=status,
        request_id="req1",
        channel="mcp",
        principal="anonymous",
        tenant=None,
        session=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration=0.5,
        **options,
    )


def test_a_call_becomes_a_request_that_trusts_no_paths() -> None:
    request = parse_call(CallToolRequestParams(name="top", arguments={"n": 3}), "top@2", CALLER)

    assert (request.operation, request.arguments, request.caller) == ("top@2", {"n": 3}, CALLER)
    assert not request.trusted_files
    assert not request.lenient


def test_a_call_without_arguments_has_none() -> None:
    assert parse_call(CallToolRequestParams(name="top"), "top", CALLER).arguments == {}


def test_an_answer_becomes_a_request_too() -> None:
    request = parse_answer("run1", "check.1", True, CALLER)

    assert request.operation == "runs.answer"
    assert request.arguments == {"run_id": "run1", "question": "check.1", "answer": True}


def test_an_output_is_there_as_structure_and_as_text() -> None:
    result = render_output(GATEWAY, Response(request_id="req1", data={"rows": 3}, run=record()), wraps=False)

    assert result == {
        "content": [{"type": "text", "text": '{"rows":3}'}],
        "structuredContent": {"rows": 3},
        "isError": False,
        "resultType": "complete",
        "_meta": {
            "nexus/request_id": "req1",
            "nexus/run_id": "run1",
            "nexus/workflow_version": "2",
            "nexus/execution_time": 0.5,
        },
    }


def test_an_output_that_is_no_object_is_wrapped_in_both() -> None:
    result = render_output(GATEWAY, Response(request_id="req1", data=None), wraps=True)

    assert result["structuredContent"] == {"result": None}
    assert result["content"] == [{"type": "text", "text": '{"result":null}'}]
    assert result["_meta"] == {"nexus/request_id": "req1"}


def test_all_problems_are_in_the_text_and_in_the_structure() -> None:
    problems = [ArgumentProblem("/limit", "expected an integer, got 'x'"), ArgumentProblem("", "unknown: y")]
    result = render_error(GATEWAY, Response(request_id="req1"), InvalidArgumentError("2 problems", problems))

    assert result["isError"]
    assert result["content"][0]["text"] == "2 problems\n- /limit: expected an integer, got 'x'\n- /: unknown: y"
    assert result["structuredContent"] == {
        "code": "invalid_argument",
        "message": "2 problems",
        "details": {
            "errors": [
                {"pointer": "/limit", "message": "expected an integer, got 'x'"},
                {"pointer": "", "message": "unknown: y"},
            ]
        },
    }


def test_what_the_message_says_is_not_repeated() -> None:
    error = InvalidArgumentError("it doesn't fit: /limit: missing", [ArgumentProblem("/limit", "missing")])

    assert render_error(GATEWAY, Response(request_id="req1"), error)["content"][0]["text"] == error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MalformedRequestError("no"), INVALID_REQUEST),
        (UnauthenticatedError("who?"), INVALID_REQUEST),
        (PayloadTooLargeError("big"), INVALID_REQUEST),
        (NotFoundError("none", name="x"), INVALID_PARAMS),
        (InternalError("ours"), INTERNAL_ERROR),
    ],
)
def test_what_kept_a_call_from_the_work_is_a_json_rpc_error(error: NexusError, code: int) -> None:
    with pytest.raises(RefusedError) as raised:
        render_error(GATEWAY, Response(request_id="req1"), error)

    assert raised.value.code == code
    assert raised.value.data == {"code": error.code, "message": error.message, "details": error.details}


def test_a_refusal_that_a_model_can_do_something_about_is_a_tool_error() -> None:
    assert render_error(GATEWAY, Response(request_id="req1"), PermissionDeniedError("may not"))["isError"]


def test_not_found_is_a_tool_error_where_the_workflow_says_so() -> None:
    result = render_error(GATEWAY, Response(request_id="req1", run=record("failed")), Problem("not_found", "no such flight"))

    assert result["structuredContent"]["code"] == "not_found"


def test_a_fault_of_ours_is_never_a_tool_error() -> None:
    with pytest.raises(RefusedError):
        render_error(GATEWAY, Response(request_id="req1", run=record("failed")), InternalError("ours"))


def test_open_questions_go_out_with_the_id_of_the_run() -> None:
    asked = {name: Question(name=name, text=f"{name}?", schema={"type": "boolean"}, step="s") for name in ("a", "b", "c")}
    run = record("waiting", questions=asked, answers={"b": True})

    assert [question.name for question in open_questions(run)] == ["a", "c"]
    assert render_questions(run, {"c": "not that"}) == {
        "resultType": "input_required",
        "inputRequests": {
            name: {
                "method": "elicitation/create",
                "params": {
                    "mode": "form",
                    "message": message,
                    "requestedSchema": {
                        "type": "object",
                        "properties": {"answer": {"type": "boolean"}},
                        "required": ["answer"],
                    },
                },
            }
            for name, message in (("a", "a?"), ("c", "c?\n\nThe last answer was not taken: not that"))
        },
        "requestState": "run1",
    }


def test_a_run_that_succeeded_has_no_error() -> None:
    assert error_of_run(record()) is None


def test_what_a_workflow_raised_is_not_repeated() -> None:
    error = error_of_run(record("failed", error=RunError(code="failed", message="ValueError: secret")))

    assert error is not None
    assert error.code == "failed"
    assert "secret" not in error.message
    assert "req1" in error.message


def test_what_a_workflow_chose_to_say_is_repeated() -> None:
    error = error_of_run(record("failed", error=RunError(code="conflict", message="taken", details={"seat": "4A"})))

    assert error is not None
    assert (error.code, error.message, error.details) == ("conflict", "taken", {"seat": "4A"})


def test_a_run_that_this_call_cannot_wait_for_is_named() -> None:
    error = error_of_run(record("pending"))

    assert error is not None
    assert error.code == "unavailable"
    assert error.details == {"run_id": "run1", "status": "pending"}


def test_a_caller_over_http_is_read_from_the_scope() -> None:
    principal = Principal(id="ada")
    caller = caller_of_scope(
        {
            "headers": [
                (b"authorization", b"BEARER  token1"),
                (b"user-agent", b"agent/1"),
                (b"traceparent", b"00-a-b-01"),
                (b"accept", b"*/*"),
            ],
            "client": ("192.0.2.1", 5),
            "nexus.principal": principal,
        }
    )

    assert caller == Caller(
        channel="mcp",
        address="192.0.2.1",
        credential="token1",
        principal=principal,
        user_agent="agent/1",
        traceparent="00-a-b-01",
    )


def test_a_credential_of_another_scheme_is_passed_on_to_be_refused() -> None:
    assert caller_of_scope({"headers": [(b"authorization", b"Basic eDp5")]}).credential == "Basic eDp5"


def test_a_principal_of_the_wrong_type_is_nobody() -> None:
    assert caller_of_scope({"headers": [], "nexus.principal": "ada"}).principal is None


def context(
    *, scope: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, client: Implementation | None = None
) -> Any:
    """The part of the SDK's context that a caller is read from."""

    @attrs.define
    class Part:
        request: Any = None
        scope: Any = None
        meta: Any = None
        session: Any = None
        client_params: Any = None
        client_info: Any = None

    session = Part(client_params=None if client is None else Part(client_info=client))
    return Part(request=None if scope is None else Part(scope=scope), meta=meta, session=session)


def test_a_caller_without_http_is_known_by_what_its_client_says() -> None:
    client = Implementation(name="desk", version="3")

    assert caller_of(context(client=client, meta={"traceparent": "00-a-b-01"})) == Caller(
        channel="mcp", user_agent="desk/3", traceparent="00-a-b-01"
    )
    assert caller_of(context(meta={"traceparent": 7})) == Caller(channel="mcp")


def test_the_trace_in_the_message_is_nearer_to_the_caller_than_the_header() -> None:
    scope = {"headers": [(b"traceparent", b"00-proxy-b-01")]}

    assert caller_of(context(scope=scope, meta={"traceparent": "00-caller-b-01"})).traceparent == "00-caller-b-01"


def test_sealed_state_is_bound_to_whoever_sent_the_call() -> None:
    ada = {"headers": [], "nexus.principal": Principal(id="ada", tenant_id="t1")}
    one, other = ({"headers": [(b"authorization", b"Bearer " + token)]} for token in (b"a", b"b"))

    assert bound_principal(context(scope=ada)) == "principal:t1:ada"
    assert bound_principal(context(scope=one)) != bound_principal(context(scope=other))
    assert bound_principal(context(scope={"headers": []})) is None


@pytest.mark.parametrize(
    ("host", "origin", "server", "served", "status"),
    [
        ("localhost:8000", "", "127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1", "http://LOCALHOST:6274", "127.0.0.1", "127.0.0.1", None),
        ("[::1]:8000", "http://[::1]:8000", "::1", "127.0.0.1", None),
        ("", "", "127.0.0.1", "127.0.0.1", 421),
        ("evil.example:8000", "", "127.0.0.1", "127.0.0.1", 421),
        ("evil.example:8000", "http://evil.example:8000", "localhost", "127.0.0.1", 421),
        ("localhost:8000", "https://evil.example", "127.0.0.1", "127.0.0.1", 403),
        ("localhost:8000", "null", "127.0.0.1", "127.0.0.1", 403),
        ("desk.example", "", "127.0.0.1", "desk.example", None),
        ("[2001:db8::1]:8000", "", "::1", "2001:db8::1", None),
        ("desk.example", "https://desk.example", "192.0.2.1", "0.0.0.0", None),  # noqa: S104 - nothing is bound here
        ("desk.example", "https://evil.example", "192.0.2.1", "127.0.0.1", 403),
        ("any", "", "/run/nexus.sock", "127.0.0.1", None),
        ("any", "", "", "127.0.0.1", None),
    ],
)
def test_a_page_elsewhere_is_kept_out(host: str, origin: str, server: str, served: str, status: int | None) -> None:
    assert foreign(host.encode(), origin.encode(), server, (served,)) == status


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "malformed_request"),
        (405, "malformed_request"),
        (413, "payload_too_large"),
        (404, "not_found"),
        (421, "permission_denied"),
    ],
)
def test_what_the_sdk_refused_has_a_code(status: int, code: str) -> None:
    assert refused_status(status).code == code


def test_a_declined_question_is_a_tool_error() -> None:
    assert (
        render_error(GATEWAY, Response(request_id="req1"), CancelledError("declined"))["structuredContent"]["code"] == "cancelled"
    )
