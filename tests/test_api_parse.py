"""From HTTP to `Request`, without I/O."""

from __future__ import annotations

from typing import Any

import pytest

from nexus.exceptions import InvalidArgumentError, MalformedRequestError, NexusError, NotFoundError, PayloadTooLargeError
from nexus.models import Principal
from nexus_starlette import parse
from nexus_starlette.routes import BY_METHODS, EXECUTE, OPENAPI, READY, Endpoint, find


def endpoint_of(path: str, method: str = "GET") -> Endpoint:
    return next(each for each in BY_METHODS[path] if each.method == method)


CANCEL = endpoint_of("/api/runs/{id}/cancel", "POST")
ANSWER = endpoint_of("/api/runs/{id}/answer", "POST")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def head(*headers: tuple[str, str], method: str = "POST", **scope: Any) -> parse.Head:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    return parse.head_of({"type": "http", "method": method, "path": "/", "headers": pairs, **scope})


def problems_of(error: InvalidArgumentError) -> list[str]:
    return [problem.pointer for problem in error.problems]


@pytest.mark.parametrize(
    ("path", "endpoint", "target"),
    [
        ("/api/workflows", endpoint_of("/api/workflows"), ""),
        ("/api/workflows/", endpoint_of("/api/workflows"), ""),
        ("/api/workflows/a.b", endpoint_of("/api/workflows/{id}"), "a.b"),
        ("/api/workflows/a.b@2", endpoint_of("/api/workflows/{id}"), "a.b@2"),
        ("/api/workflows/schema/schema", endpoint_of("/api/workflows/{id}/schema"), "schema"),
        ("/api/workflows/a/graph", endpoint_of("/api/workflows/{id}/graph"), "a"),
        ("/api/workflows/a/execute", EXECUTE, "a"),
        ("/api/workflows/a/execute/", EXECUTE, "a"),
        ("/api/runs", endpoint_of("/api/runs"), ""),
        ("/api/runs/f00", endpoint_of("/api/runs/{id}"), "f00"),
        ("/api/runs/f00/files/a b.csv", endpoint_of("/api/runs/{id}/files/{name}"), "f00/a b.csv"),
        ("/api/runs/f00/cancel", CANCEL, "f00"),
        ("/api/runs/f00/answer", ANSWER, "f00"),
        ("/openapi.json", OPENAPI, ""),
        ("/health/ready", READY, ""),
    ],
)
def test_a_path_names_an_endpoint_and_what_it_is_about(path: str, endpoint: Endpoint, target: str) -> None:
    found, about = find(path, endpoint.method)
    assert found is endpoint
    assert about == target


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/api",
        "/api/",
        "/api/workflows//",
        "/api/workflows//execute",
        "/api/workflows/a/execute/x",
        "/x/y/z",
        "/health",
    ],
)
def test_any_other_path_is_not_found(path: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(NotFoundError):
            find(path, method)


def test_a_path_takes_its_own_methods_and_head_in_place_of_get() -> None:
    assert find("/api/workflows/a/execute", "POST") == (EXECUTE, "a")
    assert find("/openapi.json", "GET") == find("/openapi.json", "HEAD") == (OPENAPI, "")
    with pytest.raises(MalformedRequestError) as refused:
        find("/openapi.json", "DELETE")
    assert (refused.value.reason, refused.value.allow) == ("method", ("GET", "HEAD"))
    with pytest.raises(MalformedRequestError) as refused:
        find("/api/workflows/a/execute", "HEAD")
    assert refused.value.allow == ("POST",)


@pytest.mark.parametrize(
    ("method", "path", "operation", "target"),
    [
        ("GET", "/api/sessions/current", "sessions.current", ""),
        ("DELETE", "/api/sessions/current/", "sessions.end", ""),
        ("PUT", "/api/sessions/current", "sessions.change", ""),
        ("DELETE", "/api/sessions/f00", "sessions.revoke", "f00"),
        ("POST", "/api/sessions", "sessions.open", ""),
        ("POST", "/api/admin/keys", "admin.keys.issue", ""),
        ("DELETE", "/api/admin/keys/f00", "admin.keys.revoke", "f00"),
        ("POST", "/api/admin/schedules/tidy/pause", "schedules.pause", "tidy"),
    ],
)
def test_a_path_does_by_its_method_what_that_says(method: str, path: str, operation: str, target: str) -> None:
    endpoint, about = find(path, method)
    assert (endpoint.operation, about) == (operation, target)


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/api/x", "", "/api/x"),
        ("/nexus/api/x", "/nexus", "/api/x"),
        ("/nexus/api/x", "/nexus/", "/api/x"),
        ("/nexusapi/x", "/nexus", "/nexusapi/x"),
        ("/api/x", "/nexus", "/api/x"),
        ("/nexus", "/nexus", ""),
    ],
)
def test_the_path_is_read_below_where_the_application_is_mounted(path: str, root: str, expected: str) -> None:
    assert parse.route_path({"path": path, "root_path": root}) == expected


