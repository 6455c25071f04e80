"""Records of runs, the keys under which they were asked for, and whose they are."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from nexus.abc import RunStore
from nexus.exceptions import ArgumentProblem, ConflictError, InvalidArgumentError, NotFoundError
from nexus.models import ANONYMOUS, Page, RunRecord, Scope
from nexus_sqlite.behind import Behind
from nexus_sqlite.documents import decoded, encoded
from nexus_sqlite.paging import instant, page_of, position
from nexus_sqlite.storage import Storage

__all__ = ["SqliteRunStore"]

FILTERS: Final = frozenset({"status", "workflow"})
COLUMNS: Final = "id, version, status, tenant, principal, session, workflow, owner, document"
VALUES: Final = "(id, version, status, tenant, principal, session, workflow, owner, created_at, ended_at, document)"
INSERT: Final = f"INSERT INTO runs {VALUES} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - of our own words
INSERT_LATER: Final = f"{INSERT} ON CONFLICT DO NOTHING"
GET: Final = f"SELECT {COLUMNS} FROM runs WHERE id = ?"  # noqa: S608 - as above
REPLACE: Final = (
    "UPDATE runs SET version = ?, status = ?, tenant = ?, principal = ?, session = ?, workflow = ?, owner = ?, created_at = ?, "
    "ended_at = ?, document = ? WHERE id = ? AND version = ?"
)
GOES_ON: Final = "status IN ('pending', 'running', 'waiting')"
PRUNED_AT_ONCE: Final = 100

Row = Sequence[Any]


@attrs.define(eq=False, repr=False)
class SqliteRunStore(RunStore):
    """
    Keep records of runs.

    What is created before it has ended, or under a key, and every change, is acknowledged once it is in the file. The record of a
    run that has ended when it is created is written behind: at once for this process, within 50 ms for others and for good.
    """

    shared = True
    storage: Storage
    behind: Behind = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.behind = self.storage.add_behind(INSERT_LATER)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the file, unless it is open."""
        await self.storage.start(exit_stack)

    async def create(
        self,
        scope: Scope,  # noqa: ARG002 - the record says whose it is
        run: RunRecord,
        *,
        key: str | None = None,
        inputs_hash: str = "",
    ) -> RunRecord:
        """See `RunStore.create`."""
        row = self._row(run)
        if key is None and run.ended:
            if await self._find(run.id) is not None:
                raise ConflictError(f"there is a run {run.id} already")
            await self.storage.write_later(self.behind, run.id, row, len(row[-1]))
            return run
        if key is None:
            await self.storage.write(lambda connection: _insert(connection, row))
            return run
        kept = await self.storage.write_all(
            lambda connection: _insert_under(connection, row, _key_of(run, key), key, inputs_hash)
        )
        return run if kept is None else _record(kept)

    async def get(self, scope: Scope, run_id: str) -> RunRecord:
        """See `RunStore.get`."""
        row = await self._find(run_id)
        if row is None or not scope.covers(tenant=row[3], principal=row[4]):
            raise NotFoundError(f"there is no run {run_id}")
        return _record(row)

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        """See `RunStore.save`."""
        saved = run.changed(version=expected_version + 1)
        run_id, *values = self._row(saved)

        def save(connection: sqlite3.Connection) -> None:
            if connection.execute(REPLACE, (*values, run_id, expected_version)).rowcount == 0:
                kept = connection.execute("SELECT version FROM runs WHERE id = ?", (run_id,)).fetchone()
                if kept is None:
                    raise NotFoundError(f"there is no run {run_id}")
                raise ConflictError(f"run {run_id} has changed: its version is {kept[0]}, not {expected_version}")

        await self.storage.write(save)
        return saved

    async def list(self, scope: Scope, *, where: Mapping[str, str], after: str | None, limit: int) -> Page[RunRecord]:
        """See `RunStore.list`."""
        unknown = sorted(where.keys() - FILTERS)
        if unknown:
            problems = [
                ArgumentProblem(f"/where/{name}", f"unknown filter; use {' or '.join(sorted(FILTERS))}") for name in unknown
            ]
            raise InvalidArgumentError(f"runs can't be filtered by {', '.join(unknown)}", problems)
        if scope is not Scope.ALL and scope.principal == ANONYMOUS.id and scope.session is None:
            return Page([])
        conditions, values = _conditions(scope, where)
        before = None if after is None else position(after)
        if before is not None:
            conditions.append("(created_at, id) < (?, ?)")
            values += before
        restricted = " AND ".join(conditions) or "TRUE"
        statement = f"SELECT {COLUMNS} FROM runs WHERE {restricted} ORDER BY created_at DESC, id DESC LIMIT ?"  # noqa: S608 - as above
        # What is not in the file yet is looked at first: it may be written meanwhile, and then is in both.
        chosen = (row for row in self.behind.rows.values() if _is_chosen(row, scope, where, before))
        behind = heapq.nlargest(limit + 1, chosen, key=lambda row: (row[8], row[0]))
        found = await self.storage.read(lambda connection: connection.execute(statement, (*values, limit + 1)).fetchall())
        rows = {row[0]: row for row in (*map(_shown, behind), *found)}
        records = sorted(map(_record, rows.values()), key=lambda run: (instant(run.created_at), run.id), reverse=True)
        return page_of(records[: limit + 1], limit)

    async def prune(self, *, ended_before: datetime) -> Sequence[str]:
        """See `RunStore.prune`."""
        pruned: list[str] = []

        def prune(connection: sqlite3.Connection) -> bool:
            statement = f"SELECT id FROM runs WHERE ended_at < ? AND NOT {GOES_ON} LIMIT ?"  # noqa: S608 - as above
            rows = connection.execute(statement, (instant(ended_before), PRUNED_AT_ONCE)).fetchall()
            connection.executemany("DELETE FROM run_keys WHERE run_id = ?", rows)
            connection.executemany("DELETE FROM step_results WHERE run_id = ?", rows)
            connection.executemany("DELETE FROM runs WHERE id = ?", rows)
            found.extend(run_id for (run_id,) in rows)
            return len(rows) == PRUNED_AT_ONCE

        is_more = True
        while is_more:
            # Some at a time, so that others are not held up.
            found: list[str] = []
            is_more = await self.storage.write_all(prune)
            pruned += found
        return pruned

    async def claim(self, owner: str, *, until: datetime, now: datetime) -> Sequence[RunRecord]:
        """See `RunStore.claim`."""

        def claim(connection: sqlite3.Connection) -> list[Row]:
            connection.execute("DELETE FROM run_leases WHERE until <= ? OR owner = ?", (instant(now), owner))
            if until > now:
                connection.execute("INSERT INTO run_leases (owner, until) VALUES (?, ?)", (owner, instant(until)))
            orphans = connection.execute(
                f"SELECT id FROM runs WHERE {GOES_ON} AND "  # noqa: S608 - as above
                "(owner IS NULL OR (owner <> ? AND owner NOT IN (SELECT owner FROM run_leases)))",
                (owner,),
            ).fetchall()
            change = "UPDATE runs SET owner = ?, version = version + 1 WHERE id = ?"
            connection.executemany(change, [(owner, run_id) for (run_id,) in orphans])
            return [connection.execute(GET, orphan).fetchone() for orphan in orphans]

        return [_record(row) for row in await self.storage.write_all(claim)]

    async def _find(self, run_id: str) -> Row | None:
        row = self.behind.rows.get(run_id)
        if row is not None:
            return _shown(row)
        return await self.storage.look(GET, (run_id,))

    def _row(self, run: RunRecord) -> Row:
        """Return the values of all columns, in the order of `VALUES`."""
        return (
            run.id,
            run.version,
            run.status,
            run.tenant,
            run.principal,
            run.session,
            run.workflow,
            run.owner,
            instant(run.created_at),
            None if run.ended_at is None else instant(run.ended_at),
            encoded(run, self.storage.encode),
        )


