"""Our own stores and runtime pass the suites that outside authors use."""

from __future__ import annotations

from nexus import Nexus, NexusConfig, create_nexus
from nexus.cache import MemoryCache
from nexus.memory import MemoryKeyStore, MemoryRunStore, MemorySessionStore, MemoryStepStore
from nexus.testing import (
    CacheContract,
    KeyStoreContract,
    RunStoreContract,
    RuntimeContract,
    SessionStoreContract,
    StepStoreContract,
)


class TestLocalRuntime(RuntimeContract):
    def make_app(self) -> Nexus:
        return create_nexus(NexusConfig(shutdown_grace=0.1))


class TestMemoryRunStore(RunStoreContract):
    def make_store(self) -> MemoryRunStore:
        return MemoryRunStore()

    def make_small_store(self, capacity: int) -> MemoryRunStore:
        return MemoryRunStore(max_runs=capacity)


class TestMemoryKeyStore(KeyStoreContract):
    def make_store(self) -> MemoryKeyStore:
        return MemoryKeyStore()


class TestMemorySessionStore(SessionStoreContract):
    def make_store(self) -> MemorySessionStore:
        return MemorySessionStore()

    def make_small_store(self, capacity: int) -> MemorySessionStore:
        return MemorySessionStore(max_sessions=capacity)


class TestMemoryCache(CacheContract):
    def make_store(self) -> MemoryCache:
        return MemoryCache()

    def make_small_cache(self, entries: int) -> MemoryCache:
        return MemoryCache(max_entries=entries)


class TestMemoryStepStore(StepStoreContract):
    def make_store(self) -> MemoryStepStore:
        return MemoryStepStore()

    def make_small_store(self, capacity: int) -> MemoryStepStore:
        return MemoryStepStore(max_bytes=capacity)
