"""Hooks: a user's code before, after, on error of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, overload

import anyio
import attrs

from nexus.abc import Service
from nexus.exceptions import NexusError, RegistrationError, WorkflowNotFoundError
from nexus.models import Operation, Principal, RunRecord, Session, Tenant
from nexus.workflows.calling import being_cancelled, call_in_thread, recorded
from nexus.workflows.definition import Workflow
from nexus.workflows.execution import carry_out, told
from nexus.workflows.live import LiveRun
from nexus.workflows.plan import Plan
from nexus.workflows.steps import is_rewritten, place_of

__all__ = ["HookDecorators", "Hooks", "RunContext", "RunHooks"]

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["before_run", "after_run", "on_run_error"]
Selector = str | Callable[..., Any] | Workflow

LIMIT_S: Final = 5.0
"""How long one hook may take that is told of an error: it can't be cancelled with the run."""


@attrs.frozen(kw_only=True)
class RunContext:
    """
    What a hook is told of its run.

    Attributes:
        run_id: The run's id.
        inputs: The checked arguments by name, as Python values; read-only.
        channel: The channel of the caller who started it.
        principal: Who started it.
        request_id: The id of the request that started it, under which the log knows it.
        output: What the workflow returned, in `after_run`.
        error: Why the run did not succeed, in `on_run_error`, as its caller is told: `error.code` is `cancelled` where somebody
            cancelled it, `failed` where the workflow raised, and `error.__cause__` is then what it raised.
    """

    run_id: str
    workflow: str
    version: str
    inputs: Mapping[str, Any] = attrs.field(repr=False)
    channel: str
    principal: Principal
    tenant: Tenant | None
    session: Session
    request_id: str
    output: Any = attrs.field(default=None, repr=False)
    error: NexusError | None = None


@attrs.frozen(kw_only=True, eq=False)
class Hook:
    """
    A hook as it was written.

    Attributes:
        workflows: Names, `name@version`, or what was registered; empty is all.
        order: Lower is farther out: earlier before the run, later after it.
    """

    kind: Kind
    function: Callable[[RunContext], Any]
    workflows: tuple[Selector, ...]
    order: int
    is_async: bool

    @property
    def place(self) -> str:
        """`module:qualname` of the function."""
        return place_of(self.function)

    async def call(self, live: LiveRun, context: RunContext) -> None:
        """Call it, on the event loop or in a thread of the application's, as a step is."""
        try:
            if self.is_async:
                await self.function(context)
            else:
                await call_in_thread(partial(self.function, context), live.facilities.limiter())
        except SystemExit as raised:
            raise RuntimeError(f"hook {self.place} called sys.exit({raised.code!r})") from raised
        except anyio.get_cancelled_exc_class() as raised:
            if being_cancelled():
                raise
            raise RuntimeError(f"hook {self.place} raised {type(raised).__name__}, though nobody cancelled it") from raised


