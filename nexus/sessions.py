"""Sessions: a caller's presence, by a token that is good on every channel."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

from nexus.abc import SessionFinder, SessionStore
from nexus.exceptions import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
)
from nexus.models import ANONYMOUS, APPLICATION, Page, Principal, Scope, Session

__all__ = ["Sessions", "token_hash"]

PREFIX = "nxs_"
"""Of every token, so that one which leaked is known for what it is."""

PART = 10
"""A session is renewed once a tenth of its time has passed, not at each call: that would be a write each."""

MOST_OF_ONE = 1000


def token_hash(token: str) -> bytes:
    """Return what a store keeps of a token: its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@attrs.define(eq=False, repr=False)
class Sessions(SessionFinder):
    """
    Opens, finds and ends sessions.

    Args:
        timeout: How long a session lasts without a call.
        lifetime: How long it lasts at most.
        per_principal: How many one principal may have at once.
        overflow: What one more does: it is refused, or the oldest ends.
    """

    store: SessionStore
    timeout: timedelta = timedelta(minutes=30)
    lifetime: timedelta = timedelta(hours=12)
    per_principal: int = 50
    overflow: Literal["drop_oldest", "refuse"] = "drop_oldest"

    async def open(self, principal: Principal, *, now: datetime, instead_of: Session | None = None) -> tuple[Session, str]:
        """
        Open a session, and return it with its token, which nothing keeps.

        Args:
            principal: Whose.
            now: The time.
            instead_of: The one whose token was used to ask for it; it ends, and its state goes on.

        Raises:
            ResourceExhaustedError: The principal, or the store, has as many as it may.
            PermissionDeniedError: It is for the application itself.
        """
        if principal.id == APPLICATION.id:
            raise PermissionDeniedError("the application itself has no session: its token would be a key to everything")
        token = PREFIX + secrets.token_urlsafe(32)
        session = Session(
            id=os.urandom(16).hex(),
            principal=principal,
            created_at=now,
            expires_at=now + min(self.timeout, self.lifetime),
            state={} if instead_of is None else instead_of.state,
        )
        if instead_of is not None:
            with suppress(NotFoundError):
                await self.store.remove(Scope.ALL, instead_of.id)
        if principal.id != ANONYMOUS.id:
            await self._make_room(principal, now)
        await self.store.add(session, token_hash=token_hash(token))
        return session, token

    async def find(self, token: str, *, now: datetime) -> Session:
        """
        Return the live session of that token, renewed if it is time.

        Raises:
            UnauthenticatedError: There is none; a bad credential is never taken for an anonymous caller.
        """
        try:
            session = await self.store.find(token_hash(token), now=now)
        except NotFoundError:
            raise UnauthenticatedError(
                "the credential is not one that this application knows, or it has expired; call without one, or log in again"
            ) from None
        until = min(now + self.timeout, session.created_at + self.lifetime)
        if until - session.expires_at >= self.timeout / PART:
            with suppress(ConflictError, NotFoundError):  # changed at the same moment, which renewed it too, or ended
                return await self.store.save(attrs.evolve(session, expires_at=until), expected_version=session.version)
        return session

    async def change(self, session: Session, state: dict[str, Any], *, expected_version: int) -> Session:
        """
        Replace the state of a session, and return it with its new version.

        Raises:
            NotFoundError: It has ended.
            ConflictError: Its version is another.
        """
        return await self.store.save(attrs.evolve(session, state=state), expected_version=expected_version)

    async def end(self, scope: Scope, session_id: str) -> None:
        """
        End a session; its token is good for nothing from now on.

        Raises:
            NotFoundError: There is none in this scope.
        """
        await self.store.remove(scope, session_id)

    async def listing(self, scope: Scope, *, now: datetime, after: str | None, limit: int) -> Page[Session]:
        """Return live sessions of the scope, oldest first."""
        return await self.store.list(scope, now=now, after=after, limit=limit)

    async def _make_room(self, principal: Principal, now: datetime) -> None:
        scope = Scope(tenant=principal.tenant_id, principal=principal.id)
        page = await self.store.list(scope, now=now, after=None, limit=MOST_OF_ONE)
        surplus = len(page.items) + 1 - self.per_principal
        if surplus > 0 and self.overflow == "refuse":
            raise ResourceExhaustedError(f"{principal.id!r} has {self.per_principal} sessions, and may have no more; end one")
        for oldest in page.items[: max(0, surplus)]:
            with suppress(NotFoundError):
                await self.store.remove(Scope.ALL, oldest.id)
