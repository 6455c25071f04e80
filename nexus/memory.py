"""Stores in memory: bounded, gone with the process, and the fastest there are."""

from __future__ import annotations

import heapq
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from nexus.abc import KeyStore, RunStore, SessionStore, StepStore
from nexus.exceptions import (
    ArgumentProblem,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from nexus.models import ANONYMOUS, ApiKey, Page, RunRecord, Scope, Session

__all__ = ["MemoryKeyStore", "MemoryRunStore", "MemorySessionStore", "MemoryStepStore"]

CURSOR = re.compile(r"(-?\d+\.\d{6})~(.+)")
RunKey = tuple[str | None, str, str | None, str, str]
FILTERS = frozenset({"status", "workflow"})


def _cursor(created_at: datetime, record_id: str) -> str:
    return f"{created_at.timestamp():.6f}~{record_id}"


def _position(cursor: str) -> tuple[float, str]:
    parts = CURSOR.fullmatch(cursor)
    if parts is not None:
        return float(parts[1]), parts[2]
    problem = ArgumentProblem("/after", "expected a cursor of an earlier page")
    raise InvalidArgumentError("this is not a cursor; leave it out to start from the beginning", [problem])


def _owns(scope: Scope, key: ApiKey) -> bool:
    return scope.covers(tenant=key.principal.tenant_id, principal=key.principal.id)


def _key(record: RunRecord | Session | ApiKey) -> tuple[float, str]:
    return round(record.created_at.timestamp(), 6), record.id


def _key_of(run: RunRecord, key: str) -> RunKey:
    return run.tenant, run.principal, run.session if run.principal == ANONYMOUS.id else None, run.workflow, key


def _page(chosen: list[Any], limit: int) -> Page[Any]:
    """Cut a listing of up to limit + 1 records, and say where the next page starts."""
    if len(chosen) <= limit:
        return Page(chosen)
    last = chosen[limit - 1]
    return Page(chosen[:limit], _cursor(last.created_at, last.id))


@attrs.define(eq=False, repr=False)
class MemoryRunStore(RunStore):
    """
    Keep records of runs in memory.

    Args:
        max_runs: At most this many; the oldest that has ended makes room for a new one. Where none has ended, a new one is
            refused, and the record of one that has ended already is not kept.
    """

    shared = False
    max_runs: int = 10_000
    _runs: dict[str, RunRecord] = attrs.field(factory=dict, init=False)
    _ended: OrderedDict[str, None] = attrs.field(factory=OrderedDict, init=False)
    _ended_keyed: OrderedDict[str, None] = attrs.field(factory=OrderedDict, init=False)
    _keys: dict[RunKey, tuple[str, str]] = attrs.field(factory=dict, init=False)
    _keyed: dict[str, RunKey] = attrs.field(factory=dict, init=False)
    _leases: dict[str, datetime] = attrs.field(factory=dict, init=False)

    async def create(
        self,
        scope: Scope,  # noqa: ARG002 - the record says whose it is
        run: RunRecord,
        *,
        key: str | None = None,
        inputs_hash: str = "",
    ) -> RunRecord:
        """See `RunStore.create`."""
        whole_key = None if key is None else _key_of(run, key)
        if whole_key is not None and whole_key in self._keys:
            run_id, other = self._keys[whole_key]
            if other != inputs_hash:
                raise ConflictError(f"idempotency key {key!r} was used with other inputs, by run {run_id}", run_id=run_id)
            return self._runs[run_id]
        if run.id in self._runs:
            raise ConflictError(f"there is a run {run.id} already")
        if len(self._runs) >= self.max_runs:
            if run.ended and not self._ended and not self._ended_keyed:
                # The work is done: a store full of runs that wait is no reason to tell its caller that it failed.
                return run
            self._make_room()
        self._runs[run.id] = run
        if whole_key is not None:
            self._keys[whole_key] = (run.id, inputs_hash)
            self._keyed[run.id] = whole_key
        if run.ended:
            self._note_ended(run.id)
        return run

    async def get(self, scope: Scope, run_id: str) -> RunRecord:
        """See `RunStore.get`."""
        run = self._runs.get(run_id)
        if run is None or not scope.covers(tenant=run.tenant, principal=run.principal):
            raise NotFoundError(f"there is no run {run_id}")
        return run

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        """See `RunStore.save`."""
        kept = self._runs.get(run.id)
        if kept is None:
            raise NotFoundError(f"there is no run {run.id}")
        if kept.version != expected_version:
            raise ConflictError(f"run {run.id} has changed: its version is {kept.version}, not {expected_version}")
        saved = run.changed(version=expected_version + 1)
        self._runs[run.id] = saved
        if saved.ended:
            self._note_ended(run.id)
        return saved

    async def list(self, scope: Scope, *, where: Mapping[str, str], after: str | None, limit: int) -> Page[RunRecord]:
        """See `RunStore.list`."""
        unknown = sorted(where.keys() - FILTERS)
        if unknown:
            problems = [
                ArgumentProblem(f"/where/{name}", f"unknown filter; use {' or '.join(sorted(FILTERS))}") for name in unknown
            ]
            raise InvalidArgumentError(f"runs can't be filtered by {', '.join(unknown)}", problems)
        before = None if after is None else _position(after)
        chosen = (run for run in self._in_scope(scope) if all(getattr(run, name) == value for name, value in where.items()))
        return _page(heapq.nlargest(limit + 1, (run for run in chosen if before is None or _key(run) < before), key=_key), limit)

    async def prune(self, *, ended_before: datetime) -> Sequence[str]:
        """See `RunStore.prune`."""
        ended = (*self._ended, *self._ended_keyed)
        old = [run_id for run_id in ended if (self._runs[run_id].ended_at or ended_before) < ended_before]
        for run_id in old:
            self._forget(run_id)
        return old

    async def claim(self, owner: str, *, until: datetime, now: datetime) -> Sequence[RunRecord]:
        """See `RunStore.claim`."""
        self._leases = {other: lease for other, lease in {**self._leases, owner: until}.items() if lease > now}
        orphans = [run for run in self._runs.values() if not run.ended and run.owner != owner and run.owner not in self._leases]
        claimed = [run.changed(owner=owner, version=run.version + 1) for run in orphans]
        self._runs.update((run.id, run) for run in claimed)
        return claimed

    def _in_scope(self, scope: Scope) -> Iterable[RunRecord]:
        for run in self._runs.values():
            if scope.covers(tenant=run.tenant, principal=run.principal) and (
                scope.principal != ANONYMOUS.id or (scope.session is not None and run.session == scope.session)
            ):
                yield run

    def _make_room(self) -> None:
        # What is kept under a key answers retries: it goes last, unless there is more of it than of all else.
        crowded = len(self._ended_keyed) > self.max_runs // 2
        first, second = (self._ended_keyed, self._ended) if crowded else (self._ended, self._ended_keyed)
        oldest = next(iter(first), None) or next(iter(second), None)
        if oldest is None:
            raise ResourceExhaustedError(f"{self.max_runs} runs have not ended yet, and no more are kept; try again later")
        self._forget(oldest)

    def _note_ended(self, run_id: str) -> None:
        (self._ended_keyed if run_id in self._keyed else self._ended)[run_id] = None

    def _forget(self, run_id: str) -> None:
        del self._runs[run_id]
        if run_id in self._keyed:
            del self._ended_keyed[run_id], self._keys[self._keyed.pop(run_id)]
        else:
            del self._ended[run_id]


@attrs.define(eq=False, repr=False)
class MemorySessionStore(SessionStore):
    """
    Keep sessions in memory.

    Args:
        max_sessions: At most this many live ones; another one is refused.
    """

    max_sessions: int = 100_000
    _sessions: dict[str, Session] = attrs.field(factory=dict, init=False)
    _by_token: dict[bytes, str] = attrs.field(factory=dict, init=False)
    _tokens: dict[str, bytes] = attrs.field(factory=dict, init=False)

    async def add(self, session: Session, *, token_hash: bytes) -> None:
        """See `SessionStore.add`."""
        if session.id in self._sessions or token_hash in self._by_token:
            raise ConflictError("there is a session of that id or token already")
        if len(self._sessions) >= self.max_sessions:
            await self.prune(now=session.created_at)
            if len(self._sessions) >= self.max_sessions:
                raise ResourceExhaustedError(f"{self.max_sessions} sessions are open, and no more are kept; try again later")
        self._sessions[session.id] = session
        self._by_token[token_hash] = session.id
        self._tokens[session.id] = token_hash

    async def find(self, token_hash: bytes, *, now: datetime) -> Session:
        """See `SessionStore.find`."""
        session_id = self._by_token.get(token_hash)
        if session_id is None or self._sessions[session_id].expires_at <= now:
            raise NotFoundError("there is no live session of that token")
        return self._sessions[session_id]

    async def save(self, session: Session, *, expected_version: int) -> Session:
        """See `SessionStore.save`."""
        kept = self._sessions.get(session.id)
        if kept is None:
            raise NotFoundError(f"there is no session {session.id}")
        if kept.version != expected_version:
            raise ConflictError(f"session {session.id} has changed: its version is {kept.version}, not {expected_version}")
        saved = attrs.evolve(session, version=expected_version + 1)
        self._sessions[session.id] = saved
        return saved

    async def remove(self, scope: Scope, session_id: str) -> None:
        """See `SessionStore.remove`."""
        session = self._sessions.get(session_id)
        if session is None or not self._covered(scope, session):
            raise NotFoundError(f"there is no session {session_id}")
        self._forget(session_id)

    async def list(self, scope: Scope, *, now: datetime, after: str | None, limit: int) -> Page[Session]:
        """See `SessionStore.list`."""
        start = None if after is None else _position(after)
        live = (s for s in self._sessions.values() if s.expires_at > now and self._covered(scope, s))
        return _page(heapq.nsmallest(limit + 1, (s for s in live if start is None or _key(s) > start), key=_key), limit)

    async def prune(self, *, now: datetime) -> int:
        """See `SessionStore.prune`."""
        expired = [session.id for session in self._sessions.values() if session.expires_at <= now]
        for session_id in expired:
            self._forget(session_id)
        return len(expired)

    def _covered(self, scope: Scope, session: Session) -> bool:
        principal = session.principal
        return scope.covers(tenant=principal.tenant_id, principal=principal.id) and (
            scope.principal != ANONYMOUS.id or session.id == scope.session
        )

    def _forget(self, session_id: str) -> None:
        del self._sessions[session_id]
        del self._by_token[self._tokens.pop(session_id)]


@attrs.define(eq=False, repr=False)
class MemoryKeyStore(KeyStore):
    """
    Keep API keys in memory.

    Args:
        max_keys: At most this many; another one is refused.
    """

    max_keys: int = 100_000
    _keys: dict[str, tuple[ApiKey, bytes]] = attrs.field(factory=dict, init=False)

    async def add(self, key: ApiKey, *, secret_hash: bytes) -> None:
        """See `KeyStore.add`."""
        if key.id in self._keys:
            raise ConflictError(f"there is a key {key.id} already")
        if len(self._keys) >= self.max_keys:
            raise ResourceExhaustedError(f"there are {self.max_keys} keys, and no more are kept; revoke some")
        self._keys[key.id] = (key, secret_hash)

    async def find(self, key_id: str) -> tuple[ApiKey, bytes]:
        """See `KeyStore.find`."""
        if key_id not in self._keys:
            raise NotFoundError(f"there is no key {key_id}")
        return self._keys[key_id]

    async def remove(self, scope: Scope, key_id: str) -> None:
        """See `KeyStore.remove`."""
        key = self._keys[key_id][0] if key_id in self._keys else None
        if key is None or not _owns(scope, key):
            raise NotFoundError(f"there is no key {key_id}")
        del self._keys[key_id]

    async def list(self, scope: Scope, *, after: str | None, limit: int) -> Page[ApiKey]:
        """See `KeyStore.list`."""
        start = None if after is None else _position(after)
        chosen = (key for key, _ in self._keys.values() if _owns(scope, key))
        return _page(heapq.nsmallest(limit + 1, (key for key in chosen if start is None or _key(key) > start), key=_key), limit)


@attrs.define(eq=False, repr=False)
class MemoryStepStore(StepStore):
    """
    Keep results of steps in memory.

    Args:
        max_bytes: At most this many of results, in all.
        max_results: At most this many results. Where there is no room, the results of the run whose last is the oldest go, as a
            whole; that run's steps would be run again. One run's own results are never dropped for its next.
    """

    max_bytes: int = 64_000_000
    max_results: int = 100_000
    _results: OrderedDict[str, dict[str, bytes]] = attrs.field(factory=OrderedDict, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)

    async def put(self, run_id: str, step: str, result: bytes) -> None:
        """See `StepStore.put`."""
        own = self._results.get(run_id, {})
        size = len(result) - len(own.get(step, b""))
        count = step not in own
        if sum(map(len, own.values())) + size > self.max_bytes or len(own) + count > self.max_results:
            raise ResourceExhaustedError(
                f"the results of run {run_id} take more than the {self.max_bytes} bytes or {self.max_results} results kept here"
            )
        self._results[run_id] = own
        self._results.move_to_end(run_id)
        while self._bytes + size > self.max_bytes or self._count + count > self.max_results:
            await self.remove(next(iter(self._results)))
        own[step] = result
        self._bytes += size
        self._count += count

    async def all(self, run_id: str) -> Mapping[str, bytes]:
        """See `StepStore.all`."""
        return dict(self._results.get(run_id, {}))

    async def remove(self, run_id: str) -> None:
        """See `StepStore.remove`."""
        gone = self._results.pop(run_id, {})
        self._bytes -= sum(map(len, gone.values()))
        self._count -= len(gone)
