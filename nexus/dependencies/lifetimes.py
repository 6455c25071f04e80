"""How long a dependency stays open, and who keeps it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final

import anyio
import attrs

from nexus.dependencies.factories import Per, Provided, opened
from nexus.exceptions import DeadlineExceededError, UnavailableError
from nexus.workflows.calling import being_cancelled

__all__ = ["Lifetime", "Loan", "Report", "Start"]

CLEAN_UP_S: Final = 5.0

Report = Callable[[str, BaseException], None]
Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


@attrs.define(eq=False, repr=False)
class Loan:
    """
    A dependency from when it is opened until it is closed, both by one task of its own.

    So it may hold a task group or a timeout, which can't be left by another task than entered them; and a step that is
    cancelled while others wait for the same dependency takes it from nobody.

    Attributes:
        value: What the factory made, once `is_open`.
        told: What the context manager is told of the work for which it was open: None that it succeeded.
        raised: Why it could not be opened, or closed.
        waiting: How many wait until it is open.
    """

    provided: Provided
    value: Any = None
    is_open: bool = False
    told: BaseException | None = None
    raised: Exception | None = None
    waiting: int = 0
    ready: anyio.Event = attrs.field(factory=anyio.Event)
    _returned: anyio.Event = attrs.field(factory=anyio.Event)
    _ended: anyio.Event = attrs.field(factory=anyio.Event)
    _scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    _trace: TracebackType | None = None

    @property
    def returned(self) -> bool:
        """Whether nobody needs it any more."""
        return self._returned.is_set()

    async def keep(
        self, arguments: Callable[[], Awaitable[Mapping[str, Any]]], limiter: anyio.CapacityLimiter, note: Callable[[], None]
    ) -> None:
        """Open it, call *note*, and close it when it is given back."""
        try:
            await self._hold(arguments, limiter, note)
        except BaseException as raised:
            if raised is self.told:
                raised.__traceback__ = self._trace
            elif isinstance(raised, Exception):
                doing = "opening" if not self.is_open else "closing" if self.returned else "keeping"
                raised.add_note(f"{doing} {self.provided.name}, from {self.provided.place}")
                self.raised = raised
            elif being_cancelled():
                raise
            else:
                self.raised = RuntimeError(f"{self.provided.place} raised {type(raised).__name__}")
                self.raised.__cause__ = raised
        finally:
            self.is_open = False
            self.ready.set()
            self._ended.set()

    async def _hold(
        self, arguments: Callable[[], Awaitable[Mapping[str, Any]]], limiter: anyio.CapacityLimiter, note: Callable[[], None]
    ) -> None:
        with self._scope:
            async with opened(self.provided, await arguments(), limiter) as self.value:
                self.is_open = self._scope.shield = True
                note()
                self.ready.set()
                await self._returned.wait()
                if self.told is not None:
                    self._trace = self.told.__traceback__
                    raise self.told
        if self._scope.cancelled_caught and self.is_open:
            raise DeadlineExceededError(f"to close {self.provided.name} took longer than {CLEAN_UP_S:g} s")

    async def end(self, told: BaseException | None, *, in_haste: bool) -> None:
        """Give it back, and wait until it is closed; in haste, or cancelled meanwhile, only for a moment."""
        self.told = told
        self._returned.set()
        if not self.ready.is_set():
            self._scope.cancel()
        if not in_haste:
            try:
                await self._ended.wait()
            except BaseException:
                await self._hurry()
                raise
        else:
            await self._hurry()

    async def _hurry(self) -> None:
        # Real time, on purpose: a test's clock that nobody moves must not keep a run from being cancelled.
        self._scope.deadline = anyio.current_time() + CLEAN_UP_S
        with anyio.CancelScope(shield=True):
            await self._ended.wait()


@attrs.define(eq=False, repr=False)
class Lifetime:
    """
    What is open for as long as one step, one run, one session or the application lasts.

    Args:
        per: What it lasts as long as.
        start: Starts a task that keeps a dependency.
        find: Returns the lifetime of another length around the same work.
        report: Told of what could not be closed where nobody is left to be told.
        tells: Context managers are told how the work ended.

    Attributes:
        users: How many use it; those who count say when it is over.
        over: Nothing is opened any more.
        opened: What is open, in the order in which it was.
    """

    per: Per
    start: Start
    find: Callable[[Per], Awaitable[Lifetime]]
    report: Report
    tells: bool = True
    users: int = 0
    over: bool = False
    closed: anyio.Event = attrs.field(factory=anyio.Event)
    opened: list[Loan] = attrs.field(factory=list)
    _loans: dict[Any, Loan] = attrs.field(factory=dict)

    async def get(
        self,
        key: Any,
        provided: Provided,
        arguments: Callable[[], Awaitable[Mapping[str, Any]]],
        limiter: anyio.CapacityLimiter,
    ) -> Any:
        """Return what is open under that key, or open it; once, however many ask."""
        if self.over:
            raise UnavailableError(f"{provided.name} is per={self.per!r}, and the {self.per} has ended")
        loan = self._loans.get(key)
        if loan is None:
            loan = self._loans[key] = Loan(provided)

            async def keep() -> None:
                await self._keep(key, loan, arguments, limiter)

            self.start(keep)
        if not loan.ready.is_set():
            loan.waiting += 1
            try:
                await loan.ready.wait()
            finally:
                loan.waiting -= 1
        if loan.is_open:
            return loan.value
        raise loan.raised or UnavailableError(f"{provided.name} was not opened: the {self.per} has ended meanwhile")

    async def _keep(
        self,
        key: Any,
        loan: Loan,
        arguments: Callable[[], Awaitable[Mapping[str, Any]]],
        limiter: anyio.CapacityLimiter,
    ) -> None:
        def note() -> None:
            self.opened.append(loan)

        try:
            await loan.keep(arguments, limiter, note)
        finally:
            was_open = loan in self.opened
            if not loan.returned:
                # It failed to open, or came to its end by itself: the next who asks gets another.
                del self._loans[key]
                if was_open:
                    self.opened.remove(loan)
                    self.report(loan.provided.name, loan.raised or RuntimeError(f"{loan.provided.place} ended by itself"))
            if loan.raised is not None and not was_open and not loan.waiting:
                self.report(loan.provided.name, loan.raised)

    async def close(self, error: BaseException | None) -> None:
        """
        Close what is open, in the reverse order.

        Args:
            error: How the work ended for which it was open.

        Raises:
            BaseException: What one that was closed raised instead of *error*, or this was cancelled. Where the work was
                cancelled, what they raise is reported instead.
        """
        self.over = True
        first = error
        # What is not open yet may need what is.
        opening = [loan for loan in self._loans.values() if loan not in self.opened]
        for loan in (*opening, *reversed(self.opened)):
            was_open = loan.is_open
            in_haste = error is not None and not isinstance(error, Exception)
            try:
                await loan.end(error if self.tells else None, in_haste=in_haste)
            except BaseException as cancelled:  # noqa: BLE001 - raised below, when the others are closed too
                error, in_haste = cancelled, True
            if was_open and loan.raised is not None:
                if in_haste:
                    self.report(loan.provided.name, loan.raised)
                else:
                    error = loan.raised
        self.closed.set()
        if error is not None and error is not first:
            raise error