def test_the_caller_is_known_by_address_credential_agent_and_trace() -> None:
    caller = head(
        ("Authorization", "Bearer  s3cret"), ("User-Agent", "curl/8"), ("traceparent", TRACE), client=("10.0.0.7", 4711)
    ).caller
    assert (caller.channel, caller.address, caller.credential) == ("api", "10.0.0.7", "s3cret")
    assert (caller.user_agent, caller.traceparent, caller.principal) == ("curl/8", TRACE, None)


def test_a_caller_who_says_nothing_is_nobody_in_particular() -> None:
    caller = head(client=None).caller
    assert (caller.address, caller.credential, caller.user_agent, caller.traceparent) == (None, None, None, None)


@pytest.mark.parametrize(
    ("header", "credential"),
    [("bearer t", "t"), ("BEARER t", "t"), ("Basic dTpw", "Basic dTpw"), ("Bearer", ""), ("Bearer ", ""), ("", "")],
)
def test_a_credential_of_any_kind_is_passed_on_so_that_a_bad_one_is_refused(header: str, credential: str) -> None:
    assert head(("Authorization", header)).caller.credential == credential


def test_a_principal_that_the_host_has_verified_stands_in_for_the_credential() -> None:
    ada = Principal(id="ada")
    extra: dict[str, Any] = {"nexus.principal": ada}
    caller = head(("Authorization", "Basic dTpw"), **extra).caller
    assert (caller.principal, caller.credential) == (ada, None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        TRACE.upper(),
        TRACE + "-00",
        TRACE.replace("00-", "ff-", 1),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ],
)
def test_a_trace_that_is_not_valid_is_left_out(value: str) -> None:
    assert head(("traceparent", value)).caller.traceparent is None


@pytest.mark.parametrize(
    ("value", "taken"),
    [("abc-1_2.3", "abc-1_2.3"), ("x" * 64, "x" * 64), ("x" * 65, None), ("a b", None), ("é", None), ("", None)],
)
def test_a_request_id_is_taken_over_if_it_can_do_no_harm(value: str, taken: str | None) -> None:
    assert head(("X-Request-ID", value)).request_id == taken


@pytest.mark.parametrize(
    ("values", "detach"),
    [
        ([], False),
        (["respond-async"], True),
        (["Respond-Async; x=1"], True),
        (["wait=10, respond-async"], True),
        (["return=minimal", "respond-async"], True),
        (["respond-async-not"], False),
        (["wait=10"], False),
    ],
)
def test_a_caller_may_prefer_not_to_wait(values: list[str], detach: bool) -> None:
    assert head(*(("Prefer", value) for value in values)).detach is detach


@pytest.mark.parametrize(
    ("value", "lenient"),
    [("handling=lenient", True), ("respond-async, Handling=Lenient", True), ("handling=strict", False), ("lenient", False)],
)
@pytest.mark.parametrize("endpoint", [EXECUTE, ANSWER])
def test_a_caller_may_have_its_text_taken_for_what_it_says(value: str, lenient: bool, endpoint: Any) -> None:
    assert parse.request_of(head(("Prefer", value)), endpoint, "target", b"{}").lenient is lenient


def test_a_caller_may_wait_to_be_asked_for_its_body() -> None:
    assert head(("Expect", "100-continue"), ("Content-Length", "3")).waits
    assert not head(("Expect", "100-continue")).waits
    assert not head(("Content-Length", "3")).waits


JSON = "application/json"
MERMAID = "text/vnd.mermaid"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/vnd.mermaid", MERMAID),
        ("text/*", MERMAID),
        ("Text/Vnd.Mermaid", MERMAID),
        ("text/vnd.mermaid, application/json", JSON),
        ("text/vnd.mermaid, application/json; q=0.9", MERMAID),
        ("text/vnd.mermaid;q=0.1, */*;q=0.5", JSON),
        ("application/json;q=0, */*", MERMAID),
        ("text/vnd.mermaid;charset=utf-8;q=1.0", MERMAID),
    ],
)
def test_the_caller_chooses_what_it_is_answered_with(accept: str | None, chosen: str) -> None:
    headers = () if accept is None else (("Accept", accept),)
    assert parse.negotiate(head(*headers), (JSON, MERMAID)) == chosen


@pytest.mark.parametrize("accept", ["text/event-stream", "text/html", "application/json;q=0", "application/json;q=much"])
def test_a_caller_who_accepts_nothing_that_there_is_gets_nothing_else(accept: str) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        parse.negotiate(head(("Accept", accept)), (JSON,))
    assert refused.value.reason == "not_acceptable"


