"""Who is calling, as far as MCP knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import attrs
from mcp.server.context import ServerRequestContext

from nexus.models import ANONYMOUS, Caller, Principal
from nexus_mcp._tools import CHANNEL

__all__ = ["behind", "bound_principal", "caller_of", "caller_of_scope", "scope_of"]

PRINCIPAL: Final = "nexus.principal"
BEARER: Final = "bearer "


def scope_of(ctx: ServerRequestContext[Any, Any]) -> Mapping[str, Any] | None:
    """Return the ASGI scope of the HTTP request that brought the message; None where it came another way."""
    return getattr(ctx.request, "scope", None)


def caller_of(ctx: ServerRequestContext[Any, Any]) -> Caller:
    """Return who sent the message."""
    scope = scope_of(ctx)
    meta: Mapping[str, Any] = ctx.meta or {}
    traceparent = meta.get("traceparent")
    if scope is not None:
        return caller_of_scope(scope, traceparent=traceparent if isinstance(traceparent, str) else None)
    client = ctx.session.client_params
    return Caller(
        channel=CHANNEL,
        user_agent=None if client is None else f"{client.client_info.name}/{client.client_info.version}",
        traceparent=traceparent if isinstance(traceparent, str) else None,
    )


def caller_of_scope(scope: Mapping[str, Any], *, traceparent: str | None = None) -> Caller:
    """
    Return who sent the HTTP request.

    Args:
        scope: An ASGI scope; a host that has itself verified the caller puts a `Principal` under `nexus.principal`.
        traceparent: What the message itself says, which comes from nearer to the caller than a header does.
    """
    authorization = user_agent = None
    forwarded: list[str] = []
    x_forwarded_for: list[str] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"user-agent":
            user_agent = value.decode("latin-1")
        elif name == b"traceparent" and traceparent is None:
            traceparent = value.decode("latin-1")
        elif name == b"forwarded":
            forwarded.append(value.decode("latin-1"))
        elif name == b"x-forwarded-for":
            x_forwarded_for.append(value.decode("latin-1"))
    client = scope.get("client")
    principal = scope.get(PRINCIPAL)
    return Caller(
        channel=CHANNEL,
        address=client[0] if client else None,
        credential=_credential(authorization),
        principal=principal if isinstance(principal, Principal) else None,
        user_agent=user_agent,
        traceparent=traceparent,
        # A header that comes several times is a list (RFC 9110, section 5.3).
        forwarded=", ".join(forwarded) if forwarded else None,
        x_forwarded_for=", ".join(x_forwarded_for) if x_forwarded_for else None,
    )


def behind(caller: Caller) -> Caller:
    """
    Return the same caller, for what the channel itself asks on its behalf.

    The operations on runs do not show on MCP; with the id of the run sealed in the call's state they need not.
    """
    principal = ANONYMOUS if caller.principal is None and caller.credential is None else caller.principal
    return attrs.evolve(caller, channel="inprocess", owner=CHANNEL, principal=principal)


def bound_principal(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Return what the sealed state of a call is bound to, so that nobody else can send it back; None for the anonymous."""
    caller = caller_of(ctx)
    if caller.principal is not None:
        return f"principal:{caller.principal.tenant_id or ''}:{caller.principal.id}"
    if caller.credential is not None:
        return f"credential:{hashlib.sha256(caller.credential.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return None


def _credential(authorization: str | None) -> str | None:
    """Return the bearer token; of another scheme all of it, so that it is refused and its sender is never anonymous."""
    if authorization is None:
        return None
    return authorization[len(BEARER) :].strip() if authorization[: len(BEARER)].lower() == BEARER else authorization
