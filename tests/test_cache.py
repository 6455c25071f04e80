"""Results that are kept: who is given what, for how long, and what happens when several ask or something fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest

import nexus
from nexus import (
    CachePolicy,
    InvalidArgumentError,
    NexusConfig,
    Principal,
    Problem,
    Workflow,
    WorkflowNotFoundError,
)
from nexus.cache import MemoryCache
from nexus.config import CacheConfig
from nexus.models import ANONYMOUS, MISSING, Missing
from nexus.testing import Client, FakeClock
from nexus_starlette import asgi
from tests.cache_desk import Counting, results_of

pytestmark = pytest.mark.anyio

ADA, BOB = Principal(id="ada", tenant_id="analytics"), Principal(id="bob", tenant_id="analytics")
ADA_ELSEWHERE = Principal(id="ada", tenant_id="billing")


class Season(Enum):
    DRY = "dry"
    WET = "wet"


@attrs.define
class Weather:
    """What a workflow may give, of every kind."""

    day: datetime
    season: Season
    file: Path
    tags: set[str]
    amounts: dict[str, tuple[int, ...]]


# ---- what is given again


async def test_the_same_inputs_get_the_same_result_and_a_record_of_their_own() -> None:
    app = Counting().app()
    first, again = [await app.execute_workflow("count", {"step": 2}) for _ in range(2)]
    assert (first.results, again.results) == (2, 2)
    assert (first.cached, again.cached) == (False, True)
    records = [await app.executor.runs.get(nexus.models.Scope.ALL, result.run_id) for result in (first, again)]
    assert [(record.status, record.output, record.cached) for record in records] == [
        ("succeeded", 2, False),
        ("succeeded", 2, True),
    ]
    assert [[step.name for step in record.steps] for record in records] == [["count"], []]
    assert records[1].view()["cached"] is True


async def test_other_inputs_get_another_and_defaults_are_inputs() -> None:
    app = Counting().app()
    assert await results_of(app, {"step": 1}, {}, {"step": 1, "note": None}, {"step": 2}) == [1, 1, 1, 4]


async def test_a_result_is_kept_for_its_time() -> None:
    clock = FakeClock()
    app = Counting().app(cache=timedelta(minutes=1), clock=clock)
    assert await results_of(app, {}) == [1]
    await clock.advance(59.9)
    assert await results_of(app, {}) == [1]
    await clock.advance(0.1)
    assert await results_of(app, {}) == [2]


async def test_the_time_of_the_application_is_taken_where_a_workflow_gives_none() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(NexusConfig(cache=CacheConfig(ttl=timedelta(seconds=5))), clock=clock)
    calls = []

    @app.workflow(cache=True, read_only=True)
    def count() -> int:
        calls.append(1)
        return len(calls)

    assert await results_of(app, {}, {}) == [1, 1]
    await clock.advance(5)
    assert await results_of(app, {}) == [2]


async def test_what_is_given_again_is_equal_and_new() -> None:
    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())

    @app.workflow(cache=60, read_only=True)
    def weather() -> Weather:
        moment = datetime.fromisoformat("2026-01-01T12:00:00+01:00")
        return Weather(moment, Season.WET, Path("a.csv"), {"x", "y"}, {"mm": (1, 2)})

    first, second, third = [await app.execute_workflow(weather) for _ in range(3)]
    assert (second.cached, third.cached) == (True, True)
    assert first.results == second.results == third.results
    second.results.tags.clear()
    assert (await app.execute_workflow(weather)).results == first.results


@pytest.mark.parametrize("result", [0, "", None, False, [], {}])
async def test_a_result_that_is_nothing_much_is_a_result(result: Any) -> None:
    app, calls = nexus.create_nexus(NexusConfig(), clock=FakeClock()), []

    @app.workflow(cache=60, read_only=True)
    def nothing() -> Any:
        calls.append(1)
        return result

    assert [(await app.execute_workflow(nothing)).results for _ in range(2)] == [result, result]
    assert len(calls) == 1


async def test_a_failure_is_not_kept() -> None:
    counting = Counting(failures=1)
    app = counting.app()
    with pytest.raises(Problem, match="not today"):
        await app.execute_workflow("count")
    assert await results_of(app, {}, {}) == [2, 2]


async def test_a_graph_is_kept_as_a_whole() -> None:
    calls: list[str] = []
    graph = Workflow("doubled", cache=60, read_only=True)

    @graph.step
    async def numbers(top: int) -> list[int]:
        calls.append("numbers")
        return list(range(top))

    @graph.step(each={"number": "numbers"})
    async def doubled(number: int) -> int:
        calls.append("doubled")
        return number * 2

    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())
    app.register(graph)
    assert [(await app.execute_workflow(graph, {"top": 2})).results for _ in range(2)] == [[0, 2], [0, 2]]
    assert calls == ["numbers", "doubled", "doubled"]


@pytest.mark.parametrize("result", [float("nan"), (1, 2), Season.DRY])
async def test_what_is_not_the_same_after_json_is_not_kept_and_the_log_says_so_once(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, calls = nexus.create_nexus(NexusConfig(), clock=FakeClock()), []

    @app.workflow(cache=60, read_only=True)
    def odd() -> Any:
        calls.append(1)
        return result

    for _ in range(3):
        assert (await app.execute_workflow(odd)).results is result
    assert len(calls) == 3
    lines = [record.getMessage() for record in caplog.records if record.name == "nexus.cache"]
    assert len(lines) == 1
    assert "not the same after JSON" in lines[0]
    assert "odd@1" in lines[0]


async def test_inputs_that_json_takes_for_one_another_are_not() -> None:
    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())

    @app.workflow(cache=60, read_only=True)
    def shown(amount: Any = float("inf")) -> str:
        return str(amount)

    given: list[dict[str, Any]] = [{"amount": None}, {}, {"amount": float("nan")}, {"amount": None}]
    results = [await app.execute_workflow(shown, inputs) for inputs in given]
    assert [(result.results, result.cached) for result in results] == [
        ("None", False),
        ("inf", False),
        ("nan", False),
        ("None", True),
    ]


# ---- to whom


@pytest.mark.parametrize(("shared", "results"), [(False, [1, 2, 3, 4, 1, 2]), (True, [1, 1, 2, 3, 1, 1])])
async def test_a_result_is_its_callers_or_its_tenants(shared: bool, results: Sequence[int]) -> None:
    app = Counting().app(cache=CachePolicy(ttl=60, shared=shared))
    who = [ADA, BOB, ADA_ELSEWHERE, ANONYMOUS, ADA, BOB]
    assert [(await app.execute_workflow("count", principal=each)).results for each in who] == results


async def test_nobody_is_taken_for_the_application_by_its_name() -> None:
    app = Counting().app()
    assert await results_of(app, {}) == [1]
    assert await results_of(app, {}, principal=Principal(id="application")) == [2]


async def test_a_key_makes_one_of_inputs_that_make_no_difference() -> None:
    app = Counting().app(cache=CachePolicy(ttl=60, key=lambda step: step % 10))
    assert await results_of(app, {"step": 1}, {"step": 11, "note": "other"}, {"step": 2}) == [1, 1, 4]


async def test_a_key_that_fails_keeps_nothing() -> None:
    app = Counting().app(cache=CachePolicy(ttl=60, key=lambda note: note.upper()))
    assert await results_of(app, {}, {}, {"note": "a"}, {"note": "A"}) == [1, 2, 3, 3]


async def test_another_version_and_a_workflow_written_anew_have_results_of_their_own() -> None:
    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())

    def define(answer: int, version: str) -> None:
        source = f"async def answer() -> int:\n    return {answer}"
        namespace: dict[str, Any] = {"__name__": "cell"}
        exec(compile(source, "cell", "exec"), namespace)  # noqa: S102 - as a notebook does
        app.register(nexus.workflow(cache=60, read_only=True, version=version)(namespace["answer"]))

    define(1, "1")
    assert (await app.execute_workflow("answer")).results == 1
    define(2, "1")
    assert (await app.execute_workflow("answer")).results == 2


async def test_a_nested_call_is_its_callers() -> None:
    counting = Counting()
    app = counting.app()

    @app.workflow
    async def outer(times: int) -> list[int]:
        return [(await app.execute_workflow("count")).results for _ in range(times)]

    assert (await app.execute_workflow(outer, {"times": 2}, principal=ADA)).results == [1, 1]
    assert (await app.execute_workflow(outer, {"times": 1}, principal=BOB)).results == [2]


# ---- caches that fail


@attrs.define(eq=False)
class Failing(MemoryCache):
    """A cache that is down, or gives what is not its own."""

    reads: bool = False
    writes: bool = False
    gives: bytes | None = None

    async def get(self, key: str, *, now: datetime) -> tuple[bytes, datetime | None] | Missing:
        if not self.reads:
            raise OSError("down")
        found = await super().get(key, now=now)
        return found if found is MISSING or self.gives is None else (self.gives, None)

    async def set(self, key: str, value: bytes, *, expires_at: datetime | None, tags: Sequence[str] = ()) -> None:
        if not self.writes:
            raise OSError("down")
        await super().set(key, value, expires_at=expires_at, tags=tags)


@pytest.mark.parametrize(("reads", "writes"), [(False, False), (False, True), (True, False)])
async def test_a_cache_that_fails_costs_no_more_than_time(reads: bool, writes: bool, caplog: pytest.LogCaptureFixture) -> None:
    app = Counting().app(kept_in=Failing(reads=reads, writes=writes))
    assert await results_of(app, {}, {}) == [1, 2]
    assert {record.levelno for record in caplog.records if record.name == "nexus.cache"} == {logging.WARNING}


@pytest.mark.parametrize("gives", [b"", b"{", b'"text"', b"[1]", b"\xff"])
async def test_what_is_no_result_of_the_workflow_is_made_anew(gives: bytes) -> None:
    app = Counting().app(kept_in=Failing(reads=True, writes=True, gives=gives))
    assert await results_of(app, {}, {}) == [1, 2]


async def test_a_small_cache_keeps_what_it_can() -> None:
    app = nexus.create_nexus(NexusConfig(cache=CacheConfig(memory_bytes="1 kB")), clock=FakeClock())
    calls = []

    @app.workflow(cache=60, read_only=True)
    def text(length: int) -> str:
        calls.append(length)
        return "x" * length

    for length in (10, 2000, 10, 2000):
        assert len((await app.execute_workflow(text, {"length": length})).results) == length
    assert calls == [10, 2000, 2000]


async def test_what_was_not_used_for_longest_makes_room() -> None:
    cache, now = MemoryCache(max_bytes=30), datetime.fromisoformat("2026-01-01T00:00:00Z")
    for key in ("a", "b"):
        await cache.set(key, b"x" * 10, expires_at=None, tags=["t"])
    await cache.get("a", now=now)
    await cache.set("c", b"x" * 10, expires_at=None)
    assert [await cache.get(key, now=now) is MISSING for key in ("a", "b", "c")] == [False, True, False]
    await cache.discard_tag("t")
    assert [await cache.get(key, now=now) is MISSING for key in ("a", "b", "c")] == [True, True, False]


# ---- forgetting


async def test_discarding_forgets_a_workflow_or_some_inputs_for_everybody() -> None:
    app = Counting().app()
    for who in (ADA, BOB):
        await results_of(app, {"step": 1}, {"step": 0}, principal=who)
    await app.cache.discard("count", {"step": 1})
    assert await results_of(app, {"step": 0}, {"step": 1}, principal=ADA) == [0, 5]
    assert await results_of(app, {"step": 0}, {"step": 1}, principal=BOB) == [0, 6]
    await app.cache.discard("count@1")
    assert await results_of(app, {"step": 1}, principal=ADA) == [7]


async def test_discarding_a_tag_forgets_every_workflow_that_has_it() -> None:
    app = Counting().app(tags=["weather"])
    assert await results_of(app, {}, {}) == [1, 1]
    await app.cache.discard_tag("traffic")
    assert await results_of(app, {}) == [1]
    await app.cache.discard_tag("weather")
    assert await results_of(app, {}) == [2]


async def test_a_run_that_was_on_its_way_keeps_nothing_that_was_discarded() -> None:
    counting = Counting(gate=anyio.Event())
    app = counting.app()
    results: list[int] = []

    async def call() -> None:
        results.append((await app.execute_workflow("count")).results)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await app.cache.discard("count")
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert counting.calls == 2
        assert counting.gate is not None
        counting.gate.set()
    assert results == [2, 2]
    assert await results_of(app, {}) == [2]


async def test_discarding_what_is_not_kept_says_so() -> None:
    app = Counting().app()

    @app.workflow
    async def plain() -> int:
        return 1

    for workflow, text in (
        ("nothing", "no workflow 'nothing'"),
        ("count@7", "no version '7'"),
        (plain, "plain@1: it has no cache="),
    ):
        with pytest.raises(WorkflowNotFoundError, match=text):
            await app.cache.discard(workflow)
    with pytest.raises(InvalidArgumentError):
        await app.cache.discard("count", {"step": "many"})


# ---- on the channels


async def test_every_channel_says_that_a_result_was_kept() -> None:
    app = Counting().app()
    for channel in ("api", "cli", "mcp"):
        async with Client(app, channel=channel) as client:
            assert await client.execute_json("count", step=2) == 2
            assert await client.execute_json("count", step=2) == 2
            assert client.last_run.cached


async def test_who_listens_is_told_of_the_beginning_and_the_end_of_a_run_that_is_given_what_was_kept() -> None:
    app = Counting().app()
    for _ in range(2):
        async with app.stream("count") as run:
            told = [event.type async for event in run]
        assert (told, run.result) == (["run.started", "run.succeeded"], 1)


async def test_what_was_made_of_an_uploaded_file_is_not_kept() -> None:
    app = nexus.create_nexus(NexusConfig(), clock=FakeClock())

    @app.workflow(cache=60, read_only=True)
    def length(file: Path) -> int:
        return len(file.read_bytes())

    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for text in ("a", "a"):
            reply = await http.post("/api/workflows/length/execute", files={"file": ("a.txt", text)})
            assert reply.json()["data"]["results"] == 1
            assert "cached" not in reply.json()["data"]["metadata"]


async def test_a_reply_says_that_its_result_was_kept() -> None:
    transport = httpx.ASGITransport(asgi(app := Counting().app()))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        replies = [(await http.post("/api/workflows/count/execute")).json()["data"] for _ in range(2)]
    assert [reply["metadata"].get("cached") for reply in replies] == [None, True]


async def test_hooks_are_called_around_a_run_that_is_given_what_was_kept_and_may_refuse_it() -> None:
    app = Counting().app()
    heard: list[Any] = []

    @app.before_run
    def refuse_bob(run: nexus.RunContext) -> None:
        if run.principal.id == "bob":
            raise Problem("permission_denied", "not bob")

    @app.after_run
    def note(run: nexus.RunContext) -> None:
        heard.append(run.output)

    await results_of(app, {}, {})
    assert heard == [1, 1]
    with pytest.raises(Problem, match="not bob"):
        await app.execute_workflow("count", principal=Principal(id="bob"))
