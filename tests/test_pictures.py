"""Pictures of graphs and runs: Mermaid, and the HTML of notebooks."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import anyio
import pytest

import nexus
from nexus import ExecutionResult, RunRecord, Workflow
from nexus.models import Question, RunError
from nexus.testing import Client, FakeClock

pytestmark = pytest.mark.anyio

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('&\"')</script>"


async def recorded(clock: FakeClock, *what: Workflow | Callable[..., Any]) -> RunRecord:
    """Carry out a workflow, whatever becomes of it, and return the record of its run."""
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)
    app.register(*what)
    async with Client(app) as client:

        async def execute() -> None:
            with contextlib.suppress(nexus.NexusError):
                await client.execute(what[0])

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(execute)
                await clock.advance(10)
        return client.last_run


def record_of(*names: str, **changes: Any) -> RunRecord:
    """Return the record of a run whose steps took a second each, one after another."""
    fields: dict[str, Any] = {
        "id": "1f",
        "workflow": "report",
        "workflow_version": "1",
        "status": "succeeded",
        "request_id": "r1",
        "channel": "api",
        "principal": "ada",
        "tenant": None,
        "session": None,
        "created_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "duration": float(len(names)),
        "step_rows": [(name, "succeeded", float(i), i + 1.0, None, 1) for i, name in enumerate(names)],
    }
    return RunRecord(**{**fields, **changes})


def texts(html: str) -> list[str]:
    """Return what a reader sees, in order; fails where the HTML is not well-formed."""
    return [text for text in ET.fromstring(html).itertext() if text.strip()]  # noqa: S314 - our own


def boxes(workflow: Workflow) -> dict[str, tuple[float, float]]:
    """Return where the nodes of a drawn graph are, by their labels: the middle of each."""
    root = ET.fromstring(workflow._repr_html_())  # noqa: S314 - our own; what notebooks call
    return {text.text or "": (float(text.attrib["x"]), float(text.attrib["y"])) for text in root.iter(f"{SVG}text")}


def traffic() -> Workflow:
    workflow = Workflow("busiest", version="2", output="ranking")

    @workflow.step
    def flights(file: Path) -> list[str]:
        return []

    @workflow.step
    def names(file: Path) -> dict[str, str]:
        return {}

    @workflow.step
    def ranking(flights: list[str], names: dict[str, str], top: int = 3) -> list[str]:
        return []

    @workflow.step(each={"rank": "ranking"})
    def weather(rank: str) -> str:
        return ""

    return workflow


# ---- Mermaid


async def test_a_gantt_has_the_steps_in_milliseconds_and_a_section_for_each_fan_out() -> None:
    clock = FakeClock()
    workflow = Workflow("seconds", version="2", output="doubled")

    @workflow.step
    async def numbers() -> list[int]:
        await clock.sleep(0.25)
        return [2, 1]

    @workflow.step(each={"number": "numbers"})
    async def waited(number: int) -> int:
        await clock.sleep(number)
        return number

    @workflow.step
    async def doubled(waited: list[int]) -> int:
        return 2 * sum(waited)

    record = await recorded(clock, workflow)

    assert record.gantt() == (
        "gantt\n"
        "    title seconds@2\n"
        "    dateFormat x\n"
        "    axisFormat %Q ms\n"
        "    todayMarker off\n"
        "    section Steps\n"
        "    numbers :0, 250ms\n"
        "    doubled :2250, 1ms\n"
        "    section waited\n"
        "    waited[1] :250, 1000ms\n"
        "    waited[0] :250, 2000ms\n"
    )


async def test_a_gantt_marks_what_failed_and_what_was_cancelled() -> None:
    clock = FakeClock()
    workflow = Workflow("broken", output="good")

    @workflow.step
    async def bad() -> int:
        await clock.sleep(1)
        raise ValueError("a secret")

    @workflow.step
    async def good() -> int:
        await clock.sleep(3)
        return 1

    gantt = (await recorded(clock, workflow)).gantt()

    assert "    bad :crit, 0, 1000ms\n" in gantt
    assert "    good :done, 0, 1000ms\n" in gantt
    assert "secret" not in gantt


async def test_a_gantt_marks_what_was_skipped() -> None:
    workflow = Workflow("optional")

    @workflow.step
    async def always() -> int:
        return 1

    @workflow.step(when=lambda always: always > 1)
    async def sometimes(always: int) -> int:
        return always

    assert "    sometimes :done, 0, 1ms\n" in (await recorded(FakeClock(), workflow)).gantt()


async def test_a_gantt_of_a_function_has_its_one_step() -> None:
    clock = FakeClock()

    async def nap() -> None:
        await clock.sleep(0.5)

    assert "    nap :0, 500ms\n" in (await recorded(clock, nap)).gantt()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a:b;c#d\ne", "a#58;b#59;c#35;d#10;e"),
        ("%%{init}%%", "#37;#37;#123;init#125;#37;#37;"),
        ("<b>", "#60;b#62;"),
        ("click", "#99;lick"),
        ("Title page", "#84;itle#32;page"),
        ("clicks", "clicks"),
        ("", "-"),
    ],
)
def test_no_name_of_a_step_breaks_a_gantt(name: str, shown: str) -> None:
    lines = record_of(name).gantt().splitlines()

    assert lines[-1] == f"    {shown} :0, 1000ms"
    assert len(lines) == 7


def test_a_gantt_of_a_run_without_steps_is_empty() -> None:
    assert record_of().gantt().splitlines()[-1] == "    todayMarker off"


def test_words_of_mermaid_may_be_names_of_steps() -> None:
    workflow = Workflow("words", output="end")

    @workflow.step
    def graph() -> int:
        return 1

    @workflow.step
    def out(graph: int, x: int) -> int:
        return 1

    @workflow.step
    def in_x(out: int) -> int:
        return 1

    @workflow.step(each={"part": "parts"})
    def style(part: int) -> int:
        return 1

    @workflow.step
    def parts(in_x: int) -> list[int]:
        return [1]

    @workflow.step
    def end(style: list[int]) -> int:
        return 1

    drawn = workflow.mermaid()

    assert "    Step_style[[style over parts]]\n" in drawn
    assert "    in_x --> Step_out\n" in drawn
    assert "    Step_out --> Step_in_x\n" in drawn
    assert "    Step_end --> out((result))\n" in drawn
    assert not re.search(r"^    (graph|style|end)\b", drawn, re.MULTILINE)


# ---- HTML of notebooks


def test_a_graph_is_drawn_with_what_comes_first_on_the_left() -> None:
    drawn = boxes(traffic())

    assert set(drawn) == {"file", "top", "flights", "names", "ranking", "weather over ranking", "result"}
    across = {label: x for label, (x, _) in drawn.items()}
    assert across["file"] < across["flights"] < across["ranking"] < across["weather over ranking"]
    assert across["names"] < across["ranking"] < across["result"]
    assert across["file"] < across["top"] < across["ranking"]


def test_boxes_of_a_graph_do_not_lie_on_each_other() -> None:
    workflow = Workflow("wide", output="all_of_them")
    for i in range(20):
        scope: dict[str, Any] = {}
        exec(f"def step{i}(a{i}: int) -> int: return 1", scope)  # noqa: S102 - made names
        workflow.step(scope[f"step{i}"])

    @workflow.step
    def all_of_them(step0: int, step1: int) -> int:
        return 1

    root = ET.fromstring(workflow._repr_html_())  # noqa: S314
    places = [(float(r.attrib["x"]), float(r.attrib["y"])) for r in root.iter(f"{SVG}rect")]
    assert len(set(places)) == len(places) == 42
    column = sorted(y for x, y in places if x == places[0][0])
    assert all(below - above >= 26 for above, below in itertools.pairwise(column))


def test_a_line_is_dashed_where_a_step_only_comes_after_another() -> None:
    workflow = Workflow("tidy", output="swept")

    @workflow.step
    def emptied() -> int:
        return 1

    @workflow.step(after=["emptied"])
    def swept(room: str) -> int:
        return 1

    assert workflow._repr_html_().count("stroke-dasharray") == 1
    assert traffic()._repr_html_().count("stroke-dasharray") == 0


def test_a_graph_needs_nothing_from_elsewhere() -> None:
    html = traffic()._repr_html_().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?:|<script|<img|<link|@import|url\(|href", html)


def test_a_workflow_that_is_not_whole_yet_says_what_is_missing() -> None:
    told = texts(Workflow("draft")._repr_html_())

    assert told[0] == "draft@1"
    assert "a workflow without steps" in told[1]


async def test_a_run_is_a_table_of_its_steps_with_bars() -> None:
    clock = FakeClock()
    workflow = Workflow("naps")

    @workflow.step
    async def first() -> int:
        await clock.sleep(1)
        return 1

    @workflow.step
    async def second(first: int) -> dict[str, int]:
        await clock.sleep(3)
        return {"hours": first}

    html = (await recorded(clock, workflow))._repr_html_()

    shown = texts(html)
    assert shown[0] == "naps@1"
    assert shown[shown.index("status") + 1] == "succeeded"
    assert shown[shown.index("took") + 1] == "4,000 ms"
    assert shown[shown.index("results") + 1] == "{'hours': 1}"
    assert shown[-8:] == ["first", "succeeded", "0 ms", "1,000 ms", "second", "succeeded", "1,000 ms", "3,000 ms"]
    assert re.findall(r"margin-left:([\d.]+)%;width:([\d.]+)%", html) == [("0.00", "25.00"), ("25.00", "75.00")]


async def test_a_run_shows_how_often_a_step_was_tried() -> None:
    attempts = []
    workflow = Workflow("stubborn")

    @workflow.step(retry=nexus.Retry(attempts=3))
    async def third_time() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("not yet")
        return 1

    assert "succeeded, attempt 3" in texts((await recorded(FakeClock(), workflow))._repr_html_())


async def test_a_run_does_not_show_what_a_workflow_raised() -> None:
    clock = FakeClock()
    workflow = Workflow("broken")

    @workflow.step
    async def bad() -> int:
        raise ValueError("a secret")

    @workflow.step
    async def worse(bad: int) -> int:
        return bad

    record = await recorded(clock, workflow)

    assert "the log has the reason" in record._repr_html_()
    assert "secret" in str(record.step_rows)
    assert "secret" not in record._repr_html_()


def test_a_run_shows_what_was_said_to_its_caller() -> None:
    error = RunError(code="not_found", message="no such airport")
    question = Question(name="keep", text="Keep it?", schema={"type": "boolean"}, step="rank")

    failed = texts(record_of(status="failed", error=error)._repr_html_())
    waiting = texts(record_of(status="waiting", duration=None, questions={"keep": question})._repr_html_())

    assert "not_found: no such airport" in failed
    assert "keep: Keep it?" in waiting


def test_nothing_in_a_run_is_taken_for_html() -> None:
    error = RunError(code="failed", message=HOSTILE)
    question = Question(name=HOSTILE, text=HOSTILE, schema={}, step=HOSTILE)
    hostile = {"workflow": HOSTILE, "principal": HOSTILE, "channel": HOSTILE, "questions": {HOSTILE: question}}

    for record in (record_of(HOSTILE, **hostile, status="failed", error=error), record_of(HOSTILE, **hostile, output=HOSTILE)):
        html = record._repr_html_()
        assert "<script" not in html
        assert HOSTILE in "".join(texts(html))


def test_of_very_many_steps_the_first_are_shown() -> None:
    shown = texts(record_of(*(f"step[{i}]" for i in range(250)))._repr_html_())

    assert "step[199]" in shown
    assert "step[200]" not in shown
    assert shown[-1] == "and 50 more"


def test_short_times_are_shown_with_their_fractions() -> None:
    shown = texts(record_of(step_rows=[("quick", "succeeded", 0.0, 0.000_046, None, 1)], duration=0.000_046)._repr_html_())

    assert shown[-4:] == ["quick", "succeeded", "0 ms", "0.046 ms"]


async def test_a_result_shows_what_came_out_and_how_long_it_took() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)

    @app.workflow(version="3")
    async def shout(text: str) -> list[str]:
        await clock.advance(2)
        return [text] * 2

    result = await app.execute_workflow("shout", {"text": "<b>"})

    shown = texts(result._repr_html_())
    assert shown[shown.index("version") + 1] == "3"
    assert shown[shown.index("took") + 1] == "2,000 ms"
    assert shown[shown.index("results") + 1] == "['<b>', '<b>']"


def test_a_result_that_is_long_is_cut() -> None:
    html = ExecutionResult("1f", ["x" * 10_000] * 10_000, 0.1, "1")._repr_html_()

    assert len(html) < 20_000
