"""A workflow that holds whatever a run can hold, and the notes by which a test sees that a cancelled run has let go of it."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import attrs

import nexus
from nexus import BlockingRun, Inject, Nexus, NexusConfig, Retry, Run, RunRecord, Workflow
from nexus.memory import MemoryRunStore
from nexus.models import Page, Scope
from nexus.workflows.local import THREADS

__all__ = [
    "UNANSWERED",
    "Desk",
    "Holdings",
    "Life",
    "PausingStore",
    "Point",
    "busy_threads",
    "open_files",
    "opened",
    "points",
    "seed_of",
    "until",
]

SEED: Final = "NEXUS_CANCEL_SEED"
CHECKPOINTS: Final = 12
"""How many turns of the event loop after a tick something happens, at most."""

UNANSWERED: Final = 6
"""Ticks of the workflow that asks, until it waits for answers that do not come."""

ENOUGH_S: Final = 10.0


def seed_of() -> int:
    """Another one each time, unless the environment names one that is to be repeated."""
    return int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))


@attrs.frozen
class Point:
    """
    When a run is cancelled.

    Attributes:
        seed: Of which it was drawn.
        number: Which one it is.
        tick: At which tick of its steps; 0 is before the first.
        turns: How many turns of the event loop later.
        chance: From 0 to 1, for what else is left to it.
    """

    seed: int
    number: int
    tick: int
    turns: int
    chance: float

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say in a failure how it can be repeated."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"at {self}; to repeat: {SEED}={self.seed}")
            raise


def points(seed: int, number: int, ticks: int) -> Sequence[Point]:
    """Return that many, from before the first tick until after the last; both ends are among them."""
    draw = random.Random(seed)  # noqa: S311 - it is to be repeated
    at = [0, ticks, *(draw.randint(0, ticks) for _ in range(number - 2))]
    return [
        Point(seed, index, tick, draw.choice([0, draw.randint(1, CHECKPOINTS)]), draw.random()) for index, tick in enumerate(at)
    ]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody."""
    with anyio.move_on_after(ENOUGH_S):
        while not condition():  # noqa: ASYNC110 - tasks, threads and descriptors tell nobody
            await anyio.sleep(0.001)


@attrs.define(eq=False)
class Life:
    """
    What the steps of one run, and of those that it calls, have noted.

    Attributes:
        at: The tick at which `reached` is set and `then` is called.
        holds: No step goes on from there; it waits to be cancelled.
        over: The run has ended: nothing may be noted any more.
    """

    at: int | None = None
    holds: bool = False
    then: Callable[[], object] | None = None
    reached: anyio.Event = attrs.field(factory=anyio.Event)
    over: bool = False
    ticks: list[str] = attrs.field(factory=list)
    begun: Counter[str] = attrs.field(factory=Counter)
    ended: Counter[str] = attrs.field(factory=Counter)
    opened: Counter[str] = attrs.field(factory=Counter)
    closed: Counter[str] = attrs.field(factory=Counter)
    late: list[str] = attrs.field(factory=list)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def _note(self, what: Counter[str], name: str) -> None:
        with self._lock:
            what[name] += 1
            if self.over:
                self.late.append(name)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note that a step has begun, and that its `finally` ran."""
        self._note(self.begun, name)
        try:
            yield
        finally:
            self._note(self.ended, name)

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Note that something was opened, and closed."""
        self._note(self.opened, name)
        try:
            yield
        finally:
            self._note(self.closed, name)

    def tick(self, name: str) -> bool:
        """Count; on the event loop. Return whether the step is to wait here."""
        self.ticks.append(name)
        if self.over:
            self.late.append(name)
        if len(self.ticks) == self.at:
            self.reached.set()
            if self.then is not None:
                self.then()
        return self.holds and self.at is not None and len(self.ticks) >= self.at

    async def pause(self, name: str) -> None:
        """Count, and let others have their turn."""
        if self.tick(name):
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()

    def pause_thread(self, name: str, run: BlockingRun) -> None:
        """Do the same, out of a worker thread."""
        run.check_cancelled()
        waits = anyio.from_thread.run_sync(self.tick, name)
        while waits:
            run.check_cancelled()
            threading.Event().wait(0.0005)

    def problems(self) -> Mapping[str, Any]:
        """Return what is not as it must be once the run has ended."""
        found = {
            "begun, and its finally did not run": self.begun - self.ended,
            "ended more often than begun": self.ended - self.begun,
            "opened, and not closed": self.opened - self.closed,
            "noted after the end": self.late,
        }
        return {what: names for what, names in found.items() if names}


