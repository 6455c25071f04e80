"""The benchmarks, with the goals of the design."""

from __future__ import annotations

from typing import Final

import attrs

from benchmarks.harness import Benchmark, Contender
from benchmarks.work import CALLERS, WRITES, WRONG_ORDER, chained, invoice, order, side_by_side, start

_WIDTH: Final = 1_000
_CHAIN: Final = {"length": 10}
_ONE: Final = {"length": 1}
_MANY: Final = {"width": _WIDTH}

_SERVED: Final = (
    Contender("FastAPI", "peer", "with_fastapi:rest"),
    Contender("Starlette, unchecked", "floor", "with_starlette:rest"),
    Contender("raw ASGI, unchecked", "floor", "plain:rest"),
)
REST: Final = Benchmark(
    name="rest",
    title="POST JSON -> JSON, an ASGI application called in-process",
    unit="µs",
    goal="ours <= 60 µs with everything on, where Starlette is 12 and FastAPI 50",
    contenders=[Contender("nexus", "ours", "ours_served:rest"), *_SERVED],
    value=order,
    expected=invoice,
    wrong=WRONG_ORDER,
)
REST_LOGGED: Final = attrs.evolve(
    REST,
    name="rest-logged",
    title="the same, ours with a line of log for each request",
    contenders=[Contender("nexus, logging", "ours", "ours_served:rest_logged"), *_SERVED],
)
ONE_STEP: Final = Benchmark(
    name="workflow-1",
    title="execute_workflow of one step, with its record",
    unit="µs",
    goal="ours <= 12 µs unobserved, where Hamilton is 11 and LangGraph 338; beside it: a run that may wait +26, def +75",
    contenders=[
        Contender("nexus", "ours", "ours:chain", _ONE),
        Contender("Hamilton, sync", "peer", "with_hamilton:chain", _ONE),
        Contender("Hamilton, async", "peer", "with_hamilton:chain_async", _ONE),
        Contender("LangGraph", "peer", "with_langgraph:chain", _ONE),
        Contender("a bare await", "floor", "plain:chain", _ONE),
        Contender("nexus, a run that may wait", "beside", "ours:may_wait"),
        Contender("nexus, a def step", "beside", "ours:chain", {**_ONE, "define": "def"}),
    ],
    value=start,
    expected=chained(1),
)
TEN_STEPS: Final = Benchmark(
    name="workflow-10",
    title="a chain of ten steps",
    unit="µs",
    goal="ours <= 30 µs, where Hamilton is 50 and LangGraph 1588",
    contenders=[
        Contender("nexus", "ours", "ours:chain", _CHAIN),
        Contender("Hamilton, sync", "peer", "with_hamilton:chain", _CHAIN),
        Contender("Hamilton, async", "peer", "with_hamilton:chain_async", _CHAIN),
        Contender("LangGraph", "peer", "with_langgraph:chain", _CHAIN),
        Contender("bare awaits", "floor", "plain:chain", _CHAIN),
    ],
    value=start,
    expected=chained(10),
)
SIDE_BY_SIDE: Final = Benchmark(
    name="workflow-1000",
    title="a thousand steps side by side, and one that adds them up",
    unit="ms",
    goal="ours <= 2.4 ms, where a TaskGroup is 2.8, Hamilton 2.5 and LangGraph 223",
    contenders=[
        Contender("nexus", "ours", "ours:wide", _MANY),
        Contender("asyncio TaskGroup", "peer", "plain:wide_tasks", _MANY),
        Contender("Hamilton, sync", "peer", "with_hamilton:wide", _MANY),
        Contender("Hamilton, async", "peer", "with_hamilton:wide_async", _MANY),
        Contender("LangGraph", "peer", "with_langgraph:wide", _MANY),
        Contender("awaits in turn", "floor", "plain:wide", _MANY),
        Contender("nexus, each of a list, 16 at once", "beside", "ours:each", {**_MANY, "limit": 16}),
    ],
    value=start,
    expected=side_by_side(_WIDTH),
    batches=5,
)
TOOLS: Final = Benchmark(
    name="mcp",
    title="MCP tools/call, stateless JSON, 2026-07-28, an ASGI application called in-process",
    unit="µs",
    goal="ours no slower than the low-level SDK as it comes",
    contenders=[
        Contender("nexus", "ours", "ours_served:tools"),
        Contender("low-level SDK", "peer", "with_mcp:tools", {"knows_schema": False}),
        Contender("low-level SDK told its schema", "peer", "with_mcp:tools", {"knows_schema": True}),
    ],
    value=order,
    expected=invoice,
    wrong=WRONG_ORDER,
)
GROWTH: Final = Benchmark(
    name="growth",
    title="the request of `rest`, with 10,000 other workflows registered, and with 10",
    unit="µs",
    goal="flat: within 10 %",
    contenders=[
        Contender("nexus, 10,000 others", "ours", "ours_served:rest", {"others": 10_000}),
        Contender("nexus, 10 others", "peer", "ours_served:rest", {"others": 10}),
    ],
    value=order,
    expected=invoice,
    wrong=WRONG_ORDER,
)
WRITTEN: Final = Benchmark(
    name="sqlite-normal",
    title="a small write by one of 16 callers, acknowledged after its commit; synchronous=NORMAL",
    unit="µs",
    goal="ours <= 25 µs, which is 40,000 a second",
    contenders=[
        Contender("nexus", "ours", "ours_stored:writes"),
        Contender("aiosqlite", "peer", "with_aiosqlite:writes"),
        Contender("SQLAlchemy, asyncio", "peer", "with_sqlalchemy:writes"),
        Contender("sqlite3 in a loop, 16 a commit", "floor", "plain_sqlite:writes"),
    ],
    value=lambda number: number,
    expected=lambda number: number * CALLERS * WRITES,
    clock="wall",
    batches=5,
    batch_s=0.05,
    pieces=CALLERS * WRITES,
)
_FULL: Final = {"synchronous": "FULL"}
WRITTEN_FULL: Final = attrs.evolve(
    WRITTEN,
    name="sqlite-full",
    title="the same, on the disk when it is acknowledged; synchronous=FULL",
    goal="ours <= 40 µs, which is 25,000 a second",
    contenders=[attrs.evolve(each, options=_FULL) for each in WRITTEN.contenders],
)
LOOKED_UP: Final = Benchmark(
    name="sqlite-session",
    title="a session looked up by the hash of its token, one of 1,000",
    unit="µs",
    goal="ours <= 15 µs; the peers give the row as it is, ours a session",
    contenders=[
        Contender("nexus", "ours", "ours_stored:lookups"),
        Contender("aiosqlite", "peer", "with_aiosqlite:lookups"),
        Contender("SQLAlchemy, asyncio", "peer", "with_sqlalchemy:lookups"),
        Contender("sqlite3, the row", "floor", "plain_sqlite:lookups"),
    ],
    value=lambda number: number % 1000,
    expected=lambda number: f"s{number % 1000}",
    clock="wall",
)
HELP: Final = Benchmark(
    name="cli-help",
    title="--help, a whole process",
    unit="ms",
    goal="nexus <= click + 60 ms",
    contenders=[
        Contender("nexus", "ours", "processes:nexus_help"),
        Contender("click", "peer", "processes:program_help", {"program": "click_program.py", "needs": "click"}),
        Contender("Typer", "peer", "processes:program_help", {"program": "typer_program.py", "needs": "typer"}),
        Contender("python -c pass", "floor", "processes:statement", {"source": "pass"}),
    ],
    value=lambda _: None,
    expected=lambda _: True,
    clock="wall",
    rounds=20,
    batches=1,
    batch_s=0.0,
)
RUN: Final = Benchmark(
    name="cli-run",
    title="a sum of two arguments, a whole process",
    unit="ms",
    goal="nexus <= click + 150 ms",
    contenders=[
        Contender("nexus run", "ours", "processes:nexus_run"),
        Contender("click", "peer", "processes:program_run", {"program": "click_program.py", "needs": "click"}),
        Contender("Typer", "peer", "processes:program_run", {"program": "typer_program.py", "needs": "typer"}),
    ],
    value=lambda number: (number, 2 * number),
    expected=lambda number: 3 * number,
    clock="wall",
    rounds=20,
    batches=1,
    batch_s=0.0,
)
IMPORT: Final = Benchmark(
    name="import",
    title="import, a whole process",
    unit="ms",
    goal="import nexus <= 150 ms where python -c pass is 11",
    contenders=[
        Contender("import nexus", "ours", "processes:statement", {"source": "import nexus"}),
        Contender("import fastapi", "peer", "processes:statement", {"source": "import fastapi", "needs": "fastapi"}),
        Contender("python -c pass", "floor", "processes:statement", {"source": "pass"}),
        Contender(
            "nexus, an application made", "beside", "processes:statement", {"source": "import nexus; nexus.create_nexus()"}
        ),
    ],
    value=lambda _: None,
    expected=lambda _: True,
    clock="wall",
    rounds=20,
    batches=1,
    batch_s=0.0,
)
IN_PROCESS: Final = (REST, REST_LOGGED, ONE_STEP, TEN_STEPS, SIDE_BY_SIDE, TOOLS, GROWTH, WRITTEN, WRITTEN_FULL, LOOKED_UP)
BENCHMARKS: Final = (*IN_PROCESS, HELP, RUN, IMPORT)
