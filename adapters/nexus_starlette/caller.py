"""Who is calling, as far as HTTP knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from nexus.models import Caller

__all__ = ["caller_of"]

# W3C Trace Context, section 3.2, version 00: neither id may be all zeros.
TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def caller_of(scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
    """
    Return who sent an HTTP request.

    Args:
        scope: Its ASGI scope; a host that has itself verified the caller puts a `Principal` under `nexus.principal`.
        headers: Its headers, each once.
    """
    client = scope.get("client")
    agent = headers.get(b"user-agent")
    trace = headers.get(b"traceparent")
    principal = scope.get("nexus.principal")
    return Caller(
        channel="api",
        address=client[0] if client else None,
        credential=None if principal is not None else _credential_of(headers.get(b"authorization")),
        principal=principal,
        user_agent=_text_of(agent),
        traceparent=trace.decode() if trace is not None and TRACEPARENT.fullmatch(trace) else None,
        forwarded=_text_of(headers.get(b"forwarded")),
        x_forwarded_for=_text_of(headers.get(b"x-forwarded-for")),
    )


def _text_of(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _credential_of(header: bytes | None) -> str | None:
    """Return the bearer token, or a header of another scheme as it is: a bad credential is refused, never anonymous."""
    if header is None:
        return None
    scheme, _, token = header.partition(b" ")
    return (token.strip() if scheme.lower() == b"bearer" else header).decode("latin-1")
