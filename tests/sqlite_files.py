"""Databases in files, for tests."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from nexus.models import Principal, RunRecord, Scope, Session
from nexus_sqlite import SqliteDatabase

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA = Scope(tenant="acme", principal="ada")


@asynccontextmanager
async def opened(path: Path, options: str = "", **parts: Any) -> AsyncIterator[SqliteDatabase]:
    """Open a database, and close it afterwards."""
    database = SqliteDatabase(f"sqlite:///{path}{options}", **parts)
    async with AsyncExitStack() as exit_stack:
        await database.start(exit_stack)
        yield database


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file as another process would that writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def rows(path: Path, statement: str) -> list[Any]:
    """Return what another process would read."""
    with closing(sqlite3.connect(path)) as other:
        return other.execute(statement).fetchall()


def run_of(run_id: str, **changes: Any) -> RunRecord:
    """Return the record of a running run of Ada's."""
    record = RunRecord(
        id=run_id,
        workflow="price",
        workflow_version="1",
        status="running",
        request_id=f"request-{run_id}",
        channel="api",
        principal="ada",
        tenant="acme",
        session=None,
        created_at=NOON,
    )
    return attrs.evolve(record, **changes)


def ended(run_id: str, **changes: Any) -> RunRecord:
    """Return the record of a run that has ended when it is stored."""
    return run_of(run_id, **{"status": "succeeded", "ended_at": NOON, "duration": 0.5, "output": 1, **changes})


def session_of(session_id: str) -> tuple[Session, bytes]:
    """Return a session and the hash of its token."""
    ada = Principal(id="ada", tenant_id="acme", roles=["pilot"])
    session = Session(id=session_id, principal=ada, created_at=NOON, expires_at=NOON + timedelta(hours=1))
    return session, session_id.encode().ljust(32, b"-")
