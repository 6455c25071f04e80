from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

harness = pytest.importorskip("benchmarks.harness", reason="benchmarks are in the repository, not in what is installed")
report = pytest.importorskip("benchmarks.report")
suite = pytest.importorskip("benchmarks.suite")
main = pytest.importorskip("benchmarks.__main__").main

Factory = Callable[[], AbstractAsyncContextManager[Any]]


def doubling(turns: list[str], name: str) -> Factory:
    """A contender that does its work, checks its input, and writes down its turns."""

    @asynccontextmanager
    async def contender() -> AsyncIterator[Any]:
        async def unit(number: int | str) -> int:
            if isinstance(number, str):
                raise TypeError(number)
            turns.append(name)
            return number * 2

        yield harness.Work(unit=unit)

    return contender


@asynccontextmanager
async def careless() -> AsyncIterator[Any]:
    """A contender that doubles whatever it is given."""

    async def unit(number: Any) -> Any:
        return number * 2

    yield harness.Work(unit=unit)


@asynccontextmanager
async def mistaken() -> AsyncIterator[Any]:
    """A contender that does other work."""

    async def unit(number: int) -> int:
        return number * 3

    yield harness.Work(unit=unit)


@asynccontextmanager
async def unavailable() -> AsyncIterator[Any]:
    """A contender whose package is not there."""
    raise ModuleNotFoundError("No module named 'peerless'", name="peerless")
    yield


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose turn it was, of the contenders `fakes:one` and `fakes:two`."""
    turns: list[str] = []
    fakes = SimpleNamespace(
        one=doubling(turns, "one"), two=doubling(turns, "two"), careless=careless, mistaken=mistaken, unavailable=unavailable
    )
    monkeypatch.setitem(sys.modules, "benchmarks.contenders.fakes", fakes)
    return turns


def doubles(*contenders: tuple[str, str], **options: Any) -> Any:
    """A benchmark among those contenders, a unit a turn."""
    return harness.Benchmark(
        **{
            "name": "doubles",
            "title": "twice a number",
            "unit": "µs",
            "goal": "cheap",
            "contenders": [harness.Contender(name, role, f"fakes:{name}") for name, role in contenders],
            "value": lambda number: number,
            "expected": lambda number: 2 * number,
            "rounds": 3,
            "batches": 1,
            "batch_s": 0.0,
            **options,
        }
    )


def row(name: str, role: str, *rounds: float) -> Any:
    return harness.Row(name=name, role=role, rounds=rounds)


def test_contenders_take_turns_round_after_round(turns: list[str]) -> None:
    asyncio.run(harness.measure(doubles(("one", "ours"), ("two", "peer"))))

    assert turns[-6:] == ["one", "two"] * 3


def test_each_round_of_each_contender_has_a_figure(turns: list[str]) -> None:
    outcome = asyncio.run(harness.measure(doubles(("one", "ours"), ("two", "peer"))))

    assert [(each.name, len(each.rounds)) for each in outcome.rows] == [("one", 3), ("two", 3)]
    assert turns


@pytest.mark.usefixtures("turns")
def test_a_contender_that_does_other_work_is_an_error() -> None:
    with pytest.raises(harness.WrongOutputError, match="doubles, mistaken: expected 2, got 3"):
        asyncio.run(harness.measure(doubles(("mistaken", "peer"))))


@pytest.mark.usefixtures("turns")
def test_a_peer_that_takes_a_wrong_input_is_an_error() -> None:
    with pytest.raises(harness.WrongOutputError, match="doubles, careless: took 'x' and said 'xx'"):
        asyncio.run(harness.measure(doubles(("careless", "peer"), wrong="x")))


@pytest.mark.usefixtures("turns")
def test_a_floor_need_not_check_its_input() -> None:
    outcome = asyncio.run(harness.measure(doubles(("one", "ours"), ("careless", "floor"), wrong="x")))

    assert [each.name for each in outcome.rows] == ["one", "careless"]


@pytest.mark.usefixtures("turns")
def test_a_peer_that_is_not_installed_is_named_and_the_rest_goes_on() -> None:
    outcome = asyncio.run(harness.measure(doubles(("one", "ours"), ("unavailable", "peer"), ("two", "peer"))))

    assert [each.name for each in outcome.rows] == ["one", "two"]
    assert "peer unavailable not installed (peerless): pip install -r benchmarks/requirements.txt" in report.table(outcome)


@pytest.mark.usefixtures("turns")
def test_a_missing_module_of_ours_is_an_error() -> None:
    benchmark = doubles(contenders=[harness.Contender("nexus", "ours", "no_such_module:nothing")])

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        asyncio.run(harness.measure(benchmark))


def test_a_ratio_is_of_the_medians_of_the_rounds() -> None:
    ours, peer = row("one", "ours", 2e-6, 3e-6, 100e-6), row("two", "peer", 1e-6, 6e-6, 7e-6)
    outcome = harness.Outcome(benchmark=doubles(), rows=[ours, peer], absent={})

    assert outcome.ratio(peer) == pytest.approx(0.5)


def test_a_spread_is_from_the_tenth_to_the_ninetieth_percentile_as_a_part_of_the_median() -> None:
    assert row("one", "ours", *range(1, 12)).spread == pytest.approx((10 - 2) / 6)


def test_a_table_has_a_line_a_contender_and_the_goal() -> None:
    rows = [row("one", "ours", 3e-6), row("two", "peer", 6e-6), row("three", "beside", 9e-6)]

    assert report.table(harness.Outcome(benchmark=doubles(rounds=1), rows=rows, absent={})).splitlines() == [
        "doubles: twice a number (cpu µs; 1 rounds)",
        "         role    median  best  p10-p90  ours / it  ours - it",
        "  one    ours      3.00  3.00       0%",
        "  two    peer      6.00  6.00       0%       0.50      -3.00",
        "  three  beside    9.00  9.00       0%",
        "  goal: cheap",
    ]


def test_a_benchmark_that_there_is_not_ends_with_the_names_of_those_there_are() -> None:
    with pytest.raises(SystemExit, match="no benchmark 'rset'; there are: rest, rest-logged, workflow-1,"):
        main(["rset"])


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])

    assert "--rounds must be at least 1" in capsys.readouterr().err


def test_the_first_word_names_several(capsys: pytest.CaptureFixture[str]) -> None:
    main(["workflow", "--list"])

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["workflow-1", "workflow-10", "workflow-1000"]


@pytest.mark.parametrize("name", ["rest", "rest-logged", "workflow-1", "workflow-10", "mcp", "sqlite-normal", "sqlite-session"])
def test_a_benchmark_works_once_with_whatever_peers_are_installed(name: str, tmp_path: Path) -> None:
    if name in {"rest", "rest-logged"}:
        pytest.importorskip("starlette")
    if name == "mcp":
        pytest.importorskip("mcp")

    main([name, "--tiny", "--json", str(tmp_path / "figures.json")])

    [measured] = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["benchmarks"]
    assert measured["name"] == name
    assert "ours" in [each["role"] for each in measured["rows"]]
