"""
One SQLite file, and how it is written and read.

**Writes** go to one thread, which puts all that waits into one transaction; each caller is told once that is committed, and
finishes its write also where it is cancelled meanwhile, so that nobody is left with half of the story.

**Point lookups** (a run by its id, a session by its token) are done on the event loop: they touch a few pages, 3 to 10 µs where
those are in memory, a tenth of what a thread costs. In the write-ahead log a reader waits for no writer. A disk that is slow to
read holds the loop for as long as it takes to read these few pages, once, until the system has them in memory; that is the price.
Where a lock would have to be waited for after all, a thread waits. **Listings** may read much, and are done in threads.

**Another process** may have the same file. Nothing is kept in memory that another process could change: what is read is what is
in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from nexus.exceptions import UnavailableError
from nexus_sqlite.behind import Behind
from nexus_sqlite.callers import callers_here
from nexus_sqlite.opening import Location, connect, prepare
from nexus_sqlite.problems import explained, is_locked
from nexus_sqlite.writer import Writer

__all__ = ["Storage"]

READERS: Final = 2

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]


class Storage:
    """
    A file that is open from `start` on until its exit stack is left; shared by the stores.

    Args:
        location: Where it is.
        encode: Makes JSON of values.
        report: Told of trouble that no caller is told of.
    """

    def __init__(
        self, location: Location, *, encode: Callable[[Any], bytes], report: Callable[[str, BaseException], None]
    ) -> None:
        self.encode = encode
        self.report = report
        self._location = location
        self._behind: list[Behind] = []
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._limiter: anyio.CapacityLimiter | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._location.path

    @property
    def is_well(self) -> bool:
        """Whether it could be written when that was last tried."""
        return self._writer is not None and self._writer.is_well

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """
        Open the file, unless it is open; make it where there is none.

        Raises:
            ConfigurationError: It is something else, or of a newer version.
            UnavailableError: It can't be opened, is locked, or is damaged.
        """
        if self._writer is not None:
            return
        writer = Writer(self._connect_writer, self.path, callers_here(), self._behind, self.report)
        exit_stack.callback(self._close_readers)
        try:
            await anyio.to_thread.run_sync(self._open)
            writer.start()
        except sqlite3.Error as error:
            told = explained(error, str(self.path))
            if told is error:
                told = UnavailableError(f"the database {self.path} can't be opened: {error}")
            raise told from error
        self._limiter = anyio.CapacityLimiter(READERS)
        self._writer = writer
        exit_stack.push_async_callback(self._stop, writer)

    def _open(self) -> None:
        prepare(self._location)
        self._reader = connect(self._location, waits=False)

    def _connect_writer(self) -> sqlite3.Connection:
        return connect(self._location, writes=True)

    async def _stop(self, writer: Writer) -> None:
        self._writer = None
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.stop)

    def _close_readers(self) -> None:
        if self._reader is not None:
            self._reader.close()
        while self._readers:
            self._readers.pop().close()
        self._reader = None

    # ---- for the stores

    def add_behind(self, statement: str) -> Behind:
        """Return a queue of rows for a statement that the writer carries out a little later; asked for before the start."""
        behind = Behind(statement, self.report)
        self._behind.append(behind)
        return behind

    async def write(self, job: Job[T]) -> T:
        """
        Return what a job has returned that changes the file with one statement, its last, once that is committed.

        Raises:
            Exception: What it raised; then nothing has changed.
            UnavailableError: The file can't be written now.
        """
        result: T = await self._opened().carry_out(job, is_one_statement=True)
        return result

    async def write_all(self, job: Job[T]) -> T:
        """As `write`, for a job of several statements that change something: all of them are committed, or none."""
        result: T = await self._opened().carry_out(job, is_one_statement=False)
        return result

    async def write_later(self, behind: Behind, key: str, row: Sequence[Any], size: int) -> None:
        """
        Let a row be written within 50 ms; where too many are on their way, wait for them.

        Raises:
            UnavailableError: They can't be written, so no more is taken.
        """
        writer = self._opened()
        writer.require_open()
        if behind.is_full:
            await writer.carry_out(_nothing, is_one_statement=True)
            if behind.is_full:
                raise writer.trouble or UnavailableError(f"the database {self.path.name} can't keep up; try again")
        behind.add(key, row, size)
        writer.later()

    async def look(self, statement: str, parameters: Sequence[Any]) -> Sequence[Any] | None:
        """Return the one row that a statement finds by a key, None where there is none; read on the event loop."""
        reader = self._reader
        if reader is None:
            raise self._closed()
        try:
            found = reader.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            if not is_locked(error):
                raise explained(error, self.path.name) from error
            found = await self.read(lambda connection: connection.execute(statement, parameters).fetchall())
        return found[0] if found else None

    async def read(self, query: Job[T]) -> T:
        """
        Return what a query has returned, which may read much; it is called in a thread.

        Raises:
            UnavailableError: The file can't be read now.
        """
        if self._reader is None:
            raise self._closed()
        return await anyio.to_thread.run_sync(self._read, query, limiter=self._limiter)

    def _read(self, query: Job[T]) -> T:
        try:
            connection = self._readers.pop() if self._readers else connect(self._location)
            try:
                return query(connection)
            finally:
                self._readers.append(connection)
        except sqlite3.Error as error:
            raise explained(error, self.path.name) from error

    def _opened(self) -> Writer:
        if self._writer is None:
            raise self._closed()
        return self._writer

    def _closed(self) -> UnavailableError:
        return UnavailableError(f"the database {self.path.name} is not open: the application is used inside `async with app:`")


def _nothing(_connection: sqlite3.Connection) -> None:
    """Wait for those before."""
