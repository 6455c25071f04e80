"""What was provided: a dependency's factory, what that needs itself, and how what it makes is opened and closed."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import FunctionType
from typing import Any, Final, Literal, NewType, get_args, get_origin

import anyio
import anyio.to_thread
import attrs

from nexus.exceptions import RegistrationError
from nexus.workflows.fits import named
from nexus.workflows.injection import injected_type
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.signatures import resolved
from nexus.workflows.steps import place_of

__all__ = ["PERIODS", "Per", "Provided", "opened", "provided"]

Per = Literal["step", "run", "session", "app"]
PERIODS: Final[tuple[Per, ...]] = get_args(Per)
"""From the shortest to the longest."""


@attrs.frozen(kw_only=True, eq=False)
class Provided:
    """
    A dependency, as it was provided.

    Attributes:
        dependency: The type under which it is known.
        place: `module:qualname` of the factory.
        needs: By parameter of the factory, the type of the dependency that it gets.
        wants: The same for parameters that have a default, which is taken where nobody provides that type.
        takes_run: The parameter that gets the run, and `Run` or `BlockingRun`.
        in_thread: The factory is called in a worker thread.
    """

    dependency: Any
    factory: Callable[..., Any]
    per: Per
    health: Callable[[Any], Awaitable[object]] | None
    place: str
    needs: Mapping[str, Any]
    wants: Mapping[str, Any]
    takes_run: tuple[str, type[Run | BlockingRun]] | None
    in_thread: bool

    @property
    def name(self) -> str:
        """The type's name."""
        return named(self.dependency)


def provided(
    dependency: Any,
    factory: Callable[..., Any],
    *,
    per: Per,
    health: Callable[[Any], Awaitable[object]] | None,
    namespace: Mapping[str, Any],
) -> Provided:
    """
    Check what is said of a dependency, each part by itself.

    Raises:
        RegistrationError: Something is wrong; the text names the place and the way out.
    """
    if not _is_type(dependency):
        raise RegistrationError(f"app.provide({dependency!r}, …): the first is a type, like app.provide(Pool, open_pool)")
    name = named(dependency)
    if dependency in (Run, BlockingRun):
        raise RegistrationError(f"app.provide({name}, …): every step may take its run; a parameter `run: {name}` is enough")
    if not callable(factory):
        raise RegistrationError(f"app.provide({name}, {factory!r}): the second makes one; write `lambda: …` around what is there")
    place = place_of(_bare(factory))
    if per not in PERIODS:
        raise RegistrationError(f"{place}: per={per!r}; use one of {', '.join(map(repr, PERIODS))}")
    if health is not None and per != "app":
        raise RegistrationError(f"{place}: health= is asked of what is open all the time; say per='app', or leave it out")
    in_thread = not _is_for_the_loop(factory)
    needs, wants, takes_run = _needs(factory, place, namespace, in_thread=in_thread)
    if takes_run is not None and PERIODS.index(per) > PERIODS.index("run"):
        raise RegistrationError(f"{place}: {name} is per={per!r} and outlives a run, so that it can't take one; say per='run'")
    return Provided(
        dependency=dependency,
        factory=_manager_of(factory),
        per=per,
        health=health,
        place=place,
        needs=needs,
        wants=wants,
        takes_run=takes_run,
        in_thread=in_thread,
    )


def _is_type(dependency: Any) -> bool:
    return isinstance(get_origin(dependency) or dependency, type | NewType)


def _bare(factory: Any) -> Any:
    """Return what was written, without `functools.partial` and decorators around it."""
    while True:
        if isinstance(factory, functools.partial):
            factory = factory.func
        elif hasattr(factory, "__wrapped__"):
            factory = factory.__wrapped__
        else:
            return factory


def _is_for_the_loop(factory: Any) -> bool:
    """Whether to call it can't take long: a class, a coroutine, and a generator that only starts when it is entered."""
    bare = _bare(factory)
    called = getattr(bare, "__call__", None)  # noqa: B004 - an instance with an async __call__
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return isinstance(bare, type) or any(is_kind(bare) or is_kind(called) for is_kind in kinds)


def _manager_of(factory: Any) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(factory):
        return asynccontextmanager(factory)
    if inspect.isgeneratorfunction(factory):
        return contextmanager(factory)
    made: Callable[..., Any] = factory
    return made


def _needs(
    factory: Any, place: str, namespace: Mapping[str, Any], *, in_thread: bool
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, type[Run | BlockingRun]] | None]:
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except ValueError:  # written in C, and says nothing of its parameters
        parameters = []
    needs: dict[str, Any] = {}
    wants: dict[str, Any] = {}
    takes_run = None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = _hint_of(factory, parameter, place, namespace)
        if hint in (Run, BlockingRun):
            takes_run = (parameter.name, _run_type(hint, place, in_thread=in_thread))
        elif parameter.default is parameter.empty:
            needs[parameter.name] = hint
        elif hint is not None:
            wants[parameter.name] = hint
    return needs, wants, takes_run


