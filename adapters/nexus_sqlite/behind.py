"""Rows that are written a little later, with the next transaction or within 50 ms."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from nexus_sqlite.problems import is_trouble

__all__ = ["Behind"]


@attrs.define(eq=False)
class Behind:
    """
    The rows of one statement that are on their way to the file; bounded.

    Args:
        statement: Inserts a row; it is to do nothing where the row is there.
        report: Told of a row that can't be written at all, which is dropped.
        max_rows: As many may be on their way, and one more than fills `max_bytes`.
        max_bytes: They may take, in all.

    Attributes:
        rows: By key; those that may not be in the file yet. Belongs to the event loop.
    """

    statement: str
    report: Callable[[str, BaseException], None]
    max_rows: int = 10_000
    max_bytes: int = 64_000_000
    rows: dict[str, Sequence[Any]] = attrs.field(factory=dict, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _added: deque[tuple[str, int, Sequence[Any]]] = attrs.field(factory=deque, init=False)
    _taken: list[tuple[str, int, Sequence[Any]]] = attrs.field(factory=list, init=False)

    @property
    def is_full(self) -> bool:
        """Whether the writer has to be waited for."""
        return len(self.rows) >= self.max_rows or self._bytes >= self.max_bytes

    def add(self, key: str, row: Sequence[Any], size: int) -> None:
        """Let a row be written; *size* is how many bytes it takes."""
        self.rows[key] = row
        self._bytes += size
        self._added.append((key, size, row))

    def take(self) -> int:
        """Take what was added, and return how many rows are to be written; called by the writer, as is what follows."""
        while self._added:
            self._taken.append(self._added.popleft())
        return len(self._taken)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what was taken."""
        rows = [row for _, _, row in self._taken]
        try:
            connection.executemany(self.statement, rows)
        except Exception as error:
            if is_trouble(error):
                raise
            for row in rows:
                self._write_one(connection, row)

    def _write_one(self, connection: sqlite3.Connection, row: Sequence[Any]) -> None:
        try:
            connection.execute(self.statement, row)
        except Exception as error:
            if is_trouble(error):
                raise
            self.report("write what can't be written", error)

    def written(self) -> Callable[[], None]:
        """Let go of what was taken, now that it is in the file, and return what the event loop has to call."""
        done, self._taken = self._taken, []

        def forget() -> None:
            for key, size, _ in done:
                del self.rows[key]
                self._bytes -= size

        return forget
