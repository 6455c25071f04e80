"""`keys.issue`, `.list`, `.revoke`; `admin.keys.issue`, `.list`, `.revoke`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import attrs
import msgspec

from nexus.abc import Interaction
from nexus.catalogue import Outcome
from nexus.exceptions import ArgumentProblem, InvalidArgumentError, PermissionDeniedError, UnauthenticatedError
from nexus.models import ANONYMOUS, APPLICATION, Call, Hints, Principal
from nexus.operations import BuiltIn
from nexus.operations.scopes import administered
from nexus.operations.sessions import PAGING
from nexus.security.keys import ApiKeys
from nexus.workflows.signatures import Parameter

__all__ = ["key_operations"]

KEY_ID: Final = Parameter(name="key_id", hint=str, description="The key's id, which opens nothing alone.")
NAME: Final = Parameter(
    name="name", hint=Annotated[str, msgspec.Meta(min_length=1, max_length=100)], description="What it is for."
)
DAYS: Final = Parameter(
    name="days", hint=Annotated[int, msgspec.Meta(ge=1, le=36500)] | None, default=None, description="How long it is good."
)
SCOPES: Final = Parameter(
    name="scopes",
    hint=list[Annotated[str, msgspec.Meta(min_length=1)]] | None,
    default=None,
    description="Patterns of the permissions to which it is limited: workflow:report:*",
)
OWN_ROLES: Final = Parameter(
    name="roles", hint=list[str] | None, default=None, description="Which of one's own roles its bearer has; all by default."
)
ROLES: Final = Parameter(name="roles", hint=list[str], default=[], description="The roles that its bearer has.")
PRINCIPAL: Final = Parameter(
    name="principal", hint=Annotated[str, msgspec.Meta(min_length=1, max_length=200)], description="Whom its bearer is taken for."
)
TENANT: Final = Parameter(name="tenant", hint=str | None, default=None, description="The tenant that the bearer belongs to.")

May = Callable[[Call, str], Awaitable[bool]]
RESERVED: Final = frozenset({ANONYMOUS.id, APPLICATION.id})


def key_operations(keys: ApiKeys, may: May) -> Sequence[BuiltIn]:
    """
    Return the operations on API keys.

    Args:
        keys: Issues and revokes them.
        may: Whether the caller of a call has a permission.
    """

    async def issue(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return await _issued(keys, call, arguments, _oneself(call, arguments))

    async def issue_any(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return await _issued(keys, call, arguments, await _somebody(call, arguments, may))

    async def revoke(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        await keys.revoke(call.scope, arguments["key_id"])
        return {"key_id": arguments["key_id"]}, None, None

    async def revoke_any(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        await keys.revoke(administered(call), arguments["key_id"])
        return {"key_id": arguments["key_id"]}, None, None

    def listing(*, admin: bool) -> Any:
        async def carry_out(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
            scope = administered(call) if admin else call.scope
            page = await keys.listing(scope, after=arguments["after"], limit=arguments["limit"])
            return {"items": [key.view() for key in page.items], "cursor": page.cursor}, None, None

        return carry_out

    def built_in(name: str, summary: str, carry_out: Any, parameters: Sequence[Parameter], hints: Hints | None = None) -> BuiltIn:
        return BuiltIn(
            name=name,
            summary=summary,
            carry_out=carry_out,
            parameters=parameters,
            result=dict[str, Any],
            hints=hints or Hints(),
        )

    read, end = Hints(read_only=True), Hints(destructive=True, idempotent=True)
    for_any = [NAME, PRINCIPAL, ROLES, TENANT, DAYS, SCOPES]
    return [
        built_in("keys.issue", "Issue an API key of one's own; it is shown once.", issue, [NAME, OWN_ROLES, DAYS, SCOPES]),
        built_in("keys.list", "List one's own API keys, oldest first.", listing(admin=False), PAGING, read),
        built_in("keys.revoke", "Revoke one of one's own API keys.", revoke, [KEY_ID], end),
        built_in("admin.keys.issue", "Issue an API key for anybody; it is shown once.", issue_any, for_any),
        built_in("admin.keys.list", "List API keys, oldest first.", listing(admin=True), PAGING, read),
        built_in("admin.keys.revoke", "Revoke an API key, whosever it is.", revoke_any, [KEY_ID], end),
    ]


def _oneself(call: Call, arguments: dict[str, Any]) -> Principal:
    """Return the caller, with those of its roles that were asked for."""
    own = call.principal
    if own.id in RESERVED:
        raise UnauthenticatedError("a key is somebody's: call as a principal, or use admin.keys.issue")
    roles = own.roles if arguments["roles"] is None else frozenset(arguments["roles"])
    if not roles <= own.roles:
        raise PermissionDeniedError(f"{own.id!r} has no role {', '.join(map(repr, sorted(roles - own.roles)))} to give")
    return attrs.evolve(own, roles=roles)


async def _somebody(call: Call, arguments: dict[str, Any], may: May) -> Principal:
    """Return who was asked for, in the caller's tenant, with no role that the caller has not to give."""
    own = call.principal
    tenant = arguments["tenant"] if call.tenant is None else call.tenant.id
    if arguments["tenant"] not in {None, tenant}:
        raise PermissionDeniedError(f"{own.id!r} looks after tenant {tenant!r}, and issues no keys for another")
    if arguments["principal"] in RESERVED:
        problem = ArgumentProblem("/principal", f"{arguments['principal']!r} is reserved; give the id of somebody")
        raise InvalidArgumentError("a key is somebody's", [problem])
    for role in sorted({*arguments["roles"]} - own.roles):
        needed = f"roles:{role}:grant"
        if not await may(call, needed):
            raise PermissionDeniedError(f"{own.id!r} has no role {role!r} to give; that needs {needed!r}", permission=needed)
    return Principal(id=arguments["principal"], roles=arguments["roles"], tenant_id=tenant)


async def _issued(keys: ApiKeys, call: Call, arguments: dict[str, Any], principal: Principal) -> Outcome:
    if call.principal.scopes is not None:
        raise PermissionDeniedError(f"a credential that is limited ({', '.join(call.principal.scopes)}) issues no keys")
    principal = attrs.evolve(principal, scopes=arguments["scopes"])
    days = arguments["days"]
    key, text = await keys.issue(
        principal,
        name=arguments["name"],
        issuer=call.principal,
        expires_at=None if days is None else call.now + timedelta(days=days),
        now=call.now,
    )
    return {"key": text, **key.view()}, None, None
