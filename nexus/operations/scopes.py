"""What those may reach who look after others."""

from __future__ import annotations

from nexus.models import Call, Scope

__all__ = ["administered"]


def administered(call: Call) -> Scope:
    """Return the scope of an administrator: the whole tenant, or everything for one who belongs to none."""
    return Scope.ALL if call.tenant is None else Scope(tenant=call.tenant.id, principal=None)
