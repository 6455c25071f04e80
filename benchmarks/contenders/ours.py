"""Ours, in-process: the whole way of a request, with a record of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

from benchmarks.harness import Work
from benchmarks.work import chain_source, functions, wide_source
from nexus import Run, Workflow, create_nexus
from nexus.abc import Guard, Interaction
from nexus.config import NexusConfig
from nexus.models import Answers, Call, Event, ExecutionResult, Question


class Passing(Guard):
    """A guard that looks at the call, as the cheapest real one would."""

    async def check(self, call: Call) -> None:
        """Pass."""
        _ = call.operation


class Later(Interaction):
    """A caller that could answer, by another call."""

    answers = Answers.LATER

    async def tell(self, event: Event) -> None:
        """Nobody listens."""

    async def ask(self, question: Question) -> Any:
        """Is not called: this caller does not answer now."""
        raise AssertionError(question)


@asynccontextmanager
async def _executed(workflow: Workflow, interaction: Interaction | None = None) -> AsyncIterator[Work]:
    app = create_nexus(NexusConfig(), guards=[Passing()])
    app.register(workflow)

    async def unit(inputs: Mapping[str, int]) -> ExecutionResult[Any]:
        return await app.execute_workflow(workflow.name, inputs, interaction=interaction)

    async with app:
        yield Work(unit=unit, read=attrgetter("results"))


def _workflow(source: str) -> Workflow:
    workflow = Workflow("sums")
    for step in functions(source).values():
        workflow.step(step)
    return workflow


@asynccontextmanager
async def chain(length: int, define: str = "async def") -> AsyncIterator[Work]:
    """Steps one after another."""
    async with _executed(_workflow(chain_source(length, define))) as work:
        yield work


@asynccontextmanager
async def wide(width: int) -> AsyncIterator[Work]:
    """Steps side by side, and one that needs them all."""
    async with _executed(_workflow(wide_source(width, "async def"))) as work:
        yield work


@asynccontextmanager
async def each(width: int, limit: int) -> AsyncIterator[Work]:
    """One step for each item of a list, so many at a time."""
    workflow = Workflow("sums")

    @workflow.step
    async def items(start: int) -> list[int]:
        return [start + place for place in range(width)]

    @workflow.step(each={"item": "items"}, limit=limit)
    async def summand(item: int) -> int:
        return item

    @workflow.step
    async def total(summand: list[int]) -> int:
        return sum(summand)

    async with _executed(workflow) as work:
        yield work


@asynccontextmanager
async def may_wait() -> AsyncIterator[Work]:
    """One step that could ask, so the runtime carries the run."""
    workflow = Workflow("sums")

    @workflow.step
    async def step(start: int, run: Run) -> int:
        _ = run.id
        return start + 1

    async with _executed(workflow, Later()) as work:
        yield work
