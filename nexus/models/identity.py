"""Who is asking, and what their store calls are restricted to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import attrs

__all__ = [
    "ANONYMOUS",
    "ANONYMOUS_SESSION",
    "APPLICATION",
    "ApiKey",
    "Decision",
    "Principal",
    "Role",
    "Scope",
    "Session",
    "Tenant",
]


@attrs.frozen(kw_only=True)
class Scope:
    """
    What a store call is restricted to.

    Attributes:
        tenant: The tenant, or None where there is none.
        principal: The principal's id; None: all of the tenant.
        session: The session of an anonymous caller, whose records are listed for that session only.
    """

    ALL: ClassVar[Scope]

    tenant: str | None
    principal: str | None
    session: str | None = None

    def covers(self, *, tenant: str | None, principal: str | None) -> bool:
        """Whether a record of that tenant and principal may be had by its id in this scope."""
        return self is Scope.ALL or (self.tenant == tenant and self.principal in {None, principal})


Scope.ALL = Scope(tenant=None, principal=None)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _roles(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class Principal:
    """
    Who is asking: a user, a service, or the application itself.

    Attributes:
        id: Stable, unique within the tenant.
        roles: Names of what it may do.
        tenant_id: The tenant it belongs to.
        attributes: More about it, for guards and workflows.
        scopes: Patterns of the permissions to which its credential is limited, whatever its roles allow; None: to none.
    """

    id: str
    roles: frozenset[str] = attrs.field(default=frozenset(), converter=_roles)
    tenant_id: str | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    scopes: tuple[str, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_names))

    def view(self) -> dict[str, Any]:
        """Return the principal as channels show it."""
        scopes = None if self.scopes is None else list(self.scopes)
        return {"principal": self.id, "roles": sorted(self.roles), "tenant": self.tenant_id, "scopes": scopes}


ANONYMOUS: Final = Principal(id="anonymous")
APPLICATION: Final = Principal(id="application")
ANONYMOUS_SESSION: Final = timedelta(minutes=30)


@attrs.frozen(kw_only=True)
class Role:
    """
    What those who have it may do.

    Attributes:
        allow: Patterns of permissions: `workflow:report:execute`, `workflow:sales.*`, `*`.
        deny: Patterns of what they may not, whatever another role of theirs allows.
        inherits: Roles whose patterns it has, too.
    """

    allow: tuple[str, ...] = attrs.field(default=(), converter=_names)
    deny: tuple[str, ...] = attrs.field(default=(), converter=_names)
    inherits: tuple[str, ...] = attrs.field(default=(), converter=_names)


@attrs.frozen(kw_only=True)
class Decision:
    """
    Whether something is allowed.

    Attributes:
        reason: Why, for those who look after the application, and for the caller.
    """

    allowed: bool
    reason: str


@attrs.frozen(kw_only=True)
class Tenant:
    """A group of principals kept apart from all others."""

    id: str
    name: str = ""


@attrs.frozen(kw_only=True)
class Session:
    """
    A caller's presence, valid on every channel until `expires_at`.

    Attributes:
        id: Names the session; it is not the bearer token and opens nothing.
        state: What the caller's workflows keep in it.
        version: Rises with each change; changes are compare-and-set on it.
    """

    id: str
    principal: Principal
    created_at: datetime
    expires_at: datetime
    state: Mapping[str, Any] = attrs.field(factory=dict)
    version: int = 1

    def view(self) -> dict[str, Any]:
        """Return the session as channels show it."""
        return {
            "session_id": self.id,
            **self.principal.view(),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "state": dict(self.state),
            "version": self.version,
        }


@attrs.frozen(kw_only=True)
class ApiKey:
    """
    A credential that a service or a script has.

    Attributes:
        id: Names the key; it is part of its text, and opens nothing alone.
        name: What its owner calls it.
        principal: Whom its bearer is taken for, with the scopes of the key.
        issuer: The id of the principal who issued it.
        expires_at: Until when it is good; None is without limit.
    """

    id: str
    name: str
    principal: Principal
    issuer: str
    created_at: datetime
    expires_at: datetime | None = None

    def view(self) -> dict[str, Any]:
        """Return the key as channels show it, without its secret, which nobody has but its bearer."""
        return {
            "key_id": self.id,
            "name": self.name,
            **self.principal.view(),
            "issuer": self.issuer,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }
