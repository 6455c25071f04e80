"""A workflow run once for each row of inputs."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

import nexus
from nexus import (
    InvalidArgumentError,
    Nexus,
    Principal,
    Problem,
    Run,
    StepFailure,
    UnavailableError,
    WorkflowFailedError,
    WorkflowNotFoundError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig())

    @app.workflow
    async def double(number: int) -> int:
        if number == 13:
            raise Problem("conflict", "unlucky")
        if number == 99:
            raise ValueError("secret")
        return 2 * number

    return app


def rows(*numbers: Any) -> list[dict[str, Any]]:
    return [{"number": number} for number in numbers]


async def in_turn(*numbers: Any) -> AsyncIterator[dict[str, Any]]:
    for number in numbers:
        await anyio.lowlevel.checkpoint()
        yield {"number": number}


class Gate:
    """A workflow that holds its runs, and rows that note which were taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.running: set[int] = set()
        self.open: dict[int, anyio.Event] = {}
        self.app = nexus.create_nexus(nexus.NexusConfig())
        self.app.workflow(self.hold())

    def hold(self) -> Any:
        async def hold(number: int) -> int:
            self.running.add(number)
            self.open[number] = anyio.Event()
            try:
                await self.open[number].wait()
            finally:
                self.running.remove(number)
            return number

        return hold

    def rows(self) -> Iterator[dict[str, int]]:
        number = 0
        while True:
            self.taken.append(number)
            yield {"number": number}
            number += 1

    async def rows_in_turn(self) -> AsyncIterator[dict[str, int]]:
        for row in self.rows():
            yield row


@pytest.mark.parametrize("given", [rows, lambda *numbers: iter(rows(*numbers)), in_turn])
async def test_the_results_are_in_the_order_of_the_rows(app: Nexus, given: Any) -> None:
    @app.workflow
    async def after_the_next(number: int, of: int) -> int:
        there[number].set()
        if number + 1 < of:
            await there[number + 1].wait()
        return number

    there = [anyio.Event() for _ in range(10)]
    with anyio.fail_after(5):
        assert await app.map("double", given(*range(20, 90))) == [2 * number for number in range(20, 90)]
        assert await app.map(after_the_next, [{"number": number, "of": 10} for number in range(10)]) == list(range(10))
        assert await app.map("double", given()) == []


@pytest.mark.parametrize("endless", ["rows", "rows_in_turn"])
async def test_a_row_is_taken_only_when_it_can_be_run(endless: str) -> None:
    gate = Gate()
    async with anyio.create_task_group() as group:

        async def map_all() -> None:
            await gate.app.map("hold", getattr(gate, endless)(), limit=3)

        group.start_soon(map_all)
        await anyio.wait_all_tasks_blocked()
        assert (gate.taken, gate.running) == ([0, 1, 2], {0, 1, 2})
        gate.open[1].set()
        await anyio.wait_all_tasks_blocked()
        assert (gate.taken, gate.running) == ([0, 1, 2, 3], {0, 2, 3})
        group.cancel_scope.cancel()
    assert gate.running == set()


async def test_endless_rows_of_a_workflow_that_waits_for_nothing_let_others_go_on(app: Nexus) -> None:
    def endless() -> Iterator[dict[str, int]]:
        while True:
            yield {"number": 1}

    async with anyio.create_task_group() as group:
        group.start_soon(app.map, "double", endless())
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("given", [rows, in_turn])
async def test_skip_leaves_out_the_rows_that_fail(app: Nexus, given: Any) -> None:
    assert await app.map("double", given(1, 13, "x", 99, 2), on_error="skip") == [2, 4]


@pytest.mark.parametrize("given", [rows, in_turn])
async def test_collect_says_in_the_place_of_a_row_why_it_failed(app: Nexus, given: Any) -> None:
    one, unlucky, wrong, failed = await app.map("double", given(1, 13, "x", 99), on_error="collect")
    assert (one, unlucky) == (2, StepFailure(1, "conflict", "unlucky"))
    assert (wrong.index, wrong.code) == (2, "invalid_argument")
    assert (failed.index, failed.code, "secret" in failed.message) == (3, "failed", False)


@pytest.mark.parametrize("given", [rows, in_turn])
async def test_the_first_failure_cancels_the_others_and_is_raised_alone(app: Nexus, given: Any) -> None:
    cancelled: list[int] = []

    @app.workflow
    async def one_fails(number: int) -> None:
        if number == 3:
            raise ValueError("no")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append(number)
            raise

    with anyio.fail_after(5), pytest.raises(WorkflowFailedError) as caught:
        await app.map(one_fails, given(0, 1, 2, 3, 4), limit=4)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__notes__ == ["row 3 of the rows that were mapped"]
    assert sorted(cancelled) == [0, 1, 2]


