"""The handle of its run that a step gets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs

from nexus.exceptions import InvalidArgumentError, Problem, UnavailableError
from nexus.models import MISSING, Answers, Principal, Question, Session, Tenant
from nexus.workflows.answering import require_of
from nexus.workflows.answers import answer_schema, check_answer, to_python
from nexus.workflows.injection import not_provided
from nexus.workflows.live import ExpiredError, LiveRun, ThroughParent
from nexus.workflows.secret_values import holds_secrets
from nexus.workflows.steps import seconds_of

__all__ = ["BlockingRun", "BlockingRunLog", "Run", "RunLog"]

T = TypeVar("T")
Timeout = float | timedelta | None
Level = Literal["debug", "info", "warning", "error"]

BREATH = 0.02
ATTEMPTS = 3


@attrs.define(eq=False, repr=False)
class RunLog:
    """Tells the caller, while the run goes on, what it may want to know."""

    _run: Run

    async def debug(self, message: str, /, **fields: Any) -> None:
        """Tell a detail."""
        await self._run._log("debug", message, fields)  # noqa: SLF001 - one thing in two classes

    async def info(self, message: str, /, **fields: Any) -> None:
        """Tell how it goes."""
        await self._run._log("info", message, fields)  # noqa: SLF001

    async def warning(self, message: str, /, **fields: Any) -> None:
        """Tell what looks wrong."""
        await self._run._log("warning", message, fields)  # noqa: SLF001

    async def error(self, message: str, /, **fields: Any) -> None:
        """Tell what is wrong, though the run goes on."""
        await self._run._log("error", message, fields)  # noqa: SLF001


@attrs.define(eq=False, repr=False)
class Run:
    """
    Given to an `async def` step that has a parameter of this type, whatever its name.

    A `def` step takes `BlockingRun`, which has the same methods without `await`.
    """

    _live: LiveRun
    _step: str

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.workflow}, step {self._step}>"

    @property
    def id(self) -> str:
        """The run's id."""
        return self._live.record.id

    @property
    def request_id(self) -> str:
        """The id of the request that started it, under which the log knows it."""
        return self._live.record.request_id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._live.record.workflow

    @property
    def channel(self) -> str:
        """The channel of the caller who started it."""
        return self._live.record.channel

    @property
    def principal(self) -> Principal:
        """Who started it."""
        return self._live.call.principal

    @property
    def session(self) -> Session:
        """The session of who started it."""
        return self._live.call.session

    @property
    def tenant(self) -> Tenant | None:
        """The tenant of who started it."""
        return self._live.call.tenant

    @property
    def log(self) -> RunLog:
        """`await run.log.info("read", rows=3)`: tells the caller while the run goes on."""
        return RunLog(self)

    @property
    def folder(self) -> Path:
        """
        A folder of the run's own, for the files that it makes; it is there when it is first asked for.

        It is removed when the run ends, unless the output names a file in it, as a `Path`: then it stays as long as the run's
        record, at most until the application stops. On a local command line, and after `Nexus.keep_files`, it stays for good.

        Raises:
            UnavailableError: The application is not started.
        """
        return self._live.open_folder()

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """
        Tell the caller how far it is: a bar in a terminal, a notification on MCP.

        Args:
            done: How much is done, in any unit.
            total: How much there is, in the same unit, where that is known.
            message: What is being done.
        """
        await self._tell("run.progress", {"done": done, "total": total, "message": message, "step": self._step})

    async def chunk(self, value: Any) -> None:
        """Hand the caller a piece of the result, as an event; JSON has to have a word for it."""
        live = self._live
        shown = live.facilities.codecs.to_builtins(value, remote=live.is_remote) if live.hears else None
        await self._tell("run.chunk", {"value": shown, "step": self._step})

    async def execute(self, workflow: str | Callable[..., Any], /, **inputs: Any) -> Any:
        """
        Run another workflow, wait for it, and return its output.

        It has this run's caller, session, deadline and cancellation, and talks to the same caller: its questions are questions
        of this run.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name.

        Raises:
            NexusError: Why it did not succeed. One that raised is `WorkflowFailedError`, with what it raised as `__cause__`.
        """
        live = self._live
        if live.facilities.call_workflow is None:
            raise UnavailableError("workflows can't be called from here; use app.execute_workflow")
        return (await live.facilities.call_workflow(workflow, inputs, interaction=ThroughParent(live, self._step))).results

    @overload
    async def ask(
        self, text: str, answer: type[T], /, *, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> T: ...
    @overload
    async def ask(
        self, text: str, answer: type[T], /, *, default: T, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> T: ...
    @overload
    async def ask(
        self, text: str, answer: Any, /, *, default: Any = MISSING, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> Any: ...
    async def ask(
        self, text: str, answer: Any, /, *, default: Any = MISSING, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> Any:
        """
        Ask the caller, and return the answer; or, with *of*, wait for the answer of somebody else.

        A terminal prompts; over REST the run waits until somebody posts the answer; where nobody can answer, the default is
        taken.

        Args:
            text: The question, for a person.
            answer: The answer's type: a scalar, an enum or `Literal`, a list of enums, or a flat class of those; of a secret
                `Annotated[str, Secret()]`, which a terminal then does not show.
            default: Proposed to whoever answers, and taken where nobody can, or does in time.
            name: By which answers name the question; `step.1`, `step.2` … if not given.
            timeout: Seconds, or a timedelta, in which it has to be answered.
            of: Who has to answer: `role:finance`, whoever has that role, or `principal:ada`; never the one who started the run.
                The answer comes by a call of its own (`runs.answer`), so the run has to be one that can wait for it: submitted,
                in the background, durable, under an idempotency key, or called over REST.

        Raises:
            UnavailableError: Nobody can answer, and there is no default.
            DeadlineExceededError: Nobody has answered in time, and there is no default.
            CancelledError: The caller declined.
            TypeError: The answer's type is none of those, or has a secret in it and there is a default.
            ValueError: *of* says nobody.
        """
        live = self._live
        if of:
            require_of(of)
        schema = answer_schema(answer)
        is_secret = holds_secrets(schema)
        if is_secret and default is not MISSING:
            raise TypeError("run.ask(…): an answer with a secret in it can't have a default, for that is shown to who is asked")
        question = Question(
            name=name or live.question_name(self._step),
            text=text,
            schema=schema,
            step=self._step,
            of=of,
            default=default if default is MISSING else live.facilities.codecs.to_builtins(default),
            expires_at=_expiry(timeout, live.clock.now()),
        )
        if live.can_wait if of else live.carried or live.interaction.answers is Answers.NOW:
            try:
                given = await (live.facilities.park(live, question) if live.carried else self._ask_now(question))
            except ExpiredError:
                if default is MISSING:
                    raise
                if live.carried and not live.holds_slots and not live.questions:
                    await live.take_slots(again=True)
                return default
        elif default is MISSING:
            raise UnavailableError(f"{_nobody(of)} (asked: {text!r})", question=question.name)
        else:
            return default
        if is_secret:
            live.keep_secrets().note(schema, given)
        return to_python(answer, given, live.facilities.codecs)

    async def get(self, dependency: type[T], /) -> T:
        """
        Return the application's dependency of exactly that type, see `Nexus.provide`; it is closed when its time is over.

        The same as a parameter `db: Inject[Pool]`, for what only some calls of a step need.

        Args:
            dependency: Its type.

        Raises:
            RegistrationError: Nobody provides one.
            UnavailableError: It lasts longer than a run, and the application is not started.
        """
        loans = self._live.loans
        if loans is None:
            raise not_provided(f"step {self._step!r} of {self.workflow!r}", dependency)
        found: T = await loans.get(self._step, dependency)
        return found

    async def _ask_now(self, question: Question) -> Any:
        for _ in range(ATTEMPTS):
            with self._live.until(question.expires_at):
                given = await self._live.interaction.ask(question)
            try:
                return check_answer(question.schema, given)
            except InvalidArgumentError as error:
                wrong = error
                question = attrs.evolve(question, problem="; ".join(p.message for p in error.problems))
        raise Problem(wrong.code, wrong.message, **wrong.details) from wrong

    async def _log(self, level: Level, message: str, fields: Mapping[str, Any]) -> None:
        shown = {name: self._shown(value) for name, value in fields.items()} if self._live.hears else {}
        await self._tell("run.log", {"level": level, "message": message, "fields": shown, "step": self._step})

    def _shown(self, value: Any) -> Any:
        try:
            return self._live.facilities.codecs.to_builtins(value, remote=self._live.is_remote)
        except Exception:  # noqa: BLE001 - what is told of a run must not be what fails it
            return repr(value)

    async def _tell(self, type_: str, data: Mapping[str, Any]) -> None:
        live = self._live
        if live.hears:
            await live.tell(live.event(type_, data))
        # A step that does nothing but tell would never let go of the event loop, nor see that it was cancelled.
        now = live.clock.monotonic()
        if now - live.told_at >= BREATH:
            await anyio.lowlevel.checkpoint()
            live.told_at = live.clock.monotonic()


@attrs.define(eq=False, repr=False)
class BlockingRunLog:
    """`RunLog` without `await`."""

    _run: Run

    def debug(self, message: str, /, **fields: Any) -> None:
        """Tell a detail."""
        _from_thread(self._run._log, "debug", message, fields)  # noqa: SLF001 - one thing in two classes

    def info(self, message: str, /, **fields: Any) -> None:
        """Tell how it goes."""
        _from_thread(self._run._log, "info", message, fields)  # noqa: SLF001

    def warning(self, message: str, /, **fields: Any) -> None:
        """Tell what looks wrong."""
        _from_thread(self._run._log, "warning", message, fields)  # noqa: SLF001

    def error(self, message: str, /, **fields: Any) -> None:
        """Tell what is wrong, though the run goes on."""
        _from_thread(self._run._log, "error", message, fields)  # noqa: SLF001


@attrs.define(eq=False, repr=False)
class BlockingRun:
    """
    Given to a `def` step that has a parameter of this type: `Run` without `await`, for the worker thread that it runs in.

    A thread can't be stopped from outside: a cancelled run is noticed when the step next calls a method of this, or returns.
    """

    _run: Run

    def __repr__(self) -> str:
        return repr(self._run).replace("Run", "BlockingRun", 1)

    @property
    def id(self) -> str:
        """The run's id."""
        return self._run.id

    @property
    def request_id(self) -> str:
        """The id of the request that started it, under which the log knows it."""
        return self._run.request_id

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._run.workflow

    @property
    def channel(self) -> str:
        """The channel of the caller who started it."""
        return self._run.channel

    @property
    def principal(self) -> Principal:
        """Who started it."""
        return self._run.principal

    @property
    def session(self) -> Session:
        """The session of who started it."""
        return self._run.session

    @property
    def tenant(self) -> Tenant | None:
        """The tenant of who started it."""
        return self._run.tenant

    @property
    def folder(self) -> Path:
        """See `Run.folder`."""
        return self._run.folder

    @property
    def log(self) -> BlockingRunLog:
        """`run.log.info("read", rows=3)`: tells the caller while the run goes on."""
        return BlockingRunLog(self._run)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """See `Run.progress`."""
        _from_thread(self._run.progress, done, total, message)

    def chunk(self, value: Any) -> None:
        """See `Run.chunk`."""
        _from_thread(self._run.chunk, value)

    @overload
    def ask(self, text: str, answer: type[T], /, *, name: str | None = None, timeout: Timeout = None, of: str = "") -> T: ...
    @overload
    def ask(
        self, text: str, answer: type[T], /, *, default: T, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> T: ...
    @overload
    def ask(
        self, text: str, answer: Any, /, *, default: Any = MISSING, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> Any: ...
    def ask(
        self, text: str, answer: Any, /, *, default: Any = MISSING, name: str | None = None, timeout: Timeout = None, of: str = ""
    ) -> Any:
        """See `Run.ask`."""

        async def ask() -> Any:
            # The thread waits with its step: without another in its place, enough questions would stop every `def` step.
            limiter = self._run._live.facilities.limiter()  # noqa: SLF001 - one thing in two classes
            limiter.total_tokens += 1
            try:
                return await self._run.ask(text, answer, default=default, name=name, timeout=timeout, of=of)
            finally:
                limiter.total_tokens -= 1

        return _from_thread(ask)

    def get(self, dependency: type[T], /) -> T:
        """See `Run.get`."""
        found: T = _from_thread(self._run.get, dependency)
        return found

    def check_cancelled(self) -> None:
        """Raise the event loop's cancellation here if the run was cancelled; call it in long loops, and let it pass."""
        anyio.from_thread.check_cancelled()


def _nobody(of: str) -> str:
    if not of:
        return "nobody can answer here; give `default=`"
    whom = of.partition(":")[2]
    return f"{whom!r} can't be asked here, where the run ends with its call; submit it, or let it have `background=True`"


def _expiry(timeout: Timeout, now: datetime) -> datetime | None:
    seconds = seconds_of(timeout, place="run.ask(…)")
    return None if seconds is None else now + timedelta(seconds=seconds)


def _from_thread(call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    anyio.from_thread.check_cancelled()
    return anyio.from_thread.run(call, *args)
