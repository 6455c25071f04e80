"""The floor of what is stored: the standard library, with no event loop around it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Work
from benchmarks.work import CALLERS, INSERT, TABLE, WRITES, row, stored_in

SESSIONS = "CREATE TABLE sessions (token_hash BLOB PRIMARY KEY, id TEXT, document TEXT)"
FIND = "SELECT id, document FROM sessions WHERE token_hash = ?"


def token_hash(number: int) -> bytes:
    """Return a stand-in for the hash of a session's token."""
    return b"%032d" % number


@contextmanager
def table(synchronous: str) -> Iterator[Path]:
    """Make a file with the table that is written, and remove it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plain.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute(TABLE)
        yield path


@contextmanager
def sessions() -> Iterator[Path]:
    """Make a file with a thousand sessions, and remove it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plain.db"
        rows = [
            (token_hash(number), f"s{number}", '{"principal": "ada", "roles": ["pilot"], "state": {}}') for number in range(1000)
        ]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(SESSIONS)
            connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)
        yield path


@asynccontextmanager
async def writes(synchronous: str = "NORMAL") -> AsyncIterator[Work]:
    """One row of each caller in each transaction, one after the other."""
    with table(synchronous) as path, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA synchronous = {synchronous}")

        async def unit(number: int) -> int:
            for place in range(WRITES):
                connection.execute("BEGIN IMMEDIATE")
                for caller in range(CALLERS):
                    connection.execute(INSERT, row(number, caller, place))
                connection.execute("COMMIT")
            return number

        yield Work(unit=unit, read=stored_in(path))


@asynccontextmanager
async def lookups() -> AsyncIterator[Work]:
    """The row, on the event loop."""
    with sessions() as path, closing(sqlite3.connect(path)) as connection:

        async def unit(token: bytes) -> str:
            found: str = connection.execute(FIND, (token,)).fetchone()[0]
            return found

        yield Work(unit=unit, write=token_hash)
