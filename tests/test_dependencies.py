"""How a step gets what it borrows, what makes it, and what stands in for it in a test."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NewType, Self

import anyio
import anyio.lowlevel
import pytest

import nexus
from nexus import (
    BlockingRun,
    Inject,
    NexusConfig,
    Principal,
    Run,
    UnavailableError,
)
from tests.dependency_desk import Desk, Pool, Repository, failure_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- how a step gets one


async def test_a_parameter_with_inject_gets_the_dependency_and_is_no_input(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def count(day: str, *, pool: Inject[Pool]) -> int:
        assert not pool.closed
        return pool.number

    assert (await desk.app.execute_workflow("count", {"day": "monday"})).results == 1
    assert desk.log == ["open 1", "close 1"]
    operation = desk.app.operation("count")
    assert operation is not None
    assert list(operation.input_schema["properties"]) == ["day"]


async def test_a_run_gets_what_a_parameter_would_get(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def same(*, run: Run, pool: Inject[Pool]) -> bool:
        return await run.get(Pool) is pool is await run.get(Pool)

    assert (await desk.app.execute_workflow("same")).results is True
    assert desk.log == ["open 1", "close 1"]


async def test_a_run_gets_one_without_a_parameter(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def count(*, run: Run) -> int:
        pool = await run.get(Pool)
        assert not pool.closed
        return pool.number

    assert (await desk.app.execute_workflow("count")).results == 1
    assert desk.log == ["open 1", "close 1"]


async def test_nothing_is_opened_for_a_run_that_asks_for_nothing(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def plain(*, run: Run) -> str:
        return run.workflow

    assert (await desk.app.execute_workflow("plain")).results == "plain"
    assert desk.log == []


async def test_a_def_step_gets_them_in_its_thread(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    def same(*, run: BlockingRun, pool: Inject[Pool]) -> bool:
        return run.get(Pool) is pool and threading.current_thread() is not threading.main_thread()

    assert (await desk.app.execute_workflow("same")).results is True
    assert desk.log == ["open 1", "close 1"]


async def test_more_def_steps_than_threads_may_ask_for_what_is_opened_in_a_thread(desk: Desk) -> None:
    desk.app.provide(Pool, lambda: Pool(), per="step")  # noqa: PLW0108 - a class would not need a thread

    @desk.app.workflow(each="number", limit=100)
    def ask(number: int, *, run: BlockingRun) -> int:
        return run.get(Pool).number

    with anyio.fail_after(10):
        result = await desk.app.execute_workflow("ask", {"number": list(range(100))})
    assert sum(result.results) == 100


async def test_a_function_with_inject_is_still_called_as_a_function() -> None:
    async def count(pool: Inject[Pool]) -> int:
        return pool.number

    assert await count(Pool(3)) == 3


# ---- what a factory may be


class Entered:
    """Opened and closed by `async with`, as a client of HTTP is."""

    state = "new"

    async def __aenter__(self) -> Self:
        self.state = "open"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.state = "closed"


class EnteredInThread:
    state = "new"

    def __enter__(self) -> Self:
        self.state = "open" if threading.current_thread() is not threading.main_thread() else "on the loop"
        return self

    def __exit__(self, *_: object) -> None:
        self.state = "closed" if threading.current_thread() is not threading.main_thread() else "on the loop"


async def made_by_coroutine() -> Entered:
    return Entered()


async def made_by_async_generator() -> AsyncIterator[Entered]:
    async with Entered() as entered:
        yield entered


@asynccontextmanager
async def made_by_async_manager() -> AsyncIterator[Entered]:
    async with Entered() as entered:
        yield entered


def made_by_generator() -> Iterator[EnteredInThread]:
    with EnteredInThread() as entered:
        yield entered


@contextmanager
def made_by_manager() -> Iterator[EnteredInThread]:
    with EnteredInThread() as entered:
        yield entered


def made_by_function() -> EnteredInThread:
    return EnteredInThread()


def made_by_function_that_hands_on() -> Awaitable[Entered]:
    return made_by_coroutine()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("kind", [Entered, EnteredInThread])
@pytest.mark.parametrize("per", ["step", "run"])
async def test_a_class_that_is_a_context_manager_is_entered(kind: type[Any], per: Any, started: bool) -> None:
    await check_opened_and_closed(kind, kind, per, started=started)


@pytest.mark.parametrize(
    ("kind", "factory"),
    [
        (Entered, made_by_coroutine),
        (Entered, made_by_async_generator),
        (Entered, made_by_async_manager),
        (Entered, made_by_function_that_hands_on),
        (Entered, partial(made_by_coroutine)),
        (Entered, lambda: Entered()),  # noqa: PLW0108 - a function, not the class
        (EnteredInThread, made_by_generator),
        (EnteredInThread, made_by_manager),
        (EnteredInThread, made_by_function),
    ],
)
async def test_a_factory_may_be_any_of(kind: type[Any], factory: Callable[..., Any]) -> None:
    await check_opened_and_closed(kind, factory, "step", started=True)


async def check_opened_and_closed(kind: type[Any], factory: Callable[..., Any], per: Any, *, started: bool) -> None:
    app = nexus.create_nexus(NexusConfig())
    app.provide(kind, factory, per=per)
    seen = []

    @app.workflow
    async def use(*, run: Run) -> str:
        seen.append(await run.get(kind))
        return str(seen[0].state)

    if started:
        async with app:
            state = (await app.execute_workflow("use")).results
    else:
        state = (await app.execute_workflow("use")).results
    assert (state, seen[0].state) == ("open", "closed")


async def test_a_def_factory_runs_in_a_thread_and_a_class_on_the_event_loop() -> None:
    threads = {}

    class OnLoop:
        def __init__(self) -> None:
            threads["class"] = threading.current_thread()

    def blocking() -> Pool:
        threads["def"] = threading.current_thread()
        return Pool()

    app = nexus.create_nexus(NexusConfig())
    app.provide(OnLoop, OnLoop)
    app.provide(Pool, blocking)

    @app.workflow
    async def use(*, on_loop: Inject[OnLoop], pool: Inject[Pool]) -> None: ...

    await app.execute_workflow("use")
    assert threads["class"] is threading.main_thread()
    assert threads["def"] is not threading.main_thread()


async def test_what_a_factory_takes_is_resolved_by_type(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)
    desk.app.provide(Repository, Repository)

    @desk.app.workflow
    async def same(*, repository: Inject[Repository], pool: Inject[Pool]) -> bool:
        return repository.pool is pool

    assert (await desk.app.execute_workflow("same")).results is True


async def test_a_default_of_a_factory_stands_in_for_what_nobody_provides(desk: Desk) -> None:
    spare = Pool(99)

    async def repository(pool: Pool = spare, pages: int = 3) -> Repository:
        return Repository(pool)

    desk.app.provide(Repository, repository)

    @desk.app.workflow
    async def number(*, repository: Inject[Repository]) -> int:
        return repository.pool.number

    assert (await desk.app.execute_workflow("number")).results == 99
    desk.app.provide(Pool, desk.open_pool)
    assert (await desk.app.execute_workflow("number")).results == 1


async def test_a_factory_may_take_the_run_that_it_is_for(desk: Desk) -> None:
    async def pool_of(run: Run) -> Pool:
        return Pool(len(run.principal.id))

    def repository_of(pool: Pool, run: BlockingRun) -> Repository:
        return Repository(Pool(pool.number + len(run.principal.id)))

    desk.app.provide(Pool, pool_of, per="run")
    desk.app.provide(Repository, repository_of)

    @desk.app.workflow
    async def number(*, repository: Inject[Repository]) -> int:
        return repository.pool.number

    assert (await desk.app.execute_workflow("number", principal=Principal(id="ada"))).results == 6


async def test_two_of_one_class_are_told_apart_by_a_new_type() -> None:
    app = nexus.create_nexus(NexusConfig())
    Replica = NewType("Replica", Pool)
    app.provide(Pool, lambda: Pool(1))
    app.provide(Replica, lambda: Pool(2))

    @app.workflow
    async def numbers(*, pool: Inject[Pool], replica: Inject[Replica]) -> list[int]:
        return [pool.number, replica.number]

    assert (await app.execute_workflow("numbers")).results == [1, 2]


async def test_what_would_be_locked_for_good_is_refused() -> None:
    app = nexus.create_nexus(NexusConfig())
    app.provide(anyio.CapacityLimiter, lambda: anyio.CapacityLimiter(1))

    @app.workflow
    async def use(*, limiter: Inject[anyio.CapacityLimiter]) -> None: ...

    error = await failure_of(app.execute_workflow("use"))
    assert isinstance(error, nexus.RegistrationError)
    assert "write a function with `yield CapacityLimiter(…)`" in str(error)


# ---- override


async def test_a_fake_is_had_inside_the_with_and_the_real_one_afterwards(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="app")
    outer, inner = Pool(10), Pool(20)

    @desk.app.workflow
    async def number(*, pool: Inject[Pool], run: Run) -> int:
        assert await run.get(Pool) is pool
        return pool.number

    async def had() -> int:
        found: int = (await desk.app.execute_workflow("number")).results
        return found

    async with desk.app:
        assert await had() == 1
        with desk.app.override(Pool, outer):
            assert await had() == 10
            with desk.app.override(Pool, inner):
                assert await had() == 20
            assert await had() == 10
        assert await had() == 1
    assert desk.log == ["open 1", "close 1"]


async def test_the_real_one_is_back_when_the_with_is_left_by_an_error(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)

    @desk.app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    with pytest.raises(LookupError), desk.app.override(Pool, Pool(10)):
        raise LookupError
    assert (await desk.app.execute_workflow("number")).results == 1


async def test_a_fake_stands_in_for_what_nobody_provides() -> None:
    app = nexus.create_nexus(NexusConfig())

    @app.workflow
    async def number(*, pool: Inject[Pool]) -> int:
        return pool.number

    with app.override(Pool, Pool(10)):
        async with app:
            assert (await app.execute_workflow("number")).results == 10


async def test_what_was_made_with_a_fake_is_not_had_afterwards_nor_what_was_made_before_inside(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool, per="app")
    desk.app.provide(Repository, Repository, per="app")

    @desk.app.workflow
    async def number(*, repository: Inject[Repository]) -> int:
        return repository.pool.number

    async def had() -> int:
        found: int = (await desk.app.execute_workflow("number")).results
        return found

    async with desk.app:
        with desk.app.override(Pool, Pool(10)):
            assert await had() == 10
        assert await had() == 1
        with desk.app.override(Pool, Pool(20)):
            assert await had() == 20
        assert await had() == 1


# ---- what can't be


async def test_what_nobody_provides_is_told_when_the_application_starts() -> None:
    app = nexus.create_nexus(NexusConfig())
    app.provide(Repository, Repository)

    @app.workflow
    async def use(*, lock: Inject[anyio.Lock], repository: Inject[Repository]) -> None: ...

    with pytest.raises(nexus.RegistrationError) as caught:
        async with app:
            pass
    assert "step 'use' takes Lock, which nobody provides; say app.provide(Lock, …)" in str(caught.value)
    assert "Repository: parameter 'pool' takes Pool, which nobody provides; say app.provide(Pool, …)" in str(caught.value)
    assert not app.started


@pytest.mark.parametrize("something_else", [False, True])
async def test_what_nobody_provides_is_told_at_the_first_call(something_else: bool) -> None:
    app = nexus.create_nexus(NexusConfig())
    if something_else:
        app.provide(Pool, Pool)

    @app.workflow
    async def by_parameter(*, lock: Inject[anyio.Lock]) -> None: ...

    @app.workflow
    async def by_run(*, run: Run) -> None:
        await run.get(anyio.Lock)

    for name in ("by_parameter", "by_run"):
        error = await failure_of(app.execute_workflow(name))
        assert isinstance(error, nexus.RegistrationError)
        assert f"step {name!r} of {name!r} takes Lock, which nobody provides; say app.provide(Lock, …)" in str(error)


async def test_only_exactly_that_type_is_had() -> None:
    class SpecialPool(Pool): ...

    app = nexus.create_nexus(NexusConfig())
    app.provide(SpecialPool, SpecialPool)

    @app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    assert isinstance(await failure_of(app.execute_workflow("use")), nexus.RegistrationError)


class Chicken:
    def __init__(self, egg: Egg) -> None: ...


class Egg:
    def __init__(self, chicken: Chicken) -> None: ...


def test_a_cycle_is_told_where_it_is_closed() -> None:
    app = nexus.create_nexus(NexusConfig())
    app.provide(Chicken, Chicken)
    with pytest.raises(nexus.RegistrationError, match="Egg -> Chicken -> Egg"):
        app.provide(Egg, Egg)


def test_a_dependency_that_needs_itself_is_refused() -> None:
    def wrapped(pool: Pool) -> Pool:
        return pool

    with pytest.raises(nexus.RegistrationError, match="Pool -> Pool"):
        nexus.create_nexus(NexusConfig()).provide(Pool, wrapped)


@pytest.mark.parametrize(("long", "short"), [("app", "session"), ("app", "run"), ("session", "step"), ("run", "step")])
@pytest.mark.parametrize("long_first", [False, True])
def test_nothing_may_need_what_is_closed_before_it(long: Any, short: Any, long_first: bool) -> None:
    app = nexus.create_nexus(NexusConfig())
    provided: list[Callable[[], None]] = [
        lambda: app.provide(Pool, Pool, per=short),
        lambda: app.provide(Repository, Repository, per=long),
    ]
    first, second = reversed(provided) if long_first else provided
    first()
    with pytest.raises(
        nexus.RegistrationError, match=f"Repository is per='{long}' and takes Pool, which is per='{short}' and closed before it"
    ):
        second()


def takes_no_type(pool) -> Pool:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return Pool()


def takes_run(run: Run) -> Pool:
    return Pool()


async def takes_run_on_the_loop(run: Run) -> Pool:
    return Pool()


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("pool", Pool), {}, "the first is a type"),
        ((Pool, Pool()), {}, "write `lambda: …` around what is there"),
        ((Pool, Pool), {"per": "request"}, "use one of 'step', 'run', 'session', 'app'"),
        ((Pool, Pool), {"health": made_by_coroutine}, "say per='app'"),
        ((Pool, takes_no_type), {}, "parameter 'pool' has no type"),
        ((Pool, takes_run), {}, "takes `BlockingRun`, not `Run`"),
        ((Pool, takes_run_on_the_loop), {"per": "app"}, "outlives a run"),
        ((Run, takes_run_on_the_loop), {}, "a parameter `run: Run` is enough"),
    ],
)
def test_what_can_not_be_provided_says_so(arguments: tuple[Any, Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises(nexus.RegistrationError) as caught:
        nexus.create_nexus(NexusConfig()).provide(*arguments, **options)
    assert text in str(caught.value)


def test_a_type_is_provided_once_but_for_a_cell_that_runs_again() -> None:
    app = nexus.create_nexus(NexusConfig())
    app.provide(Entered, made_by_coroutine)
    app.provide(Entered, made_by_coroutine, per="run")
    with pytest.raises(nexus.RegistrationError, match=r"Entered is provided already, by .*made_by_coroutine"):
        app.provide(Entered, made_by_async_generator)


async def with_default(pool: Inject[Pool] = Pool()) -> None: ...  # noqa: B008


async def with_none(pool: Inject[Pool] | None) -> None: ...


@pytest.mark.parametrize(("function", "text"), [(with_default, "its default would never be taken"), (with_none, "Inject inside")])
def test_a_parameter_that_may_have_no_dependency_is_refused(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(nexus.RegistrationError, match=text):
        nexus.create_nexus(NexusConfig()).register(function)


async def test_a_run_that_was_kept_past_its_end_opens_nothing(desk: Desk) -> None:
    desk.app.provide(Pool, desk.open_pool)
    kept: list[Run] = []

    @desk.app.workflow
    async def keep(*, run: Run) -> None:
        await run.get(Pool)
        kept.append(run)

    await desk.app.execute_workflow("keep")
    with pytest.raises(UnavailableError, match="per='step', and the step has ended"):
        await kept[0].get(Pool)
