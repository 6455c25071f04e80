"""Runs contenders in turn, round after round, and keeps what each round cost."""

from __future__ import annotations

import gc
import importlib
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import perf_counter, process_time
from typing import Any, Literal, TypeVar

import attrs

T = TypeVar("T")

Role = Literal["ours", "peer", "floor", "beside"]
"""`floor`: does less than the work, to show what the rest costs. `beside`: ours too, stated but not compared."""


def _same(value: T) -> T:
    return value


@attrs.frozen(kw_only=True)
class Work:
    """
    A contender that is ready.

    Attributes:
        unit: Does the work once. Only this is timed.
        write: Gives the input as this contender takes it.
        read: Gives the output as all contenders have it, from what `unit` returned; raises where it was refused.
    """

    unit: Callable[[Any], Awaitable[Any]]
    write: Callable[[Any], Any] = _same
    read: Callable[[Any], Any] = _same


@attrs.frozen
class Contender:
    """
    Something that does the work of a benchmark.

    Attributes:
        target: `module:function` in `benchmarks.contenders`, imported only when it runs; an async context manager of a `Work`.
        options: What the function is given.
    """

    name: str
    role: Role
    target: str
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def prepare(self) -> AbstractAsyncContextManager[Work]:
        """Import it, and return what makes it ready."""
        module, _, function = self.target.partition(":")
        factory: Callable[..., AbstractAsyncContextManager[Work]]
        factory = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)
        return factory(**self.options)


@attrs.frozen(kw_only=True)
class Benchmark:
    """
    The same work, for each contender.

    Attributes:
        unit: What the figures are shown in.
        clock: `cpu`: processor time of this process, which a busy machine hardly changes. `wall`: for whole processes.
        goal: What ours should cost, in words.
        value: The input of that number; all differ.
        expected: The output of that number.
        wrong: An input that all but the floors must refuse, where the work includes checking it.
        rounds: How often each contender has its turn.
        batches: A round's figure is the smallest of that many batches.
        batch_s: Seconds that a batch should take; 0 is one unit a batch.
        pieces: What a unit does so many of; figures are of one of them.
    """

    name: str
    title: str
    unit: Literal["µs", "ms"]
    goal: str
    contenders: Sequence[Contender]
    value: Callable[[int], Any]
    expected: Callable[[int], Any]
    wrong: Any = None
    clock: Literal["cpu", "wall"] = "cpu"
    rounds: int = 9
    batches: int = 10
    batch_s: float = 0.02
    pieces: int = 1


@attrs.frozen(kw_only=True)
class Row:
    """What a contender cost: seconds a unit, a figure a round."""

    name: str
    role: Role
    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        """The smallest of the rounds."""
        return min(self.rounds)

    @property
    def spread(self) -> float:
        """From the tenth to the ninetieth percentile of the rounds, as a part of the median."""
        if len(self.rounds) < 2:
            return 0.0
        deciles = statistics.quantiles(self.rounds, n=10, method="inclusive")
        return (deciles[-1] - deciles[0]) / self.median


@attrs.frozen(kw_only=True)
class Outcome:
    """
    A benchmark that has run.

    Attributes:
        absent: Contenders that are not installed, and the module that was missing.
    """

    benchmark: Benchmark
    rows: Sequence[Row]
    absent: Mapping[str, str]

    @property
    def ours(self) -> Row | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.role == "ours"), None)

    def ratio(self, row: Row) -> float | None:
        """Return what ours costs of what that row costs."""
        return None if self.ours is None else self.ours.median / row.median


class WrongOutputError(Exception):
    """A contender did not do the work; its figure would mean nothing."""


@attrs.define(eq=False)
class _Entrant:
    """A contender at work: its next number, and how many units make a batch."""

    contender: Contender
    benchmark: Benchmark
    work: Work
    number: int = 1
    count: int = 1
    figures: list[float] = attrs.field(factory=list)

    async def batch(self, count: int) -> float:
        """Do that many units, check the last one's output, and return the seconds a unit."""
        inputs = [self.work.write(self.benchmark.value(number)) for number in range(self.number, self.number + count)]
        self.number += count
        unit, output = self.work.unit, None
        clock = process_time if self.benchmark.clock == "cpu" else perf_counter
        started = clock()
        for value in inputs:
            output = await unit(value)
        took = clock() - started
        expected, actual = self.benchmark.expected(self.number - 1), self.work.read(output)
        if actual != expected:
            raise WrongOutputError(f"{self.benchmark.name}, {self.contender.name}: expected {expected!r}, got {actual!r}")
        return took / count / self.benchmark.pieces

    async def refuse(self) -> None:
        """Check that it checks."""
        try:
            output = self.work.read(await self.work.unit(self.work.write(self.benchmark.wrong)))
        except Exception:  # noqa: BLE001 - each refuses in its own way
            return
        raise WrongOutputError(f"{self.benchmark.name}, {self.contender.name}: took {self.benchmark.wrong!r} and said {output!r}")

    async def calibrate(self) -> None:
        """Find how many units fill a batch; warms up too."""
        while await self.batch(self.count) * self.count * self.benchmark.pieces < self.benchmark.batch_s / 2:
            self.count *= 2

    async def round(self) -> None:
        """Take a turn."""
        gc.collect()
        self.figures.append(min([await self.batch(self.count) for _ in range(self.benchmark.batches)]))


async def measure(benchmark: Benchmark) -> Outcome:
    """
    Run all contenders that are installed, interleaved.

    Raises:
        WrongOutputError: One did not do the work, or did not check its input.
    """
    entrants: list[_Entrant] = []
    absent: dict[str, str] = {}
    async with AsyncExitStack() as exit_stack:
        for contender in benchmark.contenders:
            try:
                work = await exit_stack.enter_async_context(contender.prepare())
            except ModuleNotFoundError as error:
                missing = error.name or ""
                if missing.partition(".")[0] in {"benchmarks", "nexus"}:
                    raise
                absent[contender.name] = missing
                continue
            entrant = _Entrant(contender, benchmark, work)
            await entrant.batch(1)
            if benchmark.wrong is not None and contender.role != "floor":
                await entrant.refuse()
            await entrant.calibrate()
            entrants.append(entrant)
        gc.freeze()  # else what one contender imported makes each collection dearer for the others
        for _ in range(benchmark.rounds):
            for entrant in entrants:
                await entrant.round()
        gc.unfreeze()
    rows = [Row(name=entrant.contender.name, role=entrant.contender.role, rounds=entrant.figures) for entrant in entrants]
    return Outcome(benchmark=benchmark, rows=rows, absent=absent)