@pytest.mark.parametrize("on_error", ["fail", "skip", "collect"])
async def test_what_no_row_is_to_blame_for_is_raised_in_any_case(app: Nexus, on_error: Any) -> None:
    with pytest.raises(WorkflowNotFoundError, match="there is no operation 'duble'; did you mean 'double'"):
        await app.map("duble", rows(1, 2), on_error=on_error)
    with pytest.raises(WorkflowNotFoundError, match="not registered"):
        await app.map(print, rows(1), on_error=on_error)
    with pytest.raises(WorkflowNotFoundError, match="this is an operation; use dispatch"):
        await app.map("workflows.list", [{}], on_error=on_error)
    async with app:
        app.stop_accepting()
        with pytest.raises(UnavailableError, match="stopping"):
            await app.map("double", rows(1), on_error=on_error)


@pytest.mark.parametrize("on_error", ["fail", "skip"])
async def test_what_the_rows_raise_is_raised_alone(app: Nexus, on_error: Any) -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise LookupError("no more")

    async def broken_in_turn() -> AsyncIterator[dict[str, int]]:
        for row in broken():
            yield row

    for given in (broken(), broken_in_turn()):
        with pytest.raises(LookupError, match="no more"):
            await app.map("double", given, on_error=on_error)


async def test_an_async_generator_is_taken_by_one_task_and_closed_by_it(app: Nexus) -> None:
    tasks: set[int] = set()

    async def scoped() -> AsyncIterator[dict[str, int]]:
        with anyio.CancelScope():
            try:
                for number in (1, 13, 2, 3):
                    await anyio.lowlevel.checkpoint()
                    tasks.add(anyio.get_current_task().id)
                    yield {"number": number}
            finally:
                tasks.add(anyio.get_current_task().id)
                closed.append(True)

    closed: list[bool] = []
    assert await app.map("double", scoped(), on_error="skip", limit=2) == [2, 4, 6]
    with pytest.raises(Problem):
        await app.map("double", scoped(), limit=1)
    assert (tasks, closed) == ({anyio.get_current_task().id}, [True, True])


async def test_a_row_is_a_mapping_of_inputs(app: Nexus) -> None:
    with pytest.raises(InvalidArgumentError, match="row 1 is int, not a mapping of inputs by name"):
        await app.map("double", [{"number": 1}, 2])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not iterable"):
        await app.map("double", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": 0}, "use 1 or more"), ({"limit": True}, "use 1 or more"), ({"on_error": "stop"}, "'fail', 'skip', 'collect'")],
)
async def test_an_option_that_can_not_be_is_told(app: Nexus, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await app.map("double", [], **options)


async def test_the_runs_are_in_the_name_that_is_given_or_of_the_run_that_maps(app: Nexus) -> None:
    @app.workflow
    async def who(*, run: Run) -> str:
        return run.principal.id

    @app.workflow
    async def both() -> list[str]:
        return [*await app.map(who, [{}]), *await app.map(who, [{}], principal=Principal(id="bob"))]

    assert await app.map(both, [{}], principal=Principal(id="ada")) == [["ada", "bob"]]


def test_without_an_event_loop_the_rows_are_taken_in_the_thread_that_calls(app: Nexus) -> None:
    threads: set[int] = set()

    def rows_of_thread() -> Iterator[dict[str, int]]:
        for number in (1, 13, 2):
            threads.add(threading.get_ident())
            yield {"number": number}

    with nexus.sync(app) as desk:
        assert desk.map("double", rows_of_thread(), on_error="skip", limit=1) == [2, 4]
        assert desk.map("double", ({"number": desk.execute_workflow("double", row).results} for row in rows(1, 2))) == [4, 8]
        with pytest.raises(Problem, match="unlucky"):
            desk.map("double", rows_of_thread(), limit=1)
    assert threads == {threading.get_ident()}


def test_without_an_event_loop_what_the_rows_raise_cancels_the_runs() -> None:
    gate = Gate()

    def broken() -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise LookupError("no more")

    with nexus.sync(gate.app) as desk:
        with pytest.raises(LookupError, match="no more"):
            desk.map("hold", broken())
        assert gate.running == set()