class PausingStore(MemoryRunStore):
    """A store that lets others have their turn before it does its work, and after it, as one behind a network does."""

    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        await anyio.lowlevel.checkpoint()
        kept = await super().create(scope, run, key=key, inputs_hash=inputs_hash)
        await anyio.lowlevel.checkpoint()
        return kept

    async def get(self, scope: Scope, run_id: str) -> RunRecord:
        await anyio.lowlevel.checkpoint()
        return await super().get(scope, run_id)

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        await anyio.lowlevel.checkpoint()
        saved = await super().save(run, expected_version=expected_version)
        await anyio.lowlevel.checkpoint()
        return saved

    async def list(self, scope: Scope, *, where: Mapping[str, str], after: str | None, limit: int) -> Page[RunRecord]:
        await anyio.lowlevel.checkpoint()
        return await super().list(scope, where=where, after=after, limit=limit)


class Pool:
    """A dependency for each run."""


class Session:
    """A dependency for each step."""


@attrs.define(eq=False)
class Desk:
    """
    The application, and what its runs have noted, by their input `life`.

    Attributes:
        root: Below it are the folders of runs, and of what comes with requests.
    """

    app: Nexus
    root: Path
    lives: dict[int, Life] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def live(self, **how: Any) -> tuple[int, Life]:
        """Make a life, and return its number too."""
        number = next(self._numbers)
        life = self.lives[number] = Life(**how)
        return number, life

    def records(self, number: int) -> list[RunRecord]:
        """Return the records of that life: of the run, and of what it has called."""
        store = self.app.executor.runs
        runs = store._runs.values() if isinstance(store, MemoryRunStore) else ()  # noqa: SLF001 - a listing has 1,000 at most
        return [run for run in runs if run.inputs.get("life") == number]

    def has_ended(self, number: int) -> bool:
        """Whether the run has been there, and has ended."""
        own = [record for record in self.records(number) if record.parent is None]
        return bool(own) and all(record.ended for record in own)

    def check(self, number: int, *, ticks: int) -> str:
        """
        Look at a run that has ended, and return its status.

        Args:
            number: Of its life.
            ticks: How many there are when it is carried out to its end.
        """
        life = self.lives[number]
        life.over = True
        problems = life.problems()
        assert not problems, problems
        records = self.records(number)
        assert all(record.status in {"cancelled", "succeeded"} for record in records), records
        own = [record for record in records if record.parent is None]
        if not own:
            assert not life.ticks, "steps were called, and there is no record"
            return "never begun"
        (record,) = own
        assert record.status == "cancelled" or len(life.ticks) == ticks, record
        assert all(step.status in {"cancelled", "succeeded", "failed"} for step in record.steps), record
        return str(record.status)

    def left(self) -> Mapping[str, Any]:
        """Return what the application still holds for runs."""
        runtime: Any = self.app.executor.runtime
        slots = [*runtime._slots, *itertools.chain.from_iterable(runtime._slots_of.values())]  # noqa: SLF001 - shows nowhere else
        limiters = [runtime._limiter(), self.app.dependencies._limiter(), anyio.to_thread.current_default_thread_limiter()]  # noqa: SLF001
        found = {
            "live runs": list(runtime.books.live),
            "places taken": [[each.what, each.taken] for each in slots if each.taken],
            "waiting for a place": [each.what for each in slots if each._waiting],  # noqa: SLF001
            "threads borrowed": [limiter.borrowed_tokens for limiter in limiters if limiter.borrowed_tokens],
            "threads added": [runtime._limiter().total_tokens] if runtime._limiter().total_tokens != THREADS else [],  # noqa: SLF001
            "files": [str(path.relative_to(self.root)) for path in self.root.glob("*/*")],
        }
        return {what: things for what, things in found.items() if things}


