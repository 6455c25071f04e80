"""Random graphs with random failures, delays, retries, fan-outs and cancellations, against a simple model of what they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nexus
from nexus import NexusConfig, Retry, RunRecord, Workflow
from nexus.testing import FakeClock

ITEMS = 3
ENOUGH_S = 500.0


@attrs.frozen
class Step:
    """
    A step of a random graph.

    Attributes:
        needs: Steps before it, whose results it takes.
        over: Of these the one whose result it fans out over, if any.
        failures: How often each call fails before it succeeds.
        attempts: How often it may be tried.
        delay: Seconds that a call takes.
    """

    name: str
    needs: tuple[str, ...]
    over: str | None
    failures: int
    attempts: int
    delay: float
    limit: int

    @property
    def succeeds(self) -> bool:
        return self.failures < self.attempts

    def names(self) -> list[str]:
        """Return the names under which it is recorded."""
        return [self.name] if self.over is None else [f"{self.name}[{number}]" for number in range(ITEMS)]


@st.composite
def graphs(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from([s.name for s in steps]), unique=True, max_size=3)) if steps else []
        steps.append(
            Step(
                name=f"s{chr(97 + number) * 3}",
                needs=tuple(needs),
                over=draw(st.sampled_from([None, *needs])),
                failures=draw(st.sampled_from([0, 0, 0, 1, 2])),
                attempts=draw(st.sampled_from([1, 2, 3])),
                delay=draw(st.sampled_from([0.0, 0.0, 1.0, 2.5])),
                limit=draw(st.integers(1, 3)),
            )
        )
    return steps


@attrs.define(eq=False)
class Happened:
    """What the steps noted themselves: when each call began and ended."""

    clock: FakeClock
    running: int = 0
    began: dict[str, list[int]] = attrs.field(factory=dict)
    ended: dict[str, int] = attrs.field(factory=dict)
    cleaned_up: int = 0
    ticks: int = 0

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks


def workflow_of(steps: list[Step], happened: Happened) -> Workflow:
    workflow = Workflow("random", output=steps[-1].name)
    for step in steps:
        function = partial(carry_out, step, happened)
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=int if name == step.over else list[int])
            for name in step.needs
        ]
        named = as_step(function, step.name, parameters)
        workflow.step(
            each=None if step.over is None else {step.over: step.over},
            limit=step.limit if step.over is not None else None,
            retry=Retry(attempts=step.attempts, wait=timedelta(seconds=0.5)),
        )(named)
    return workflow


def as_step(function: Callable[..., Any], name: str, parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    async def step(**arguments: Any) -> Any:
        return await function(arguments)

    step.__name__ = step.__qualname__ = name
    step.__signature__ = inspect.Signature(parameters, return_annotation=Any)  # type: ignore[attr-defined]
    return step


async def carry_out(step: Step, happened: Happened, arguments: dict[str, Any]) -> Any:
    """Note what happens; every result, of a fan-out too, is the list of the numbers of its items."""
    number = 0 if step.over is None else int(arguments[step.over])
    name = step.name if step.over is None else f"{step.name}[{number}]"
    happened.began.setdefault(name, []).append(happened.tick())
    happened.running += 1
    try:
        if step.delay:
            await happened.clock.sleep(step.delay)
        if len(happened.began[name]) <= step.failures:
            raise OSError(name)
    finally:
        happened.running -= 1
        happened.ended[name] = happened.tick()
    return list(range(ITEMS)) if step.over is None else number


def check_record(record: RunRecord, steps: list[Step], happened: Happened) -> None:
    rows = {row.name: row for row in record.steps}
    assert len(rows) == len(record.steps), "a step is recorded twice"
    assert set(rows) <= {name for step in steps for name in step.names()}
    by_name = {step.name: step for step in steps}
    for step in steps:
        for name in step.names():
            calls = len(happened.began.get(name, ()))
            row = rows.get(name)
            if row is None:
                assert calls == 0, f"{name} was called and is not recorded"
                continue
            assert row.attempts == max(1, calls) or row.status == "cancelled"
            assert calls <= step.attempts
            if row.status == "succeeded":
                assert calls == step.failures + 1
            if row.status == "failed":
                assert calls == step.attempts
            for needed in step.needs if calls else ():
                for before in by_name[needed].names():
                    assert rows[before].status == "succeeded"
                    assert happened.ended[before] < happened.began[name][0], f"{name} began before {before} had ended"


async def run_to_the_end(steps: list[Step]) -> None:
    clock = FakeClock()
    happened = Happened(clock)
    app = nexus.create_nexus(NexusConfig(), clock=clock)
    app.register(workflow_of(steps, happened))
    async with app:
        handle = await app.submit_workflow("random")
        await clock.advance(ENOUGH_S)
        record = await handle.status()
        assert record.status == ("succeeded" if all(step.succeeds for step in steps) else "failed")
        assert happened.running == 0
        check_record(record, steps, happened)
        if record.status == "succeeded":
            assert {row.status for row in record.steps} == {"succeeded"}
            assert record.output == list(range(ITEMS))
        ticks = happened.ticks
        await clock.advance(ENOUGH_S)
        assert happened.ticks == ticks, "something ran after the end"


async def run_and_cancel(steps: list[Step], after: float) -> None:
    clock = FakeClock()
    happened = Happened(clock)
    app = nexus.create_nexus(NexusConfig(), clock=clock)
    app.register(workflow_of(steps, happened))
    async with app:
        await clock.advance(0)
        idle = len(clock.pending)
        handle = await app.submit_workflow("random")
        await clock.advance(after)
        before = await handle.status()
        record = await handle.cancel()
        assert record.status == (before.status if before.ended else "cancelled")
        assert happened.running == 0
        check_record(record, steps, happened)
        ticks = happened.ticks
        await clock.advance(ENOUGH_S)
        assert happened.ticks == ticks, "something ran after the end"
        assert len(clock.pending) == idle or not record.ended


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=150, deadline=None)
@given(steps=graphs())
def test_a_random_graph_does_what_the_model_says(backend: str, steps: list[Step]) -> None:
    anyio.run(run_to_the_end, steps, backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=150, deadline=None)
@given(steps=graphs(), after=st.floats(0, 12))
def test_a_random_graph_that_is_cancelled_at_any_moment_stops_there(backend: str, steps: list[Step], after: float) -> None:
    anyio.run(run_and_cancel, steps, after, backend=backend)
