"""The runtime that carries runs in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

from nexus.abc import Clock, Interaction, RunStore, Runtime
from nexus.exceptions import (
    CancelledError,
    DeadlineExceededError,
    NexusError,
    Problem,
    ResourceExhaustedError,
    UnavailableError,
)
from nexus.models import Answers, Event, RunError, RunRecord, Scope
from nexus.workflows.bookkeeping import CLEAN_UP_S, Bookkeeping
from nexus.workflows.calling import being_cancelled
from nexus.workflows.codecs import Codecs
from nexus.workflows.elsewhere import Elsewhere, go_on
from nexus.workflows.execution import carry_out
from nexus.workflows.feeds import Feed
from nexus.workflows.folders import Folders
from nexus.workflows.live import DETACHED, Facilities, LiveRun
from nexus.workflows.plan import Plan
from nexus.workflows.secrecy import RunSecrets
from nexus.workflows.slots import Slots
from nexus.workflows.work import Work, current_run, refused

__all__ = ["LocalRuntime"]

THREADS: Final = 40
STOPPED: Final = "the application stopped before the run ended"
NOT_STARTED: Final = "the application is not started: use it inside `async with app:`, entered and left in one task"

LOST: Final = RunError(code="unavailable", message="the run's record could not be stored; the log has the reason")


@attrs.define(eq=False, repr=False)
class LocalRuntime(Runtime):
    """
    Carry runs as coroutines of this process.

    A run is carried by its caller's task, unless it may outlive the call: then by a task of the one task group that is open
    while the application is started.

    Args:
        report: Told of each run that raised.
        grace: Seconds that runs are given to end when the application stops.
        concurrency: How many runs go on at once.
        queue_size: How many may wait for their turn, in all and of each workflow that has a limit of its own.
        max_chunks: How many values a workflow may yield.
        needs_start: Whether no run can be carried before the start, for its record could not be stored.
    """

    runs: RunStore
    clock: Clock
    codecs: Codecs
    folders: Folders
    report: Callable[[RunRecord, BaseException], None]
    grace: float = 10.0
    concurrency: int = 1000
    queue_size: int = 10_000
    max_chunks: int = 10_000
    needs_start: bool = False
    facilities: Facilities = attrs.field(init=False)
    books: Bookkeeping = attrs.field(init=False)
    elsewhere: Elsewhere = attrs.field(init=False)
    _slots: tuple[Slots, ...] = attrs.field(init=False)
    _slots_of: WeakKeyDictionary[Plan, tuple[Slots, ...]] = attrs.field(factory=WeakKeyDictionary, init=False)
    _group: TaskGroup | None = attrs.field(default=None, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _scope: type[anyio.CancelScope] = attrs.field(default=anyio.CancelScope, init=False)
    _drained: anyio.Event | None = attrs.field(default=None, init=False)
    _limiters: RunVar[anyio.CapacityLimiter] = attrs.field(factory=lambda: RunVar("nexus_threads"), init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the task group that carries runs; stopping gives them a grace period, then cancels them."""
        if self.books.ownership is not None:
            self.books.ownership.lapsed = self.elsewhere.drop_lost
            await self.books.ownership.start(exit_stack)
        await self.elsewhere.start(exit_stack)
        exit_stack.callback(self._stopped)
        self._group = await exit_stack.enter_async_context(anyio.create_task_group())
        # The class of this event loop's own: `anyio.CancelScope()` looks it up each time, at half of its price.
        self._scope = type(anyio.CancelScope())
        exit_stack.push_async_callback(self._drain)
        if self.books.ownership is not None:
            await self.books.ownership.settle()

    @property
    def owner(self) -> str | None:
        """See `Runtime.owner`."""
        return self.books.owner

    def __attrs_post_init__(self) -> None:
        self._slots = (Slots("this application", self.concurrency, self.queue_size),)
        self.books = Bookkeeping(runs=self.runs, clock=self.clock, folders=self.folders, report=self.report)
        self.elsewhere = Elsewhere(runs=self.runs, clock=self.clock, live=self.books.live, owner=lambda: self.books.owner)
        self.facilities = Facilities(
            codecs=self.codecs, folders=self.folders, limiter=self._limiter, park=self.books.park, max_chunks=self.max_chunks
        )

    def require_open(self, work: Work) -> None:
        """See `Runtime.require_open`."""
        self._require_open(started=True)
        for slots in self._slots_for(work, None):
            slots.require_room()

    async def submit(self, run: RunRecord, work: Work) -> None:
        """See `Runtime.submit`."""
        self._carry(run, work, DETACHED)

    async def execute(self, run: RunRecord, work: Work, interaction: Interaction) -> RunRecord:
        """See `Runtime.execute`."""
        if work.plan.takes_run and interaction.answers is Answers.LATER:
            return await self._execute_carried(run, work, interaction)
        if self._stopping or self.needs_start:
            self._require_open(started=self.needs_start)
        return await self._run(self._begin(run, work, interaction), work, _sooner(work.seconds, work.plan.timeout))

    async def settled(self, run_id: str) -> RunRecord:
        """See `Runtime.settled`."""
        live = self.books.live.get(run_id)
        while live is None:
            record = await self.elsewhere.settled(run_id)
            if record is not None:
                return record
            live = self.books.live.get(run_id)
        return await live.until_settled()

    async def resume(self, run_id: str, interaction: Interaction) -> None:
        """See `Runtime.resume`."""
        live = self.books.live.get(run_id)
        record = await self.runs.get(Scope.ALL, run_id)
        if live is not None:
            live.interaction = interaction
            go_on(live, record)
        elif record.ended or not self.runs.shared:
            raise UnavailableError(f"run {run_id} is not carried by this process any more")

    def hold(self, run_id: str, digest: str, answer: Any) -> None:
        """See `Runtime.hold`."""
        live = self.books.live.get(run_id)
        if live is None:
            raise UnavailableError(f"run {run_id} is not carried by this process, and only that may have its secrets")
        live.keep_secrets().hold(digest, answer)

    async def cancel(self, run_id: str) -> None:
        """See `Runtime.cancel`."""
        live = self.books.live.get(run_id)
        if live is None:
            await self.elsewhere.cancel(run_id)
            return
        live.cancelled = True
        live.cancel()
        await live.until_ended()

    def _require_open(self, *, started: bool) -> None:
        if self._stopping and current_run.get() is None:
            raise UnavailableError("the application is stopping; try again later")
        if started and self._group is None:
            raise UnavailableError(NOT_STARTED)

    def _begin(self, run: RunRecord, work: Work, interaction: Interaction) -> LiveRun:
        clock, call = self.clock, work.call
        form = call.request.form
        parent = None if call.parent is None or call.request.detach else current_run.get()
        live = self.books.live[run.id] = LiveRun(
            record=run,
            call=call,
            interaction=interaction,
            clock=clock,
            facilities=self.facilities,
            started=clock.monotonic(),
            slots=self._slots if parent is None and work.plan.concurrency is None else self._slots_for(work, parent),
            parent=parent,
            results=work.results,
            single=None if work.plan.single is None else work.plan.single.name,
        )
        if work.plan.hands_out_files or form is not None:
            live.has_files = True
        if form is not None:
            form.taken = True
        if work.plan.secrecy is not None:
            live.secrets = RunSecrets(work.plan.secrecy, work.inputs)
        return live

    def _slots_for(self, work: Work, parent: LiveRun | None) -> tuple[Slots, ...]:
        """Return the places that a run takes. One for which another waits needs no more of those that the other has."""
        plan = work.plan
        own = self._slots_of.get(plan, ())
        if plan.concurrency is not None and not own:
            own = self._slots_of[plan] = (Slots(f"workflow {plan.signature.name!r}", plan.concurrency, self.queue_size),)
        if parent is None:
            return own + self._slots
        while parent is not None:
            if own and own[0] in parent.slots:
                return ()
            parent = parent.parent
        return own

    def _carry(self, run: RunRecord, work: Work, interaction: Interaction) -> LiveRun:
        self._require_open(started=True)
        live = self._begin(run, work, interaction)
        live.stored = live.carried = True
        live.feed = Feed(run)
        assert self._group is not None  # noqa: S101 - required above
        self._group.start_soon(self._carried, live, work, name=f"run {run.id}")
        return live

    async def _carried(self, live: LiveRun, work: Work) -> None:
        try:
            await self._run(live, work, work.plan.timeout if work.left is None else work.left)
            if live.is_durable and live.record.status == "succeeded" and self.books.results is not None:
                await self.books.results.forget(live.record.id)
        except Exception as error:  # noqa: BLE001 - ends this run, never the group that carries the others
            if self.books.live.pop(live.record.id, None) is not None:
                await self.books.settle_files(live, None)
                live.record = live.record.changed(status="failed", error=attrs.evolve(LOST, exception=error))
                self.books.notify(live)
            self.report(live.record, error)

    async def _execute_carried(self, run: RunRecord, work: Work, interaction: Interaction) -> RunRecord:
        self._require_open(started=True)
        run.complete(owner=self.owner, inputs=dict(run.inputs))
        try:
            stored = await self.runs.create(work.call.scope, run)
        except anyio.get_cancelled_exc_class():
            # The store may have it by now, and nobody would ever carry it.
            with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(NexusError):
                stored = await self.runs.get(Scope.ALL, run.id)
                gone = refused(stored, CancelledError("its caller went away"), now=self.clock.now())
                await self.runs.save(gone, expected_version=stored.version)
            raise
        try:
            live = self._carry(stored, work, interaction)
        except UnavailableError as error:
            # The application has begun to stop meanwhile.
            await self.runs.save(refused(stored, error, now=self.clock.now()), expected_version=stored.version)
            raise
        try:
            with nullcontext() if work.seconds is None else self.clock.timeout(work.seconds):
                return await live.until_settled()
            live.overdue = True
            live.cancel()
            return await live.until_settled()
        finally:
            live.interaction = DETACHED
            if not live.record.ended and not live.has_waited:
                live.cancelled = not live.overdue
                with anyio.move_on_after(CLEAN_UP_S, shield=True):
                    live.cancel()
                    await live.until_ended()

    async def _run(self, live: LiveRun, work: Work, seconds: float | None) -> RunRecord:
        token = current_run.set(live)
        output: Any = None
        error: BaseException | None = None
        try:
            with self._scope() if seconds is None else self.clock.timeout(seconds) as scope:
                live.scope = scope
                if live.carried and live.told_why:
                    scope.cancel()
                try:
                    if work.plan.cached is not None or live.is_followed or not live.try_take_slots():
                        await self._begin_steps(live, work.plan)
                    steps = carry_out if work.hooks is None else work.hooks.carry_out
                    output = await steps(live, work.plan, work.inputs)
                except Exception as raised:  # noqa: BLE001 - ends the run; its record says so
                    error = raised
                except SystemExit as raised:
                    # Let through, it would end the event loop, and with it every other run.
                    error = RuntimeError(f"a step called sys.exit({raised.code!r})")
                except anyio.get_cancelled_exc_class() as raised:
                    # Of steps on lanes it is known, and when it comes here a task group may have forgotten that it was asyncio's.
                    if work.plan.single is None or being_cancelled():
                        raise
                    # A step awaited something of its own that was cancelled; that must not end in silence.
                    error = RuntimeError(f"a step raised {type(raised).__name__}, though nobody cancelled it")
            if scope.cancel_called:
                # Also where a step took no notice, and came back with something too late.
                output, error = None, _why(live, work, seconds)
            if error is not None and work.hooks is not None and not live.goes_on:
                await work.hooks.tell(live, work.inputs, error)
        except BaseException:
            # The task that carries it is cancelled: its record still has to say so.
            await self._end_cancelled(live, work, seconds, error)
            raise
        finally:
            current_run.reset(token)
            live.give_slots_back()
        return await (self.books.end if error is None else self.books.fail)(live, output, error)

    async def _end_cancelled(self, live: LiveRun, work: Work, seconds: float | None, error: BaseException | None) -> None:
        try:
            if error is None:
                live.dropped = live.dropped or live.is_durable
                error = _why(live, work, seconds) if live.told_why else _gone(live)
                if work.hooks is not None and not live.goes_on:
                    await work.hooks.tell(live, work.inputs, error)
        finally:
            with anyio.move_on_after(CLEAN_UP_S, shield=True):
                await self.books.fail(live, None, error)

    async def _begin_steps(self, live: LiveRun, plan: Plan) -> None:
        # Where it is cancelled, or its time is over, before it begins, no step is called.
        await anyio.lowlevel.checkpoint_if_cancelled()
        if plan.cached is None:
            await self._take_slots(live)
        else:
            # What is kept is given at once: only a run that has work to do takes its turn.
            live.take_turn = partial(self._take_slots, live)
        if live.is_followed:
            await live.announce("run.started", {"workflow": live.record.workflow})

    async def _take_slots(self, live: LiveRun) -> None:
        try:
            await live.take_slots()
        except ResourceExhaustedError as error:
            raise Problem(error.code, error.message) from None
        if live.record.status == "pending":
            try:
                await self.books.change(live, lambda record: record.changed(status="running"))
            except Exception as error:
                raise UnavailableError(LOST.message) from error

    async def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """See `Runtime.events`."""
        feed = self.books.feed(run_id)
        if feed is None:
            raise UnavailableError(f"the events of run {run_id} are not kept here any more; its record is")
        async for event in feed.events(after=after):
            yield event

    def _note_settled(self) -> None:
        if self._drained is not None and self._is_drained():
            self._drained.set()

    def _is_drained(self) -> bool:
        """Nothing runs, or only waits for answers that could not be taken any more."""
        return all(live.questions for live in self.books.live.values())

    async def _drain(self) -> None:
        self._stopping = True
        try:
            # Real time, on purpose: a test's clock that nobody moves must not keep the application from stopping.
            if not self._is_drained():
                self._drained = anyio.Event()
                self.books.settled = self._note_settled
                with anyio.move_on_after(self.grace):
                    await self._drained.wait()
        finally:
            dropped = list(self.books.live.values())
            for live in dropped:
                live.dropped = True
                live.cancel()
        with anyio.move_on_after(CLEAN_UP_S, shield=True):
            for live in dropped:
                await live.until_ended()

    def _stopped(self) -> None:
        self._group = None
        self._scope = anyio.CancelScope
        self._stopping = False
        self._drained = self.books.settled = None

    def _limiter(self) -> anyio.CapacityLimiter:
        limiter = self._limiters.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(THREADS)
            self._limiters.set(limiter)
        return limiter


def _sooner(seconds: float | None, timeout: float | None) -> float | None:
    if seconds is None or timeout is None:
        return timeout if seconds is None else seconds
    return min(seconds, timeout)


def _why(live: LiveRun, work: Work, seconds: float | None) -> NexusError:
    """Say why the run's scope was cancelled."""
    if live.cancelled:
        return CancelledError("the run was cancelled")
    if live.dropped:
        return UnavailableError(STOPPED)
    timeout = work.plan.timeout
    if timeout is not None and seconds in {timeout, work.left}:
        return DeadlineExceededError(f"the run took longer than its workflow allows ({timeout:g} s)")
    return DeadlineExceededError("the run took longer than its caller waits" + ("" if seconds is None else f" ({seconds:g} s)"))


def _gone(live: LiveRun) -> NexusError:
    """Say why the task that carries the run was cancelled, where nobody said."""
    return UnavailableError(STOPPED) if live.carried else CancelledError("its caller went away")
