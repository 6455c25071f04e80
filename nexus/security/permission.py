"""Whether a caller may do what it asks for."""

from __future__ import annotations

import attrs

from nexus.abc import AccessControl, Guard
from nexus.exceptions import PermissionDeniedError, UnauthenticatedError
from nexus.models import ANONYMOUS, APPLICATION, Call, Operation
from nexus.security.access import matches

__all__ = ["PermissionGuard"]


@attrs.frozen(eq=False, repr=False)
class PermissionGuard(Guard):
    """
    Refuse who is nobody in particular, and who may not; the application itself may do everything.

    A name that is unknown passes, for a caller who is known: that it is unknown is said later.
    """

    access: AccessControl

    async def check(self, call: Call) -> None:
        """See `Guard.check`."""
        operation = call.operation
        if call.principal is APPLICATION or (operation is not None and operation.public):
            return
        if call.principal.id == ANONYMOUS.id:
            raise UnauthenticatedError("this needs a caller who is known; send a credential (Authorization: Bearer …)")
        if operation is None:
            return
        if not await self.may(call, operation.permission):
            needed = operation.permission
            raise PermissionDeniedError(f"{call.principal.id!r} may not: {operation.name} needs {needed!r}", permission=needed)

    async def allows(self, call: Call, operation: Operation) -> bool:
        """Whether the caller may use an operation, be it another than the one it asks for."""
        if call.principal is APPLICATION or operation.public:
            return True
        if call.principal.id == ANONYMOUS.id:
            return False
        return await self.may(call, operation.permission)

    async def may(self, call: Call, permission: str) -> bool:
        """Whether the caller has a permission; the application itself has all."""
        if call.principal is APPLICATION:
            return True
        scopes = call.principal.scopes
        return (scopes is None or matches(scopes, permission)) and (await self.access.decide(call, permission)).allowed