def _shown(row: Row) -> Row:
    """Return of a whole row what `COLUMNS` has."""
    return (*row[:8], row[10])


def _record(row: Row) -> RunRecord:
    run_id, version, status, tenant, principal, session, workflow, owner, document = row
    return decoded(
        document,
        id=run_id,
        version=version,
        status=status,
        tenant=tenant,
        principal=principal,
        session=session,
        workflow=workflow,
        owner=owner,
    )


def _insert(connection: sqlite3.Connection, row: Row) -> None:
    try:
        connection.execute(INSERT, row)
    except sqlite3.IntegrityError:
        raise ConflictError(f"there is a run {row[0]} already") from None


def _insert_under(connection: sqlite3.Connection, row: Row, whole_key: str, key: str, inputs_hash: str) -> Row | None:
    """Return the row that is kept under the key already, else keep this one."""
    kept = connection.execute("SELECT run_id, inputs_hash FROM run_keys WHERE key = ?", (whole_key,)).fetchone()
    if kept is None:
        _insert(connection, row)
        values = (whole_key, row[0], inputs_hash)
        connection.execute("INSERT INTO run_keys (key, run_id, inputs_hash) VALUES (?, ?, ?)", values)
        return None
    run_id, other = kept
    if other != inputs_hash:
        raise ConflictError(f"idempotency key {key!r} was used with other inputs, by run {run_id}", run_id=run_id)
    found: Row = connection.execute(GET, (run_id,)).fetchone()
    return found


def _key_of(run: RunRecord, key: str) -> str:
    session = run.session if run.principal == ANONYMOUS.id else None
    return msgspec.json.encode([run.tenant, run.principal, session, run.workflow, key]).decode()


def _conditions(scope: Scope, where: Mapping[str, str]) -> tuple[list[str], list[Any]]:
    conditions, values = [f"{name} = ?" for name in where], list(where.values())
    if scope is Scope.ALL:
        return conditions, [*values]
    # Written out, not given as parameters, so that SQLite knows that the index of these rows will do.
    if scope.principal == ANONYMOUS.id:
        return [*conditions, "principal = 'anonymous'", "session = ?", "tenant IS ?"], [*values, scope.session, scope.tenant]
    if scope.principal is None:
        return [*conditions, "tenant IS ?"], [*values, scope.tenant]
    return [*conditions, "principal <> 'anonymous'", "principal = ?", "tenant IS ?"], [*values, scope.principal, scope.tenant]


def _is_chosen(row: Row, scope: Scope, where: Mapping[str, str], before: tuple[int, str] | None) -> bool:
    """Whether a row that is not in the file yet is in a listing."""
    run_id, _, status, tenant, principal, session, workflow, _, created_at, *_ = row
    return (
        scope.covers(tenant=tenant, principal=principal)
        and (scope.principal != ANONYMOUS.id or session == scope.session)
        and where.get("status", status) == status
        and where.get("workflow", workflow) == workflow
        and (before is None or (created_at, run_id) < before)
    )
