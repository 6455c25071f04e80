"""From `Response` to HTTP: pure functions that do no more than say what is to be sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import attrs
from starlette.responses import FileResponse
from starlette.types import Receive, Send

from nexus.exceptions import MalformedRequestError, NexusError, UnavailableError
from nexus.models import Quota, Response, RunFile, RunRecord
from nexus_starlette.parse import Head

__all__ = [
    "Answer",
    "Download",
    "Streamed",
    "Unread",
    "answer_of",
    "deprecated",
    "download",
    "envelope",
    "executed",
    "failed",
    "health",
    "raw",
    "status_of",
    "unread",
    "varied",
]

STATUSES: Final = {
    "malformed_request": 400,
    "invalid_argument": 422,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "conflict": 409,
    "payload_too_large": 413,
    "resource_exhausted": 429,
    "cancelled": 499,
    "deadline_exceeded": 504,
    "unavailable": 503,
    "failed": 500,
    "internal": 500,
}
CLOSE: Final = (b"connection", b"close")
REASONS: Final = {"format": 400, "content_type": 415, "method": 405, "not_acceptable": 406}

# A date there must be, and none is known but that it has passed.
DEPRECATION: Final = (b"deprecation", b"@0")


@attrs.frozen
class Answer:
    """
    A response as HTTP, but for what all of them have.

    Attributes:
        data: The envelope's `data`.
        error: The envelope's `error`.
        headers: Those that only this one has.
        body: What is sent instead of an envelope.
        media: The content type.
        notice: What to use instead of what was called.
    """

    status: int
    request_id: str
    data: Any = None
    error: NexusError | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | None = None
    media: bytes = b"application/json"
    notice: str = ""


@attrs.frozen
class Download(Answer):
    """A response that is a file."""

    file: FileResponse = attrs.field(kw_only=True)


@attrs.frozen
class Streamed(Answer):
    """A response that goes on for a while, and is sent by what makes it."""

    reply: Callable[[Receive, Send], Awaitable[None]] = attrs.field(kw_only=True)


@attrs.frozen
class Unread(Answer):
    """A response to a request of whose body there is more, which nobody is going to read."""


def envelope(answer: Answer, *, now: datetime, version: str) -> dict[str, Any]:
    """
    Return what every JSON reply looks like.

    Args:
        answer: What is in it.
        now: The time of the reply.
        version: The application's.
    """
    error = answer.error
    metadata = {"timestamp": now, "version": version, "request_id": answer.request_id}
    if answer.notice:
        metadata["deprecated"] = answer.notice
    if error is None:
        return {"success": True, "data": answer.data, "metadata": metadata}
    shown = {"code": error.code, "message": error.message, "details": error.details}
    return {"success": False, "data": None, "error": shown, "metadata": metadata}


def executed(response: Response, head: Head) -> Answer:
    """Return the reply to the execution of a workflow: its results, or the record of a run that has not ended."""
    run = response.run
    if response.error is not None or run is None:
        return answer_of(response, head)
    if not run.ended:
        return _accepted(response, head)
    metadata = {"execution_time": run.duration, "workflow_version": run.workflow_version}
    if run.cached:
        metadata["cached"] = True
    data = {"run_id": run.id, "results": response.data, "metadata": metadata}
    if run.file_rows:
        data["files"] = _files_of(run, head)
    return Answer(200, response.request_id, data, headers=_limits(response.quotas))


def answer_of(response: Response, head: Head) -> Answer:
    """Return the reply to any other operation: its data, or its error; 202 to a POST after which the run has not ended."""
    if response.error is not None:
        return failed(response.request_id, response.error, response.quotas)
    if head.method == "POST" and response.run is not None and not response.run.ended:
        return _accepted(response, head)
    if response.run is not None and response.run.file_rows:
        data = {**response.data, "files": _files_of(response.run, head)}
        return Answer(200, response.request_id, data, headers=_limits(response.quotas))
    return Answer(200, response.request_id, response.data, headers=_limits(response.quotas))


def _files_of(run: RunRecord, head: Head) -> list[dict[str, str]]:
    return [
        {
            "name": file.name,
            "media_type": file.media_type,
            "href": f"{head.root}/api/runs/{run.id}/files/{quote(file.name, safe='')}",
        }
        for file in run.files
    ]


def download(response: Response, head: Head, headers: Mapping[str, str]) -> Answer:
    """Return the reply that is a file: as one to be saved (RFC 6266), or the range of it that is asked for (RFC 9110, 14)."""
    file: RunFile = response.data
    # What a browser takes for a page would run with the rights of this site.
    sent = {**headers, "x-request-id": response.request_id, "x-content-type-options": "nosniff"}
    if head.caller.traceparent is not None:
        sent["traceparent"] = head.caller.traceparent
    sent.update((name.decode(), value.decode()) for name, value in _limits(response.quotas))
    stream = FileResponse(file.path, headers=sent, media_type=file.media_type, filename=file.name)
    return Download(200, response.request_id, file=stream)


def unread(answer: Answer) -> Answer:
    """Return the reply as one to a request whose body has not been read to its end: nothing can follow on this connection."""
    headers = answer.headers if CLOSE in answer.headers else [*answer.headers, CLOSE]
    return Unread(answer.status, answer.request_id, answer.data, answer.error, headers, answer.body, answer.media)


def _accepted(response: Response, head: Head) -> Answer:
    run = response.run
    assert run is not None  # noqa: S101 - for the type checker; both callers know it
    headers = [(b"location", f"{head.root}/api/runs/{run.id}".encode()), *_limits(response.quotas)]
    if head.detach:
        headers.append((b"preference-applied", b"respond-async"))
    return Answer(202, response.request_id, run.view(), headers=headers)


def deprecated(notice: str, response: Response, head: Head) -> Answer:
    """Return the reply to the execution of a workflow that is deprecated (RFC 9745), with what to use instead."""
    answer = executed(response, head)
    return answer if response.run is None else attrs.evolve(answer, headers=[*answer.headers, DEPRECATION], notice=notice)


def raw(response: Response, body: bytes, media: str) -> Answer:
    """Return a reply without an envelope: text, or a document of a format of its own."""
    return Answer(200, response.request_id, headers=_limits(response.quotas), body=body, media=media.encode())


def varied(answer: Answer) -> Answer:
    """Return the reply with what tells a cache that there are others at this path (RFC 9110, section 12.5.5)."""
    return attrs.evolve(answer, headers=[*answer.headers, (b"vary", b"accept")])


def kept_by_nobody(answer: Answer) -> Answer:
    """Return the reply with what tells caches to leave it alone (RFC 9111, section 5.2.2.5)."""
    return attrs.evolve(answer, headers=[*answer.headers, (b"cache-control", b"no-store")])


def failed(request_id: str, error: NexusError, quotas: Sequence[Quota] = ()) -> Answer:
    """Return the reply that an error is, with what is left of the limits that it counted against."""
    status = status_of(error)
    return Answer(status, request_id, error=error, headers=(*_headers_of(error, status), *_limits(quotas)))


def health(*, ready: bool, request_id: str, failing: Sequence[str] = ()) -> Answer:
    """Return the reply to a probe, which is no request: no guard sees it, and it is not logged."""
    if failing:
        text = f"not well: {', '.join(failing)}; the log has the reason"
        return failed(request_id, UnavailableError(text, failing=list(failing)))
    if ready:
        return Answer(200, request_id, {"status": "ok"})
    return failed(request_id, UnavailableError("the application is starting or stopping; ask another, or later"))


def status_of(error: NexusError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, MalformedRequestError):
        return REASONS[error.reason]
    return STATUSES.get(error.code, 500)


def _headers_of(error: NexusError, status: int) -> Sequence[tuple[bytes, bytes]]:
    if status == 401:  # noqa: PLR2004 - the numbers of RFC 9110 are their own names
        return [(b"www-authenticate", b"Bearer")]
    if status in {429, 503}:
        return [(b"retry-after", _seconds(error.details))]
    if status == 413:  # noqa: PLR2004
        # The rest of the body is not going to be read, so nothing can follow it on this connection.
        return [CLOSE]
    if isinstance(error, MalformedRequestError) and error.allow:
        return [(b"allow", ", ".join(error.allow).encode())]
    return ()


def _limits(quotas: Sequence[Quota]) -> Sequence[tuple[bytes, bytes]]:
    """Return what tells of the limits, and what is left of them (draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4)."""
    if not quotas:
        return ()
    policies = ", ".join([f'"{each.policy}";q={each.rate.amount};w={each.rate.window_s}' for each in quotas])
    left = ", ".join([f'"{each.policy}";r={each.remaining};t={each.reset_s}' for each in quotas])
    return (b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())


def _seconds(details: Mapping[str, Any]) -> bytes:
    """Return when to come back, in whole seconds; `retry_after` among the details knows better than one second."""
    wait = details.get("retry_after")
    if isinstance(wait, int | float) and math.isfinite(wait):
        return str(max(1, math.ceil(wait))).encode()
    return b"1"
