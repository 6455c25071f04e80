"""aiosqlite, as its documentation shows it: one connection, `execute` and `commit`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite

from benchmarks.contenders.plain_sqlite import FIND, sessions, table, token_hash
from benchmarks.harness import Work
from benchmarks.work import INSERT, stored_in, written


@asynccontextmanager
async def writes(synchronous: str = "NORMAL") -> AsyncIterator[Work]:
    """Each caller commits its own row, and with it what others have written by then."""
    with table(synchronous) as path:
        async with aiosqlite.connect(path) as connection:
            await connection.execute(f"PRAGMA synchronous = {synchronous}")

            async def write(*values: object) -> None:
                await connection.execute(INSERT, values)
                await connection.commit()

            async def unit(number: int) -> int:
                return await written(number, write)

            yield Work(unit=unit, read=stored_in(path))


@asynccontextmanager
async def lookups() -> AsyncIterator[Work]:
    """The row."""
    with sessions() as path:
        async with aiosqlite.connect(path) as connection:

            async def unit(token: bytes) -> str:
                async with connection.execute(FIND, (token,)) as cursor:
                    row = await cursor.fetchone()
                found: str = "" if row is None else row[0]
                return found

            yield Work(unit=unit, write=token_hash)
