"""`serve_stdio` in a process of its own, called by the official client and by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ElicitRequestParams, ElicitResult

from nexus_mcp._stdio import Lines
from tests.mcp_holder import Holder, Tasks

pytestmark = pytest.mark.anyio

LEGACY = "legacy"
MODERN = "2026-07-28"
COMMAND = [sys.executable, "-W", "error", "-m", "tests.mcp_desk"]
TASKS = [sys.executable, "-W", "error", "-m", "tests.mcp_task_desk"]
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}
    },
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path and not path.endswith((".zip", "lib-dynload"))),
}


@pytest.fixture(params=[LEGACY, MODERN])
def mode(request: pytest.FixtureRequest) -> str:
    era: str = request.param
    return era


def connected(mode: str, files_root: Path, **options: Any) -> AbstractAsyncContextManager[Client]:
    return started([*COMMAND, str(files_root)], mode, **options)


@asynccontextmanager
async def started(command: list[str], mode: str, **options: Any) -> AsyncIterator[Client]:
    server = StdioServerParameters(command=command[0], args=command[1:], env=ENVIRONMENT)
    # The client's own default is the standard error of when it was imported, which pytest replaces.
    with open(os.devnull, "w") as errors:  # noqa: ASYNC230, PTH123
        async with Client(stdio_client(server, errlog=errors), mode=mode, **options) as client:
            yield client


@pytest.mark.slow
async def test_tools_are_called_over_stdio(mode: str, tmp_path: Path) -> None:
    (tmp_path / "rain.csv").write_text("10.9")
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"answer": True})

    async with connected(mode, tmp_path, elicitation_callback=answer) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        read = await client.call_tool("read", {"file": "rain.csv"})
        outside = await client.call_tool("read", {"file": str(tmp_path / "rain.csv" / ".." / ".." / "other")})
        told = await client.call_tool("steps", {"count": 2}, progress_callback=hear)
        kept = await client.call_tool("keep", {})

    assert "read" in names
    assert read.structured_content == {"result": "10.9"}
    assert outside.structured_content["code"] == "invalid_argument"
    assert told.structured_content == {"result": 2}
    assert heard == [1, 2]
    assert kept.structured_content == {"result": "kept"}


@pytest.mark.slow
async def test_long_work_goes_on_beside_a_client_over_stdio(mode: str) -> None:
    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"answer": True})

    async with started(TASKS, mode, elicitation_callback=answer) as client:
        about = {"run_id": (await client.call_tool("keep", {})).structured_content["run_id"]}
        run = (await client.call_tool("runs_wait", about)).structured_content

    assert (run["status"], run["results"]) == ("succeeded", "kept")


@pytest.mark.slow
async def test_long_work_is_a_task_over_stdio() -> None:
    async def never(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        raise AssertionError("forms of a task come with the task")

    async with started(TASKS, MODERN, extensions=[Tasks()], elicitation_callback=never) as client:
        holder = Holder(client)
        begun = await holder.begin("keep")
        asking = await holder.until(begun.task_id, "input_required")
        yes = ElicitResult(action="accept", content={"answer": True})
        await holder.answer(begun.task_id, **dict.fromkeys(asking["inputRequests"], yes))
        task = await holder.until(begun.task_id, "completed")

    assert task["result"]["structuredContent"] == {"result": "kept"}


@contextmanager
def process(files_root: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    started = subprocess.Popen([*COMMAND, str(files_root)], text=True, env=ENVIRONMENT, **pipes)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def line(id_: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}) + "\n"


HELLO = line(0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "test", "version": "1"})


def exchange(server: subprocess.Popen[str], sent: str) -> Any:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(sent)
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@pytest.mark.slow
def test_nothing_but_the_protocol_is_on_standard_output(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        assert exchange(server, HELLO)["result"]["serverInfo"]["name"] == "Desk"
        messages = [exchange(server, line(1, "tools/call", name="steps", arguments={"count": 1}))]
        while "result" not in messages[-1]:
            messages.append(exchange(server, ""))
        rest, errors = server.communicate(timeout=10)

    assert messages[-1]["result"]["structuredContent"] == {"result": 1}
    assert rest == ""
    assert "a module may print" in errors
    assert "a workflow may print" in errors
    assert server.returncode == 0


SCHEDULED = """
import anyio, nexus
from nexus.testing import FakeClock
from nexus_mcp import serve_stdio

clock, fired = FakeClock(), []
app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)

@app.workflow(schedule="* * * * *")
async def tick() -> None:
    fired.append(1)

@app.workflow
async def wait() -> int:
    await clock.advance(3600)
    return len(fired)

anyio.run(serve_stdio, app)
"""


@pytest.mark.slow
async def test_no_schedule_fires_over_stdio() -> None:
    server = StdioServerParameters(command=sys.executable, args=["-c", SCHEDULED], env=ENVIRONMENT)
    with open(os.devnull, "w") as errors:  # noqa: ASYNC230, PTH123
        async with Client(stdio_client(server, errlog=errors)) as client:
            fired = await client.call_tool("wait", {})
    assert fired.structured_content == {"result": 0}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_though_its_input_stays_open(tmp_path: Path, number: int) -> None:
    with process(tmp_path) as server:
        exchange(server, HELLO)
        assert server.stdin is not None
        server.stdin.write(line(1, "tools/call", name="hang", arguments={}))
        server.stdin.flush()
        server.send_signal(number)

        assert server.wait(timeout=10) == 0


@pytest.mark.slow
def test_a_file_as_input_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(HELLO)
    with (tmp_path / "in.jsonl").open() as script, process(tmp_path, stdin=script) as server:
        output, _ = server.communicate(timeout=10)

    assert json.loads(output.splitlines()[0])["id"] == 0
    assert server.returncode == 0


@pytest.mark.slow
def test_an_input_that_is_closed_ends_the_process(tmp_path: Path) -> None:
    with process(tmp_path, stdin=subprocess.DEVNULL) as server:
        output, _ = server.communicate(timeout=10)

    assert output == ""
    assert server.returncode == 0


async def test_lines_are_put_together_from_what_comes() -> None:
    reader, writer = os.pipe()
    lines = Lines(reader)
    got: list[str] = []

    async def read() -> None:
        async for text in lines:
            got.append(text)  # noqa: PERF401 - what has come is looked at while more is awaited

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for piece in (b"one\ntw", b"", b"o\n\xff", b"\nthree"):
            os.write(writer, piece)
            await anyio.wait_all_tasks_blocked()
        os.close(writer)
    os.close(reader)

    assert got == ["one", "two", "�"]
