"""Conditions that a record is in a scope."""

from __future__ import annotations

from typing import Any

from nexus.models import Scope

__all__ = ["owned"]


def owned(scope: Scope) -> tuple[str, tuple[Any, ...]]:
    """Return the condition that a record belongs to the scope's principal, or to its tenant, and its parameters."""
    if scope is Scope.ALL:
        return "TRUE", ()
    if scope.principal is None:
        return "tenant IS ?", (scope.tenant,)
    return "tenant IS ? AND principal = ?", (scope.tenant, scope.principal)
