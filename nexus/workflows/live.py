"""A run while this process carries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import anyio
import attrs

from nexus.abc import Clock, Interaction, TimeoutScope
from nexus.exceptions import DeadlineExceededError, UnavailableError
from nexus.models import Answers, Call, Event, ExecutionResult, Question, RunRecord, StepRow
from nexus.workflows.codecs import Codecs
from nexus.workflows.feeds import Feed
from nexus.workflows.folders import Folders
from nexus.workflows.injection import Loans
from nexus.workflows.secrecy import RunSecrets
from nexus.workflows.slots import Slots

CallWorkflow = Callable[..., Awaitable[ExecutionResult[Any]]]


class ExpiredError(DeadlineExceededError):
    """Nobody has answered a question in time."""


class Silent(Interaction):
    """A caller that hears nothing and can answer nothing: the default in-process."""

    answers = Answers.NEVER
    listens = False

    async def tell(self, event: Event) -> None:
        """Nobody listens."""

    async def ask(self, question: Question) -> Any:
        """Nobody answers."""
        raise UnavailableError(f"nobody can answer here (asked: {question.text!r})")


class Detached(Silent):
    """Nobody is attached now; an answer may come later."""

    answers = Answers.LATER


@attrs.define(eq=False, repr=False)
class ThroughParent(Interaction):
    """How a run talks that another waits for: by way of the other, to whoever listens to that."""

    parent: LiveRun
    step: str
    answers: Answers = attrs.field(init=False)
    listens: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        can_ask = self.parent.carried or self.parent.interaction.answers is Answers.NOW
        self.answers = Answers.NOW if can_ask else Answers.NEVER
        self.listens = self.parent.hears

    async def tell(self, event: Event) -> None:
        """Tell the other's caller."""
        await self.parent.tell(event)

    async def ask(self, question: Question) -> Any:
        """Have the other ask, under a name of its own."""
        name = f"{self.step}.{question.name}"
        number = 1
        while name in self.parent.questions:
            number += 1
            name = f"{self.step}.{question.name}.{number}"
        question = attrs.evolve(question, name=name)
        if self.parent.carried:
            return await self.parent.facilities.park(self.parent, question)
        return await self.parent.interaction.ask(question)


SILENT = Silent()
DETACHED = Detached()


class KnownResults(Protocol):
    """Results of steps of one run, by which it calls no step again that has succeeded."""

    @property
    def durable(self) -> bool:
        """Whether the run goes on at the next start if it is dropped."""
        ...

    asked: set[str]
    withdrawn: dict[str, Question]
    suspended: bool

    async def carry(self, live: Any, step: Any, name: str, arguments: dict[str, Any]) -> Any:
        """Return the step's result: the one that is known, or call it."""
        ...


@attrs.define(eq=False, repr=False)
class Unfinished:
    """
    What a run had when it failed.

    Attributes:
        plan: What was carried out.
        results: Of its steps, by number.
        fan_outs: Of those that had begun: by step, the results by number of the item.
    """

    plan: Any = None
    results: Sequence[Any] = ()
    fan_outs: dict[str, Mapping[int, Any]] = attrs.field(factory=dict)


@attrs.define(eq=False, repr=False)
class OpenQuestion:
    """A question that a step of this process waits on."""

    question: Question
    answered: anyio.Event = attrs.field(factory=anyio.Event)
    answer: Any = None


@attrs.define(eq=False, kw_only=True, repr=False)
class Facilities:
    """
    What a runtime has for all the runs that it carries.

    Attributes:
        limiter: Gives the limit of threads of the event loop that this is called in.
        park: Makes a run wait for an answer that comes by a later call, and returns it.
        call_workflow: Runs another workflow, as the application does in-process.
        max_chunks: How many values a workflow may yield.
    """

    codecs: Codecs
    folders: Folders
    limiter: Callable[[], anyio.CapacityLimiter]
    park: Callable[[LiveRun, Question], Awaitable[Any]]
    call_workflow: CallWorkflow | None = None
    max_chunks: int = 10_000


