"""The examples do what they say, on the real files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

import nexus
from nexus.exceptions import MalformedRequestError, NotFoundError, Problem, UnavailableError
from nexus.models import Request, Response
from nexus.testing import Client

EXAMPLES = Path(__file__).parent.parent / "examples"
DATA = EXAMPLES / "airport_desk" / "data"
WEATHER = DATA / "seattle-weather.csv"


def example(name: str, file: str) -> Any:
    """Import a file of the examples afresh."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def desk() -> Any:
    return example("airport_desk", "app.py")


@pytest.fixture
def lines() -> Any:
    return example("line_protocol", "channel.py")


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A file with two days that can't be."""
    file = tmp_path / "doubtful.csv"
    file.write_text("date,precipitation\n2020-01-01,4.5\n2020-01-02,-3\n2020-01-03,99999\n")
    return file


@pytest.mark.slow
def test_the_desk_prints_the_summary_of_the_real_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "airport_desk" / "app.py", WEATHER], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert (done.stdout, done.returncode) == ("1,461 days; the wettest was 2015-03-15 with 55.9 mm\n", 0)


@pytest.mark.anyio
async def test_the_wettest_day_of_seattle(desk: Any) -> None:
    async with Client(desk.app) as client:
        summary = await client.execute("process_data", file=WEATHER)

    assert summary == desk.Summary(rows=1461, wettest="2015-03-15", millimetres=55.9)


@pytest.mark.anyio
async def test_a_limit_reads_no_more_rows(desk: Any) -> None:
    async with Client(desk.app) as client:
        summary = await client.execute("process_data", file=WEATHER, limit=10)

    assert (summary.rows, summary.wettest) == (10, "2012-01-04")


@pytest.mark.anyio
async def test_without_a_single_day_there_is_no_wettest(desk: Any) -> None:
    async with Client(desk.app) as client:
        summary = await client.execute("process_data", file=WEATHER, limit=0)

    assert summary == desk.Summary(rows=0, wettest="", millimetres=0.0)


@pytest.mark.anyio
@pytest.mark.parametrize(("keep", "rows", "millimetres"), [(True, 3, 99999.0), (False, 1, 4.5)])
async def test_whoever_runs_it_decides_about_days_that_cannot_be(
    desk: Any, doubtful: Path, keep: bool, rows: int, millimetres: float
) -> None:
    async with Client(desk.app, answers={"keep_outliers": keep}) as client:
        summary = await client.execute("process_data", file=doubtful)

    assert (summary.rows, summary.millimetres) == (rows, millimetres)


@pytest.mark.anyio
async def test_where_nobody_can_decide_it_fails_and_says_so(desk: Any, doubtful: Path) -> None:
    async with Client(desk.app) as client:
        with pytest.raises(UnavailableError, match="nobody can answer here"):
            await client.execute("process_data", file=doubtful)


@pytest.mark.anyio
async def test_a_file_of_another_kind_is_refused_with_its_name(desk: Any) -> None:
    async with Client(desk.app) as client:
        with pytest.raises(Problem, match=r"airports\.csv is no weather file") as caught:
            await client.execute("process_data", file=DATA / "airports.csv")

    assert caught.value.code == "invalid_argument"


@pytest.mark.anyio
async def test_the_busiest_airport_is_atlanta(desk: Any) -> None:
    async with Client(desk.app) as client:
        ranking = await client.execute(
            "busiest_airports", flight_file=DATA / "flights-airport.csv", airport_file=DATA / "airports.csv", top=3
        )

    assert ranking[0] == desk.Rank(iata="ATL", name="William B Hartsfield-Atlanta Intl", city="Atlanta", departures=414_513)
    assert [rank.iata for rank in ranking] == ["ATL", "ORD", "DFW"]


@pytest.mark.anyio
async def test_an_airport_that_nobody_lists_has_no_name(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("origin,destination,count\nXXX,ATL,3\n")
    (tmp_path / "airports.csv").write_text("iata,name,city\n")

    async with Client(desk.app) as client:
        ranking = await client.execute(
            "busiest_airports", flight_file=tmp_path / "flights.csv", airport_file=tmp_path / "airports.csv"
        )

    assert ranking == [desk.Rank(iata="XXX", name="", city="", departures=3)]


def test_the_files_of_remote_callers_are_those_beside_the_desk(desk: Any) -> None:
    assert desk.app.config.files_root == DATA


async def converse(port: int, *sent: bytes) -> list[Any]:
    """Send the lines over one connection, and return what came back."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        replies = BufferedByteReceiveStream(stream)
        received = []
        for line in sent:
            await stream.send(line + b"\n")
            received.append(json.loads(await replies.receive_until(b"\n", 65_536)))
    return received


def line_app(lines: Any) -> nexus.Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(title="Lines"))
    app.add_channel(lambda gateway, config: lines.LineChannel(gateway, config, port=0))

    @app.workflow
    def add(a: int, b: int) -> int:
        return a + b

    return app


@pytest.mark.anyio
async def test_the_line_channel_answers_each_line_with_a_line(lines: Any) -> None:
    app = line_app(lines)
    channel: Any = app.channel("line")
    async with app:
        with anyio.fail_after(5):
            replies = await converse(channel.port, b'add {"a": 1, "b": 2}', b"nothing", b"add [1]", b'add {"a": "x"}')

    results, errors = replies[0], [reply["error"]["code"] for reply in replies[1:]]
    assert results == {"result": 3}
    assert errors == ["not_found", "malformed_request", "invalid_argument"]


@pytest.mark.anyio
async def test_the_line_channel_serves_others_while_one_is_slow_or_sends_no_lines(lines: Any) -> None:
    app = line_app(lines)
    channel: Any = app.channel("line")
    async with app:
        with anyio.fail_after(5):
            async with await anyio.connect_tcp("127.0.0.1", channel.port) as silent:
                await silent.send(b"x" * 70_000)
                replies = await converse(channel.port, b'add {"a": 1, "b": 2}')

    assert replies == [{"result": 3}]


def test_a_line_becomes_a_request(lines: Any) -> None:
    request: Request = lines.parse(b'add {"a": 1}\r\n')

    assert (request.operation, request.arguments, request.caller.channel) == ("add", {"a": 1}, "line")
    assert lines.parse(b"ping").arguments == {}


@pytest.mark.parametrize("line", [b"add {", b"add [1, 2]", b"add 3", b"add " + b"[" * 60_000])
def test_a_line_that_is_no_request_says_what_one_is(lines: Any, line: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="a line is a name and a JSON object"):
        lines.parse(line)


def test_a_response_becomes_a_result_or_an_error(lines: Any) -> None:
    refused = NotFoundError("there is none")

    assert lines.render(Response(request_id="1", data=3)) == {"result": 3}
    assert lines.render(Response(request_id="1", error=refused)) == {
        "error": {"code": "not_found", "message": "there is none", "details": {}}
    }


@pytest.mark.anyio
async def test_a_weather_file_can_be_sent_to_the_desk(desk: Any) -> None:
    transport = httpx.ASGITransport(desk.app.channel("api"))
    async with desk.app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        response = await client.post(
            "/api/workflows/process_data/execute", files={"file": (WEATHER.name, WEATHER.read_bytes())}, data={"limit": "10"}
        )
    assert response.json()["data"]["results"] == {"rows": 10, "wettest": "2012-01-04", "millimetres": 20.3}