@attrs.frozen
class Holdings:
    """What this process holds: tasks, threads that do something, open files."""

    tasks: frozenset[int]
    files: frozenset[tuple[str, str]]

    @classmethod
    def now(cls) -> Holdings:
        return cls(frozenset(task.id for task in anyio.get_running_tasks()), frozenset(open_files()))

    def more(self) -> Mapping[str, Any]:
        """Return what there is now and was not then."""
        found = {
            "tasks": [repr(task) for task in anyio.get_running_tasks() if task.id not in self.tasks],
            "open files": sorted(open_files() - self.files),
            "threads": busy_threads(),
        }
        return {what: things for what, things in found.items() if things}

    async def check(self, desk: Desk) -> None:
        """Wait until nothing is left but what there was."""
        await until(lambda: not desk.left() and not self.more())
        left = {**desk.left(), **self.more()}
        assert not left, left


def open_files() -> set[tuple[str, str]]:
    """Return descriptors and what they are of; connections are the business of their servers and clients."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # the listing's own
            continue
        if not target.startswith("socket:"):
            found.add((descriptor.name, target))
    return found


def busy_threads() -> list[str]:
    """Return where other threads are that carry out code of a workflow, or of the library."""
    found = []
    for thread, top in sys._current_frames().items():  # noqa: SLF001 - documented, for this purpose
        frame: Any = top
        while frame is not None and thread != threading.get_ident():
            name = frame.f_globals.get("__name__", "")
            if name.split(".")[0] in {"nexus", "nexus_starlette", "nexus_click", "nexus_mcp", "shutil"} or name == __name__:
                found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                break
            frame = frame.f_back
    return found


def opened(root: Path, **options: Any) -> Desk:
    """Make the application, with its workflows; inside an event loop."""
    settings = options.pop("settings", {})
    desk = Desk(nexus.create_nexus(NexusConfig(runs_root=root, **settings), **options), root)
    _provide(desk)
    desk.app.register(_everything(desk), _inner(desk), _asking(desk))
    return desk


def _provide(desk: Desk) -> None:
    def life_of(run: Run) -> Life:
        return desk.lives[run._live.record.inputs["life"]]  # noqa: SLF001 - a factory sees no inputs

    async def pool(run: Run) -> AsyncIterator[Pool]:
        with life_of(run).holding("pool"):
            await anyio.lowlevel.checkpoint()
            try:
                yield Pool()
            finally:
                await anyio.lowlevel.checkpoint()

    async def session(run: Run, pool: Inject[Pool]) -> AsyncIterator[Session]:
        assert isinstance(pool, Pool)
        with life_of(run).holding("session"):
            try:
                yield Session()
            finally:
                await anyio.lowlevel.checkpoint()

    desk.app.provide(Pool, pool, per="run")
    desk.app.provide(Session, session)


def _everything(desk: Desk) -> Workflow:  # noqa: C901, PLR0915 - one step after the other
    workflow = Workflow("everything", output="told", concurrency=8)

    @workflow.step
    async def first(life: int, *, run: Run, pool: Inject[Pool], file: Path | None = None) -> list[int]:
        """Holds files, and what was uploaded."""
        mine = desk.lives[life]
        with mine.step("first"), (run.folder / "rows.csv").open("w") as rows, mine.holding("rows"):
            rows.write("1\n")
            await mine.pause("first")
            if file is not None:
                with file.open() as sent, mine.holding("sent"):
                    await mine.pause("first")
                    rows.write(sent.read())
            await run.progress(1, 2, "read")
            await mine.pause("first")
        return [1, 2, 3]

    @workflow.step
    async def beside(life: int, *, run: Run) -> int:
        """Runs side by side with the others, and takes its time to clean up."""
        mine = desk.lives[life]
        with mine.step("beside"):
            try:
                for _ in range(4):
                    await mine.pause("beside")
                    await run.log.info("going on")
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(3):
                        await anyio.lowlevel.checkpoint()
        return 1

    @workflow.step
    def thread(life: int, *, run: BlockingRun, session: Inject[Session]) -> int:
        """Works in a thread, with a dependency of its own and a file."""
        mine = desk.lives[life]
        with mine.step("thread"), (run.folder / "thread.csv").open("w") as rows, mine.holding("thread"):
            for done in range(4):
                mine.pause_thread("thread", run)
                rows.write(f"{done}\n")
                run.progress(done, 4)
        return 1

    @workflow.step
    async def numbers(life: int) -> AsyncIterator[int]:
        """Streams into a fan-out."""
        mine = desk.lives[life]
        with mine.step("numbers"):
            for number in range(4):
                await mine.pause("numbers")
                yield number

    @workflow.step(each={"number": "numbers"}, limit=2)
    async def streamed(number: int, life: int, *, run: Run) -> int:
        mine = desk.lives[life]
        with mine.step(f"streamed[{number}]"):
            await mine.pause("streamed")
            await run.progress(number, 4)
        return number

    @workflow.step
    async def chained(first: list[int], life: int, *, pool: Inject[Pool]) -> list[int]:
        mine = desk.lives[life]
        with mine.step("chained"):
            await mine.pause("chained")
            await mine.pause("chained")
        return first

    @workflow.step(each={"item": "chained"}, limit=2)
    async def item(item: int, life: int, *, session: Inject[Session]) -> int:
        mine = desk.lives[life]
        with mine.step(f"item[{item}]"):
            await mine.pause("item")
            await mine.pause("item")
        return item

    @workflow.step(retry=Retry(attempts=3, on=OSError, wait=timedelta(milliseconds=2)))
    async def again(item: list[int], life: int, *, session: Inject[Session]) -> int:
        """Fails at first; between two attempts it waits."""
        mine = desk.lives[life]
        with mine.step("again"):
            await mine.pause("again")
            if mine.begun["again"] < 3:
                raise OSError("not yet")
        return sum(item)

    @workflow.step
    async def nested(beside: int, life: int, *, run: Run) -> int:
        mine = desk.lives[life]
        with mine.step("nested"):
            await mine.pause("nested")
            inner: int = await run.execute("inner", life=life)
            await mine.pause("nested")
        return inner

    @workflow.step
    async def told(again: int, nested: int, streamed: list[int], thread: int, life: int) -> AsyncIterator[int]:
        """Hands its caller the result piece by piece."""
        mine = desk.lives[life]
        with mine.step("told"):
            for piece in (again, nested, thread):
                await mine.pause("told")
                yield piece

    return workflow


def _inner(desk: Desk) -> Workflow:
    workflow = Workflow("inner", output="second")

    @workflow.step
    async def one(life: int, *, run: Run, pool: Inject[Pool]) -> int:
        mine = desk.lives[life]
        with mine.step("inner one"), (run.folder / "inner.csv").open("w") as rows, mine.holding("inner rows"):
            rows.write("2\n")
            await mine.pause("inner one")
        return 1

    @workflow.step
    def second(one: int, life: int, *, run: BlockingRun) -> int:
        mine = desk.lives[life]
        with mine.step("inner second"):
            mine.pause_thread("inner second", run)
            run.log.info("done")
        return one + 1

    return workflow


def _asking(desk: Desk) -> Workflow:
    """Return a workflow that never gets past its question, unless it is answered."""
    workflow = Workflow("asking", output="asked")

    @workflow.step
    async def opened(life: int, *, run: Run, pool: Inject[Pool]) -> int:
        mine = desk.lives[life]
        with mine.step("opened"), (run.folder / "rows.csv").open("w") as rows, mine.holding("rows"):
            rows.write("1\n")
            for _ in range(3):
                await mine.pause("opened")
        return 1

    @workflow.step
    async def asked(opened: int, life: int, *, run: Run, pool: Inject[Pool]) -> str:
        mine = desk.lives[life]
        with mine.step("asked"), (run.folder / "asked.csv").open("w"), mine.holding("asked"):
            await mine.pause("asked")
            await mine.pause("asked")
            answer = await run.ask("Go on?", str, name="go")
            await mine.pause("answered")
            await mine.pause("answered")
        return answer

    @workflow.step
    def aside(opened: int, life: int, *, run: BlockingRun) -> str:
        """Asks out of a thread."""
        mine = desk.lives[life]
        with mine.step("aside"):
            mine.pause_thread("aside", run)
            return run.ask("And here?", str, name="here")

    return workflow
