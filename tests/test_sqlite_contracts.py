"""The stores in a SQLite file keep what every store promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus.abc import Cache, KeyStore, RunStore, SessionStore, StepStore
from nexus.testing import CacheContract, KeyStoreContract, RunStoreContract, SessionStoreContract, StepStoreContract
from nexus_sqlite import SqliteDatabase


class InAFile:
    """A database of its own for each test."""

    database: SqliteDatabase

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path) -> None:
        self.database = SqliteDatabase(f"sqlite:///{tmp_path}/nexus.db")


class TestSqliteRunStore(InAFile, RunStoreContract):
    def make_store(self) -> RunStore:
        return self.database.run_store


class TestSqliteSessionStore(InAFile, SessionStoreContract):
    def make_store(self) -> SessionStore:
        return self.database.session_store


class TestSqliteKeyStore(InAFile, KeyStoreContract):
    def make_store(self) -> KeyStore:
        return self.database.key_store


class TestSqliteStepStore(InAFile, StepStoreContract):
    def make_store(self) -> StepStore:
        return self.database.step_store


class TestSqliteCache(InAFile, CacheContract):
    def make_store(self) -> Cache:
        return self.database.cache

    def make_small_cache(self, entries: int) -> Cache:
        self.database.cache.max_entries = entries
        return self.database.cache
