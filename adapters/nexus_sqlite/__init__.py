"""
Runs, sessions, results of steps and cached results in one SQLite file.

Another thing to keep is a table, by one more step at the end of `migrations.MIGRATIONS`, and a store of its own beside the
others, which `SqliteDatabase` makes and gives the `Storage`: `write` and `write_all` return once what a job did is committed,
`write_later` returns at once, `look` finds a row by its key, and `read` whatever else.
"""

from __future__ import annotations

from nexus_sqlite.database import SqliteDatabase

__all__ = ["SqliteDatabase"]
