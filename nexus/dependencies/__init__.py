"""Dependencies: what steps borrow, a pool, a client; opened when first asked for, and closed when its time is over."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

from nexus.abc import Clock, Service
from nexus.dependencies.factories import PERIODS, Per, Provided, provided
from nexus.dependencies.lifetimes import Lifetime, Loan, Report
from nexus.dependencies.loans import Find, RunLoans
from nexus.exceptions import RegistrationError, UnavailableError
from nexus.workflows.fits import named
from nexus.workflows.injection import not_provided
from nexus.workflows.live import LiveRun
from nexus.workflows.run import BlockingRun, Run

__all__ = ["Dependencies", "Per"]

THREADS: Final = 40
STOPPING: Final = "the application is stopping; no dependency is opened any more"


@attrs.frozen(eq=False)
class Fake:
    """What is had instead of a dependency, as long as it is among the fakes."""

    dependency: Any
    value: Any


@attrs.define(eq=False, repr=False)
class Dependencies(Service):
    """
    Opens, shares and closes dependencies; steps see them through `Lender` and `Loans`.

    Args:
        clock: On which health is waited for.
        wanted: Who takes a dependency, and which, of all workflows that are registered.
        report: Told of what failed where nobody is left to be told: the dependency, and what it raised.
        grace: Seconds that each is given to close when the application stops.
        patience: Seconds in which one has to say that it is well.

    Attributes:
        lends: Whether there is any.
    """

    clock: Clock
    wanted: Callable[[], Iterable[tuple[str, Any]]]
    report: Report
    grace: float
    patience: float
    lends: bool = attrs.field(default=False, init=False)
    _provided: dict[Any, Provided] = attrs.field(factory=dict, init=False)
    _fakes: list[Fake] = attrs.field(factory=list, init=False)
    _group: TaskGroup | None = attrs.field(default=None, init=False)
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _application: Lifetime | None = attrs.field(default=None, init=False)
    _sessions: dict[Any, Lifetime] = attrs.field(factory=dict, init=False)
    _unwell: set[Any] = attrs.field(factory=set, init=False)
    _limiters: RunVar[anyio.CapacityLimiter] = attrs.field(factory=lambda: RunVar("nexus_dependency_threads"), init=False)

    # ---- what there is

    def provide(
        self,
        dependency: Any,
        factory: Callable[..., Any],
        *,
        per: Per,
        health: Callable[[Any], Awaitable[object]] | None,
        namespace: Mapping[str, Any],
    ) -> None:
        """See `Nexus.provide`."""
        added = provided(dependency, factory, per=per, health=health, namespace=namespace)
        before = self._provided.get(dependency)
        if before is not None and before.place != added.place:
            raise RegistrationError(
                f"{added.place}: {added.name} is provided already, by {before.place}; "
                "in a test, `with app.override(…)`; for two of a class, provide a NewType of it"
            )
        if before is not None and self._application is not None and before.per in ("app", "session"):
            raise RegistrationError(f"{added.place}: {added.name} may be open; stop the application before it is provided anew")
        known = {**self._provided, dependency: added}
        _check_periods(added, known)
        _check_cycles(added, known)
        self._provided = known
        self.lends = True

    @contextmanager
    def override(self, dependency: Any, fake: Any) -> Iterator[None]:
        """See `Nexus.override`."""
        entry = Fake(dependency, fake)
        self._fakes.append(entry)
        self.lends = True
        try:
            yield
        finally:
            self._fakes.remove(entry)
            self.lends = bool(self._provided or self._fakes)

    def _has(self, dependency: Any) -> bool:
        return dependency in self._provided or any(dependency == fake.dependency for fake in self._fakes)

    def _check_wanted(self) -> None:
        of_factories = (
            (f"{what.place}: parameter {parameter!r}", wanted)
            for what in self._provided.values()
            for parameter, wanted in what.needs.items()
        )
        missing = [not_provided(taker, wanted) for taker, wanted in (*self.wanted(), *of_factories) if not self._has(wanted)]
        if missing:
            raise RegistrationError("\n".join(error.message for error in missing))

    # ---- the application's life

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """
        Be ready to lend; stopping closes what is open.

        Raises:
            RegistrationError: A step or a factory takes what nobody provides.
        """
        self._check_wanted()
        exit_stack.callback(self._stopped)
        self._context = contextvars.copy_context()
        self._group = await exit_stack.enter_async_context(anyio.create_task_group())
        self._application = Lifetime("app", self._start_apart, self._find_application, self.report, tells=False)
        exit_stack.push_async_callback(self._close)

    async def _close(self) -> None:
        assert self._application is not None  # noqa: S101 - this is undone after it was done
        try:
            # Real time, on purpose: a test's clock that nobody moves must not keep the application from stopping.
            with anyio.move_on_after(self.grace):
                await self._application.close(None)
        except Exception as error:  # noqa: BLE001 - the other parts are stopped all the same
            self.report("the application's dependencies", error)

    def _stopped(self) -> None:
        self._group = self._application = None
        self._sessions.clear()
        self._unwell.clear()

    def _start_apart(self, keep: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that is not in the run of whoever came first."""
        group = self._group
        assert group is not None  # noqa: S101 - there is no lifetime without
        self._context.copy().run(lambda: group.start_soon(keep))

    async def application(self) -> Lifetime:
        """See `Source.application`."""
        if self._application is None:
            raise UnavailableError(
                "it lasts longer than a run, and the application is not started: use it inside `async with app:`, "
                "entered and left in one task"
            )
        return self._application

    async def _find_application(self, per: Per) -> Lifetime:  # noqa: ARG002 - nothing else outlives it
        return await self.application()

    # ---- sessions

    async def join(self, session: Any) -> Lifetime:
        """See `Source.join`."""
        await self.application()
        while (lifetime := self._sessions.get(session)) is not None and lifetime.over:
            await lifetime.closed.wait()
        if lifetime is None:

            async def find(per: Per) -> Lifetime:
                return made if per == "session" else await self.application()

            made = lifetime = Lifetime("session", self._start_apart, find, self.report, tells=False)
            self._sessions[session] = lifetime
        lifetime.users += 1
        return lifetime

    async def leave(self, session: Any, lifetime: Lifetime, error: BaseException | None) -> None:
        """See `Source.leave`."""
        lifetime.users -= 1
        if not lifetime.users:
            try:
                await lifetime.close(error)
            finally:
                if self._sessions.get(session) is lifetime:
                    del self._sessions[session]

    # ---- lending

    async def carry(self, live: LiveRun, work: Callable[[], Awaitable[Any]]) -> Any:
        """See `Lender.carry`."""
        if self._group is not None:
            return await self._carry(live, self._group, work)
        failure: BaseException | None = None
        output = None
        async with anyio.create_task_group() as group:
            try:
                output = await self._carry(live, group, work)
            except BaseException as error:  # noqa: BLE001 - raised below, where the group can't wrap it
                failure = error
        if failure is not None:
            raise failure
        return output

    async def _carry(self, live: LiveRun, group: TaskGroup, work: Callable[[], Awaitable[Any]]) -> Any:
        live.loans = loans = RunLoans(self, live, group.start_soon, self.report)
        try:
            output = await work()
            if loans.are_open:
                await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException as error:
            await loans.close(error)
            raise
        await loans.close(None)
        return output

    async def get(self, dependency: Any, find: Find, *, taker: str, run: Run | None = None) -> Any:
        """See `Source.get`."""
        for fake in reversed(self._fakes):
            if fake.dependency == dependency:
                return fake.value
        what = self._provided.get(dependency)
        if what is None:
            raise not_provided(taker, dependency)
        try:
            lifetime = await find(what.per)
        except UnavailableError as error:
            raise UnavailableError(f"{what.name} is per={what.per!r}: {error.message}") from None
        if self._application is not None and self._application.over:
            raise UnavailableError(STOPPING)
        # What outlives the run is not to hold on to it.
        arguments = partial(self._arguments, what, lifetime.find, run if what.per in ("step", "run") else None)
        return await lifetime.get(self._key(what), what, arguments, self._limiter())

    async def _arguments(self, what: Provided, find: Find, run: Run | None) -> Mapping[str, Any]:
        types = {**what.needs, **{name: wanted for name, wanted in what.wants.items() if self._has(wanted)}}
        arguments = {}
        for name, wanted in types.items():
            arguments[name] = await self.get(wanted, find, taker=f"{what.place}: parameter {name!r}", run=run)
        if what.takes_run is not None and run is not None:
            name, kind = what.takes_run
            arguments[name] = run if kind is Run else BlockingRun(run)
        return arguments

    def _key(self, what: Provided) -> Any:
        """Return under what it is kept: what was made with a fake is not for those who come after it."""
        if not self._fakes:
            return what.dependency
        involved = _all_needed(what, self._provided)
        needed = {wanted for other in involved for wanted in (*other.needs.values(), *other.wants.values())}
        fakes = [fake for fake in self._fakes if fake.dependency in needed]
        return (what.dependency, *fakes) if fakes else what.dependency

    def _limiter(self) -> anyio.CapacityLimiter:
        """Threads of their own: those of `def` steps may all be waiting for a dependency."""
        limiter = self._limiters.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(THREADS)
            self._limiters.set(limiter)
        return limiter

    # ---- health

    async def health(self) -> Mapping[str, bool]:
        """See `Nexus.health`."""
        loans = [] if self._application is None else [loan for loan in self._application.opened if loan.provided.health]
        well: set[Loan] = set()
        async with anyio.create_task_group() as group:
            for loan in loans:
                group.start_soon(self._ask, loan, well)
        names = {loan.provided.name for loan in loans if loan not in well}
        return {loan.provided.name: loan.provided.name not in names for loan in loans}

    async def _ask(self, loan: Loan, well: set[Loan]) -> None:
        what = loan.provided
        error: Exception = TimeoutError(f"health= of {what.name} took longer than {self.patience:g} s")
        try:
            with self.clock.timeout(self.patience):
                if what.health is None or await what.health(loan.value) is not False:
                    self._unwell.discard(what.dependency)
                    well.add(loan)
                    return
                error = RuntimeError(f"health= of {what.name} returned False")
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is not well
            error = raised
        # Once, and not each time that somebody looks.
        if what.dependency not in self._unwell:
            self._unwell.add(what.dependency)
            self.report(what.name, error)


