"""SQLAlchemy's asyncio engine on aiosqlite, as its documentation shows it: a transaction for each write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.contenders.plain_sqlite import sessions, table, token_hash
from benchmarks.harness import Work
from benchmarks.work import CALLERS, stored_in, written

INSERT = text("INSERT OR REPLACE INTO step_results (run_id, step, result) VALUES (:run_id, :step, :result)")
FIND = text("SELECT id, document FROM sessions WHERE token_hash = :token_hash")


def engine_of(path: Path, synchronous: str) -> AsyncEngine:
    """Return an engine with a connection for each caller."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=CALLERS, connect_args={"timeout": 30})

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    return engine


@asynccontextmanager
async def writes(synchronous: str = "NORMAL") -> AsyncIterator[Work]:
    """Each caller has a connection of the pool, and waits for the file's lock."""
    with table(synchronous) as path:
        engine = engine_of(path, synchronous)

        async def write(run_id: str, step: str, result: bytes) -> None:
            async with engine.begin() as connection:
                await connection.execute(INSERT, {"run_id": run_id, "step": step, "result": result})

        async def unit(number: int) -> int:
            return await written(number, write)

        yield Work(unit=unit, read=stored_in(path))
        await engine.dispose()


@asynccontextmanager
async def lookups() -> AsyncIterator[Work]:
    """The row."""
    with sessions() as path:
        engine = engine_of(path, "NORMAL")

        async def unit(token: bytes) -> str:
            async with engine.connect() as connection:
                found: str = (await connection.execute(FIND, {"token_hash": token})).one()[0]
            return found

        yield Work(unit=unit, write=token_hash)
        await engine.dispose()
