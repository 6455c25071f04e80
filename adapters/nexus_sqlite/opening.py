"""Opens the file: makes it where there is none, checks it, and brings its tables up to date."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

import attrs

from nexus.exceptions import ConfigurationError
from nexus_sqlite.migrations import APPLICATION_ID, MIGRATIONS
from nexus_sqlite.problems import is_locked

__all__ = ["Location", "connect", "prepare"]

CHECK_S: Final = 1.0
OPCODES: Final = 10_000
RETRY_S: Final = 0.02
WAL_BYTES: Final = 64_000_000
FORM: Final = "sqlite:///relative/file.db or sqlite:////absolute/file.db"


@attrs.frozen
class Location:
    """
    Where the file is, and how it is used.

    Attributes:
        synchronous: "NORMAL": what was acknowledged outlives the process, whatever becomes of that; "FULL": a loss of power too.
        busy_timeout: Seconds to wait while another process holds the file.
    """

    path: Path
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    busy_timeout: float = 5.0

    @classmethod
    def of_url(cls, url: str) -> Location:
        """
        Read `sqlite:///file.db?synchronous=full&busy_timeout=5`.

        Raises:
            ConfigurationError: It can't be read.
        """
        rest, _, query = url.partition("?")
        scheme, separator, path = rest.partition(":///")
        if scheme != "sqlite" or not separator or not path or path.endswith("/"):
            raise ConfigurationError(f"database_url: expected {FORM}, got {url!r}", key="database_url")
        said = dict(parse_qsl(query, keep_blank_values=True))
        synchronous = said.pop("synchronous", "NORMAL").upper()
        busy_timeout = said.pop("busy_timeout", "5")
        if synchronous not in {"NORMAL", "FULL"} or not _is_number(busy_timeout) or said:
            raise ConfigurationError(
                f"database_url: after the ? there may be synchronous=normal or full, and busy_timeout=SECONDS; got {query!r}",
                key="database_url",
            )
        return cls(Path(unquote(path)).absolute(), "FULL" if synchronous == "FULL" else "NORMAL", float(busy_timeout))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def connect(location: Location, *, writes: bool = False, waits: bool = True) -> sqlite3.Connection:
    """
    Open a connection to a file that is there; one that does not write is kept from it.

    Args:
        location: The file.
        writes: Whether it may write.
        waits: Whether its statements wait while another process holds the file; opening does in any case.
    """
    connection = sqlite3.connect(
        f"{location.path.as_uri()}?mode=rw",
        uri=True,
        timeout=location.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute(f"PRAGMA synchronous = {location.synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        connection.execute(f"PRAGMA query_only = {int(not writes)}")
        if not waits:
            connection.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(location: Location) -> None:
    """
    Make the file if there is none, and see that it can be used.

    Raises:
        ConfigurationError: It is something else, or of a newer version.
        sqlite3.Error: It can't be opened, or is damaged; it is left as it is.
    """
    _make(location.path)
    with closing(connect(location, writes=True)) as connection:
        _require_ours(connection, location.path)
        _use_log(connection, location.busy_timeout)
        _check(connection)
        _migrate(connection, location.path)


def _make(path: Path) -> None:
    """Make the file for its owner only; the log beside it gets the same mode by SQLite."""
    try:
        if not path.parent.exists():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        # Never opened where it is there: to close it again would give up the locks that this process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise sqlite3.OperationalError(f"{path}: {error.strerror}") from error


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    (owner,), (version,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and (owner or version or tables):
        raise ConfigurationError(
            f"database_url: {path} is a database of something else; it is left as it is, name another file", key="database_url"
        )
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"database_url: {path} was written by a newer Nexus: it is of version {version}, and this one knows versions up to "
            f"{len(MIGRATIONS)}; upgrade, or name another file",
            key="database_url",
        )


def _use_log(connection: sqlite3.Connection, patience: float) -> None:
    """Switch to the write-ahead log, for which SQLite does not wait by itself while another process has just opened the file."""
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() > until:
                raise
            time.sleep(RETRY_S)
        else:
            return


def _check(connection: sqlite3.Connection) -> None:
    """Look for damage, for a second at most: of a large file only a part is looked at."""
    until = time.monotonic() + CHECK_S
    connection.set_progress_handler(lambda: time.monotonic() > until, OPCODES)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    else:
        if found != "ok":
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
    finally:
        connection.set_progress_handler(None, 0)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _require_ours(connection, path)  # another process may have been faster
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
