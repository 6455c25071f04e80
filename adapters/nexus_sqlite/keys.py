"""API keys."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from nexus.abc import KeyStore
from nexus.exceptions import ConflictError, NotFoundError
from nexus.models import ApiKey, Page, Principal, Scope
from nexus_sqlite.paging import instant, page_of, position
from nexus_sqlite.restrictions import owned
from nexus_sqlite.sessions import PrincipalDocument, document_of, principal_of
from nexus_sqlite.storage import Storage

__all__ = ["SqliteKeyStore"]

FIND: Final = "SELECT id, document, secret_hash FROM api_keys WHERE id = ?"
ADD: Final = "INSERT INTO api_keys (id, tenant, principal, created_at, secret_hash, document) VALUES (?, ?, ?, ?, ?, ?)"


class _Document(msgspec.Struct):
    """What is in no column of its own."""

    name: str
    issuer: str
    principal: PrincipalDocument
    created_at: datetime
    expires_at: datetime | None


_decode = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


@attrs.frozen(eq=False, repr=False)
class SqliteKeyStore(KeyStore):
    """Keep API keys. Each look-up reads the file, so that a key that another process has revoked is gone at once."""

    storage: Storage

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the file, unless it is open."""
        await self.storage.start(exit_stack)

    async def add(self, key: ApiKey, *, secret_hash: bytes) -> None:
        """See `KeyStore.add`."""
        document = _Document(
            name=key.name,
            issuer=key.issuer,
            principal=document_of(key.principal, self.storage.encode),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
        tenant, principal = key.principal.tenant_id, key.principal.id
        row = (key.id, tenant, principal, instant(key.created_at), secret_hash, _encode(document))

        def add(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(ADD, row)
            except sqlite3.IntegrityError:
                raise ConflictError(f"there is a key {key.id} already") from None

        await self.storage.write(add)

    async def find(self, key_id: str) -> tuple[ApiKey, bytes]:
        """See `KeyStore.find`."""
        row = await self.storage.look(FIND, (key_id,))
        if row is None:
            raise NotFoundError(f"there is no key {key_id}")
        return _key(row[0], row[1]), row[2]

    async def remove(self, scope: Scope, key_id: str) -> None:
        """See `KeyStore.remove`."""
        where, parameters = owned(scope)
        statement = f"DELETE FROM api_keys WHERE id = ? AND {where}"  # noqa: S608 - of our own words

        def remove(connection: sqlite3.Connection) -> None:
            if connection.execute(statement, (key_id, *parameters)).rowcount == 0:
                raise NotFoundError(f"there is no key {key_id}")

        await self.storage.write(remove)

    async def list(self, scope: Scope, *, after: str | None, limit: int) -> Page[ApiKey]:
        """See `KeyStore.list`."""
        where, parameters = owned(scope)
        start = (-(1 << 62), "") if after is None else position(after)
        statement = (
            f"SELECT id, document FROM api_keys WHERE {where} "  # noqa: S608 - of our own words
            "AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
        )
        values = (*parameters, *start, limit + 1)
        rows = await self.storage.read(lambda connection: connection.execute(statement, values).fetchall())
        return page_of([_key(*row) for row in rows], limit)


def _key(key_id: str, document: Any) -> ApiKey:
    kept = _decode(document)
    principal: Principal = principal_of(kept.principal)
    return ApiKey(
        id=key_id,
        name=kept.name,
        principal=principal,
        issuer=kept.issuer,
        created_at=kept.created_at,
        expires_at=kept.expires_at,
    )
