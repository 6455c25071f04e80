"""The stores in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from nexus.abc import Database
from nexus_sqlite.caches import SqliteCache
from nexus_sqlite.keys import SqliteKeyStore
from nexus_sqlite.opening import Location
from nexus_sqlite.runs import SqliteRunStore
from nexus_sqlite.sessions import SqliteSessionStore
from nexus_sqlite.steps import SqliteStepStore
from nexus_sqlite.storage import Storage

__all__ = ["SqliteDatabase"]


def _tell_nobody(_what: str, _error: BaseException) -> None:
    """Do nothing."""


class SqliteDatabase(Database):
    """
    The stores in one SQLite file; it is opened when it or one of them is started.

    Several processes may have the file open; not over a network.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`; after it may come `?synchronous=full`, so that what is
            acknowledged outlives a loss of power too, and `busy_timeout=5`: seconds to wait while another process holds the file.
        encode: Makes JSON of values.
        report: Told of trouble that no caller is told of.

    Raises:
        ConfigurationError: The URL can't be read.
    """

    run_store: SqliteRunStore
    session_store: SqliteSessionStore
    key_store: SqliteKeyStore
    step_store: SqliteStepStore
    cache: SqliteCache

    def __init__(
        self,
        url: str,
        *,
        encode: Callable[[Any], bytes] = msgspec.json.encode,
        report: Callable[[str, BaseException], None] = _tell_nobody,
    ) -> None:
        self.storage = storage = Storage(Location.of_url(url), encode=encode, report=report)
        self.run_store = SqliteRunStore(storage)
        self.session_store = SqliteSessionStore(storage)
        self.key_store = SqliteKeyStore(storage)
        self.step_store = SqliteStepStore(storage)
        self.cache = SqliteCache(storage)

    def __repr__(self) -> str:
        return f"<SqliteDatabase {self.path}>"

    @property
    def path(self) -> Path:
        """The file."""
        return self.storage.path

    @property
    def place(self) -> str:
        """See `Database.place`."""
        return str(self.path)

    @property
    def is_well(self) -> bool:
        """See `Database.is_well`."""
        return self.storage.is_well

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """
        Open the file, unless it is open; make it where there is none.

        Raises:
            ConfigurationError: It is something else, or of a newer version.
            UnavailableError: It can't be opened, is locked, or is damaged.
        """
        await self.storage.start(exit_stack)
