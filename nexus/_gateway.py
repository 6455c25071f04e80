"""Nexus: the way of a request, and the application's life."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import anyio
import attrs

from nexus._dispatch import Dispatcher
from nexus.abc import Channel, Clock, Database, Gateway, Guard, Interaction, Service
from nexus.adapters import load
from nexus.catalogue import Catalogue, workflow_entry
from nexus.config import NexusConfig
from nexus.dependencies import Dependencies, Per
from nexus.exceptions import ConfigurationError, NexusError, UnavailableError, WorkflowNotFoundError
from nexus.models import APPLICATION, Caller, ExecutionResult, Operation, Principal, Request, Response, Session
from nexus.scheduler import Scheduler
from nexus.sessions import Sessions
from nexus.streams import RunStream, streamed
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import Group, Workflow, definitions_in, marked
from nexus.workflows.executor import Executor
from nexus.workflows.handle import RunHandle, output_of
from nexus.workflows.hooks import HookDecorators, Hooks
from nexus.workflows.mapping import Rows, map_rows
from nexus.workflows.options import FunctionOptions
from nexus.workflows.results import ResultCache
from nexus.workflows.steps import OnError
from nexus.workflows.work import current_run

__all__ = ["Nexus"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

INPROCESS = Caller(channel="inprocess", principal=APPLICATION)
NESTED = Caller(channel="inprocess")


@attrs.define(eq=False, kw_only=True, repr=False)
class Nexus(HookDecorators):
    """
    An application: workflows, and everything behind them. Made by `create_nexus`.

    `async with app:` starts and stops it; it is entered and left in one task. On an application that is not started,
    `execute_workflow` runs inline; whatever needs a started part raises `UnavailableError` and says so.
    """

    config: NexusConfig
    clock: Clock
    catalogue: Catalogue
    codecs: Codecs
    executor: Executor
    dispatcher: Dispatcher
    dependencies: Dependencies
    scheduler: Scheduler
    sessions: Sessions
    hooks: Hooks
    cache: ResultCache
    services: Sequence[Service]
    database: Database | None = None
    _channels: dict[str, Channel] = attrs.field(factory=dict, init=False)
    _stack: AsyncExitStack | None = attrs.field(default=None, init=False)
    _task: int | None = attrs.field(default=None, init=False)

    def __repr__(self) -> str:
        workflows = sum(operation.kind == "workflow" for operation in self.catalogue.operations())
        return f"<Nexus {self.title!r}, {workflows} workflows, {'started' if self.started else 'not started'}>"

    @property
    def title(self) -> str:
        """The application's title."""
        return self.config.title

    @property
    def description(self) -> str:
        """What the application is for, Markdown."""
        return self.config.description

    @property
    def version(self) -> str:
        """The application's version."""
        return self.config.version

    @property
    def max_value_bytes(self) -> int:
        """How long a result, as JSON, may be that a channel sends to a remote caller."""
        return self.config.max_value_bytes

    @property
    def run_retention(self) -> timedelta:
        """How long the record of a run is kept after its end."""
        return timedelta(days=self.config.run_retention_days)

    # ---- life

    @property
    def started(self) -> bool:
        """Whether this is inside `async with app:`."""
        return self._stack is not None

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome: started, and not stopping."""
        return self._stack is not None and not self.dispatcher.stopping

    async def __aenter__(self) -> Self:
        """Start every part in order; if one fails, what was started is stopped again in reverse order."""
        if self._task is not None:
            raise UnavailableError("the application is started already; one `async with app:` at a time")
        self._task = anyio.get_current_task().id
        stack = AsyncExitStack()
        try:
            for service in (*self.services, *self._channels.values()):
                await service.start(stack)
        except BaseException:
            self._task = None
            # Told of the error, a task group among the parts would wrap it in an ExceptionGroup.
            await stack.aclose()
            raise
        self._stack = stack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop: no new runs, a grace period for those in flight, then everything in reverse order."""
        if self._stack is None:
            raise UnavailableError("the application is not started")
        if anyio.get_current_task().id != self._task:
            raise RuntimeError(
                "`async with app:` was entered in one task and is left in another; do both in one task "
                "(in tests, use the fixture that nexus.testing ships)"
            )
        self.dispatcher.stopping = True
        try:
            # An error of the block is none of the parts', as above.
            await self._stack.aclose()
        finally:
            self._stack = self._task = None
            self.dispatcher.stopping = False

    def stop_accepting(self) -> None:
        """Be ready no more: new runs are refused with `unavailable`, those in flight go on."""
        self.dispatcher.stopping = True

    def keep_files(self) -> None:
        """Let the files that runs hand out stay when the application stops; then they are yours to remove."""
        self.dispatcher.folders.stay = True

    # ---- what can be called

    @overload
    def workflow(self, function: F, /) -> F: ...
    @overload
    def workflow(self, /, **options: Unpack[FunctionOptions]) -> Callable[[F], F]: ...
    def workflow(self, function: Any = None, /, **options: Any) -> Any:
        """
        Make a function a workflow of this application, and return it unchanged.

        With or without options; they are those of `nexus.workflow`.

        Raises:
            RegistrationError: It can't be one; the text names the place and the way out.
        """
        namespace = sys._getframe(1).f_locals  # noqa: SLF001 - hints may name what is local there

        def add(function: F) -> F:
            self.register(marked(function, options, namespace))
            return function

        return add if function is None else add(function)

    def register(self, *what: Callable[..., Any] | Workflow | Group | ModuleType) -> None:
        """
        Enter workflows: functions, `Workflow`s, `Group`s, or modules with all of these that they define.

        What was registered from the same `module:qualname` before, and is now written anew (a notebook's cell, a reloaded
        module), is replaced.

        Raises:
            RegistrationError: One can't be registered; the text names the place and the way out.
        """
        definitions = [definition for thing in what for definition in definitions_in(thing)]
        entries = [workflow_entry(each, self.codecs, self.executor, self.dependencies, self.cache) for each in definitions]
        if any(entry.schedules for entry in entries):
            self.scheduler.require_loop()
        self.catalogue.add(*entries)
        self.dispatcher.take_up(entries)
        self.scheduler.refresh()
        self.hooks.forget()

    def codec(self, type_: type[T], *, encode: Callable[[T], Any], decode: Callable[[Any], T], schema: Mapping[str, Any]) -> None:
        """
        Teach a type that inputs or outputs may have; before the workflows that use it are registered.

        Args:
            type_: The type.
            encode: Makes a JSON value of one.
            decode: Makes one of a JSON value; raises ValueError if it can't.
            schema: JSON Schema (2020-12) of the JSON value.
        """
        self.codecs.add(type_, encode=encode, decode=decode, schema=schema)

    def provide(
        self,
        dependency: type[T],
        factory: Callable[..., Any],
        /,
        *,
        per: Per = "step",
        health: Callable[[T], Awaitable[object]] | None = None,
    ) -> None:
        """
        Say how a dependency is made, which a step takes as a parameter `pool: Inject[Pool]`, or by `await run.get(Pool)`.

        It is opened when it is first asked for, and closed when its time is over, in the reverse order. What closes it at the end
        of a step or a run belongs to that: if it raises, the step or run fails; a context manager is told how the work ended, and
        can't turn a failure into a success. After a cancellation it has five seconds.

        Args:
            dependency: The type, exactly that, by which it is asked for; a `NewType` to have two of one class.
            factory: Makes one: a class, a function, or a generator function that yields one. Its parameters are dependencies, by
                their types; where a parameter has a default, that is taken if nobody provides its type. What it returns is
                entered if it is a context manager, so that leaving closes it. `def` functions and context managers that are not
                async are worked in threads, as `def` steps are; a class is called on the event loop. One that lasts for a step
                or a run may take `Run` (in a thread `BlockingRun`).
            per: How long it lasts, and so who shares it: one call of a `step`, an item of a fan-out too; a `run`; the runs of one
                `session`, as long as there is one that uses it (where no store keeps the session, those of one call); or the
                `app`, until that is stopped. Those of a session or of the application need one that is started.
            health: Asked by `/health/ready` of one that is per "app" and open; raises, or returns False, where it is not well.

        Raises:
            RegistrationError: It can't be provided; the text names the place and the way out.
        """
        namespace = sys._getframe(1).f_locals  # noqa: SLF001 - hints may name what is local there
        self.dependencies.provide(dependency, factory, per=per, health=health, namespace=namespace)

    def override(self, dependency: type[Any], fake: Any, /) -> AbstractContextManager[None]:
        """
        Let everybody who asks for a dependency have this fake instead, inside a `with`; for tests.

        It is handed out as it is, never opened nor closed; dependencies that take it are made anew for the time of the `with`.
        What was handed out before stays what it is.

        Args:
            dependency: The type, provided or not.
            fake: What is had instead, not what makes it.
        """
        return self.dependencies.override(dependency, fake)

    async def health(self) -> Mapping[str, bool]:
        """Return by name which open dependencies are well, of those that can say, and whether the database is."""
        database = {} if self.database is None else {"database": self.database.is_well}
        return {**database, **await self.dependencies.health()}

    def add_guard(self, guard: Guard) -> None:
        """Add a guard after those that are there; it sees every call from now on."""
        self.dispatcher.add_guard(guard)

    def add_channel(self, factory: Callable[[Gateway, NexusConfig], Channel]) -> Channel:
        """
        Add a channel of one's own, started and stopped with the application.

        Args:
            factory: The channel's class, or what else makes one of `(gateway, config)`.

        Raises:
            ConfigurationError: There is one of that name, or the application is started already.
        """
        channel = factory(self, self.config)
        if channel.name in self._channels:
            raise ConfigurationError(f"there is a channel {channel.name!r} already")
        if self.started:
            raise ConfigurationError(f"channel {channel.name!r}: channels are added before the application is started")
        self._channels[channel.name] = channel
        return channel

    @property
    def channels(self) -> Sequence[Channel]:
        """The channels that are there: those that were added, and those of adapters that were asked for."""
        return tuple(self._channels.values())

    def channel(self, name: str) -> Channel:
        """
        Return the channel of that name; one that an adapter brings is loaded when it is first asked for.

        Raises:
            AdapterError: No installed adapter has it, or what it needs is not installed.
            ConfigurationError: It was not there when the application was started, or is switched off.
        """
        if name not in self._channels:
            settings = getattr(self.config.channels, name, None)
            if settings is not None and not settings.enabled:
                raise ConfigurationError(f"channel {name!r} is switched off: channels.{name}.enabled is false")
            self.add_channel(load(f"channel.{name}", Channel))
        return self._channels[name]

    def operations(self, *, channel: str | None = None) -> Sequence[Operation]:
        """Return what may be called on *channel* (None: any), sorted by name, newest version first."""
        return self.catalogue.operations(channel)

    def operation(self, reference: str, *, channel: str | None = None) -> Operation | None:
        """Return the operation of that `name` (newest version) or `name@version`, if it shows on *channel* (None: any)."""
        entry = self.catalogue.find(reference, channel)
        return None if entry is None else entry.operation

    def encode(self, value: Any, *, remote: bool = False) -> bytes:
        """Return JSON (RFC 8259, UTF-8) of any value that a workflow may return; for a *remote* caller a path is its name."""
        return self.codecs.encode_remote(value) if remote else self.codecs.encode(value)

    def to_builtins(self, value: Any) -> Any:
        """Return the value as dict, list, str, int, float, bool and None."""
        return self.codecs.to_builtins(value)

    async def open_session(self, principal: Principal) -> tuple[Session, str]:
        """
        Open a session for a principal whom the application has itself verified, and return it with its token.

        The token is good on every channel, as `Authorization: Bearer` over HTTP; nothing keeps it.

        Raises:
            ResourceExhaustedError: The principal has as many as it may.
        """
        return await self.sessions.open(principal, now=self.clock.now())

    # ---- the way of a request

    def dispatch(self, request: Request, interaction: Interaction | None = None) -> Coroutine[Any, Any, Response]:
        """
        Carry out a request, the whole way: identity, guards, look-up, arguments, work, log.

        Never raises, except when its own task is cancelled; what goes wrong is `Response.error`.
        """
        return self.dispatcher.dispatch(request, interaction)

    def reject(self, caller: Caller, error: NexusError, *, request_id: str | None = None) -> Coroutine[Any, Any, Response]:
        """Answer a message that never became a request: guards see it without an operation, and it is logged."""
        return self.dispatcher.reject(caller, error, request_id=request_id)

    async def visible(self, caller: Caller) -> Sequence[Operation]:
        """
        Return what *caller* may use on its channel, sorted by name, newest version first.

        Raises:
            NexusError: A guard refuses it; it was logged.
        """
        return await self.dispatcher.visible_to(caller)

    # ---- in-process

    async def execute_workflow(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        principal: Principal | None = None,
        idempotency_key: str | None = None,
        timeout: float | timedelta | None = None,
        interaction: Interaction | None = None,
    ) -> ExecutionResult[Any]:
        """
        Run a workflow, and return its output.

        Inside a step of another run the caller is that run's; elsewhere it is the application itself.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name; Python values or JSON values.
            principal: Who is asking, where it isn't the application itself.
            idempotency_key: The same caller, workflow and key get the same run and its result, however often.
            timeout: Seconds, or a timedelta, for the whole run; with an idempotency key, for this caller's waiting.
            interaction: How the run talks to its caller; by default nobody hears it, and nobody can answer.

        Raises:
            NexusError: Why it did not succeed. A workflow that raised is `WorkflowFailedError`, with what it raised as
                `__cause__`; a `Problem` is raised unchanged.
        """
        request = self._request(workflow, inputs, principal, timeout, idempotency_key)
        response = await self.dispatch(request, interaction)
        if response.error is not None:
            raise response.error
        run = response.run
        if run is None:
            raise WorkflowNotFoundError(f"{request.operation!r} is an operation, not a workflow; use dispatch")
        run = self.executor.restored(run)
        return ExecutionResult(
            run.id, output_of(run), run.duration or 0.0, run.workflow_version, shown=run.output, cached=run.cached
        )

    @asynccontextmanager
    async def stream(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        principal: Principal | None = None,
        timeout: float | timedelta | None = None,
    ) -> AsyncIterator[RunStream]:
        """
        Run a workflow, and hear what it tells meanwhile; leaving before its end cancels it.

            async with app.stream("process_data", {"file": "rain.csv"}) as run:
                async for event in run:
                    print(event.type, event.data)
            print(run.result)

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name; Python values or JSON values.
            principal: Who is asking, where it isn't the application itself.
            timeout: Seconds, or a timedelta, for the whole run.
        """
        request = self._request(workflow, inputs, principal, timeout, None)
        async with streamed(partial(self.dispatch, request)) as stream:
            yield stream

    async def map(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        rows: Rows,
        /,
        *,
        limit: int = 16,
        on_error: OnError = "fail",
        principal: Principal | None = None,
    ) -> list[Any]:
        """
        Run a workflow once for each row, and return the outputs in the order of the rows.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            rows: Mappings of inputs by name, in an iterable or async iterable; one is taken only when it can be run.
            limit: At most this many runs at once.
            on_error: What a row that fails does: `"fail"` cancels the others, `"skip"` leaves it out, `"collect"` puts a
                `nexus.StepFailure` in its place. A row fails whose inputs are wrong, or whose run does. What no row is to blame
                for (an unknown workflow, a caller who may not) is raised in any case, and so is what *rows* raises.
            principal: Who is asking, where it isn't the application itself.

        Raises:
            NexusError: The first failure, as `execute_workflow` raises it; a note names its row, from 0 on.
        """
        reference = workflow if isinstance(workflow, str) else self.catalogue.reference_of(workflow)
        return await map_rows(
            lambda row: self.dispatch(self._request(reference, row, principal, None, None)), rows, limit=limit, on_error=on_error
        )

    async def submit_workflow(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        principal: Principal | None = None,
        idempotency_key: str | None = None,
    ) -> RunHandle:
        """
        Start a run that outlives this call, and return a handle of it.

        Args:
            workflow: Its name, `name@version`, or what was registered.
            inputs: By name; Python values or JSON values.
            principal: Who is asking, where it isn't the application itself.
            idempotency_key: The same caller, workflow and key get the same run, however often.

        Raises:
            NexusError: It could not be started.
        """
        request = attrs.evolve(self._request(workflow, inputs, principal, None, idempotency_key), detach=True)
        response = await self.dispatch(request)
        if response.error is not None:
            raise response.error
        if response.run is None:
            raise WorkflowNotFoundError(f"{request.operation!r} is an operation, not a workflow; use dispatch")
        call = self.dispatcher.call(request, response.request_id, None)
        return RunHandle(response.run.id, self.executor, call.scope, call.principal)

    def _request(
        self,
        workflow: str | Callable[..., Any] | Workflow,
        inputs: Mapping[str, Any] | None,
        principal: Principal | None,
        timeout: float | timedelta | None,
        idempotency_key: str | None,
    ) -> Request:
        deadline: datetime | None = None
        if timeout is not None:
            deadline = self.clock.now() + (timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout))
        parent = current_run.get()
        if parent is not None and parent.deadline is not None:
            deadline = parent.deadline if deadline is None else min(deadline, parent.deadline)
        caller = INPROCESS if parent is None else NESTED
        return Request(
            operation=workflow if isinstance(workflow, str) else self.catalogue.reference_of(workflow),
            arguments=inputs or {},
            caller=caller if principal is None else attrs.evolve(INPROCESS, principal=principal),
            deadline=deadline,
            trusted_files=True,
            idempotency_key=idempotency_key,
            parent=None if parent is None else parent.call,
        )
