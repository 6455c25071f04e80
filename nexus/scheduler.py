"""Fires schedules: one task that sleeps until the next due time."""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from datetime import datetime
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup

from nexus.abc import Clock, Service
from nexus.catalogue import Catalogue, nearest
from nexus.exceptions import ConflictError, InternalError, NotFoundError, RegistrationError
from nexus.models import APPLICATION, Caller, Operation, Request, Response, RunRecord, Scope
from nexus.workflows.executor import Executor
from nexus.workflows.schedules import Schedule, timetable_of
from nexus.workflows.timed import Firing, Timed

__all__ = ["Scheduler"]

ITSELF: Final = Caller(channel="inprocess", principal=APPLICATION)
CLEAN_UP_S: Final = 5.0
PAGES: Final = 10
PAGE: Final = 100
UPCOMING: Final = 3


@attrs.define(eq=False, kw_only=True, repr=False)
class Scheduler(Service):
    """
    Fire the schedules of the catalogue while the application is started; with none there, no task runs.

    Attributes:
        dispatch: Carries a request out.
        report: Told of what did not fire: what happened, the schedule's name, more about it, and the error if there was one.
        random: From 0 up to 1, for jitter.
        look_s: The time of day is looked at anew at least that often, in seconds, for it may be set.
        fires: Whether due times are fired at all; without, a schedule is only triggered.
    """

    catalogue: Catalogue
    executor: Executor
    clock: Clock
    dispatch: Callable[[Request], Awaitable[Response]]
    report: Callable[[str, str, Mapping[str, Any], Exception | None], None]
    random: Callable[[], float] = random.random
    look_s: float = 60.0
    fires: bool = True
    _timed: dict[str, Timed] = attrs.field(factory=dict, init=False)
    _seen: int = attrs.field(default=-1, init=False)
    _group: TaskGroup | None = attrs.field(default=None, init=False)
    _keeping: anyio.CancelScope | None = attrs.field(default=None, init=False)
    _woken: anyio.Event | None = attrs.field(default=None, init=False)
    _context: Context = attrs.field(factory=copy_context, init=False)
    _thread: int = attrs.field(default=0, init=False)

    # ---- life

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Begin to fire. Stopping lets what is just being started get there."""
        if not self.fires:
            return
        self._group = await exit_stack.enter_async_context(anyio.create_task_group())
        exit_stack.callback(self._stop)
        self._context, self._thread = copy_context(), threading.get_ident()
        for timed in self._timed.values():
            timed.renew_lock()
        self.refresh()

    def _stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._group is not None:
            # Real time, on purpose: a test's clock that nobody moves must not keep the application from stopping.
            self._group.cancel_scope.deadline = anyio.current_time() + CLEAN_UP_S
        self._group = self._keeping = self._woken = None

    def require_loop(self) -> None:
        """
        Let a workflow with a schedule be registered here.

        Raises:
            RegistrationError: The application is started, in another thread.
        """
        if self._group is not None and threading.get_ident() != self._thread:
            raise RegistrationError(
                "a workflow with schedule= can't be registered from this thread while the application is started; register it "
                "before, or in the thread of its event loop"
            )

    def refresh(self) -> None:
        """Take up what the catalogue has now."""
        if self._group is None or threading.get_ident() != self._thread:
            return
        self._take_up()
        self._wake()
        if self._timed and self._keeping is None:
            # In the context of the start: a step may register a workflow, and its run is none of this task's.
            self._keeping = anyio.CancelScope()
            self._context.copy().run(self._group.start_soon, self._keep_time, self._group, self._keeping)

    def _take_up(self) -> None:
        if self._seen == self.catalogue.changes:
            return
        self._seen = self.catalogue.changes
        there = {str(schedule.name): (operation, schedule) for operation, schedule in self.catalogue.schedules()}
        for name in self._timed.keys() - there.keys():
            del self._timed[name]
        for name, (operation, schedule) in there.items():
            timed = self._timed.get(name)
            if timed is None:
                self._timed[name] = self._new(operation, schedule)
            else:
                timed.operation = operation
                if timed.schedule != schedule:
                    timed.schedule, timed.timetable = schedule, timetable_of(schedule, place=operation.place)
                    timed.restart(self.clock.now())

    def _new(self, operation: Operation, schedule: Schedule) -> Timed:
        timed = Timed(
            operation=operation,
            schedule=schedule,
            timetable=timetable_of(schedule, place=operation.place),
            random=self.random,
        )
        timed.restart(self.clock.now())
        return timed

    # ---- due times

    async def _keep_time(self, group: TaskGroup, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                woken = self._woken = anyio.Event()
                self._take_up()
                now = self.clock.now()
                pause = self.look_s
                for timed in list(self._timed.values()):
                    self._tend(group, timed, now)
                    if timed.fires_at is not None and not timed.busy and not timed.paused:
                        pause = min(pause, (timed.fires_at - now).total_seconds())
                with self.clock.timeout(pause):
                    await woken.wait()

    def _tend(self, group: TaskGroup, timed: Timed, now: datetime) -> None:
        if timed.busy:
            return
        if not timed.recalled:
            timed.busy = True
            group.start_soon(self._recall, timed)
            return
        if timed.paused:
            return
        due, missed = timed.take(now)
        if missed is not None:
            self.report("due times were missed", timed.name, {"first": missed, "next": due or timed.due}, None)
        if due is not None:
            timed.busy = True
            group.start_soon(self._fire, timed, due)

    async def _fire(self, timed: Timed, due: datetime) -> None:
        key = timed.key(due)
        try:
            async with timed.lock:
                previous = await self._previous(timed)
                if previous is not None and timed.schedule.overlap == "skip":
                    self.report(
                        "skipped, for the firing before still runs", timed.name, {"key": key, "run_id": previous.id}, None
                    )
                else:
                    await self._start_run(timed, previous, due, key)
        except Exception as error:  # noqa: BLE001 - ends this firing, never the task group of the others
            self.report("could not fire", timed.name, {"key": key}, error)
        finally:
            self._done(timed)

    def _done(self, timed: Timed) -> None:
        timed.busy = False
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set()

    async def _recall(self, timed: Timed) -> None:
        """Go on where this or another process stopped, as far as the store of runs tells."""
        try:
            last = await self._last_stored(timed)
        except Exception as error:  # noqa: BLE001 - as above
            self.report("its last firing is not known", timed.name, {}, error)
        else:
            if last is not None and not timed.recalled:
                timed.fired = last
                timed.restart(last.time)
        finally:
            timed.recalled = True
            self._done(timed)

    async def _last_stored(self, timed: Timed) -> Firing | None:
        prefix, after = timed.prefix, None
        for _ in range(PAGES):
            page = await self.executor.runs.list(Scope.ALL, where={"workflow": timed.operation.name}, after=after, limit=PAGE)
            for run in page.items:
                if run.request_id.startswith(prefix) and run.principal == APPLICATION.id:
                    return Firing(datetime.fromisoformat(run.request_id.removeprefix(prefix)), run.id)
            after = page.cursor
            if after is None:
                break
        return None

    async def _previous(self, timed: Timed) -> RunRecord | None:
        """Return the run of the firing before, if it has not ended and that matters."""
        if timed.schedule.overlap == "allow":
            return None
        _, run = await self._last(timed)
        return None if run is None or run.ended else run

    async def _last(self, timed: Timed) -> tuple[Firing | None, RunRecord | None]:
        """Return the last firing, and its run if the store still has it."""
        fired = timed.fired if timed.recalled or timed.fired is not None else await self._last_stored(timed)
        if fired is None:
            return None, None
        try:
            return fired, await self.executor.find(Scope.ALL, fired.run_id)
        except NotFoundError:
            return fired, None

    async def _start_run(self, timed: Timed, previous: RunRecord | None, time: datetime, key: str | None) -> RunRecord:
        if previous is not None:
            await self.executor.cancel(Scope.ALL, previous.id)
        request = Request(
            operation=timed.operation.reference,
            arguments=timed.schedule.inputs,
            caller=ITSELF,
            id=key,
            detach=True,
            trusted_files=True,
            idempotency_key=key,
        )
        response = await self.dispatch(request)
        if response.run is None:
            raise response.error or InternalError(f"{request.operation} is no workflow")
        timed.fired = Firing(time, response.run.id)
        return response.run

    # ---- what operations do

    async def view(self) -> Sequence[Mapping[str, Any]]:
        """Return every schedule as channels show it, sorted by name."""
        self._take_up()
        return [await self._view(self._timed[name]) for name in sorted(self._timed)]

    async def pause(self, name: str) -> Mapping[str, Any]:
        """
        Let no due time fire until `resume`, in this process, nor make up for one then; return the schedule as channels show it.

        Raises:
            NotFoundError: There is no such schedule.
        """
        timed = self._find(name)
        timed.paused = True
        return await self._view(timed)

    async def resume(self, name: str) -> Mapping[str, Any]:
        """
        Let due times fire again, from now on; return the schedule as channels show it.

        Raises:
            NotFoundError: There is no such schedule.
        """
        timed = self._find(name)
        if timed.paused:
            timed.paused, timed.recalled = False, True
            timed.restart(self.clock.now())
            self._wake()
        return await self._view(timed)

    async def trigger(self, name: str) -> RunRecord:
        """
        Fire now, paused or not, and return the run, which has just been started.

        Raises:
            NotFoundError: There is no such schedule.
            ConflictError: The run of the firing before has not ended, and overlap is `skip`.
            NexusError: It could not be started.
        """
        timed = self._find(name)
        async with timed.lock:
            previous = await self._previous(timed)
            if previous is not None and timed.schedule.overlap == "skip":
                raise ConflictError(
                    f"schedule {name!r} does not overlap, and its run {previous.id} has not ended; wait for it, or cancel it",
                    run_id=previous.id,
                )
            return await self._start_run(timed, previous, self.clock.now(), None)

    def _find(self, name: str) -> Timed:
        self._take_up()
        timed = self._timed.get(name)
        if timed is None:
            near = nearest(name, self._timed)
            raise NotFoundError(f"there is no schedule {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        return timed

    async def _view(self, timed: Timed) -> Mapping[str, Any]:
        fired, run = await self._last(timed)
        status = None if run is None else run.status
        last = None if fired is None else {"time": fired.time, "run_id": fired.run_id, "status": status}
        return timed.view(timed.upcoming(self.clock.now(), UPCOMING), last)
