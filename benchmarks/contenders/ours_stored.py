"""Ours, in a file: the stores of an application, each as it is called by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contenders.plain_sqlite import token_hash
from benchmarks.harness import Work
from benchmarks.work import stored_in, written
from nexus.models import Principal, Session
from nexus_sqlite import SqliteDatabase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def _opened(options: str = "") -> AsyncIterator[SqliteDatabase]:
    with TemporaryDirectory() as folder:
        database = SqliteDatabase(f"sqlite:///{Path(folder) / 'nexus.db'}{options}")
        async with AsyncExitStack() as exit_stack:
            await database.start(exit_stack)
            yield database


@asynccontextmanager
async def writes(synchronous: str = "NORMAL") -> AsyncIterator[Work]:
    """Results of steps, whose put returns after their commit."""
    async with _opened(f"?synchronous={synchronous}") as database:
        put = database.step_store.put

        async def unit(number: int) -> int:
            return await written(number, put)

        yield Work(unit=unit, read=stored_in(database.path))


@asynccontextmanager
async def lookups() -> AsyncIterator[Work]:
    """A session, whole."""
    async with _opened() as database:
        ada = Principal(id="ada", roles=["pilot"])
        for number in range(1000):
            session = Session(id=f"s{number}", principal=ada, created_at=NOW, expires_at=NOW + timedelta(hours=1))
            await database.session_store.add(session, token_hash=token_hash(number))

        async def unit(token: bytes) -> str:
            return (await database.session_store.find(token, now=NOW)).id

        yield Work(unit=unit, write=token_hash)
