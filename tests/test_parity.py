"""The parity table: one list of calls, on every channel with its real messages; same outcome, same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from nexus import Nexus
from nexus.exceptions import CODES, InvalidArgumentError, NexusError
from nexus.testing import DECLINE, Client
from nexus.testing.mcp import McpWire
from tests.parity_desk import SECRET, parity_desk


class StatelessMcpWire(McpWire):
    """The era of MCP 2026-07-28: a call that asks is answered by another call."""

    mode = "auto"


CHANNELS: Mapping[str, Any] = {
    "inprocess": "inprocess",
    "api": "api",
    "cli": "cli",
    "mcp": "mcp",
    "mcp-stateless": StatelessMcpWire,
}


@attrs.frozen(kw_only=True)
class Row:
    """
    A call, and what becomes of it.

    Attributes:
        output: What JSON makes of the output, where there is one.
        code: Of the error, where there is one.
        says: What is in the error's message.
        details: Of the error; not compared where it is None.
        problems: Where the arguments don't fit, by JSON pointer.
        not_on: Channels where a call of this kind can't be made.
    """

    name: str
    workflow: str
    inputs: Mapping[str, Any] = attrs.field(factory=dict)
    output: Any = None
    code: str | None = None
    says: str = ""
    details: Mapping[str, Any] | None = None
    problems: frozenset[str] = frozenset()
    answers: Mapping[str, Any] | None = None
    principal: str | None = None
    not_on: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Outcome:
    """What a caller sees."""

    output: Any = None
    code: str | None = None
    problems: frozenset[str] = frozenset()
    details: Mapping[str, Any] | None = None
    message: str = attrs.field(default="", eq=False)


async def outcome_of(client: Client, row: Row) -> Outcome:
    """Make the call, and return what its caller sees, as far as the row says something of it."""
    try:
        return Outcome(output=await client.execute_json(row.workflow, **row.inputs))
    except NexusError as error:
        problems = error.problems if isinstance(error, InvalidArgumentError) and row.problems else ()
        return Outcome(
            code=error.code,
            problems=frozenset(problem.pointer for problem in problems),
            details=None if row.details is None else error.details,
            message=error.message,
        )


AIRPORT = {"iata": "ATL", "runways": [8, 26], "hub": True}

VALUES: Mapping[str, Sequence[Any]] = {
    "int": [0, -3, 2**53],
    "float": [2.5, -0.001, 1e300, 3.0],
    "bool": [True, False],
    "str": ["", "text", "3", "true", "null", '"quoted"', "-x", "--limit", "@file", "größer\n\t\u2028"],
    "bytes": ["AAH/", ""],
    "date": ["2026-01-31"],
    "datetime": ["2026-01-31T12:30:00Z", "2026-01-31T12:30:00.250000+02:00"],
    "time": ["12:30:00"],
    "timedelta": ["PT5400S", "P2D"],
    "uuid": ["123e4567-e89b-42d3-a456-426614174000"],
    "decimal": ["2980.10"],
    "enum": ["red"],
    "literal": ["a", 1],
    "optional": [None, 3],
    "union": [3, ["a", "b"]],
    "list": [[], [1, 2]],
    "set": [[3]],
    "tuple": [[1, "a"]],
    "dict": [{}, {"a": 1.5, "b c": -2.0}],
    "typed_dict": [{"city": "Oslo", "nights": 2}],
    "named_tuple": [[1, 2]],
    "dataclass": [{"seats": 3, "name": "jet"}],
    "attrs": [AIRPORT],
    "struct": [{"origin": AIRPORT, "departs": "2026-01-31T12:30:00Z"}],
    "recursive": [{"name": "root", "branches": [{"name": "left", "branches": []}]}],
    "nested": [{"south": [AIRPORT], "north": []}],
    "constrained": [[1, 2]],
}

ECHOES = [
    Row(name=f"{kind} {value!r}", workflow=f"echo_{kind}", inputs={"value": value}, output=value)
    for kind, values in VALUES.items()
    for value in values
]

WRONG = [
    Row(
        name=f"wrong {kind} {value!r}",
        workflow=f"echo_{kind}",
        inputs={"value": value},
        code="invalid_argument",
        problems=frozenset({pointer}),
        not_on=frozenset(not_on),
    )
    for kind, value, pointer, not_on in [
        ("int", "three", "/value", ()),
        ("int", 2.5, "/value", ()),
        ("int", True, "/value", ()),
        ("float", "x", "/value", ()),
        ("bool", "perhaps", "/value", ()),
        ("str", 3, "/value", {"cli"}),  # on a command line everything is text
        ("date", "31.01.2026", "/value", ()),
        ("uuid", "1234", "/value", ()),
        ("enum", "green", "/value", ()),
        ("literal", "b", "/value", ()),
        ("list", [1, "x"], "/value/1", ()),
        ("tuple", [1], "/value", ()),
        ("dict", {"a": "x"}, "/value/a", ()),
        ("typed_dict", {"city": "Oslo", "nights": "x"}, "/value/nights", ()),
        ("attrs", {"iata": "ATL", "runways": [1, "x"]}, "/value/runways/1", ()),
        ("constrained", [1, 0], "/value/1", ()),
        ("constrained", [1, 2, 3], "/value", ()),
    ]
]

REFUSALS = [
    Row(
        name=f"the workflow answers {code}",
        workflow="refuses",
        inputs={"code": code},
        code=code,
        says=f"no, because of {code}",
        details={"by": "bob", "seats": [1, 2]},
    )
    for code in sorted(CODES)
]

TABLE = [
    *ECHOES,
    *WRONG,
    *REFUSALS,
    Row(name="no output", workflow="nothing", output=None),
    Row(name="a default is taken", workflow="strict", inputs={"count": 1, "ratio": 0.5, "name": "n"}, output="n: 1 0.5 red"),
    Row(
        name="all that is wrong at once",
        workflow="strict",
        inputs={"count": 0, "ratio": "x", "size": 3},
        code="invalid_argument",
        problems=frozenset({"/count", "/ratio", "/name", "/size"}),
    ),
    Row(name="a graph with a fan-out", workflow="graph", inputs={"count": 3}, output=["N0", "N1", "N2"]),
    Row(
        name="an unknown workflow, with the nearest name",
        workflow="grahp",
        code="not_found",
        says="did you mean 'graph'",
        details={"name": "grahp", "nearest": "graph"},
    ),
    Row(name="an unknown workflow like no other", workflow="zzz", inputs={"value": 1}, code="not_found"),
    Row(name="an unknown version", workflow="graph@9", inputs={"count": 1}, code="not_found"),
    Row(name="the newest version", workflow="dotted.name", output="two"),
    Row(name="a certain version", workflow="dotted.name@1", output="one"),
    Row(name="the workflow raises", workflow="fails", code="failed", says="the workflow failed"),
    Row(name="a def step that is too slow", workflow="slow", code="deadline_exceeded"),
    Row(name="a verified caller", workflow="who", principal="ada", output="ada"),
    Row(name="an unknown caller", workflow="who", output="anonymous"),
    Row(name="a guard refuses", workflow="who", principal="mallory", code="permission_denied", says="mallory may not come in"),
    Row(name="a guard refuses before the name is looked up", workflow="zzz", principal="mallory", code="permission_denied"),
    Row(name="a guard wants to know who it is", workflow="who", principal="nobody", code="unauthenticated", says="who are you?"),
    Row(name="a guard breaks", workflow="who", principal="crash", code="internal"),
    Row(name="an operation that shows here", workflow="only_on_api", output="here", not_on=frozenset({"cli", "mcp"})),
    Row(
        name="an operation that shows elsewhere", workflow="only_on_api", code="not_found", not_on=frozenset({"inprocess", "api"})
    ),
    Row(name="an answer", workflow="keep", answers={"outliers": True}, output=True),
    Row(name="an answer by the text of the question", workflow="keep", answers={"Keep the outliers?": False}, output=False),
    Row(name="a right answer after a wrong one", workflow="keep", answers={"outliers": ["perhaps", True]}, output=True),
    Row(
        name="wrong answers only",
        workflow="keep",
        answers={"outliers": "perhaps"},
        code="invalid_argument",
        not_on=frozenset({"mcp-stateless"}),  # there the run waits for as long as its client goes on trying
    ),
    Row(name="an answer declined", workflow="keep", answers={"outliers": DECLINE}, code="cancelled"),
    Row(name="nobody answers", workflow="keep", code="unavailable", says="nobody can answer here; give `default=`"),
    Row(name="nobody answers, the default is taken", workflow="guess", output=7),
    Row(name="an answer instead of the default", workflow="guess", answers={"Which number?": 8}, output=8),
    Row(
        name="answers of every kind",
        workflow="interview",
        answers={"Your name?": "Ada", "colour": "red", "others": ["blue", "red"], "plane": {"seats": 3, "name": "jet"}},
        output=["Ada", "red", "blue", "red", "jet 3"],
    ),
    Row(
        name="arguments refused after an answer",
        workflow="asks_and_complains",
        answers={"go": True},
        code="invalid_argument",
        details={"by": "bob"},
    ),
    Row(name="a failure after an answer", workflow="asks_and_fails", answers={"go": True}, code="failed"),
    Row(
        name="a refusal after an answer",
        workflow="asks_and_refuses",
        answers={"go": True},
        code="conflict",
        details={"by": "bob"},
    ),
]


CASES = [
    pytest.param(row, channel, id=f"{row.name}-{name}")
    for row in TABLE
    for name, channel in CHANNELS.items()
    if row.not_on.isdisjoint({name, name.removesuffix("-stateless")})
]


@pytest.fixture(scope="module")
def desk() -> Nexus:
    """One application for the whole table, started and stopped for each call."""
    return parity_desk()


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "channel"), CASES)
async def test_every_channel_has_the_same_outcome(row: Row, channel: Any, desk: Nexus) -> None:
    async with Client(desk, channel=channel, principal=row.principal, answers=row.answers) as client:
        outcome = await outcome_of(client, row)
    assert outcome == Outcome(output=row.output, code=row.code, problems=row.problems, details=row.details)
    assert row.says in outcome.message
    assert SECRET not in repr(outcome)


@pytest.mark.anyio
@pytest.mark.parametrize("channel", ["inprocess", "cli"])
async def test_a_path_of_a_local_caller_is_used_as_it_is(channel: Any, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    async with Client(parity_desk(tmp_path / "root"), channel=channel) as client:
        assert await client.execute("read", file=str(tmp_path / "outside.txt")) == "outside"


@pytest.mark.anyio
@pytest.mark.parametrize("channel", ["api", "mcp"])
@pytest.mark.parametrize("way_out", ["../outside.txt", "{absolute}", "link.txt", "sub/../../outside.txt"])
async def test_a_path_of_a_remote_caller_stays_below_the_root(channel: Any, way_out: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    (root / "inside.txt").write_text("inside", encoding="utf-8")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    async with Client(parity_desk(root), channel=channel) as client:
        assert await client.execute("read", file="inside.txt") == "inside"
        with pytest.raises(InvalidArgumentError) as refusal:
            await client.execute("read", file=way_out.format(absolute=tmp_path / "outside.txt"))
    assert [problem.pointer for problem in refusal.value.problems] == ["/file"]


@pytest.mark.anyio
@pytest.mark.parametrize("channel", ["api", "mcp"])
async def test_without_a_root_a_remote_caller_has_no_paths(channel: Any) -> None:
    async with Client(parity_desk(), channel=channel) as client:
        with pytest.raises(InvalidArgumentError) as refusal:
            await client.execute("read", file="notes.txt")
    assert [problem.pointer for problem in refusal.value.problems] == ["/file"]
