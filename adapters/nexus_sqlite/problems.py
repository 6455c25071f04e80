"""What SQLite says, as the error that callers get."""

from __future__ import annotations

import sqlite3
from typing import Final

from nexus.exceptions import NexusError, UnavailableError

__all__ = ["explained", "is_locked", "is_trouble"]

LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
TEXTS: Final = {
    **dict.fromkeys(LOCKED, "is locked by another process for longer than this one waits; try again"),
    sqlite3.SQLITE_FULL: "can't grow: the disk is full, or the file as long as it may be; make room",
    sqlite3.SQLITE_READONLY: "can't be written: the file or its folder is read-only",
    sqlite3.SQLITE_PERM: "can't be opened: this process may not",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: it, or its folder, is not there, or this process may not",
    sqlite3.SQLITE_IOERR: "can't be read or written: the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "is damaged; keep a copy, and restore it from a backup, or save what `sqlite3 FILE .recover` finds",
    sqlite3.SQLITE_NOTADB: "is no SQLite database, or its beginning is damaged; it is left as it is",
    sqlite3.SQLITE_NOMEM: "can't be used: there is no memory left",
}


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_locked(error: BaseException) -> bool:
    """Whether somebody else holds a lock that this needs."""
    return _code(error) in LOCKED


def is_trouble(error: BaseException) -> bool:
    """Whether it is the file's or the disk's trouble, so that the same may succeed later."""
    return isinstance(error, UnavailableError) or _code(error) in TEXTS


def explained(error: BaseException, place: str) -> BaseException:
    """
    Return what a caller is told in place of an error of SQLite; any other error is returned as it is.

    Args:
        error: What was raised.
        place: The file's name; where that is only where the text can't reach remote callers.
    """
    text = TEXTS.get(_code(error))
    if text is None or isinstance(error, NexusError):
        return error
    told = UnavailableError(f"the database {place} {text}")
    told.__cause__ = error
    return told
