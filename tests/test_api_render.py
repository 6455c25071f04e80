"""From `Response` to HTTP, without I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from nexus.exceptions import CODES, MalformedRequestError, NexusError, PayloadTooLargeError, Problem, UnauthenticatedError
from nexus.models import Question, Response, RunRecord
from nexus_starlette import parse, render

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RUN = RunRecord(
    id="f00",
    workflow="add",
    workflow_version="2",
    status="succeeded",
    request_id="r1",
    channel="api",
    principal="anonymous",
    tenant=None,
    session=None,
    created_at=NOW,
    duration=0.25,
    output=3,
)


def head(method: str = "POST", root: str = "", **headers: str) -> parse.Head:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return parse.head_of({"method": method, "path": f"{root}/", "root_path": root, "headers": pairs})


def header(answer: render.Answer, name: str) -> str | None:
    return {key.decode(): value.decode() for key, value in answer.headers}.get(name)


def test_the_results_of_a_workflow_come_with_its_run_time_and_version() -> None:
    answer = render.executed(Response(request_id="r1", data=3, run=RUN), head())
    assert answer.status == 200
    assert answer.data == {"run_id": "f00", "results": 3, "metadata": {"execution_time": 0.25, "workflow_version": "2"}}


def test_the_envelope_of_a_success_has_no_error() -> None:
    answer = render.executed(Response(request_id="r1", data=3, run=RUN), head())
    assert render.envelope(answer, now=NOW, version="7") == {
        "success": True,
        "data": answer.data,
        "metadata": {"timestamp": NOW, "version": "7", "request_id": "r1"},
    }


def test_the_envelope_of_a_failure_has_code_message_and_details() -> None:
    answer = render.failed("r1", Problem("conflict", "taken already", seat="3A"))
    assert render.envelope(answer, now=NOW, version="7") == {
        "success": False,
        "data": None,
        "error": {"code": "conflict", "message": "taken already", "details": {"seat": "3A"}},
        "metadata": {"timestamp": NOW, "version": "7", "request_id": "r1"},
    }


@pytest.mark.parametrize("status", ["pending", "running", "waiting"])
def test_a_run_that_has_not_ended_is_accepted_and_shown_with_its_questions(status: Any) -> None:
    question = Question(name="ok", text="Go on?", schema={"type": "boolean"}, step="add")
    run = attrs.evolve(RUN, status=status, questions={"ok": question})
    answer = render.executed(Response(request_id="r1", run=run), head(root="/nexus"))
    assert (answer.status, answer.error) == (202, None)
    assert header(answer, "location") == "/nexus/api/runs/f00"
    assert header(answer, "preference-applied") is None
    assert (answer.data["status"], answer.data["questions"][0]["text"]) == (status, "Go on?")


def test_a_preference_that_was_followed_is_named() -> None:
    run = attrs.evolve(RUN, status="pending")
    answer = render.executed(Response(request_id="r1", run=run), head(prefer="respond-async"))
    assert header(answer, "preference-applied") == "respond-async"


def test_a_run_that_failed_is_an_error() -> None:
    answer = render.executed(
        Response(request_id="r1", error=Problem("failed", "no"), run=attrs.evolve(RUN, status="failed")), head()
    )
    assert (answer.status, answer.data) == (500, None)


def test_reading_a_run_that_has_not_ended_is_a_success_and_answering_it_is_accepted() -> None:
    response = Response(request_id="r1", data={"run_id": "f00"}, run=attrs.evolve(RUN, status="waiting"))
    assert render.answer_of(response, head("GET")).status == 200
    assert render.answer_of(response, head("POST")).status == 202
    ended = Response(request_id="r1", data={"run_id": "f00"}, run=RUN)
    assert render.answer_of(ended, head("POST")).status == 200


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("malformed_request", 400),
        ("invalid_argument", 422),
        ("unauthenticated", 401),
        ("permission_denied", 403),
        ("not_found", 404),
        ("conflict", 409),
        ("payload_too_large", 413),
        ("resource_exhausted", 429),
        ("cancelled", 499),
        ("deadline_exceeded", 504),
        ("unavailable", 503),
        ("failed", 500),
        ("internal", 500),
    ],
)
def test_each_code_has_its_status(code: str, status: int) -> None:
    assert render.status_of(Problem(code, "no")) == status
    assert set(render.STATUSES) == CODES


def test_a_code_of_somebody_elses_is_a_fault() -> None:
    error = NexusError("odd")
    error.code = "odd"
    assert render.status_of(error) == 500


@pytest.mark.parametrize(("reason", "status"), [("format", 400), ("content_type", 415), ("method", 405), ("not_acceptable", 406)])
def test_a_malformed_request_has_the_status_of_its_reason(reason: Any, status: int) -> None:
    assert render.status_of(MalformedRequestError("no", reason=reason)) == status


def test_errors_bring_the_headers_that_http_wants_with_them() -> None:
    assert header(render.failed("r", UnauthenticatedError("no")), "www-authenticate") == "Bearer"
    assert header(render.failed("r", MalformedRequestError("no", reason="method", allow=("GET", "HEAD"))), "allow") == "GET, HEAD"
    assert header(render.failed("r", PayloadTooLargeError("no")), "connection") == "close"
    assert render.failed("r", Problem("conflict", "no")).headers == ()


@pytest.mark.parametrize(("wait", "seconds"), [(None, "1"), (2.1, "3"), (30, "30"), (0, "1"), (float("inf"), "1"), ("soon", "1")])
@pytest.mark.parametrize("code", ["unavailable", "resource_exhausted"])
def test_who_is_turned_away_for_now_is_told_when_to_come_back(code: str, wait: Any, seconds: str) -> None:
    details = {} if wait is None else {"retry_after": wait}
    assert header(render.failed("r", Problem(code, "later", **details)), "retry-after") == seconds


def test_a_probe_is_told_whether_requests_are_welcome() -> None:
    assert render.health(ready=True, request_id="r").status == 200
    assert render.health(ready=False, request_id="r").status == 503
