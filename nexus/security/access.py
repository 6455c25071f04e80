"""Access control by roles."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs
from cachetools import LRUCache

from nexus.abc import AccessControl
from nexus.exceptions import ConfigurationError
from nexus.models import Call, Decision, Role

__all__ = ["BUILT_IN", "RoleBasedAccess", "matches"]

BUILT_IN: Final[Mapping[str, Role]] = {
    "admin": Role(allow=["*"]),
    "user": Role(allow=["workflow:*", "workflows:*", "runs:*", "sessions:*", "keys:*"]),
}
"""Roles that are there unless others of these names are configured."""

WITHOUT_ROLE: Final = "user"
"""What a principal is that has no role at all."""

KEPT: Final = 10_000


@attrs.define(eq=False, repr=False)
class RoleBasedAccess(AccessControl):
    """
    Let a principal do what a role of its allows and none denies.

    Args:
        roles: By name; those of `BUILT_IN` are there beside them. Patterns match whole permissions, `*` being any characters.

    Raises:
        ConfigurationError: A role inherits from one that there is not, or from itself.
    """

    roles: Mapping[str, Role] = attrs.field(factory=dict)
    _rules: dict[str, tuple[list[str], list[str]]] = attrs.field(factory=dict, init=False)
    _kept: LRUCache[tuple[frozenset[str], str], Decision] = attrs.field(factory=lambda: LRUCache(KEPT), init=False)

    def __attrs_post_init__(self) -> None:
        self.roles = {**BUILT_IN, **self.roles}
        for name in self.roles:
            lineage = list(self._lineage(name, ()))
            self._rules[name] = (
                [pattern for role in lineage for pattern in role.allow],
                [pattern for role in lineage for pattern in role.deny],
            )

    async def decide(self, call: Call, permission: str) -> Decision:
        """See `AccessControl.decide`."""
        roles = call.principal.roles or frozenset({WITHOUT_ROLE})
        decision = self._kept.get((roles, permission))
        if decision is None:
            decision = self._kept[roles, permission] = self._decided(roles, permission)
        return decision

    def _decided(self, roles: frozenset[str], permission: str) -> Decision:
        rules = [(name, *self._rules[name]) for name in sorted(roles) if name in self._rules]
        for name, _, denied in rules:
            if matches(denied, permission):
                return Decision(allowed=False, reason=f"role {name!r} denies {permission!r}")
        for name, allowed, _ in rules:
            if matches(allowed, permission):
                return Decision(allowed=True, reason=f"role {name!r} allows {permission!r}")
        return Decision(allowed=False, reason=f"no role of {', '.join(map(repr, sorted(roles)))} allows {permission!r}")

    def _lineage(self, name: str, heirs: tuple[str, ...]) -> Iterable[Role]:
        if name in heirs:
            line = " inherits ".join((*heirs, name))
            raise ConfigurationError(f"roles: {line}; a role can't inherit from itself", key="roles")
        if name not in self.roles:
            raise ConfigurationError(
                f"roles.{heirs[-1]}: there is no role {name!r} to inherit; there are: {', '.join(sorted(self.roles))}",
                key="roles",
            )
        yield self.roles[name]
        for other in self.roles[name].inherits:
            yield from self._lineage(other, (*heirs, name))


def matches(patterns: Iterable[str], permission: str) -> bool:
    """Whether one of the patterns matches the whole permission."""
    return any(re.match(fnmatch.translate(pattern), permission) for pattern in patterns)
