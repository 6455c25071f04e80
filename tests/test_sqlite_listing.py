"""What is listed from the file is what is listed from memory, page by page, whatever was written and in which order."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.abc import RunStore
from nexus.exceptions import InvalidArgumentError
from nexus.memory import MemoryRunStore
from nexus.models import ANONYMOUS, RunRecord, Scope
from nexus_sqlite.storage import Storage
from tests.sqlite_files import ADA, NOON, opened, run_of

pytestmark = pytest.mark.anyio

SCOPES = [
    Scope(tenant="acme", principal="ada"),
    Scope(tenant="acme", principal="bob"),
    Scope(tenant=None, principal="ada"),
    Scope(tenant=None, principal=ANONYMOUS.id, session="s1"),
    Scope(tenant=None, principal=ANONYMOUS.id, session="s2"),
    Scope(tenant="acme", principal=ANONYMOUS.id, session="s1"),
]
WHERE: list[dict[str, str]] = [{}, {"status": "succeeded"}, {"workflow": "w1"}, {"status": "running", "workflow": "w2"}]

stored = st.lists(
    st.tuples(
        st.sampled_from(SCOPES), st.integers(0, 5), st.sampled_from(["running", "succeeded"]), st.sampled_from(["w1", "w2"])
    ),
    max_size=15,
)


def records_of(facts: list[tuple[Scope, int, str, str]]) -> list[RunRecord]:
    return [
        run_of(
            f"r{number * 7 % 16:02}",
            tenant=scope.tenant,
            principal=scope.principal,
            session=scope.session,
            created_at=NOON + timedelta(microseconds=age),
            status=status,
            ended_at=NOON if status == "succeeded" else None,
            workflow=workflow,
        )
        for number, (scope, age, status, workflow) in enumerate(facts)
    ]


async def pages(store: RunStore, scope: Scope, where: dict[str, str], limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = None
    while True:
        page = await store.list(scope, where=where, after=after, limit=limit)
        found.append([run.id for run in page.items])
        after = page.cursor
        if after is None:
            return found


@given(facts=stored, limit=st.integers(1, 5), waits=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pages_are_those_of_memory(tmp_path: Path, facts: Any, limit: int, waits: bool) -> None:
    async def compare() -> None:
        path, memory = tmp_path / "nexus.db", MemoryRunStore()
        path.unlink(missing_ok=True)
        async with opened(path) as database:
            for record in records_of(facts):
                await memory.create(ADA, record)
                await database.run_store.create(ADA, record)
            if waits:
                await database.run_store.prune(ended_before=NOON)
            for scope in (*SCOPES, Scope.ALL, Scope(tenant=None, principal=ANONYMOUS.id)):
                for where in WHERE:
                    assert await pages(database.run_store, scope, where, limit) == await pages(memory, scope, where, limit)

    anyio.run(compare)


@pytest.mark.parametrize("cursor", ["", "1", "~", "x~y", "1.5~r1", f"{'9' * 19}~r1"])
async def test_what_is_no_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    async with opened(tmp_path / "nexus.db") as database:
        with pytest.raises(InvalidArgumentError, match="this is not a cursor"):
            await database.run_store.list(ADA, where={}, after=cursor, limit=1)
        with pytest.raises(InvalidArgumentError, match="this is not a cursor"):
            await database.session_store.list(ADA, now=NOON, after=cursor, limit=1)


@pytest.mark.parametrize(
    ("scope", "where", "index"),
    [
        (Scope.ALL, {}, "runs_by_age"),
        (Scope.ALL, {"workflow": "w"}, "runs_of_workflow"),
        (ADA, {}, "runs_of_principal"),
        (SCOPES[3], {}, "runs_of_session"),
    ],
)
async def test_a_listing_reads_no_more_than_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: Scope, where: dict[str, str], index: str
) -> None:
    plans: list[str] = []

    class Explaining:
        """A connection that says how a statement is carried out."""

        def execute(self, statement: str, values: Any) -> Any:
            with closing(sqlite3.connect(tmp_path / "nexus.db")) as connection:
                found = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            plans.append(" ".join(row[3] for row in found))
            return SimpleNamespace(fetchall=list)

    async def read(_storage: Storage, query: Any) -> Any:
        return query(Explaining())

    async with opened(tmp_path / "nexus.db") as database:
        monkeypatch.setattr(Storage, "read", read)
        for after in (None, "7~r1"):
            await database.run_store.list(scope, where=where, after=after, limit=1)
    assert [index in plan and "TEMP B-TREE" not in plan for plan in plans] == [True, True]
