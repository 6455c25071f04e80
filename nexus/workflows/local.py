"""The runtime that carries runs in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

from nexus.abc import Clock, Interaction, RunStore, Runtime
from nexus.exceptions import (
    CancelledError,
    ConflictError,
    DeadlineExceededError,
    NexusError,
    Problem,
    ResourceExhaustedError,
    UnavailableError,
)
from nexus.models import Answers, Call, Event, Question, RunError, RunRecord, RunStatus, Scope, StepRow, StepStatus
from nexus.workflows.calling import being_cancelled
from nexus.workflows.codecs import Codecs
from nexus.workflows.durable import StepResults
from nexus.workflows.execution import TOLD, carry_out
from nexus.workflows.feeds import Feed
from nexus.workflows.folders import Folders
from nexus.workflows.hooks import RunHooks
from nexus.workflows.live import DETACHED, CallWorkflow, KnownResults, LiveRun, OpenQuestion
from nexus.workflows.ownership import Ownership
from nexus.workflows.plan import Plan
from nexus.workflows.secrecy import RunSecrets
from nexus.workflows.slots import Slots

__all__ = ["LocalRuntime", "Work", "current_run"]

THREADS: Final = 40
MOST_FEEDS: Final = 1000
CLEAN_UP_S: Final = 5.0
ATTEMPTS: Final = 20
STOPPED: Final = "the application stopped before the run ended"
NOT_STARTED: Final = "the application is not started: use it inside `async with app:`, entered and left in one task"

LOST: Final = RunError(code="unavailable", message="the run's record could not be stored; the log has the reason")

current_run: ContextVar[LiveRun | None] = ContextVar("nexus_current_run", default=None)
"""The run in whose step this is."""


@attrs.frozen(kw_only=True, eq=False)
class Work:
    """
    What the local runtime is given to carry out.

    Attributes:
        inputs: The checked arguments; the run's own.
        seconds: How long the caller waits.
        hooks: What is called around it.
        results: Of its steps, where some are known, or are to be kept.
    """

    plan: Plan
    inputs: dict[str, Any] = attrs.field(repr=False)
    call: Call
    seconds: float | None = None
    hooks: RunHooks | None = None
    results: KnownResults | None = None


@attrs.define(eq=False)
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
    call_workflow: CallWorkflow | None = attrs.field(default=None, init=False)
    ownership: Ownership | None = attrs.field(default=None, init=False)
    results: StepResults | None = attrs.field(default=None, init=False)
    _feeds: OrderedDict[str, Feed] = attrs.field(factory=OrderedDict, init=False)
    _slots: tuple[Slots, ...] = attrs.field(init=False)
    _slots_of: WeakKeyDictionary[Plan, tuple[Slots, ...]] = attrs.field(factory=WeakKeyDictionary, init=False)
    _live: dict[str, LiveRun] = attrs.field(factory=dict, init=False)
    _group: TaskGroup | None = attrs.field(default=None, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _scope: type[anyio.CancelScope] = attrs.field(default=anyio.CancelScope, init=False)
    _drained: anyio.Event | None = attrs.field(default=None, init=False)
    _limiters: RunVar[anyio.CapacityLimiter] = attrs.field(factory=lambda: RunVar("nexus_threads"), init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """Open the task group that carries runs; stopping gives them a grace period, then cancels them."""
        if self.ownership is not None:
            self.ownership.lapsed = self._drop_lost
            await self.ownership.start(exit_stack)
        exit_stack.callback(self._stopped)
        self._group = await exit_stack.enter_async_context(anyio.create_task_group())
        # The class of this event loop's own: `anyio.CancelScope()` looks it up each time, at half of its price.
        self._scope = type(anyio.CancelScope())
        exit_stack.push_async_callback(self._drain)
        if self.ownership is not None:
            await self.ownership.settle()

    @property
    def owner(self) -> str | None:
        """See `Runtime.owner`."""
        return None if self.ownership is None else self.ownership.owner

    def __attrs_post_init__(self) -> None:
        self._slots = (Slots("this application", self.concurrency, self.queue_size),)

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
        self._require_open(started=False)
        return await self._run(self._begin(run, work, interaction), work, _sooner(work.seconds, work.plan.timeout))

    async def settled(self, run_id: str) -> RunRecord:
        """See `Runtime.settled`."""
        live = self._live.get(run_id)
        return await self.runs.get(Scope.ALL, run_id) if live is None else await live.until_settled()

    async def resume(self, run_id: str, interaction: Interaction) -> None:
        """See `Runtime.resume`."""
        live = self._live.get(run_id)
        if live is None:
            raise UnavailableError(f"run {run_id} is not carried by this process any more")
        live.record = await self.runs.get(Scope.ALL, run_id)
        live.interaction = interaction
        for name in [name for name in live.questions if name in live.record.answers and name not in live.record.questions]:
            waiting = live.questions.pop(name)
            waiting.answer = _given(live, name)
            waiting.answered.set()

    def hold(self, run_id: str, digest: str, answer: Any) -> None:
        """See `Runtime.hold`."""
        live = self._live.get(run_id)
        if live is None:
            raise UnavailableError(f"run {run_id} is not carried by this process, and only that may have its secrets")
        live.keep_secrets().hold(digest, answer)

    async def cancel(self, run_id: str) -> None:
        """See `Runtime.cancel`."""
        live = self._live.get(run_id)
        if live is not None:
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
        live = self._live[run.id] = LiveRun(
            record=run,
            call=call,
            interaction=interaction,
            clock=clock,
            codecs=self.codecs,
            park=self._park,
            limiter=self._limiter,
            started=clock.monotonic(),
            slots=self._slots if parent is None and work.plan.concurrency is None else self._slots_for(work, parent),
            parent=parent,
            results=work.results,
            call_workflow=self.call_workflow,
            max_chunks=self.max_chunks,
            single=None if work.plan.single is None else work.plan.single.name,
            folders=self.folders,
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
        live.feed = Feed()
        assert self._group is not None  # noqa: S101 - required above
        self._group.start_soon(self._carried, live, work, name=f"run {run.id}")
        return live

    async def _carried(self, live: LiveRun, work: Work) -> None:
        try:
            await self._run(live, work, work.plan.timeout)
            if live.is_durable and live.record.status == "succeeded" and self.results is not None:
                await self.results.forget(live.record.id)
        except Exception as error:  # noqa: BLE001 - ends this run, never the group that carries the others
            if self._live.pop(live.record.id, None) is not None:
                await self._settle_files(live, None)
                live.record = live.record.changed(status="failed", error=attrs.evolve(LOST, exception=error))
                self._notify(live)
            self.report(live.record, error)

    async def _execute_carried(self, run: RunRecord, work: Work, interaction: Interaction) -> RunRecord:
        self._require_open(started=True)
        run.complete(owner=self.owner, inputs=dict(run.inputs))
        live = self._carry(await self.runs.create(work.call.scope, run), work, interaction)
        try:
            with self._scope() if work.seconds is None else self.clock.timeout(work.seconds):
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
                if live.told_why:
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
                    if being_cancelled():
                        raise
                    # A step awaited something of its own that was cancelled; that must not end in silence.
                    error = RuntimeError(f"a step raised {type(raised).__name__}, though nobody cancelled it")
            if scope.cancel_called:
                # Also where a step took no notice, and came back with something too late.
                output, error = None, _why(live, seconds, work.plan.timeout)
            if error is not None and work.hooks is not None and not live.goes_on:
                await work.hooks.tell(live, work.inputs, error)
        except BaseException:
            # The task that carries it is cancelled: its record still has to say so.
            await self._end_cancelled(live, work, seconds, error)
            raise
        finally:
            current_run.reset(token)
            live.give_slots_back()
        return await (self._end if error is None else self._fail)(live, output, error)

    async def _end_cancelled(self, live: LiveRun, work: Work, seconds: float | None, error: BaseException | None) -> None:
        try:
            if error is None:
                live.dropped = live.dropped or live.is_durable
                error = _why(live, seconds, work.plan.timeout) if live.told_why else _gone(live)
                if work.hooks is not None and not live.goes_on:
                    await work.hooks.tell(live, work.inputs, error)
        finally:
            with anyio.move_on_after(CLEAN_UP_S, shield=True):
                await self._fail(live, None, error)

    async def _fail(self, live: LiveRun, output: Any, error: BaseException | None) -> RunRecord:
        """End a run that has not succeeded, unless it goes on at the next start."""
        if live.goes_on:
            return await self._suspend(live)
        if live.unfinished is not None and self.results is not None:
            live.record = live.record.changed(plan_hash=await self.results.keep(live))
        return await self._end(live, output, error)

    async def _begin_steps(self, live: LiveRun, plan: Plan) -> None:
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
                await self._change(live, lambda record: record.changed(status="running"))
            except Exception as error:
                raise UnavailableError(LOST.message) from error

    async def _end(self, live: LiveRun, output: Any, error: BaseException | None) -> RunRecord:
        record = live.record
        status: RunStatus = "succeeded" if error is None else "cancelled" if isinstance(error, CancelledError) else "failed"
        failure = None if error is None else _failure(error)
        duration = self.clock.monotonic() - live.started
        # A record that no store has yet is nobody else's: it need not be copied.
        ended = (record.changed if live.stored else record.complete)(
            status=status,
            ended_at=self.clock.now(),
            duration=duration,
            questions={},
            output=output,
            file_rows=await self._settle_files(live, output) if live.has_files else (),
            error=failure,
            step_rows=live.steps or _only_step(live, status, duration, failure),
        )
        if live.secrets is not None:
            ended = live.secrets.concealed(ended)
            failure = ended.error
        try:
            if live.stored:
                await self._change(live, lambda latest: ended.changed(answers=latest.answers, version=latest.version))
            else:
                live.record = await self.runs.create(live.call.scope, ended)
        except BaseException:
            live.record = ended
            raise
        finally:
            del self._live[record.id]
            if live.feed is not None:
                self._keep(live.feed, record.id)
            if live.folder is not None:
                self.folders.keep(record.id, live.folder)
            if failure is not None and error is not None:
                live.record = live.record.changed(error=attrs.evolve(failure, exception=error))
                if failure.code in {"failed", "internal"}:
                    self.report(live.record, error if live.secrets is None else live.secrets.told(error))
            if ended.redacted and failure is None:
                live.record = live.record.changed(returned=output)
            if live.is_followed:
                await self._announce_end(live, {} if failure is None else {"code": failure.code})
            self._notify(live)
        return live.record

    async def _announce_end(self, live: LiveRun, data: Mapping[str, Any]) -> None:
        """Tell who follows it, before its caller is woken, who may leave with the record; no listener holds it up for long."""
        with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(Exception):
            await live.announce(f"run.{live.record.status}", data)
        if live.feed is not None:
            live.feed.close()

    async def _suspend(self, live: LiveRun) -> RunRecord:
        """Leave a durable run to the next start."""
        assert live.results is not None  # noqa: S101 - that is what makes it durable
        withdrawn = live.results.withdrawn
        try:
            if withdrawn:
                with anyio.move_on_after(CLEAN_UP_S, shield=True):
                    await self._change(
                        live, lambda record: record.changed(status="waiting", questions={**record.questions, **withdrawn})
                    )
        finally:
            live.results.suspended = True
            del self._live[live.record.id]
            if live.feed is not None:
                live.feed.close()
            self._notify(live)
        return live.record

    async def _drop_lost(self) -> None:
        """Drop the runs that another owner has taken over."""
        for live in [live for live in self._live.values() if live.stored]:
            if (await self.runs.get(Scope.ALL, live.record.id)).owner != self.owner:
                live.dropped = True
                live.cancel()

    def _keep(self, feed: Feed, run_id: str) -> None:
        """Keep what a run told for a while after its end: who submitted it may ask only then."""
        self._feeds[run_id] = feed
        if len(self._feeds) > MOST_FEEDS:
            self._feeds.popitem(last=False)

    async def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """See `Runtime.events`."""
        live = self._live.get(run_id)
        feed = self._feeds.get(run_id) if live is None else live.feed
        if feed is None:
            raise UnavailableError(f"the events of run {run_id} are not kept here any more; its record is")
        async for event in feed.events(after=after):
            yield event

    async def _settle_files(self, live: LiveRun, output: Any) -> Sequence[tuple[str, str]]:
        form = live.call.request.form
        rows, stays = await self.folders.settle(output, uploads=None if form is None else form.folder, folder=live.folder)
        if not stays:
            live.folder = None
        return rows

    async def _park(self, live: LiveRun, question: Question) -> Any:
        name = question.name
        if name in live.questions:
            raise ValueError(f"a question named {name!r} is open already; give each its own name=")
        # Before the store has the question, for its answer may come before the store has replied.
        waiting = live.questions[name] = OpenQuestion(question)
        try:
            if not await self._was_asked(live, name):
                await self._change(live, lambda record: _asking(record, question))
            elif name not in live.record.questions:
                live.questions.pop(name, None)
                return _given(live, name)
            # Where it was asked before, it expires when it would have.
            question = live.record.questions.get(name, question)
            live.has_waited = True
            # Before its caller is woken, who may leave with the record.
            await live.announce("run.waiting", {"questions": [question.view()]})
            self._notify(live)
            live.give_slots_back()
            with live.until(question.expires_at):
                await waiting.answered.wait()
            if not live.questions and not live.holds_slots:
                await live.take_slots(again=True)
        except BaseException as reason:
            # Nobody waits for it any more. What the store says to that must not take the place of the reason.
            if live.questions.pop(name, None) is not None and not live.goes_on:
                if live.results is not None and not isinstance(reason, Exception):
                    live.results.withdrawn[name] = question
                with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(Exception):
                    await self._change(live, lambda record: _without(record, name))
            raise
        return waiting.answer

    async def _was_asked(self, live: LiveRun, name: str) -> bool:
        """Whether the question was asked before the run was resumed, and is open, or answered."""
        if live.results is None or name not in live.results.asked:
            return False
        live.results.asked.discard(name)
        live.record = await self.runs.get(Scope.ALL, live.record.id)
        return name in live.record.questions or name in live.record.answers

    async def _change(self, live: LiveRun, change: Callable[[RunRecord], RunRecord]) -> None:
        """Change the stored record; an answer may have come between, which must not be lost."""
        for _ in range(ATTEMPTS):
            try:
                saved = await self.runs.save(change(live.record), expected_version=live.record.version)
                # Somebody may have answered, and `resume` have read it, before this was told.
                live.record = max(saved, live.record, key=attrgetter("version"))
            except ConflictError:
                live.record = await self.runs.get(Scope.ALL, live.record.id)
                if live.record.owner != self.owner:
                    raise UnavailableError(f"another process carries run {live.record.id} now") from None
            else:
                return
        raise ConflictError(f"the record of run {live.record.id} changes faster than this process can follow")

    def _notify(self, live: LiveRun) -> None:
        live.notify()
        if self._drained is not None and self._is_drained():
            self._drained.set()

    def _is_drained(self) -> bool:
        """Nothing runs, or only waits for answers that could not be taken any more."""
        return all(live.questions for live in self._live.values())

    async def _drain(self) -> None:
        self._stopping = True
        try:
            # Real time, on purpose: a test's clock that nobody moves must not keep the application from stopping.
            if not self._is_drained():
                self._drained = anyio.Event()
                with anyio.move_on_after(self.grace):
                    await self._drained.wait()
        finally:
            dropped = list(self._live.values())
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
        self._drained = None

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


def _given(live: LiveRun, name: str) -> Any:
    given = live.record.answers[name]
    return given.value if live.secrets is None else live.secrets.answer(given)


def _asking(record: RunRecord, question: Question) -> RunRecord:
    return record.changed(
        status="waiting",
        questions={**record.questions, question.name: question},
        answers={name: answer for name, answer in record.answers.items() if name != question.name},
    )


def _without(record: RunRecord, name: str) -> RunRecord:
    questions = {other: question for other, question in record.questions.items() if other != name}
    return record.changed(questions=questions, status="waiting" if questions else "running")


def _why(live: LiveRun, seconds: float | None, timeout: float | None) -> NexusError:
    """Say why the run's scope was cancelled."""
    if live.cancelled:
        return CancelledError("the run was cancelled")
    if live.dropped:
        return UnavailableError(STOPPED)
    whose = "its workflow allows" if seconds is not None and seconds == timeout else "its caller waits"
    return DeadlineExceededError(f"the run took longer than {whose}" + ("" if seconds is None else f" ({seconds:g} s)"))


def _gone(live: LiveRun) -> NexusError:
    """Say why the task that carries the run was cancelled, where nobody said."""
    return UnavailableError(STOPPED) if live.carried else CancelledError("its caller went away")


def _only_step(live: LiveRun, status: RunStatus, duration: float, failure: RunError | None) -> list[StepRow]:
    """Return the row of the step of a plan that has no other, whose times are the run's."""
    step = live.single
    if step is None:
        return []
    return [(step, cast("StepStatus", status), 0.0, duration, None if failure is None else failure.message, 1)]


def _failure(error: BaseException) -> RunError:
    if isinstance(error, TOLD):
        return RunError(code=error.code, message=error.message, details=error.details)
    return RunError(code="failed", message=f"{type(error).__name__}: {error}", private=True)
