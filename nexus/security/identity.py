"""Who is asking: from a credential to a principal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from nexus.abc import Authenticator, Guard, SessionFinder
from nexus.exceptions import UnauthenticatedError
from nexus.models import ANONYMOUS, APPLICATION, Call, Principal, Tenant

__all__ = ["IdentityGuard"]

RESERVED: Final = frozenset({ANONYMOUS.id, APPLICATION.id})


@attrs.define(eq=False, repr=False)
class IdentityGuard(Guard):
    """
    Find out whose credential a caller has; one that nobody knows is refused, never taken for nobody in particular.

    A caller that its channel has verified, and one without a credential, pass as they are.

    Args:
        sessions: Knows the tokens of sessions; asked after the authenticators.
        authenticators: Asked in this order, each whether the credential is of its kind.
    """

    sessions: SessionFinder
    authenticators: Sequence[Authenticator] = ()

    async def check(self, call: Call) -> None:
        """See `Guard.check`."""
        caller = call.request.caller
        if caller.credential is None or caller.principal is not None:
            return
        for authenticator in self.authenticators:
            principal = await authenticator.authenticate(caller.credential, now=call.now)
            if principal is not None:
                call.principal = _somebody(principal)
                break
        else:
            call.session = await self.sessions.find(caller.credential, now=call.now)
            call.principal = call.session.principal
        tenant = call.principal.tenant_id
        call.tenant = None if tenant is None else Tenant(id=tenant)


def _somebody(principal: Principal) -> Principal:
    """Refuse a name by which a caller would be taken for nobody in particular, or for the application itself."""
    if principal.id in RESERVED:
        raise UnauthenticatedError(f"nobody may be called {principal.id!r} here; the credential is good for another name")
    return principal
