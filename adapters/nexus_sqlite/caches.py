"""Results that are kept for a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final

import attrs

from nexus.abc import Cache
from nexus.models import MISSING, Missing
from nexus_sqlite.paging import instant, time_of
from nexus_sqlite.storage import Storage

__all__ = ["SqliteCache"]

GET: Final = "SELECT value, expires_at FROM cache WHERE key = ?"
PUT: Final = "INSERT OR REPLACE INTO cache (key, value, expires_at, size) VALUES (?, ?, ?, ?)"


@attrs.define(eq=False, repr=False)
class SqliteCache(Cache):
    """
    Keep bytes in the file; what was set first makes room.

    Args:
        max_entries: About this many; counted after each hundredth part of them.
        max_bytes: Keys, values and tags together; a longer one is not kept.
    """

    storage: Storage
    max_entries: int = 10_000
    max_bytes: int = 256_000_000
    _uncounted: int = attrs.field(default=0, init=False)
    _unmeasured: int = attrs.field(default=0, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the file, unless it is open."""
        await self.storage.start(exit_stack)

    async def get(self, key: str, *, now: datetime) -> tuple[bytes, datetime | None] | Missing:
        """See `Cache.get`."""
        row = await self.storage.look(GET, (key,))
        if row is None:
            return MISSING
        value, expires_at = row
        if expires_at is None:
            return value, None
        return (value, time_of(expires_at)) if expires_at > instant(now) else MISSING

    async def set(self, key: str, value: bytes, *, expires_at: datetime | None, tags: Sequence[str] = ()) -> None:
        """See `Cache.set`."""
        size = len(key) + len(value) + sum(map(len, tags))
        if size > self.max_bytes:
            await self.discard(key)
            return
        row = (key, value, None if expires_at is None else instant(expires_at), size)

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM cache_tags WHERE key = ?", (key,))
            connection.execute(PUT, row)
            connection.executemany("INSERT OR IGNORE INTO cache_tags (tag, key) VALUES (?, ?)", [(tag, key) for tag in tags])
            self._make_room(connection, size)

        await self.storage.write_all(put)

    async def discard(self, key: str) -> None:
        """See `Cache.discard`."""

        def discard(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM cache_tags WHERE key = ?", (key,))
            connection.execute("DELETE FROM cache WHERE key = ?", (key,))

        await self.storage.write_all(discard)

    async def discard_tag(self, tag: str) -> None:
        """See `Cache.discard_tag`."""

        def discard(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM cache WHERE key IN (SELECT key FROM cache_tags WHERE tag = ?)", (tag,))
            connection.execute(
                "DELETE FROM cache_tags WHERE key IN (SELECT key FROM cache_tags WHERE tag = ?)",
                (tag,),
            )

        await self.storage.write_all(discard)

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        """Drop what was set first, where there is too much; called on the writer's thread."""
        self._uncounted += 1
        self._unmeasured += size
        if self._uncounted * 100 < self.max_entries and self._unmeasured * 100 < self.max_bytes:
            return
        self._uncounted = self._unmeasured = 0
        count, total = connection.execute("SELECT count(*), total(size) FROM cache").fetchone()
        while count > self.max_entries or total > self.max_bytes:
            rowid, first, first_size = connection.execute("SELECT rowid, key, size FROM cache ORDER BY rowid LIMIT 1").fetchone()
            connection.execute("DELETE FROM cache WHERE rowid = ?", (rowid,))
            connection.execute("DELETE FROM cache_tags WHERE key = ?", (first,))
            count, total = count - 1, total - first_size
