"""Our own stores pass the suites that outside authors use."""

from __future__ import annotations

from nexus.memory import MemoryRunStore, MemorySessionStore
from nexus.testing import RunStoreContract, SessionStoreContract


class TestMemoryRunStore(RunStoreContract):
    def make_store(self) -> MemoryRunStore:
        return MemoryRunStore()

    def make_small_store(self, capacity: int) -> MemoryRunStore:
        return MemoryRunStore(max_runs=capacity)


class TestMemorySessionStore(SessionStoreContract):
    def make_store(self) -> MemorySessionStore:
        return MemorySessionStore()

    def make_small_store(self, capacity: int) -> MemorySessionStore:
        return MemorySessionStore(max_sessions=capacity)