@attrs.define(eq=False, kw_only=True, repr=False)
class LiveRun:
    """
    What this process knows of a run that has not ended.

    Attributes:
        record: As it was last stored, or is going to be.
        stored: Whether the store has the record.
        carried: By the runtime, so that it may outlive the call that started it.
        slots: The places that it takes while it goes on.
        holds_slots: Whether it has them now.
        parent: The run that waits for it.
        feed: Keeps what it tells, where it may outlive its call.
        take_turn: Takes its places, where that is done only once there is work to do.
        single: The name of the only step, where that is all there is to the plan; its times are the run's.
        results: Of steps that need not be called again; of a durable run, where they are kept. None of most runs.
        unfinished: What its steps had returned when one failed.
        loans: What it has borrowed, where the application lends anything to it.
        has_files: Files came with it, its output may name some, or it has a folder.
        folder: Its own, where it asked for it.
        secrets: Where it has any.
        steps: The rows of the steps that ended.
        attempts: By step, how often it was tried, where that is more than once.
        cancelled: Somebody cancelled it.
        dropped: The application stops.
        overdue: Its caller's deadline has passed.
        has_waited: It has waited for an answer, and is nobody's connection's any more.
    """

    record: RunRecord
    call: Call
    interaction: Interaction
    clock: Clock
    facilities: Facilities
    started: float
    stored: bool = False
    carried: bool = False
    scope: TimeoutScope | None = None
    slots: tuple[Slots, ...] = ()
    holds_slots: bool = False
    parent: LiveRun | None = None
    feed: Feed | None = None
    take_turn: Callable[[], Awaitable[None]] | None = None
    single: str | None = None
    loans: Loans | None = None
    results: KnownResults | None = None
    unfinished: Unfinished | None = None
    has_files: bool = False
    folder: Path | None = None
    secrets: RunSecrets | None = None
    steps: list[StepRow] = attrs.field(factory=list)
    attempts: dict[str, int] | None = None
    questions: dict[str, OpenQuestion] = attrs.field(factory=dict)
    cancelled: bool = False
    dropped: bool = False
    overdue: bool = False
    has_waited: bool = False
    told_at: float = 0.0
    _changed: anyio.Event | None = None
    _numbers: dict[str, int] | None = None

    @property
    def is_durable(self) -> bool:
        """Whether it goes on at the next start if it is dropped."""
        return self.results is not None and self.results.durable

    @property
    def goes_on(self) -> bool:
        """Whether what cancels it is only the end of this process, or of the task that carries it."""
        return self.dropped and self.is_durable and not self.cancelled and not self.overdue

    @property
    def is_suspended(self) -> bool:
        """Whether it has left this process, and goes on at the next start."""
        return self.results is not None and self.results.suspended

    @property
    def told_why(self) -> bool:
        """Whether somebody noted why it is to be cancelled."""
        return self.cancelled or self.dropped or self.overdue

    @property
    def is_remote(self) -> bool:
        """Whether it was started from elsewhere, be it through other runs: where files of this machine are is not told."""
        call = self.call
        while call.parent is not None:
            call = call.parent
        return not call.request.trusted_files

    @property
    def deadline(self) -> datetime | None:
        """When what it calls must have ended; None where it is cancelled itself when its caller waits no longer."""
        return None if self.carried else self.call.request.deadline

    @property
    def can_wait(self) -> bool:
        """Whether it can wait for an answer that comes by a call of its own, be it through the run that waits for it."""
        talk = self.interaction
        return self.carried or (isinstance(talk, ThroughParent) and talk.parent.can_wait)

    @property
    def hears(self) -> bool:
        """Whether anybody hears what it tells."""
        return self.feed is not None or self.interaction.listens

    async def tell(self, event: Event) -> None:
        """Tell whoever listens."""
        if self.feed is not None:
            self.feed.put(event)
        if self.interaction.listens:
            await self.interaction.tell(event)

    @property
    def is_followed(self) -> bool:
        """Whether anybody wants to be told what becomes of it."""
        return self.feed is not None or self.interaction.follows

    async def announce(self, type_: str, data: Mapping[str, Any]) -> None:
        """Tell who follows it what became of it."""
        if self.interaction.follows:
            event = self.event(type_, data)
            if self.feed is not None:
                self.feed.put(event)
            await self.interaction.tell(event)
        elif self.feed is not None:
            self.feed.put((self._next_number(), type_, data, self.clock.now()))

    def notify(self) -> None:
        """Wake up who waits until it has settled or ended."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def until_settled(self) -> RunRecord:
        """
        Wait until it has ended or waits for an answer, and return the record.

        Raises:
            UnavailableError: The application stopped before, and the run goes on when it is started again.
        """
        while not (self.record.ended or self.record.status == "waiting"):
            if self.is_suspended:
                text = f"the application stopped; run {self.record.id} goes on when it is started again"
                raise UnavailableError(text, run_id=self.record.id)
            await self._change()
        return self.record

    async def until_ended(self) -> None:
        """Wait until it has ended or is suspended, its clean-up done."""
        while not (self.record.ended or self.is_suspended):
            await self._change()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def question_name(self, step: str) -> str:
        """Return `step.1`, `step.2` … for questions that were given no name."""
        return f"{step}.{self._next_number(step)}"

    @contextmanager
    def until(self, expires_at: datetime | None) -> Iterator[None]:
        """
        Let what is inside wait for an answer until then.

        Raises:
            ExpiredError: It took longer.
        """
        if expires_at is None:
            yield
            return
        seconds = max(0.0, (expires_at - self.clock.now()).total_seconds())
        with self.clock.timeout(seconds) as scope:
            yield
            return
        if scope.cancel_called:
            raise ExpiredError("nobody has answered in time; ask again, or give `default=`")

    def try_take_slots(self) -> bool:
        """Take its turn if that needs neither waiting nor a change of a stored record; else `take_slots` has to be awaited."""
        if self.stored or len(self.slots) != 1:
            return False
        self.holds_slots = self.slots[0].try_take()
        return self.holds_slots

    async def take_slots(self, *, again: bool = False) -> None:
        """
        Wait for its turn.

        Raises:
            ResourceExhaustedError: Too many wait already.
        """
        for number, slots in enumerate(self.slots):
            try:
                await slots.take(again=again)
            except BaseException:
                for taken in self.slots[:number]:
                    taken.give_back()
                raise
        self.holds_slots = True

    def give_slots_back(self) -> None:
        """Let others have their turn."""
        if self.holds_slots:
            self.holds_slots = False
            for slots in self.slots:
                slots.give_back()

    def open_folder(self) -> Path:
        """Return its own folder, which is made when it is first asked for."""
        with self.facilities.folders.lock:
            if self.folder is None:
                self.folder = self.facilities.folders.make()
                self.has_files = True
            return self.folder

    def cancel(self) -> None:
        """Cancel its steps; who calls this has noted why."""
        if self.scope is not None:
            self.scope.cancel()

    def keep_secrets(self) -> RunSecrets:
        """Be discreet from now on, and return what with."""
        if self.secrets is None:
            self.secrets = RunSecrets()
        return self.secrets

    def catch_up(self, stored: RunRecord) -> None:
        """Take note of what others have changed in the store: answers, not what it was started with."""
        if stored is not self.record:
            self.record = stored.changed(inputs=self.record.inputs, as_json=False)

    def event(self, type_: str, data: Mapping[str, Any]) -> Event:
        """Make an event of this run."""
        return self.record.event(self._next_number(), type_, data, time=self.clock.now())

    def _next_number(self, step: str = "") -> int:
        """Count the questions of a step; those of no step are the run's events."""
        if self._numbers is None:
            self._numbers = {}
        number = self._numbers[step] = self._numbers.get(step, 0) + 1
        return number

    def note_attempt(self, step: str, number: int) -> None:
        """Note how often a step was tried by now."""
        if self.attempts is None:
            self.attempts = {}
        self.attempts[step] = number
