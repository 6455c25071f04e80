"""Sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from nexus.abc import SessionStore
from nexus.exceptions import ConflictError, NotFoundError
from nexus.models import ANONYMOUS, Page, Principal, Scope, Session
from nexus_sqlite.paging import instant, page_of, position
from nexus_sqlite.restrictions import owned
from nexus_sqlite.storage import Storage

__all__ = ["PrincipalDocument", "SqliteSessionStore", "document_of", "principal_of"]

FIND: Final = "SELECT id, version, document FROM sessions WHERE token_hash = ? AND expires_at > ?"
REPLACE: Final = (
    "UPDATE sessions SET version = ?, tenant = ?, principal = ?, created_at = ?, expires_at = ?, document = ? "
    "WHERE id = ? AND version = ?"
)
TIDY: Final = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= ? LIMIT 10)"


class PrincipalDocument(msgspec.Struct):
    """A principal, as JSON."""

    id: str
    tenant: str | None
    roles: frozenset[str]
    attributes: Any
    scopes: tuple[str, ...] | None = None


class _Document(msgspec.Struct):
    """What is in no column of its own. Times are as they were given, with their offset."""

    principal: PrincipalDocument
    created_at: datetime
    expires_at: datetime
    state: Any


_decode = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


@attrs.frozen(eq=False, repr=False)
class SqliteSessionStore(SessionStore):
    """
    Keep sessions; as many as the disk takes, and what has expired goes when new ones come.

    Each lookup reads the file, so that a session that another process has revoked is gone at once.
    """

    storage: Storage

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the file, unless it is open."""
        await self.storage.start(exit_stack)

    async def add(self, session: Session, *, token_hash: bytes) -> None:
        """See `SessionStore.add`."""
        row = (*_columns(session, self.storage.encode), session.id, session.version, token_hash)
        now = instant(session.created_at)

        def add(connection: sqlite3.Connection) -> None:
            known = "SELECT 1 FROM sessions WHERE id = ? OR token_hash = ?"
            if connection.execute(known, (session.id, token_hash)).fetchone() is not None:
                raise ConflictError("there is a session of that id or token already")
            connection.execute(TIDY, (now,))
            connection.execute(
                "INSERT INTO sessions (tenant, principal, created_at, expires_at, document, id, version, token_hash) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

        await self.storage.write_all(add)

    async def find(self, token_hash: bytes, *, now: datetime) -> Session:
        """See `SessionStore.find`."""
        row = await self.storage.look(FIND, (token_hash, instant(now)))
        if row is None:
            raise NotFoundError("there is no live session of that token")
        return _session(row)

    async def save(self, session: Session, *, expected_version: int) -> Session:
        """See `SessionStore.save`."""
        row = (expected_version + 1, *_columns(session, self.storage.encode), session.id, expected_version)

        def save(connection: sqlite3.Connection) -> None:
            if connection.execute(REPLACE, row).rowcount == 0:
                kept = connection.execute("SELECT version FROM sessions WHERE id = ?", (session.id,)).fetchone()
                if kept is None:
                    raise NotFoundError(f"there is no session {session.id}")
                raise ConflictError(f"session {session.id} has changed: its version is {kept[0]}, not {expected_version}")

        await self.storage.write(save)
        return attrs.evolve(session, version=expected_version + 1)

    async def remove(self, scope: Scope, session_id: str) -> None:
        """See `SessionStore.remove`."""
        where, parameters = _restricted(scope)
        statement = f"DELETE FROM sessions WHERE id = ? AND {where}"  # noqa: S608 - of our own words

        def remove(connection: sqlite3.Connection) -> None:
            if connection.execute(statement, (session_id, *parameters)).rowcount == 0:
                raise NotFoundError(f"there is no session {session_id}")

        await self.storage.write(remove)

    async def list(self, scope: Scope, *, now: datetime, after: str | None, limit: int) -> Page[Session]:
        """See `SessionStore.list`."""
        where, parameters = _restricted(scope)
        start = (-(1 << 62), "") if after is None else position(after)
        statement = (
            f"SELECT id, version, document FROM sessions WHERE {where} "  # noqa: S608 - of our own words
            "AND expires_at > ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
        )
        values = (*parameters, instant(now), *start, limit + 1)
        rows = await self.storage.read(lambda connection: connection.execute(statement, values).fetchall())
        return page_of([_session(row) for row in rows], limit)

    async def prune(self, *, now: datetime) -> int:
        """See `SessionStore.prune`."""

        def prune(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (instant(now),)).rowcount

        return await self.storage.write(prune)


def document_of(principal: Principal, encode: Callable[[Any], bytes]) -> PrincipalDocument:
    """Return the principal as it is kept."""
    attributes = _json(principal.attributes, encode)
    return PrincipalDocument(principal.id, principal.tenant_id, principal.roles, attributes, principal.scopes)


def principal_of(kept: PrincipalDocument) -> Principal:
    """Return the principal that was kept."""
    return Principal(id=kept.id, roles=kept.roles, tenant_id=kept.tenant, attributes=kept.attributes, scopes=kept.scopes)


def _restricted(scope: Scope) -> tuple[str, tuple[Any, ...]]:
    """Return the condition that a session is in the scope, and its parameters; the anonymous reach their own only."""
    where, parameters = owned(scope)
    return (f"{where} AND id = ?", (*parameters, scope.session)) if scope.principal == ANONYMOUS.id else (where, parameters)


def _columns(session: Session, encode: Callable[[Any], bytes]) -> tuple[Any, ...]:
    """Return the values of tenant, principal, created_at, expires_at, document."""
    principal = session.principal
    document = _Document(
        principal=document_of(principal, encode),
        created_at=session.created_at,
        expires_at=session.expires_at,
        state=_json(session.state, encode),
    )
    created_at, expires_at = instant(session.created_at), instant(session.expires_at)
    return principal.tenant_id, principal.id, created_at, expires_at, _encode(document)


def _json(value: Mapping[str, Any], encode: Callable[[Any], bytes]) -> msgspec.Raw | dict[str, Any]:
    return msgspec.Raw(encode(value)) if value else {}


def _session(row: Any) -> Session:
    session_id, version, document = row
    kept = _decode(document)
    return Session(
        id=session_id,
        principal=principal_of(kept.principal),
        created_at=kept.created_at,
        expires_at=kept.expires_at,
        state=kept.state,
        version=version,
    )
