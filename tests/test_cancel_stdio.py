"""Cancelled at any moment, a run ends as `cancelled`, its clean-up done, and holds nothing any more: over standard streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.cancel_desk import points, seed_of
from tests.cancel_program import check_report, environment_of, life_at, until_reached
from tests.test_mcp_stdio import HELLO, LEGACY, MODERN, exchange, line

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

POINTS = 100
ENDS = 4
"""Processes that are ended in the middle of a run, in each way; each costs half a second."""

COMMAND = [sys.executable, "-W", "error", "-m", "tests.cancel_program"]


@asynccontextmanager
async def connected(mode: str, folder: Path) -> AsyncIterator[Client]:
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=environment_of(folder))
    # The client's own default is the standard error of when it was imported, which pytest replaces.
    with open(os.devnull, "w") as errors:  # noqa: ASYNC230, PTH123
        async with Client(stdio_client(server, errlog=errors), mode=mode) as client:
            yield client


async def answer_of(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert result.structured_content is not None
    return result.structured_content.get("result", result.structured_content)


async def give_up(client: Client, life: int, turns: int) -> None:
    """Call, and cancel the call when it is time."""
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "everything", {"life": life})
        await answer_of(client, "reached", number=life)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_whatever_the_moment_at_which_its_call_is_given_up_a_run_lets_go_of_all_that_it_held(
    mode: str, tmp_path: Path
) -> None:
    statuses = []
    async with connected(mode, tmp_path) as client:
        whole = life_at(0, 0, holds=False)
        await client.call_tool("everything", {"life": whole})
        ticks = len(await answer_of(client, "told", number=whole))
        for point in points(seed_of(), POINTS, ticks):
            with point.told(), anyio.fail_after(20):
                life = life_at(max(1, point.tick), point.number + 1, holds=point.chance < 0.8)
                await give_up(client, life, point.turns)
                statuses.append(await answer_of(client, "look", number=life, ticks=ticks))
        assert await answer_of(client, "left") == {"late": []}
    assert set(statuses) <= {"cancelled", "succeeded"}
    assert statuses.count("cancelled") > POINTS / 2
    assert sorted(check_report(tmp_path)) == sorted([*statuses, "succeeded"])


@pytest.mark.parametrize("signalled", [True, False])
def test_a_process_that_ends_in_the_middle_of_a_run_leaves_nothing(signalled: bool, tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for point in points(seed_of(), ENDS, 36):
        folder = tmp_path / str(point.number)
        life = life_at(max(1, point.tick), point.number, holds=True)
        with (
            point.told(),
            subprocess.Popen(COMMAND, text=True, env=environment_of(folder), **pipes) as server,  # type: ignore[call-overload]
        ):
            try:
                exchange(server, HELLO)
                server.stdin.write(line(1, "tools/call", name="everything", arguments={"life": life}))
                server.stdin.flush()
                until_reached(server.stderr)
                if signalled:
                    server.send_signal(signal.SIGINT)
                    assert server.wait(timeout=20) == 0
                else:
                    server.stdin.close()
                    assert server.wait(timeout=20) == 0
            finally:
                server.kill()
            assert check_report(folder) == ["cancelled"]