def _needed(what: Provided, known: Mapping[Any, Provided]) -> Sequence[Provided]:
    return [known[wanted] for wanted in (*what.needs.values(), *what.wants.values()) if wanted in known]


def _all_needed(what: Provided, known: Mapping[Any, Provided]) -> Sequence[Provided]:
    found = [what]
    for other in found:
        found += [needed for needed in _needed(other, known) if needed not in found]
    return found


def _check_periods(added: Provided, known: Mapping[Any, Provided]) -> None:
    for what in known.values():
        for needed in _needed(what, known):
            if added in (what, needed) and PERIODS.index(needed.per) < PERIODS.index(what.per):
                raise RegistrationError(
                    f"{added.place}: {what.name} is per={what.per!r} and takes {needed.name}, which is per={needed.per!r} "
                    f"and closed before it; make {named(needed.dependency)} per={what.per!r}, or {what.name} per={needed.per!r}"
                )


def _check_cycles(added: Provided, known: Mapping[Any, Provided]) -> None:
    """Look for a way from what is added back to it; there was no other cycle before."""
    ways = [[added]]
    seen = set()
    for way in ways:
        for needed in _needed(way[-1], known):
            if needed is added:
                names = " -> ".join(what.name for what in (*way, added))
                raise RegistrationError(f"{added.place}: the dependencies need each other: {names}; let one do without")
            if needed not in seen:
                seen.add(needed)
                ways.append([*way, needed])
