"""Results of steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import attrs

from nexus.abc import StepStore
from nexus_sqlite.storage import Storage

__all__ = ["SqliteStepStore"]

PUT: Final = "INSERT OR REPLACE INTO step_results (run_id, step, result) VALUES (?, ?, ?)"


@attrs.frozen(eq=False, repr=False)
class SqliteStepStore(StepStore):
    """Keep results of steps; as long as the records of their runs, and as many as the disk takes."""

    storage: Storage

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the file, unless it is open."""
        await self.storage.start(exit_stack)

    async def put(self, run_id: str, step: str, result: bytes) -> None:
        """See `StepStore.put`."""

        def put(connection: sqlite3.Connection) -> None:
            connection.execute(PUT, (run_id, step, result))

        await self.storage.write(put)

    async def all(self, run_id: str) -> Mapping[str, bytes]:
        """See `StepStore.all`."""
        statement = "SELECT step, result FROM step_results WHERE run_id = ?"
        return dict(await self.storage.read(lambda connection: connection.execute(statement, (run_id,)).fetchall()))

    async def remove(self, run_id: str) -> None:
        """See `StepStore.remove`."""

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM step_results WHERE run_id = ?", (run_id,))

        await self.storage.write(remove)
