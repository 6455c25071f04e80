"""
The tables, step by step: a file is brought from its version to the newest one in one transaction.

A step that was released is never changed; a new table is a new step at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["APPLICATION_ID", "MIGRATIONS"]

APPLICATION_ID: Final = 0x4E585553
"""By which a file of ours is known from any other (`PRAGMA application_id`)."""

# Times are microseconds since 1970, so that they sort and compare as they are.
FIRST: Final = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        tenant TEXT,
        principal TEXT NOT NULL,
        session TEXT,
        workflow TEXT NOT NULL,
        owner TEXT,
        created_at INTEGER NOT NULL,
        ended_at INTEGER,
        document BLOB NOT NULL
    )
    """,
    "CREATE INDEX runs_by_age ON runs (created_at, id)",
    "CREATE INDEX runs_of_principal ON runs (principal, tenant, created_at, id) WHERE principal <> 'anonymous'",
    "CREATE INDEX runs_of_session ON runs (session, created_at, id) WHERE principal = 'anonymous'",
    "CREATE INDEX runs_of_workflow ON runs (workflow, created_at, id)",
    "CREATE INDEX runs_that_ended ON runs (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE INDEX runs_that_go_on ON runs (owner) WHERE status IN ('pending', 'running', 'waiting')",
    "CREATE TABLE run_keys (key TEXT PRIMARY KEY, run_id TEXT NOT NULL, inputs_hash TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX keys_of_run ON run_keys (run_id)",
    "CREATE TABLE run_leases (owner TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE step_results (run_id TEXT, step TEXT, result BLOB NOT NULL, PRIMARY KEY (run_id, step)) WITHOUT ROWID",
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        token_hash BLOB NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        tenant TEXT,
        principal TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        document BLOB NOT NULL
    )
    """,
    "CREATE INDEX sessions_by_age ON sessions (created_at, id)",
    "CREATE INDEX sessions_of_principal ON sessions (principal, tenant, created_at, id)",
    "CREATE INDEX sessions_that_expire ON sessions (expires_at)",
    """
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        tenant TEXT,
        principal TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        secret_hash BLOB NOT NULL,
        document BLOB NOT NULL
    )
    """,
    "CREATE INDEX keys_of_principal ON api_keys (principal, tenant, created_at, id)",
    "CREATE TABLE cache (key TEXT PRIMARY KEY, size INTEGER NOT NULL, expires_at INTEGER, value BLOB NOT NULL)",
    "CREATE TABLE cache_tags (tag TEXT, key TEXT, PRIMARY KEY (tag, key)) WITHOUT ROWID",
    "CREATE INDEX tags_of_key ON cache_tags (key)",
)

MIGRATIONS: Final[Sequence[Sequence[str]]] = (FIRST,)
"""What brings a file from version 0, 1, 2 … to the next."""
