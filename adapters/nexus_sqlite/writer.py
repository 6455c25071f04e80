"""
The one thread that writes: what many callers want is one transaction, and each is told when that is in the file.

A transaction takes whatever waits when it begins, so the more callers there are, the more of them share one commit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import attrs

from nexus.exceptions import UnavailableError
from nexus_sqlite.behind import Behind
from nexus_sqlite.callers import Callers, Order
from nexus_sqlite.problems import explained, is_locked

__all__ = ["Writer"]

MOST: Final = 1000
"""Orders in one transaction."""
LATER_S: Final = 0.03
"""After which rows that nobody waits for are written; with the commit it stays below 50 ms."""
RETRY_S: Final = 0.5

Work = Callable[[sqlite3.Connection], None]


@attrs.define(eq=False)
class Writer:
    """
    Carries out orders on a thread of its own, until it is told to stop.

    Args:
        connect: Opens its connection.
        path: The file, which must stay where it is.
        callers: Those who wait.
        behind: The rows that nobody waits for.
        report: Told of trouble that no caller is told of, once until it is over.
    """

    connect: Callable[[], sqlite3.Connection]
    path: Path
    callers: Callers
    behind: Sequence[Behind]
    report: Callable[[str, BaseException], None]
    _orders: SimpleQueue[Order | None] = attrs.field(factory=SimpleQueue, init=False)
    _connection: sqlite3.Connection = attrs.field(init=False)
    _file: tuple[int, int] = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _closed: str = attrs.field(default="", init=False)
    _is_dead: bool = attrs.field(default=False, init=False)
    _due: float | None = attrs.field(default=None, init=False)
    _trouble: BaseException | None = attrs.field(default=None, init=False)
    _failed: bool = attrs.field(default=False, init=False)
    _is_waiting: bool = attrs.field(default=False, init=False)

    def start(self) -> None:
        """Open the connection, and begin."""
        self._connection = self.connect()
        self._file = _identity(self.path)
        self._thread = threading.Thread(target=self._work, name=f"writer of {self.path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Do what was ordered before, and end; waits for it."""
        self._closed = "is closed"
        self._orders.put(None)
        self._thread.join()

    async def carry_out(self, job: Callable[[sqlite3.Connection], Any], *, is_one_statement: bool) -> Any:
        """
        Return what the job has returned, once it is in the file; also where its caller is cancelled meanwhile.

        Raises:
            Exception: What it raised; then nothing of it is in the file.
            UnavailableError: It could not be written, or the writer has stopped.
        """
        self.require_open()
        order = Order(job, is_one_statement=is_one_statement, waiter=self.callers.waiter())
        self._orders.put(order)
        if self._is_dead:
            self._refuse([])  # it may have looked for orders for the last time just before
        await self.callers.wait(order.waiter)
        if order.error is not None:
            raise order.error
        return order.result

    def require_open(self) -> None:
        """
        Let pass what can be written.

        Raises:
            UnavailableError: The writer has stopped.
        """
        if self._closed:
            raise UnavailableError(f"the database {self.path.name} {self._closed}")

    @property
    def is_well(self) -> bool:
        """Whether it could write when it last tried."""
        return not self._closed and not self._failed

    def later(self) -> None:
        """Let the writer know that there are rows which nobody waits for."""
        self.require_open()
        if not self._is_waiting:
            self._is_waiting = True
            self._orders.put(None)

    @property
    def trouble(self) -> BaseException | None:
        """Why rows that nobody waits for could not be written when that was last tried."""
        return self._trouble

    # ---- on its thread

    def _work(self) -> None:
        orders: list[Order] = []
        try:
            while True:
                orders = self._next()
                is_last = bool(self._closed) and self._orders.empty()
                if orders or is_last or (self._due is not None and time.monotonic() >= self._due):
                    self._write(orders)
                if is_last:
                    break
        except BaseException as error:  # noqa: BLE001 - whoever waits must not wait for ever
            self._give_up(orders, error)
        else:
            self._give_up([], UnavailableError(f"the database {self.path.name} is closed"))
        finally:
            self._connection.close()

    def _next(self) -> list[Order]:
        """Wait for orders, or until rows are due that nobody waits for."""
        orders: list[Order] = []
        try:
            wait = None if self._due is None else max(0.0, self._due - time.monotonic())
            order = self._orders.get(timeout=wait)
            while len(orders) < MOST:
                if order is not None:
                    orders.append(order)
                elif self._is_waiting and self._due is None:
                    self._due = time.monotonic() + LATER_S
                order = self._orders.get_nowait()
            self._orders.put(order)
        except Empty:
            pass
        return orders

    def _write(self, orders: list[Order]) -> None:
        self._is_waiting = False
        behind = [rows for rows in self.behind if rows.take()]
        self._due = None
        if not behind and not orders:
            return
        failure = self._transact(behind, orders)
        if failure is not None and len(behind) + len(orders) > 1 and not _concerns_all(failure):
            # What one of them can't have must not keep the others from it.
            failure = self._transact(behind, ()) if behind else None
            for order in orders:
                self._tell([order], self._transact((), [order]))
        else:
            self._tell(orders, failure)
        if behind:
            self._note(failure)

    def _transact(self, behind: Sequence[Behind], orders: Sequence[Order]) -> BaseException | None:
        """Carry out all of them in one transaction, and return why that was not possible."""
        connection = self._connection
        try:
            self._require_same_file()
            if connection.in_transaction:
                connection.execute("ROLLBACK")  # it was not possible before
            connection.execute("BEGIN IMMEDIATE")
            for rows in behind:
                rows.write(connection)
            for order in orders:
                self._carry_out(order)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - told to those whom it concerns
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._failed = True
            return error
        self._failed = False
        for rows in behind:
            self.callers.wake((), rows.written())
        return None

    def _require_same_file(self) -> None:
        """SQLite would go on writing to a file that has no name any more."""
        if _identity(self.path) != self._file:
            raise UnavailableError(f"the database {self.path.name} was removed or replaced while it was in use; start again")

    def _carry_out(self, order: Order) -> None:
        connection = self._connection
        order.error = None
        try:
            if order.is_one_statement:
                order.result = order.job(connection)
                return
            connection.execute("SAVEPOINT one")
            try:
                order.result = order.job(connection)
            except Exception:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO one")
                raise
            finally:
                if connection.in_transaction:
                    connection.execute("RELEASE one")
        except Exception as error:
            if not connection.in_transaction:
                raise  # it has taken the whole transaction with it
            order.error = explained(error, self.path.name)

    def _tell(self, orders: Sequence[Order], failure: BaseException | None) -> None:
        if failure is not None:
            for order in orders:
                order.error = explained(failure, self.path.name)
        if orders:
            self.callers.wake(orders)

    def _note(self, failure: BaseException | None) -> None:
        """Keep rows that could not be written for another time, and say so once."""
        if failure is not None:
            self._is_waiting = True
            self._due = time.monotonic() + RETRY_S
            if self._trouble is None:
                self.report(f"write to {self.path}", failure)
        self._trouble = None if failure is None else explained(failure, self.path.name)

    def _give_up(self, orders: list[Order], error: BaseException) -> None:
        """Let nobody wait for what will not be done."""
        self._closed = self._closed or f"can't be written any more: {error!r}"
        self._is_dead = True
        self._refuse(orders)
        lost = sum(rows.take() for rows in self.behind)
        if lost:
            self.report(f"write to {self.path}", UnavailableError(f"{lost} records of runs that ended are lost"))

    def _refuse(self, orders: list[Order]) -> None:
        while True:
            try:
                order = self._orders.get_nowait()
            except Empty:
                break
            if order is not None:
                orders.append(order)
        for order in orders:
            order.error = UnavailableError(f"the database {self.path.name} {self._closed}")
        if orders:
            self.callers.wake(orders)


def _concerns_all(failure: BaseException) -> bool:
    return is_locked(failure) or isinstance(failure, UnavailableError)


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino
