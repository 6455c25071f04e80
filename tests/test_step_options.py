"""What a step may be told: retries, order, conditions, failures of items, where it runs, what it yields."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

import nexus
from nexus import (
    DeadlineExceededError,
    Nexus,
    Problem,
    RegistrationError,
    Retry,
    Run,
    RunRecord,
    StepFailure,
    Workflow,
    WorkflowFailedError,
)
from nexus.abc import Interaction
from nexus.models import Event, Question, Scope
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


def app_of(*what: Workflow | Callable[..., Any], **options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(*what)
    return app


async def record_of(app: Nexus) -> RunRecord:
    """Return the record of the only run."""
    page = await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)
    (record,) = page.items
    return record


async def rows_of(app: Nexus) -> dict[str, tuple[str, int]]:
    """Return what became of each step of the only run, and how often it was tried."""
    return {step.name: (step.status, step.attempts) for step in (await record_of(app)).steps}


class Flaky:
    """Fails a number of times, then succeeds."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or OSError("not yet")
        self.calls: list[float] = []

    def __call__(self, now: float) -> str:
        self.calls.append(now)
        if len(self.calls) <= self.failures:
            raise self.error
        return "done"


class TestRetry:
    async def test_what_fails_is_tried_again_after_a_while_that_grows(self) -> None:
        clock, flaky = FakeClock(), Flaky(3)

        @nexus.workflow(retry=Retry(attempts=4, on=OSError, wait=timedelta(seconds=1), max_wait=timedelta(seconds=3)))
        async def fetch() -> str:
            return flaky(clock.monotonic())

        app = app_of(fetch, clock=clock)
        results: list[str] = []
        async with anyio.create_task_group() as group:

            async def call() -> None:
                results.append((await app.execute_workflow(fetch)).results)

            group.start_soon(call)
            await clock.advance(20)
        waits = [after - before for before, after in zip(flaky.calls, flaky.calls[1:], strict=False)]
        assert results == ["done"]
        assert len(waits) == 3
        assert all(0.5 <= wait <= most for most, wait in zip((1, 2, 3), waits, strict=True))
        assert await rows_of(app) == {"fetch": ("succeeded", 4)}

    async def test_after_the_last_attempt_its_failure_is_the_runs(self) -> None:
        flaky = Flaky(9)

        @nexus.workflow(retry=Retry(attempts=3, wait=timedelta()))
        async def fetch() -> str:
            return flaky(0)

        app = app_of(fetch)
        with pytest.raises(WorkflowFailedError) as caught:
            await app.execute_workflow(fetch)
        assert caught.value.__cause__ is flaky.error
        assert await rows_of(app) == {"fetch": ("failed", 3)}

    @pytest.mark.parametrize("error", [ValueError("of another kind"), Problem("conflict", "an answer")])
    async def test_what_is_not_worth_it_is_tried_once(self, error: Exception) -> None:
        flaky = Flaky(9, error)

        @nexus.workflow(retry=Retry(on=OSError if isinstance(error, ValueError) else Exception))
        async def fetch() -> str:
            return flaky(0)

        with pytest.raises(nexus.NexusError):
            await app_of(fetch).execute_workflow(fetch)
        assert len(flaky.calls) == 1

    async def test_each_attempt_has_the_whole_time(self) -> None:
        clock, attempts = FakeClock(), []

        @nexus.workflow(retry=Retry(attempts=2, wait=timedelta()), timeout=10)
        async def slow() -> str:
            attempts.append(clock.monotonic())
            if len(attempts) == 1:
                await anyio.sleep_forever()
            await clock.sleep(9)
            return "done"

        app = app_of(slow, clock=clock)
        async with anyio.create_task_group() as group:
            group.start_soon(app.execute_workflow, slow)
            await clock.advance(30)
        assert attempts == [0.0, 10.0]
        assert (await record_of(app)).output == "done"

    async def test_a_run_that_is_cancelled_is_not_tried_again(self) -> None:
        clock, flaky = FakeClock(), Flaky(9)

        @nexus.workflow(retry=Retry(attempts=9, wait=timedelta(seconds=60)))
        async def fetch() -> str:
            return flaky(0)

        app = app_of(fetch, clock=clock)
        async with app:
            handle = await app.submit_workflow(fetch)
            await clock.advance(1)
            assert (await handle.cancel()).status == "cancelled"
            await clock.advance(1000)
        assert len(flaky.calls) == 1

    async def test_items_are_tried_each_by_itself(self) -> None:
        calls: list[int] = []

        @nexus.workflow(each="number", retry=Retry(attempts=2, wait=timedelta()))
        async def twice(number: int) -> int:
            calls.append(number)
            if calls.count(number) == 1 and number == 2:
                raise OSError
            return 2 * number

        app = app_of(twice)
        assert (await app.execute_workflow(twice, {"number": [1, 2, 3]})).results == [2, 4, 6]
        assert await rows_of(app) == {
            "twice[0]": ("succeeded", 1),
            "twice[1]": ("succeeded", 2),
            "twice[2]": ("succeeded", 1),
        }

    @pytest.mark.parametrize(
        "wrong", [{"attempts": 0}, {"attempts": True}, {"on": int}, {"on": ()}, {"wait": 3}, {"max_wait": timedelta(-1)}]
    )
    def test_a_wrong_option_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(RegistrationError, match=next(iter(wrong))):
            Retry(**wrong)


def branching() -> Workflow:
    workflow = Workflow("branching", output="report")

    @workflow.step
    async def score(start: int) -> int:
        return start

    @workflow.step(when=lambda score: score > 5)
    async def praise(score: int) -> str:
        return f"{score} is great"

    @workflow.step
    async def louder(praise: str) -> str:
        return praise.upper()

    @workflow.step(when=lambda score, start: score == start and score <= 5)
    async def comfort(score: int) -> str:
        return f"{score} is fine"

    @workflow.step
    async def report(louder: str = "", comfort: str = "") -> str:
        return louder or comfort

    return workflow


class TestConditions:
    @pytest.mark.parametrize(("start", "told"), [(9, "9 IS GREAT"), (3, "3 is fine")])
    async def test_one_branch_is_taken_and_a_default_stands_in_for_the_other(self, start: int, told: str) -> None:
        assert (await app_of(branching()).execute_workflow("branching", {"start": start})).results == told

    async def test_a_skipped_step_and_what_needs_it_are_recorded_as_skipped(self) -> None:
        app = app_of(branching())
        await app.execute_workflow("branching", {"start": 3})
        assert await rows_of(app) == {
            "score": ("succeeded", 1),
            "praise": ("skipped", 0),
            "louder": ("skipped", 0),
            "comfort": ("succeeded", 1),
            "report": ("succeeded", 1),
        }

    async def test_a_result_that_was_skipped_is_none(self) -> None:
        @nexus.workflow(when=lambda number: number > 0)
        async def positive(number: int) -> int:
            return number

        app = app_of(positive)
        assert (await app.execute_workflow(positive, {"number": 3})).results == 3
        assert (await app.execute_workflow(positive, {"number": -3})).results is None

    async def test_a_condition_that_fails_fails_the_run(self) -> None:
        @nexus.workflow(when=lambda number: 1 / number > 0)
        async def inverse(number: int) -> int:
            return number

        app = app_of(inverse)
        with pytest.raises(WorkflowFailedError) as caught:
            await app.execute_workflow(inverse, {"number": 0})
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        (step,) = (await record_of(app)).steps
        assert (step.status, step.error) == ("failed", "when=: ZeroDivisionError: division by zero")

    async def test_a_fan_out_over_what_was_skipped_is_skipped(self) -> None:
        workflow = Workflow("scan", output="one")

        @workflow.step(when=lambda wanted: wanted)
        async def rows(wanted: bool) -> list[int]:
            return [1, 2]

        @workflow.step(each={"row": "rows"})
        async def one(row: int) -> int:
            return row + 1

        app = app_of(workflow)
        assert (await app.execute_workflow(workflow, {"wanted": True})).results == [2, 3]
        assert (await app.execute_workflow(workflow, {"wanted": False})).results is None


async def test_after_puts_steps_in_order_though_nothing_is_taken() -> None:
    ran: list[str] = []
    workflow = Workflow("ordered", output="second")

    @workflow.step
    async def first() -> int:
        await anyio.sleep(0.01)
        ran.append("first")
        return 1

    @workflow.step(after="first")
    async def second() -> int:
        ran.append("second")
        return 2

    assert (await app_of(workflow).execute_workflow(workflow)).results == 2
    assert ran == ["first", "second"]
    assert "first -.-> second" in workflow.mermaid()


async def test_after_a_skipped_step_comes_what_only_waited_for_it() -> None:
    workflow = Workflow("ordered", output="second")

    @workflow.step(when=lambda wanted: wanted)
    async def first(wanted: bool) -> int:
        return 1

    @workflow.step(after=["first"])
    async def second() -> int:
        return 2

    assert (await app_of(workflow).execute_workflow(workflow, {"wanted": False})).results == 2


class TestFailingItems:
    def workflow(self, on_error: Any) -> Callable[..., Any]:
        @nexus.workflow(each="number", on_error=on_error)
        async def inverse(number: int) -> float:
            if number == 7:
                raise Problem("conflict", "seven is taken")
            return 1 / number

        return inverse

    async def test_the_first_failure_ends_the_run(self) -> None:
        inverse = self.workflow("fail")
        with pytest.raises(WorkflowFailedError):
            await app_of(inverse).execute_workflow(inverse, {"number": [1, 0, 2]})

    async def test_what_failed_may_be_left_out(self) -> None:
        inverse = self.workflow("skip")
        app = app_of(inverse)
        assert (await app.execute_workflow(inverse, {"number": [1, 0, 2]})).results == [1.0, 0.5]
        assert (await rows_of(app))["inverse[1]"] == ("failed", 1)

    async def test_what_failed_may_be_collected_in_its_place(self) -> None:
        inverse = self.workflow("collect")
        app = app_of(inverse)
        assert (await app.execute_workflow(inverse, {"number": [1, 0, 7]})).results == [
            1.0,
            StepFailure(1, "failed", "the step failed; the run's record has the reason"),
            StepFailure(2, "conflict", "seven is taken"),
        ]

    def test_what_is_collected_is_in_the_schema(self) -> None:
        operation = app_of(self.workflow("collect")).operation("inverse")
        assert operation is not None
        assert "StepFailure" in str(operation.output_schema)

    def test_a_follower_of_what_is_collected_says_that_it_takes_failures(self) -> None:
        workflow = Workflow("scan")

        @workflow.step(each="number", on_error="collect")
        async def twice(number: int) -> int:
            return 2 * number

        @workflow.step
        async def total(twice: list[int]) -> int:
            return sum(twice)

        with pytest.raises(RegistrationError, match="StepFailure"):
            app_of(workflow)


class Hearing(Interaction):
    """A caller that hears and can't answer."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def tell(self, event: Event) -> None:
        self.heard.append(event.data.get("value"))

    async def ask(self, question: Question) -> Any:
        raise AssertionError(question)


class TestYielding:
    async def test_a_workflow_that_yields_tells_each_and_returns_all(self) -> None:
        @nexus.workflow
        async def count(limit: int) -> AsyncIterator[int]:
            for number in range(limit):
                yield number

        app, caller = app_of(count), Hearing()
        result = await app.execute_workflow(count, {"limit": 3}, interaction=caller)
        assert (result.results, caller.heard) == ([0, 1, 2], [0, 1, 2])
        operation = app.operation("count")
        assert operation is not None
        assert operation.output_schema == {"type": "array", "items": {"type": "integer"}}

    async def test_a_workflow_may_hand_over_pieces_and_return_something_else(self) -> None:
        @nexus.workflow
        async def count(*, run: Run) -> str:
            await run.chunk({"a": 1})
            return "done"

        caller = Hearing()
        assert (await app_of(count).execute_workflow(count, interaction=caller)).results == "done"
        assert caller.heard == [{"a": 1}]

    async def test_too_many_values_are_refused_and_not_cut(self) -> None:
        @nexus.workflow
        async def count() -> AsyncIterator[int]:
            number = 0
            while True:
                yield number
                number += 1

        app = nexus.create_nexus(nexus.NexusConfig(max_chunks=100))
        app.register(count)
        with pytest.raises(Problem, match="more than 100 values") as caught:
            await app.execute_workflow(count)
        assert caught.value.code == "payload_too_large"

    async def test_a_fan_out_begins_with_the_first_item(self) -> None:
        seen = anyio.Event()
        workflow = Workflow("pipe", output="total")

        @workflow.step
        async def rows() -> AsyncIterator[int]:
            yield 1
            await seen.wait()
            yield 2

        @workflow.step(each={"row": "rows"}, limit=2)
        async def twice(row: int) -> int:
            seen.set()
            return 2 * row

        @workflow.step
        async def total(twice: list[int], rows: list[int]) -> int:
            return sum(twice) + sum(rows)

        app = app_of(workflow)
        with anyio.fail_after(5):
            assert (await app.execute_workflow(workflow)).results == 9
        assert set(await rows_of(app)) == {"rows", "twice[0]", "twice[1]", "total"}

    async def test_no_more_is_taken_than_can_be_worked_on(self) -> None:
        taken: list[int] = []
        workflow = Workflow("pipe", output="first")
        go_on = anyio.Event()

        @workflow.step
        async def rows() -> AsyncIterator[int]:
            for number in range(100):
                taken.append(number)
                yield number

        @workflow.step(each={"row": "rows"}, limit=2)
        async def first(row: int) -> int:
            await go_on.wait()
            return row

        app = app_of(workflow)
        async with anyio.create_task_group() as group:
            group.start_soon(app.execute_workflow, workflow)
            await anyio.wait_all_tasks_blocked()
            assert taken == [0, 1, 2]
            go_on.set()
        assert (await record_of(app)).output == list(range(100))

    @pytest.mark.parametrize("failing", ["rows", "twice"])
    async def test_a_failure_stops_both_ends(self, failing: str) -> None:
        cleaned_up: list[str] = []
        workflow = Workflow("pipe")

        @workflow.step
        async def rows() -> AsyncIterator[int]:
            try:
                yield 1
                if failing == "rows":
                    raise OSError("no more")
                yield 2
                yield 3
            finally:
                cleaned_up.append("rows")

        @workflow.step(each={"row": "rows"}, limit=1)
        async def twice(row: int) -> int:
            if failing == "twice":
                raise OSError("no more")
            return row

        app = app_of(workflow)
        with pytest.raises(WorkflowFailedError) as caught:
            await app.execute_workflow(workflow)
        assert isinstance(caught.value.__cause__, OSError)
        assert cleaned_up == ["rows"]

    async def test_a_fan_out_that_waits_for_more_takes_the_finished_list(self) -> None:
        workflow = Workflow("pipe")

        @workflow.step
        async def rows() -> AsyncIterator[int]:
            yield 1
            yield 2

        @workflow.step
        async def factor() -> int:
            return 10

        @workflow.step(each={"row": "rows"})
        async def times(row: int, factor: int) -> int:
            return row * factor

        assert (await app_of(workflow).execute_workflow(workflow)).results == [10, 20]

    async def test_a_stream_that_is_skipped_is_skipped_with_its_fan_out(self) -> None:
        workflow = Workflow("pipe")

        @workflow.step(when=lambda wanted: wanted)
        async def rows(wanted: bool) -> AsyncIterator[int]:
            yield 1

        @workflow.step(each={"row": "rows"})
        async def twice(row: int) -> int:
            return 2 * row

        app = app_of(workflow)
        assert (await app.execute_workflow(workflow, {"wanted": False})).results is None
        assert await rows_of(app) == {"rows": ("skipped", 0), "twice": ("skipped", 0)}


def process_id() -> int:
    """Return the process that it runs in."""
    return os.getpid()


def die() -> int:
    """End the process as the kernel would, short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def sleep(marker: Path) -> int:
    """Be there for a while, and say so."""
    marker.write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(60)
    return 1


def make_lock() -> Any:
    """Return what can't be pickled."""
    return threading.Lock()


def fail() -> int:
    """Raise."""
    raise ValueError("in the process")


def is_alive(pid: int) -> bool:
    """Whether there is such a process, which is not a zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - no event comes from there
            await anyio.sleep(0.02)


class TestWhereADefStepRuns:
    async def test_in_line_is_on_the_event_loop(self) -> None:
        @nexus.workflow(run_in="inline")
        def here() -> int:
            return threading.get_ident()

        assert (await app_of(here).execute_workflow(here)).results == threading.get_ident()

    async def test_in_a_process_is_in_another(self) -> None:
        workflow = nexus.workflow(run_in="process")(process_id)
        assert (await app_of(workflow).execute_workflow(workflow)).results != os.getpid()

    async def test_what_it_raises_comes_back(self) -> None:
        workflow = nexus.workflow(run_in="process")(fail)
        with pytest.raises(WorkflowFailedError) as caught:
            await app_of(workflow).execute_workflow(workflow)
        assert repr(caught.value.__cause__) == "ValueError('in the process')"

    async def test_a_process_that_dies_is_a_failure_that_says_so(self) -> None:
        workflow = nexus.workflow(run_in="process")(die)
        with pytest.raises(WorkflowFailedError) as caught:
            await app_of(workflow).execute_workflow(workflow)
        assert str(caught.value.__cause__) == "the process of step 'die' has died: it was killed, or has crashed"

    async def test_a_result_that_can_not_be_pickled_says_so(self) -> None:
        workflow = nexus.workflow(run_in="process")(make_lock)
        with pytest.raises(WorkflowFailedError) as caught:
            await app_of(workflow).execute_workflow(workflow)
        assert "step 'make_lock' runs in a process, so its result must be picklable" in str(caught.value.__cause__)

    async def test_arguments_that_can_not_be_pickled_say_so(self) -> None:
        workflow = Workflow("locked")

        @workflow.step(run_in="inline")
        def value() -> Any:
            return threading.Lock()

        workflow.step(run_in="process")(takes_anything)
        with pytest.raises(WorkflowFailedError) as caught:
            await app_of(workflow).execute_workflow(workflow)
        assert "its function and arguments must be picklable" in str(caught.value.__cause__)

    @pytest.mark.slow
    async def test_a_process_is_stopped_when_its_time_is_over(self, tmp_path: Path) -> None:
        clock, marker = FakeClock(), tmp_path / "pid"
        workflow = nexus.workflow(run_in="process", timeout=30)(sleep)
        app = app_of(workflow, clock=clock)
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(DeadlineExceededError):
                    await app.execute_workflow(workflow, {"marker": marker})

            group.start_soon(call)
            await until(lambda: marker.exists() and bool(marker.read_text(encoding="utf-8")))
            await clock.advance(31)
        pid = int(marker.read_text(encoding="utf-8"))
        await until(lambda: not is_alive(pid))


def takes_anything(value: Any) -> int:
    """Take anything."""
    return 1
