"""What one run has borrowed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

import anyio.lowlevel
import attrs

from nexus.dependencies.factories import Per
from nexus.dependencies.lifetimes import Lifetime, Report, Start
from nexus.workflows.live import LiveRun
from nexus.workflows.run import Run

__all__ = ["RunLoans", "Source"]

Find = Callable[[Per], Awaitable[Lifetime]]


class Source(Protocol):
    """What lends."""

    async def get(self, dependency: Any, find: Find, *, taker: str, run: Run | None = None) -> Any:
        """Return a dependency out of the lifetime that *find* returns for it."""
        ...

    async def application(self) -> Lifetime:
        """Return the application's lifetime."""
        ...

    async def join(self, session: Any) -> Lifetime:
        """Return the lifetime of a session, and use it."""
        ...

    async def leave(self, session: Any, lifetime: Lifetime, error: BaseException | None) -> None:
        """Use the session's lifetime no more; the last one to leave closes it."""
        ...


@attrs.define(eq=False, repr=False)
class RunLoans:
    """
    What one run has borrowed; see `Loans`.

    Args:
        source: What lends.
        live: The run.
        start: Starts a task that keeps a dependency.
        report: Told of what could not be closed after a cancellation.
    """

    source: Source
    live: LiveRun
    start: Start
    report: Report
    _run: Lifetime | None = None
    _session: Lifetime | None = None
    _steps: dict[str, Lifetime] = attrs.field(factory=dict)

    async def get(self, step: str, dependency: Any) -> Any:
        """See `Loans.get`."""
        taker = f"step {step!r} of {self.live.record.workflow!r}"
        return await self.source.get(dependency, partial(self._find, step), taker=taker, run=Run(self.live, step))

    @asynccontextmanager
    async def of_step(self, step: str, injected: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """See `Loans.of_step`."""
        self._steps.pop(step, None)
        try:
            yield {parameter: await self.get(step, dependency) for parameter, dependency in injected.items()}
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException as error:
            await self._end_step(step, error)
            raise
        await self._end_step(step, None)

    async def _end_step(self, step: str, error: BaseException | None) -> None:
        lifetime = self._steps.get(step)
        if lifetime is not None:
            await lifetime.close(error)

    @property
    def are_open(self) -> bool:
        """Whether anything was borrowed."""
        return bool(self._steps or self._run or self._session)

    async def close(self, error: BaseException | None) -> None:
        """
        Close what is open, and leave the session.

        Args:
            error: How the run ended.

        Raises:
            BaseException: What one that was closed raised instead of *error*.
        """
        first = error
        ends = [lifetime.close for lifetime in (*self._steps.values(), self._run) if lifetime is not None and not lifetime.over]
        if self._session is not None:
            ends.append(partial(self.source.leave, session_of(self.live), self._session))
        for end in ends:
            try:
                await end(error)
            except BaseException as raised:  # noqa: BLE001 - raised below, when all is closed
                error = raised
        if error is not None and error is not first:
            raise error

    async def _find(self, step: str, per: Per) -> Lifetime:
        if per == "app":
            return await self.source.application()
        if per == "session":
            return await self._joined()
        find = partial(self._find, step)
        if per == "run":
            if self._run is None:
                self._run = Lifetime("run", self.start, find, self.report)
            return self._run
        if step not in self._steps:
            self._steps[step] = Lifetime("step", self.start, find, self.report)
        return self._steps[step]

    async def _joined(self) -> Lifetime:
        if self._session is None:
            joined = await self.source.join(session_of(self.live))
            if self._session is not None:
                # Another step was faster.
                joined.users -= 1
            self._session = joined
        return self._session


def session_of(live: LiveRun) -> Any:
    """Return what stands for the session of a run: its id where a store keeps it, else the call that began it."""
    call = live.call
    if call.session_id is not None:
        return call.session_id
    while call.parent is not None:
        call = call.parent
    # Not the id of the request, which the caller may choose.
    return call