@attrs.frozen(kw_only=True, eq=False)
class RunHooks:
    """
    The hooks of one workflow, each kind in the order in which they are called.

    Attributes:
        report: Told of each that failed, where that changes nothing.
    """

    before: Sequence[Hook]
    after: Sequence[Hook]
    on_error: Sequence[Hook]
    report: Callable[[RunRecord, str, BaseException], None]

    async def carry_out(self, live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Any:
        """Return the workflow's output, its hooks called before and after."""
        context = _context(live, inputs)
        # The times of the only step are not the run's, where hooks take time too.
        single, live.single = live.single, None
        for hook in self.before:
            await hook.call(live, context)
        steps = _steps(live, plan, inputs)
        output = await (steps if single is None else recorded(live, single, steps))
        assert live.scope is not None  # noqa: S101 - inside it
        if self.after and not live.scope.cancel_called:
            context = attrs.evolve(context, output=output)
            for hook in self.after:
                try:
                    await hook.call(live, context)
                except Exception as error:  # noqa: BLE001 - what a hook says to an output does not change it
                    self.report(live.record, hook.place, _told(live, error))
        return output

    async def tell(self, live: LiveRun, inputs: Mapping[str, Any], error: BaseException) -> None:
        """Tell the hooks why the run did not succeed; it may be cancelled already."""
        if not self.on_error:
            return
        context = attrs.evolve(_context(live, inputs), error=told(error, live.record.request_id))
        for hook in self.on_error:
            # Real time, on purpose: a test's clock that nobody moves must not keep the run from ending.
            with anyio.move_on_after(LIMIT_S, shield=True) as scope:
                try:
                    await hook.call(live, context)
                except Exception as raised:  # noqa: BLE001 - the run has failed already, of something else
                    self.report(live.record, hook.place, _told(live, raised))
            if scope.cancelled_caught:
                late = TimeoutError(f"hook {hook.place} took longer than {LIMIT_S:g} s; submit a workflow for what takes time")
                self.report(live.record, hook.place, late)


def _told(live: LiveRun, error: BaseException) -> BaseException:
    """Return the error of a hook as the log may have it."""
    return error if live.secrets is None else live.secrets.told(error)


async def _steps(live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Any:
    return await carry_out(live, plan, inputs)


def _context(live: LiveRun, inputs: Mapping[str, Any]) -> RunContext:
    record, call = live.record, live.call
    return RunContext(
        run_id=record.id,
        workflow=record.workflow,
        version=record.workflow_version,
        inputs=MappingProxyType(inputs),
        channel=record.channel,
        principal=call.principal,
        tenant=call.tenant,
        session=call.session,
        request_id=record.request_id,
    )


@attrs.define(eq=False, repr=False)
class Hooks(Service):
    """
    All hooks of an application.

    Args:
        references: Gives each `name@version` of a workflow, or raises `WorkflowNotFoundError`.
        report: Told of each hook that failed, where that changes nothing.

    Attributes:
        all: Sorted by their order; those of the same as they were registered.
    """

    references: Callable[[Selector], Sequence[str]]
    report: Callable[[RunRecord, str, BaseException], None]
    all: list[Hook] = attrs.field(factory=list, init=False)
    _found: dict[Plan, RunHooks | None] = attrs.field(factory=dict, init=False)
    _started: bool = attrs.field(default=False, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """
        Check that each workflow is there which a hook names.

        Raises:
            RegistrationError: One is not.
        """
        for hook in self.all:
            self._check(hook)
        self._started = True
        exit_stack.callback(self._stopped)

    def _stopped(self) -> None:
        self._started = False

    def add(self, hook: Hook) -> None:
        """Add a hook; it takes the place of what was written there before (a notebook's cell, a reloaded module)."""
        if self._started:
            self._check(hook)
        kept = [other for other in self.all if not _is_earlier(other, hook)]
        self.all = sorted([*kept, hook], key=lambda hook: hook.order)
        self.forget()

    def forget(self) -> None:
        """Look for the hooks of each workflow again: there is another hook, or other workflows."""
        self._found.clear()

    def _check(self, hook: Hook) -> None:
        for workflow in hook.workflows:
            try:
                self.references(workflow)
            except WorkflowNotFoundError as error:
                raise RegistrationError(f"{hook.place}, {hook.kind}: {error.message}") from None

    def of(self, operation: Operation, plan: Plan) -> RunHooks | None:
        """Return the hooks of a workflow; None if it has none."""
        try:
            return self._found[plan]
        except KeyError:
            found = self._found[plan] = self._find(operation)
            return found

    def _find(self, operation: Operation) -> RunHooks | None:
        hooks = [hook for hook in self.all if not hook.workflows or self._names(hook, operation)]
        if not hooks:
            return None
        return RunHooks(
            before=[hook for hook in hooks if hook.kind == "before_run"],
            after=[hook for hook in reversed(hooks) if hook.kind == "after_run"],
            on_error=[hook for hook in reversed(hooks) if hook.kind == "on_run_error"],
            report=self.report,
        )

    def _names(self, hook: Hook, operation: Operation) -> bool:
        """Whether the hook names it; what is not registered (yet) names none."""
        for workflow in hook.workflows:
            try:
                if operation.reference in self.references(workflow):
                    return True
            except WorkflowNotFoundError:
                continue
        return False


def _is_earlier(old: Hook, new: Hook) -> bool:
    # All lambdas of a module have one name, and several may be in one line.
    if old.kind != new.kind or old.place != new.place or new.place.endswith("<lambda>"):
        return False
    return is_rewritten(old.function, new.function)


def _make_hook(kind: Kind, function: Any, workflow: Any, order: Any) -> Hook:
    """Check what was written, and put it in its one form."""
    if not callable(function) or isinstance(function, type | Workflow):
        way_out = f"@app.{kind}(workflow={function!r})" if isinstance(function, str) else f"@app.{kind} above a function"
        raise RegistrationError(f"a hook is a function, not {function!r}; write {way_out}")
    place = f"{place_of(function)}, {kind}"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(f"{place}: a hook can't yield; write one with before_run and one with after_run")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise RegistrationError(
            f"{place}: a hook is called with the run's context and nothing else; give it one parameter"
        ) from None
    if isinstance(order, bool) or not isinstance(order, int):
        raise RegistrationError(f"{place}: order={order!r}: give a whole number; lower is called earlier before a run")
    return Hook(
        kind=kind,
        function=function,
        workflows=_selectors(workflow, place),
        order=order,
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)),  # noqa: B004 - an instance with an async __call__
    )


def _selectors(workflow: Any, place: str) -> tuple[Selector, ...]:
    if workflow is None:
        return ()
    several = isinstance(workflow, Iterable) and not isinstance(workflow, str)
    selectors = tuple(workflow) if several else (workflow,)
    wrong = [selector for selector in selectors if not isinstance(selector, str | Workflow) and not callable(selector)]
    if wrong or not selectors:
        named = repr(wrong[0]) if wrong else "no workflow at all"
        raise RegistrationError(f"{place}: workflow= names {named}; give names, `name@version`, or what was registered")
    return selectors


class HookDecorators:
    """
    How hooks are registered.

    A hook takes one argument, `nexus.RunContext`. An `async def` is called on the event loop, a `def` in a thread of the
    application's, as steps are. It is called once a run, whoever started it, by the task that carries the run.

    `workflow=` says for which: names (each version), `name@version`, functions or `Workflow`s that are registered, one or
    several; one that is not there is an error when the application starts. Without it a hook is for all, those that it executes
    itself too.

    Hooks with a lower `order=` are farther out, and of the same order those that were registered first: they are called earlier
    before a run, and later after it or on its error.
    """

    __slots__ = ()

    hooks: Hooks

    @overload
    def before_run(self, function: F, /) -> F: ...
    @overload
    def before_run(self, /, *, workflow: Selector | Iterable[Selector] | None = None, order: int = 0) -> Callable[[F], F]: ...
    def before_run(self, function: Any = None, /, *, workflow: Any = None, order: int = 0) -> Any:
        """
        Call a function before the first step of a run; return it unchanged.

        If it raises, no step is run, and the run fails as if a step had raised: a `Problem` is its answer. Hooks after it are not
        called. Its time counts as the run's.

        Args:
            function: Takes the run's `RunContext`.
            workflow: For which workflows; all by default.
            order: Lower is earlier.

        Raises:
            RegistrationError: It can't be a hook; the text names the place and the way out.
        """
        return self._add("before_run", function, workflow, order)

    @overload
    def after_run(self, function: F, /) -> F: ...
    @overload
    def after_run(self, /, *, workflow: Selector | Iterable[Selector] | None = None, order: int = 0) -> Callable[[F], F]: ...
    def after_run(self, function: Any = None, /, *, workflow: Any = None, order: int = 0) -> Any:
        """
        Call a function after the last step of a run that came through, before its caller is told; return it unchanged.

        If it raises, that is logged with the run's id and changes nothing; the other hooks are called. Its time counts as the
        run's, which still fails if its time runs out, or is cancelled, meanwhile.

        Args:
            function: Takes the run's `RunContext`, with its `output`.
            workflow: For which workflows; all by default.
            order: Higher is earlier.

        Raises:
            RegistrationError: It can't be a hook; the text names the place and the way out.
        """
        return self._add("after_run", function, workflow, order)

    @overload
    def on_run_error(self, function: F, /) -> F: ...
    @overload
    def on_run_error(self, /, *, workflow: Selector | Iterable[Selector] | None = None, order: int = 0) -> Callable[[F], F]: ...
    def on_run_error(self, function: Any = None, /, *, workflow: Any = None, order: int = 0) -> Any:
        """
        Call a function when a run has failed or was cancelled, before its caller is told; return it unchanged.

        Also where the run never had its turn, or a hook before it raised. It is not cancelled with the run, but has five seconds;
        if it takes longer or raises, that is logged with the run's id and changes nothing, and the other hooks are called. What
        it executes inherits the run's deadline, which may have passed; what it submits does not.

        Args:
            function: Takes the run's `RunContext`, with its `error`.
            workflow: For which workflows; all by default.
            order: Higher is earlier.

        Raises:
            RegistrationError: It can't be a hook; the text names the place and the way out.
        """
        return self._add("on_run_error", function, workflow, order)

    def _add(self, kind: Kind, function: Any, workflow: Any, order: Any) -> Any:
        def add(function: F) -> F:
            self.hooks.add(_make_hook(kind, function, workflow, order))
            return function

        return add if function is None else add(function)
