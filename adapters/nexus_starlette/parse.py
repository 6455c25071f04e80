"""From HTTP to `Request`: pure functions over an ASGI scope and a body that was read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs
import msgspec
from starlette.types import Scope

from nexus.exceptions import ArgumentProblem, InvalidArgumentError, MalformedRequestError, PayloadTooLargeError
from nexus.models import Caller, Form, FormRequest, Request
from nexus_starlette.caller import caller_of
from nexus_starlette.routes import EVENTS, EXECUTE, FILE, JSON, Endpoint

__all__ = [
    "Head",
    "check_length",
    "check_media",
    "form_request_of",
    "head_of",
    "is_of_another_site",
    "json_object",
    "json_value",
    "negotiate",
    "request_of",
    "route_path",
    "too_large",
]

LONGEST_NUMBER: Final = 9
MOST_ARGUMENTS: Final = 100
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")

decode = msgspec.json.Decoder().decode


@attrs.frozen
class Head:
    """
    A request as far as it is known before its body is read.

    Attributes:
        path: Relative to where the application is mounted.
        root: Where it is mounted, without a slash at the end.
        request_id: The id that the caller chose, if it may be used.
        query: The query string, as it was sent.
    """

    method: str
    path: str
    root: str
    headers: Mapping[bytes, bytes]
    caller: Caller
    request_id: str | None
    query: bytes = b""

    @property
    def detach(self) -> bool:
        """Whether the caller does not want to wait: `Prefer: respond-async` (RFC 7240, section 4.1)."""
        return self._prefers(b"respond-async")

    @property
    def lenient(self) -> bool:
        """Whether the arguments are those of a command line, text: `Prefer: handling=lenient` (RFC 7240, section 4.4)."""
        return self._prefers(b"handling=lenient")

    def _prefers(self, what: bytes) -> bool:
        preferences = self.headers.get(b"prefer")
        return preferences is not None and any(
            item.partition(b";")[0].strip() == what for item in preferences.lower().split(b",")
        )

    @property
    def waits(self) -> bool:
        """Whether the caller said how long its body is, and sends it only when asked to: `Expect` (RFC 9110, section 10.1.1)."""
        return b"expect" in self.headers and b"content-length" in self.headers


def head_of(scope: Scope) -> Head:
    """Return the head of the request of an ASGI scope."""
    headers = _headers_of(scope["headers"])
    chosen = headers.get(b"x-request-id")
    return Head(
        scope["method"],
        route_path(scope),
        scope.get("root_path", "").rstrip("/"),
        headers,
        caller_of(scope, headers),
        chosen.decode() if chosen is not None and REQUEST_ID.fullmatch(chosen) else None,
        scope.get("query_string", b""),
    )


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path of an ASGI scope below its `root_path`."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path


def _headers_of(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(pairs)
    if len(headers) != len(pairs):
        # A header that comes several times is a list (RFC 9110, section 5.3).
        headers = {name: b", ".join(value for other, value in pairs if other == name) for name in headers}
    return headers


def negotiate(head: Head, offers: tuple[str, ...]) -> str:
    """
    Choose what to answer with by the `Accept` header (RFC 9110, section 12.5.1).

    Args:
        head: The request.
        offers: Media types, the default first.

    Raises:
        MalformedRequestError: The caller accepts none of them.
    """
    accept = head.headers.get(b"accept")
    chosen = offers[0] if accept is None else _best(accept, offers)
    if chosen is None:
        raise MalformedRequestError(f"this path answers with {' or '.join(offers)}; accept that", reason="not_acceptable")
    return chosen


@lru_cache(maxsize=256)
def _best(accept: bytes, offers: tuple[str, ...]) -> str | None:
    ranges = [_media_range(item) for item in accept.decode("latin-1").lower().split(",") if item.strip()]
    if not ranges:
        return offers[0]
    weights = {offer: _weight(offer, ranges) for offer in offers}
    best = max(weights, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _media_range(item: str) -> tuple[str, float]:
    media, *parameters = (part.strip() for part in item.split(";"))
    weights = [value for name, _, value in (parameter.partition("=") for parameter in parameters) if name.strip() == "q"]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0


def _weight(offer: str, ranges: list[tuple[str, float]]) -> float:
    """Return the weight of the most specific range that the offer is in."""
    for wanted in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        weights = [weight for media, weight in ranges if media == wanted]
        if weights:
            return max(weights)
    return 0.0


def check_length(head: Head, limit: int) -> None:
    """
    Let a body pass whose length, as far as it was announced, is within the limit.

    Args:
        head: The request.
        limit: Bytes.

    Raises:
        PayloadTooLargeError: It is longer.
    """
    length = head.headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_large(limit)


def too_large(limit: int) -> PayloadTooLargeError:
    """Return the error for a body of more than *limit* bytes."""
    return PayloadTooLargeError(f"the body is longer than {limit} bytes; send less", limit=limit)


def is_of_another_site(head: Head) -> bool:
    """
    Whether a page of another site sent this, as far as a browser says.

    Without a body it may do so unasked, for such a POST needs no CORS preflight (Fetch Standard, sections 3.2 and 3.3).
    """
    site = head.headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in {b"same-origin", b"none"}
    origin = head.headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != head.headers.get(b"host")


def check_media(head: Head) -> None:
    """
    Let a body pass that is said to be JSON in UTF-8.

    Raises:
        MalformedRequestError: It is said to be something else, or nothing is said.
    """
    content_type = head.headers.get(b"content-type", b"")
    if content_type != b"application/json" and not _is_json(content_type):
        said = content_type.decode("latin-1") or "nothing"
        raise MalformedRequestError(f"the content type is {said}; send {JSON} in UTF-8", reason="content_type")


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media, *parameters = (part.strip() for part in content_type.decode("latin-1").lower().split(";"))
    charsets = [value.strip('" ') for name, _, value in (each.partition("=") for each in parameters) if name.strip() == "charset"]
    return media == JSON and all(charset in {"utf-8", "utf8"} for charset in charsets)


def json_value(text: bytes, what: str) -> Any:
    """
    Return the JSON value.

    Args:
        text: JSON.
        what: What it is, for messages.

    Raises:
        MalformedRequestError: It is not JSON in UTF-8, or nested too deeply.
    """
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequestError(f"{what} is not JSON in UTF-8: {error}") from error
    except RecursionError as error:
        raise MalformedRequestError(f"the JSON of {what} is nested too deeply") from error


def json_object(body: bytes) -> dict[str, Any]:
    """
    Return the members of a JSON object; an empty body is an empty object.

    Raises:
        MalformedRequestError: The body is not JSON in UTF-8, or nested too deeply.
        InvalidArgumentError: It is JSON, but not an object.
    """
    if not body:
        return {}
    value = json_value(body, "the body")
    if not isinstance(value, dict):
        raise InvalidArgumentError(
            "the body must be a JSON object", [ArgumentProblem("", f"expected an object, got {_kind_of(value)}")]
        )
    return value


def _kind_of(value: Any) -> str:
    kinds = {str: "a string", bool: "a boolean", list: "an array", dict: "an object", type(None): "null"}
    return kinds.get(type(value), "a number")


def request_of(head: Head, endpoint: Endpoint, target: str, body: bytes) -> Request:
    """
    Return the request that an HTTP request is.

    Args:
        head: What came before the body.
        endpoint: What its path calls.
        target: The `{id}` of the path, and what comes after it.
        body: All of it; empty for none.

    Raises:
        MalformedRequestError: The body is not JSON, or the query string not UTF-8.
        InvalidArgumentError: The body or the query string has another shape than this path takes.
    """
    if endpoint is EXECUTE:
        return Request(
            operation=target,
            arguments=_inputs_of(json_object(body)) if body else {},
            caller=head.caller,
            id=head.request_id,
            detach=head.detach,
            lenient=head.lenient,
            idempotency_key=_key_of(head),
        )
    asks = endpoint.kind == "operation" and endpoint.method == "GET"
    arguments = query_of(head) if asks else json_object(body)
    if endpoint is EVENTS:
        arguments["after"] = _number_of(head.headers.get(b"last-event-id"))
    if endpoint is FILE:
        target, _, arguments["name"] = target.partition("/")
    if endpoint.target:
        if endpoint.target in arguments:
            raise _unknown([endpoint.target], "the id is in the path")
        arguments[endpoint.target] = target
    return Request(
        operation=endpoint.operation,
        arguments=arguments,
        caller=head.caller,
        id=head.request_id,
        detach=head.detach,
        lenient=asks or head.lenient,
    )


def query_of(head: Head) -> dict[str, Any]:
    """
    Return the arguments of a query string, as text.

    Raises:
        MalformedRequestError: It is not UTF-8, or has more than `MOST_ARGUMENTS`.
        InvalidArgumentError: A name is given twice.
    """
    if not head.query:
        return {}
    try:
        text = head.query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_ARGUMENTS)
    except ValueError as error:
        raise MalformedRequestError(f"the query string is not name=value&… in UTF-8, percent-encoded: {error}") from error
    arguments = dict(pairs)
    if len(arguments) != len(pairs):
        names = [name for name, _ in pairs]
        twice = [name for name in arguments if names.count(name) > 1]
        raise InvalidArgumentError(
            "the query string has a name several times; give each once",
            [ArgumentProblem(_pointer(name), "given several times; give it once") for name in twice],
        )
    return arguments


def form_request_of(head: Head, target: str, form: Form) -> FormRequest:
    """
    Return the request to execute a workflow whose inputs come as a form.

    Args:
        head: What came before the body.
        target: The workflow.
        form: What reads the body.
    """
    return FormRequest(
        operation=target,
        arguments={},
        caller=head.caller,
        id=head.request_id,
        detach=head.detach,
        lenient=True,
        idempotency_key=_key_of(head),
        form=form,
    )


def _number_of(last_event_id: bytes | None) -> int:
    """Return the number of the event of a run that the caller had last; 0 for none, or for an id of another form."""
    digits = b"" if last_event_id is None else last_event_id.rpartition(b"-")[2]
    return int(digits) if digits.isdigit() and len(digits) <= LONGEST_NUMBER else 0


def _key_of(head: Head) -> str | None:
    """Return the `Idempotency-Key`, quoted as draft-ietf-httpapi-idempotency-key-header has it, or bare as most send it."""
    sent = head.headers.get(b"idempotency-key")
    if sent is None:
        return None
    key = sent.decode("latin-1").strip()
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def _inputs_of(members: dict[str, Any]) -> dict[str, Any]:
    inputs = members.pop("inputs", None)
    if members:
        raise _unknown(list(members), 'the arguments of the workflow go into "inputs"')
    if inputs is None:
        return {}
    if not isinstance(inputs, dict):
        raise InvalidArgumentError(
            '"inputs" must be an object', [ArgumentProblem("/inputs", f"expected an object, got {_kind_of(inputs)}")]
        )
    return inputs


def _unknown(members: list[str], hint: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request has members that it should not have; {hint}",
        [ArgumentProblem(_pointer(member), f"unknown member; {hint}") for member in members],
    )


def _pointer(member: str) -> str:
    return "/" + member.replace("~", "~0").replace("/", "~1")
