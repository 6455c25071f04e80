"""Who is asking: from a credential to a session."""

from __future__ import annotations

import hashlib
from datetime import datetime

import attrs

from nexus.abc import SessionStore
from nexus.exceptions import NotFoundError, UnauthenticatedError
from nexus.models import Session

__all__ = ["Sessions", "token_hash"]


def token_hash(token: str) -> bytes:
    """Return what a store keeps of a token: its SHA-256."""
    return hashlib.sha256(token.encode()).digest()


@attrs.define(eq=False, repr=False)
class Sessions:
    """Finds sessions by their token."""

    store: SessionStore

    async def find(self, token: str, *, now: datetime) -> Session:
        """
        Return the live session of that token.

        Raises:
            UnauthenticatedError: There is none; a bad credential is never taken for an anonymous caller.
        """
        try:
            return await self.store.find(token_hash(token), now=now)
        except NotFoundError:
            raise UnauthenticatedError(
                "the credential is not one that this application knows, or it has expired; call without one, or log in again"
            ) from None
