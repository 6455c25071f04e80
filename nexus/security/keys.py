"""API keys: issued, known again, revoked."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs

from nexus.abc import Authenticator, KeyStore
from nexus.exceptions import NotFoundError, UnauthenticatedError
from nexus.models import ApiKey, Page, Principal, Scope

__all__ = ["ApiKeys"]

PREFIX: Final = "nxk_"


@attrs.define(eq=False, repr=False)
class ApiKeys(Authenticator):
    """
    Issues API keys, and knows them again: `nxk_`, the key's id, `_`, and its secret.

    Args:
        store: Keeps the keys.
        secrets: What the hashes are keyed with; the first makes new ones, all are good for those there are. By default they are
            not: a secret of 256 random bits can't be guessed from its hash.
    """

    store: KeyStore
    secrets: Sequence[bytes] = (b"",)

    async def issue(
        self, principal: Principal, *, name: str, issuer: Principal, expires_at: datetime | None, now: datetime
    ) -> tuple[ApiKey, str]:
        """
        Issue a key, and return it with its text, which nothing keeps.

        Args:
            principal: Whom its bearer is taken for, with the scopes of the key.
            name: What its owner calls it.
            issuer: Who issues it.
            expires_at: Until when it is good; None is without limit.
            now: The time.
        """
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=os.urandom(8).hex(), name=name, principal=principal, issuer=issuer.id, created_at=now, expires_at=expires_at
        )
        await self.store.add(key, secret_hash=_hash(self.secrets[0], secret))
        return key, f"{PREFIX}{key.id}_{secret}"

    async def authenticate(self, credential: str, *, now: datetime) -> Principal | None:
        """See `Authenticator.authenticate`."""
        if not credential.startswith(PREFIX):
            return None
        key_id, _, secret = credential.removeprefix(PREFIX).partition("_")
        try:
            key, kept = await self.store.find(key_id)
        except NotFoundError:
            raise UnauthenticatedError("the API key is not one that this application knows, or it was revoked") from None
        if not any(hmac.compare_digest(_hash(each, secret), kept) for each in self.secrets):
            raise UnauthenticatedError("the API key is not one that this application knows, or it was revoked")
        if key.expires_at is not None and key.expires_at <= now:
            raise UnauthenticatedError(f"the API key has expired, at {key.expires_at.isoformat()}; have another issued")
        return key.principal

    async def revoke(self, scope: Scope, key_id: str) -> None:
        """
        Let a key be good for nothing from now on.

        Raises:
            NotFoundError: There is none in this scope.
        """
        await self.store.remove(scope, key_id)

    async def listing(self, scope: Scope, *, after: str | None, limit: int) -> Page[ApiKey]:
        """Return keys of the scope, oldest first."""
        return await self.store.list(scope, after=after, limit=limit)


def _hash(key: bytes, secret: str) -> bytes:
    return hmac.digest(key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)
