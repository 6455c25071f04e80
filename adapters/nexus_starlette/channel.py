"""The API channel: HTTP in, `dispatch`, HTTP out."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import anyio
import attrs
from starlette.types import Receive, Scope, Send

from nexus import __version__
from nexus.abc import Channel, Gateway, Interaction
from nexus.config import NexusConfig
from nexus.exceptions import (
    CancelledError,
    InternalError,
    NexusError,
    PayloadTooLargeError,
    WorkflowNotFoundError,
    result_too_large,
)
from nexus.models import Answers, Event, Form, Operation, Question, Request, Response
from nexus.streams import streamed
from nexus_starlette import parse, render
from nexus_starlette.events import frame, send_frames, shown
from nexus_starlette.forms import FormReader, is_form
from nexus_starlette.openapi import Document
from nexus_starlette.render import Answer
from nexus_starlette.routes import EVENT_STREAM, EVENTS, EXECUTE, FILE, FIXED, MERMAID, READY, Endpoint, find
from nexus_starlette.watch import Watch

__all__ = ["ApiChannel"]


class AnswersLater(Interaction):
    """A caller that gets the questions of a run with its record, and answers by another request."""

    answers = Answers.LATER
    listens = False

    async def tell(self, event: Event) -> None:
        """Do nothing: a JSON reply has no middle."""

    async def ask(self, question: Question) -> Any:
        """
        Never called, for the caller answers later.

        Raises:
            InternalError: Always.
        """
        raise InternalError(f"question {question.name!r} was put to a caller who answers later")


APPLICATION_JSON: Final = b"application/json"
Rendered = Callable[[Response, parse.Head], Answer]

LATER: Final = AnswersLater()
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 16 * 2**20
PRODUCT: Final = (b"x-nexus-version", __version__.encode())
VERSION: Final = {"x-nexus-version": __version__}


class ApiChannel(Channel):
    """
    The REST API, an ASGI application without a lifespan of its own; `asgi` and `mount` give it one.

    Args:
        gateway: What carries the requests out.
        config: Of the application.
    """

    name: ClassVar[str] = "api"

    def __init__(self, gateway: Gateway, config: NexusConfig) -> None:
        self.gateway = gateway
        self._watch = Watch(gateway.clock)
        self._limit = config.max_body_bytes
        self._upload_limit = config.max_upload_bytes
        self._longest = config.max_value_bytes
        self._document = Document(gateway)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Begin to notice clients that leave. Without it requests are answered all the same, and run to their end."""
        await self._watch.start(exit_stack)

    def matches(self, scope: Mapping[str, Any]) -> bool:
        """Whether the path is one of the API's, known or not."""
        path = parse.route_path(scope)
        return path.startswith("/api/") or path in FIXED

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request; one whose client has left too, for what is around this may wait for an answer."""
        head = parse.head_of(scope)
        unread = False
        answer = None
        try:
            answer = await self._answer(head, receive)
            if type(answer) is not Answer:
                if isinstance(answer, render.Download):
                    await answer.file(scope, receive, send)
                    return
                if isinstance(answer, render.Streamed):
                    await answer.reply(receive, send)
                    return
                unread = isinstance(answer, render.Unread)
            body = self._encode(answer)
        except NexusError as error:
            unread = answer is None and isinstance(error, PayloadTooLargeError)
            rejected = await self.gateway.reject(head.caller, error, request_id=head.request_id)
            answer = render.failed(rejected.request_id, rejected.error or error, rejected.quotas)
            body = self._encode(answer)
        await self._send_whole(head, answer, body, receive, send, unread=unread)

    async def _send_whole(
        self, head: parse.Head, answer: Answer, body: bytes, receive: Receive, send: Send, *, unread: bool
    ) -> None:
        """Send a reply, and hear a caller out that still sends."""
        lingers = unread and not head.waits
        await self._send(head, answer, body, send, more=lingers)
        if lingers:
            await _linger(receive)
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, head: parse.Head, answer: Answer, body: bytes, send: Send, *, more: bool = False) -> None:
        headers = [(b"content-type", answer.media), (b"content-length", b"%d" % len(body)), *self._headers_of(head, answer)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head.method == "HEAD" else body, "more_body": more})

    async def _answer(self, head: parse.Head, receive: Receive) -> Answer:
        endpoint, target = find(head.path, head.method)
        if endpoint.kind == "health":
            ready = endpoint is not READY or self.gateway.ready
            well = await self.gateway.health() if endpoint is READY and ready else {}
            failing = [name for name, is_well in well.items() if not is_well]
            return render.health(ready=ready, failing=failing, request_id=head.request_id or uuid.uuid4().hex)
        # A file is of its own type, and sent as it is, whatever the caller prefers.
        media = "" if endpoint is FILE else parse.negotiate(head, endpoint.media)
        if endpoint.has_body:
            form = head.headers.get(b"content-type") != APPLICATION_JSON and endpoint is EXECUTE and is_form(head)
            if form:
                return await self._post_form(head, target, receive, media)
            return await self._post(head, endpoint, target, receive, media)
        response = await self.gateway.dispatch(parse.request_of(head, endpoint, target, b""), LATER)
        if response.error is not None:
            return render.answer_of(response, head)
        return self._answer_of(response, head, endpoint, media)

    def _answer_of(self, response: Response, head: parse.Head, endpoint: Endpoint, media: str) -> Answer:
        if endpoint.kind == "openapi":
            return render.raw(response, self._document.of(response.data, head.root), media)
        if endpoint is FILE:
            return render.download(response, head, VERSION)
        if endpoint is EVENTS:
            return self._streamed(head, partial(self._send_events, head, response))
        if media == MERMAID:
            return render.varied(render.raw(response, response.data["mermaid"].encode(), f"{media}; charset=utf-8"))
        answer = render.answer_of(response, head)
        return answer if len(endpoint.media) == 1 else render.varied(answer)

    async def _post(self, head: parse.Head, endpoint: Endpoint, target: str, receive: Receive, media: str) -> Answer:
        body = await _read(head, receive, self._limit)
        if body or parse.is_of_another_site(head):
            parse.check_media(head)
        request = parse.request_of(head, endpoint, target, body)
        rendered: Rendered = render.answer_of
        if endpoint.kind == "execute":
            workflow, rendered = self._workflow(target), render.executed
            if workflow is not None and (workflow.background or workflow.deprecated):
                request, rendered = _placed(request, workflow), _executed_as(workflow)
        if media == EVENT_STREAM:
            return self._streamed(head, partial(self._send_run, head, request, rendered))
        response = await self._watch.carry(receive, self.gateway.dispatch(request, LATER))
        if response is None:
            return render.failed(head.request_id or uuid.uuid4().hex, CancelledError("the client left before the end"))
        answer = rendered(response, head)
        return render.kept_by_nobody(answer) if endpoint.tells_secret else answer

    def _streamed(self, head: parse.Head, reply: Callable[[Receive, Send], Awaitable[None]]) -> Answer:
        return render.Streamed(200, head.request_id or uuid.uuid4().hex, reply=reply)

    async def _send_run(
        self,
        head: parse.Head,
        request: Request,
        rendered: Rendered,
        receive: Receive,
        send: Send,
        *,
        reader: FormReader | None = None,
    ) -> None:
        """Answer with the events of a run as they come, and the reply in which they end; without any, with the reply alone."""
        async with streamed(partial(self.gateway.dispatch, request), Answers.LATER) as stream:
            events = aiter(stream)
            after_body = receive if reader is None else reader.rest
            first = await self._watch.carry(after_body, _next(events))
            if first is not None:

                async def frames() -> AsyncIterator[bytes]:
                    event: Event | None = first
                    while event is not None:
                        yield self._frame(event)
                        event = await _next(events)
                    if stream.response is not None:
                        _, body = await self._written(head, rendered(stream.response, head))
                        yield frame(body, event="response")

                headers = self._headers_of(head, Answer(200, first.request_id or ""))
                await send_frames(frames(), receive, send, headers=headers, clock=self.gateway.clock)
            elif stream.response is not None:
                unread = reader is not None and not reader.finished
                answer = rendered(stream.response, head)
                answer, body = await self._written(head, render.unread(answer) if unread else answer)
                await self._send_whole(head, answer, body, receive, send, unread=unread)

    async def _send_events(self, head: parse.Head, response: Response, receive: Receive, send: Send) -> None:
        """Answer with the events of a run that somebody else waits for, or nobody; with 204 where none will come any more."""
        events: AsyncIterator[Event] = response.data
        ended = response.run is not None and response.run.ended
        first = await _next(events) if ended else None
        if ended and first is None:
            await self._send(head, Answer(204, response.request_id), b"", send)
            return

        async def frames() -> AsyncIterator[bytes]:
            if first is not None:
                yield self._frame(first)
            async for event in events:
                yield self._frame(event)

        headers = self._headers_of(head, Answer(200, response.request_id))
        await send_frames(frames(), receive, send, headers=headers, clock=self.gateway.clock)

    def _frame(self, event: Event) -> bytes:
        return frame(self.gateway.encode(shown(event), remote=True), event=event.type, event_id=event.id)

    async def _post_form(self, head: parse.Head, target: str, receive: Receive, media: str) -> Answer:
        """Execute a workflow with files among its inputs, which are read as soon as the guards have let the request pass."""

        def properties() -> Mapping[str, Any]:
            operation = self.gateway.operation(target)
            return {} if operation is None else operation.input_schema.get("properties", {})

        async def read(folder: Path) -> Mapping[str, Any]:
            self._workflow(target)
            return await reader.read(folder)

        reader = FormReader(head, receive, self._upload_limit, self._limit, properties)
        request: Request = parse.form_request_of(head, target, Form(read))
        rendered: Rendered = render.executed
        operation = self.gateway.operation(target)
        if operation is not None and operation.kind == "workflow":
            request, rendered = _placed(request, operation), _executed_as(operation)
        if media == EVENT_STREAM:
            return self._streamed(head, partial(self._send_run, head, request, rendered, reader=reader))
        response = await self._watch.carry(reader.rest, self.gateway.dispatch(request, LATER))
        if response is None:
            return render.failed(head.request_id or uuid.uuid4().hex, CancelledError("the client left before the end"))
        answer = rendered(response, head)
        return answer if reader.finished else render.unread(answer)

    def _workflow(self, reference: str) -> Operation | None:
        """Return the workflow; None where it is unknown, for only the gateway knows what to say of that."""
        operation = self.gateway.operation(reference)
        if operation is not None and operation.kind != "workflow":
            raise WorkflowNotFoundError(f"there is no workflow {reference!r}; GET /api/workflows lists what there is")
        return operation

    async def _written(self, head: parse.Head, answer: Answer) -> tuple[Answer, bytes]:
        """Return the answer with its body, or what is sent in its place where it can't be written."""
        try:
            return answer, self._encode(answer)
        except NexusError as error:
            rejected = await self.gateway.reject(head.caller, error, request_id=answer.request_id)
            failed = render.failed(rejected.request_id, rejected.error or error, rejected.quotas)
            return failed, self._encode(failed)

    def _encode(self, answer: Answer) -> bytes:
        if answer.body is not None:
            return answer.body
        shown = render.envelope(answer, now=self.gateway.clock.now(), version=self.gateway.version)
        try:
            body = self.gateway.encode(shown, remote=True)
        except Exception as error:
            raise InternalError("the result can't be written as JSON; the log has the reason") from error
        if len(body) > self._longest and answer.error is None:
            raise result_too_large(len(body), self._longest)
        return body

    def _headers_of(self, head: parse.Head, answer: Answer) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", answer.request_id.encode()), PRODUCT, *answer.headers]
        if head.caller.traceparent is not None:
            headers.append((b"traceparent", head.caller.traceparent.encode()))
        return headers


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


def _placed(request: Request, workflow: Operation) -> Request:
    """Return the request; of work that goes on in the background, one that is not waited for."""
    return attrs.evolve(request, detach=True) if workflow.background else request


def _executed_as(workflow: Operation) -> Rendered:
    """Return what renders the reply of that workflow."""
    return partial(render.deprecated, workflow.deprecated) if workflow.deprecated else render.executed


async def _read(head: parse.Head, receive: Receive, limit: int) -> bytes:
    """Return the body; never more than the limit is kept."""
    parse.check_length(head, limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CancelledError("the client left before the end of its body")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise parse.too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


async def _linger(receive: Receive) -> None:
    """
    Hear a caller out for a moment that has been answered while it still sends.

    A server closes the connection after the reply; a client that has sent something into it by then is told by its system that
    the connection was reset, often before it could read the reply (RFC 9112, section 9.6).
    """
    heard = 0
    # Real time, on purpose: a test's clock that nobody moves must not keep a connection open.
    with anyio.move_on_after(LINGER_S):
        while heard < LINGER_BYTES:
            message = await receive()
            if not message.get("more_body", False):
                return
            heard += len(message["body"])