def _run_type(hint: Any, place: str, *, in_thread: bool) -> type[Run | BlockingRun]:
    if in_thread != (hint is BlockingRun):
        kind, right = ("a `def` factory, which runs in a thread", BlockingRun) if in_thread else ("this factory", Run)
        raise RegistrationError(f"{place}: {kind}, takes `{right.__name__}`, not `{hint.__name__}`")
    return BlockingRun if in_thread else Run


def _hint_of(factory: Any, parameter: inspect.Parameter, place: str, namespace: Mapping[str, Any]) -> Any:
    """Return the parameter's type; None where it has none, or none that can be found, but a default."""
    has_default = parameter.default is not parameter.empty
    where = f"{place}: parameter {parameter.name!r}"
    if parameter.kind is parameter.POSITIONAL_ONLY or parameter.annotation is parameter.empty:
        if has_default:
            return None
        problem = "has no type" if parameter.annotation is parameter.empty else "is positional-only"
        raise RegistrationError(
            f"{where} {problem}; a factory gets dependencies, by name and type, so write `{parameter.name}: Pool`"
        )
    function, known = _bare(factory), namespace
    if isinstance(function, type):
        # Its `__init__` may have been made elsewhere, by attrs for one; what its hints name is where its classes were written.
        homes = [vars(sys.modules[cls.__module__]) for cls in reversed(function.__mro__) if cls.__module__ in sys.modules]
        known = {**{name: value for home in homes for name, value in home.items()}, **namespace}
        made_by = inspect.getattr_static(function, "__init__")
        function = made_by if isinstance(made_by, FunctionType) else function.__new__
    try:
        hint = resolved(function, parameter.annotation, where, known)
        hash(hint)
    except (RegistrationError, TypeError):
        if has_default:
            return None
        raise
    return injected_type(hint) or hint


@asynccontextmanager
async def opened(what: Provided, arguments: Mapping[str, Any], limiter: anyio.CapacityLimiter) -> AsyncIterator[Any]:
    """
    Open a dependency, and close it.

    What the factory returns is awaited if that is what it is for, and entered if it is a context manager, `async` or not.
    `def` factories, and context managers that are not async, are worked in a thread, as `def` steps are.

    Raises:
        RegistrationError: Entering gives something else than was provided.
    """
    if what.in_thread:
        made = await _in_thread(functools.partial(what.factory, **arguments), limiter)
    else:
        made = what.factory(**arguments)
    if inspect.isawaitable(made) and not hasattr(made, "__aenter__"):
        made = await made
    if hasattr(made, "__aenter__"):
        async with made as value:
            yield _checked(what, made, value)
    elif hasattr(made, "__enter__"):
        async with _entered_in_thread(made, limiter) as value:
            yield _checked(what, made, value)
    else:
        yield made


def _checked(what: Provided, made: Any, value: Any) -> Any:
    kind = getattr(what.dependency, "__supertype__", None) or get_origin(what.dependency) or what.dependency
    try:
        is_lost = isinstance(made, kind) and not isinstance(value, kind)
    except TypeError:  # a Protocol that can't be checked at run time
        is_lost = False
    if is_lost:
        raise RegistrationError(
            f"{what.place}: it returns a {named(type(made))}, and `with` of that gives {value!r}; "
            f"if it isn't to be entered, write a function with `yield {what.name}(…)`"
        )
    return value


@asynccontextmanager
async def _entered_in_thread(manager: AbstractContextManager[Any], limiter: anyio.CapacityLimiter) -> AsyncIterator[Any]:
    value = await _in_thread(manager.__enter__, limiter)
    try:
        yield value
    except BaseException as error:
        if not await _left_in_thread(manager, error, limiter):
            raise
    else:
        await _left_in_thread(manager, None, limiter)


async def _left_in_thread(
    manager: AbstractContextManager[Any], error: BaseException | None, limiter: anyio.CapacityLimiter
) -> bool | None:
    told = (None, None, None) if error is None else (type(error), error, error.__traceback__)
    with anyio.CancelScope(shield=True):
        left: bool | None = await _in_thread(functools.partial(manager.__exit__, *told), limiter)
    return left


async def _in_thread(function: Callable[[], Any], limiter: anyio.CapacityLimiter) -> Any:
    # Boxed, for Trio takes no coroutine from a thread.
    (result,) = await anyio.to_thread.run_sync(lambda: (function(),), limiter=limiter)
    return result