def test_a_body_is_too_long_by_what_is_announced() -> None:
    parse.check_length(head(("Content-Length", "10")), 10)
    parse.check_length(head(), 10)
    parse.check_length(head(("Content-Length", "many")), 10)
    with pytest.raises(PayloadTooLargeError):
        parse.check_length(head(("Content-Length", "11")), 10)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_json_in_utf_8_is_taken(content_type: str) -> None:
    parse.check_media(head(("Content-Type", content_type)))


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json; charset=latin-1", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_not_taken(content_type: str) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        parse.check_media(head(("Content-Type", content_type)))
    assert refused.value.reason == "content_type"


@pytest.mark.parametrize("body", [b"{", b'{"a": NaN}', b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b"{} {}", b" ", b"[" * 100_000])
def test_what_is_not_json_never_becomes_a_request(body: bytes) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        parse.json_object(body)
    assert refused.value.reason == "format"


@pytest.mark.parametrize(
    ("body", "got"), [(b"[]", "an array"), (b"1", "a number"), (b"1.5", "a number"), (b"null", "null"), (b'"x"', "a string")]
)
def test_json_that_is_not_an_object_is_an_invalid_argument(body: bytes, got: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse.json_object(body)
    assert refused.value.problems[0].message == f"expected an object, got {got}"


def test_an_execution_is_the_request_of_a_workflow() -> None:
    asked = head(("X-Request-ID", "r1"), ("Prefer", "respond-async"))
    request = parse.request_of(asked, EXECUTE, "a.b@2", b'{"inputs": {"limit": 3}}')
    assert (request.operation, request.arguments) == ("a.b@2", {"limit": 3})
    assert (request.id, request.detach, request.caller) == ("r1", True, asked.caller)
    assert not request.trusted_files
    assert not request.lenient


@pytest.mark.parametrize("body", [b"", b"{}", b'{"inputs": {}}', b'{"inputs": null}'])
def test_an_execution_without_inputs_has_no_arguments(body: bytes) -> None:
    assert parse.request_of(head(), EXECUTE, "a", body).arguments == {}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"input": {}}', ["/input"]),
        (b'{"inputs": {}, "a/b": 1, "c~d": 2}', ["/a~1b", "/c~0d"]),
        (b'{"inputs": [1]}', ["/inputs"]),
        (b'{"inputs": true}', ["/inputs"]),
    ],
)
def test_a_body_of_another_shape_is_refused_with_the_place(body: bytes, pointers: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse.request_of(head(), EXECUTE, "a", body)
    assert problems_of(refused.value) == pointers


def test_the_run_of_an_answer_is_in_the_path() -> None:
    request = parse.request_of(head(), ANSWER, "f00", b'{"answer": true, "question": "ok"}')
    assert (request.operation, request.arguments) == ("runs.answer", {"run_id": "f00", "answer": True, "question": "ok"})
    with pytest.raises(InvalidArgumentError) as refused:
        parse.request_of(head(), ANSWER, "f00", b'{"answer": true, "run_id": "bad"}')
    assert problems_of(refused.value) == ["/run_id"]


def test_a_cancellation_and_a_listing_need_no_body() -> None:
    assert parse.request_of(head(), CANCEL, "f00", b"").arguments == {"run_id": "f00"}
    listing = parse.request_of(head(method="GET"), endpoint_of("/api/workflows"), "", b"")
    assert (listing.operation, listing.arguments) == ("workflows.list", {})


def test_the_query_string_of_a_listing_is_its_arguments_as_text() -> None:
    asked = head(method="GET", query_string=b"status=failed&workflow=a.b&after=1.5~%66&limit=")
    request = parse.request_of(asked, endpoint_of("/api/runs"), "", b"")
    assert request.arguments == {"status": "failed", "workflow": "a.b", "after": "1.5~f", "limit": ""}
    assert request.lenient


def test_a_query_string_with_a_name_twice_is_refused_with_the_name() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse.request_of(head(method="GET", query_string=b"status=failed&limit=3&status=x"), endpoint_of("/api/runs"), "", b"")
    assert problems_of(refused.value) == ["/status"]


@pytest.mark.parametrize("query", [b"status=%ff", b"status=\xc3\xa4", b"&".join(b"a%d=1" % number for number in range(200))])
def test_a_query_string_that_cannot_be_read_is_malformed(query: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="the query string is not"):
        parse.request_of(head(method="GET", query_string=query), endpoint_of("/api/runs"), "", b"")


def test_the_id_of_a_path_cannot_be_given_in_the_query_string_too() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse.request_of(head(method="GET", query_string=b"run_id=bad"), endpoint_of("/api/runs/{id}"), "f00", b"")
    assert problems_of(refused.value) == ["/run_id"]


def test_every_refusal_is_an_error_that_the_gateway_can_tell() -> None:
    assert issubclass(MalformedRequestError, NexusError)
    assert issubclass(InvalidArgumentError, NexusError)
