"""Cancelled at any moment, a run ends as `cancelled`, its clean-up done, and holds nothing any more: over MCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest
import uvicorn
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult

from nexus_mcp import McpChannel
from tests.cancel_desk import UNANSWERED, Desk, Holdings, Life, PausingStore, Point, opened, points, seed_of, until
from tests.test_api_http import Server
from tests.test_mcp_http import LEGACY, MODERN, call, handshake, headers, wire

pytestmark = pytest.mark.anyio

POINTS = 100
AT_ONCE = 25
HELD = 0.8
"""Of so many runs no step goes on after its client has left, for that is noticed only a while later."""


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn and the SDK's streams of events are for asyncio only."""
    return "asyncio"


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[Desk, str]]:
    """Serve, and give the URL of the endpoint."""
    desk = opened(root, run_store=PausingStore())
    endpoint = desk.app.add_channel(McpChannel)
    assert isinstance(endpoint, McpChannel)
    server = Server(uvicorn.Config(endpoint, port=0, lifespan="off", log_config=None, ws="none"))
    async with desk.app, anyio.create_task_group() as group:
        group.start_soon(server.serve)
        with anyio.fail_after(5):
            await server.listening.wait()
        yield desk, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
        server.should_exit = True


@attrs.define(eq=False)
class Case:
    """
    One call that is given up.

    Attributes:
        client: The official one, connected.
        session: Of the handshake era, for messages that are sent by hand.
    """

    url: str
    client: Client
    session: str
    point: Point
    number: int
    life: Life

    async def moment(self) -> None:
        """Wait for the moment."""
        if self.point.tick:
            await self.life.reached.wait()
        for _ in range(self.point.turns):
            await anyio.lowlevel.checkpoint()

    async def give_up(self, tool: str, **options: Any) -> None:
        """Call by the official client, and cancel the call, of which it tells the server."""
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await self.moment()
                group.cancel_scope.cancel()

            group.start_soon(cancel)
            await self.client.call_tool(tool, {"life": self.number}, **options)
            group.cancel_scope.cancel()

    async def hang_up(self, **more: Any) -> None:
        """Call by hand, and close the connection without a word."""
        arguments = {"life": self.number}
        async with wire(self.url) as connection:
            if self.session:
                message = {"jsonrpc": "2.0", "id": self.number, "method": "tools/call"}
                about = {"mcp-session-id": self.session, "mcp-protocol-version": "2025-11-25"}
                params = {"name": "everything", "arguments": arguments, "_meta": more}
                await connection.post({**message, "params": params}, **about)
            else:
                await connection.post(call("everything", arguments, **more), **headers("everything"))
            await self.moment()


async def by_giving_up_the_call(case: Case) -> None:
    await case.give_up("everything")


async def by_giving_up_a_call_that_tells_how_it_goes(case: Case) -> None:
    async def hear(progress: float, total: float | None, message: str | None) -> None:
        pass

    await case.give_up("everything", progress_callback=hear)


async def by_hanging_up(case: Case) -> None:
    await case.hang_up()


async def by_hanging_up_while_it_tells_how_it_goes(case: Case) -> None:
    await case.hang_up(progressToken=case.number)


async def by_giving_up_while_a_form_is_filled_in(case: Case) -> None:
    await case.give_up("asking")


async def fill_in_for_ever(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    await anyio.sleep_forever()
    raise AssertionError


async def ticks_of(desk: Desk, client: Client) -> int:
    """Return how many ticks a run has whose client stays."""
    number, life = desk.live()
    result = await client.call_tool("everything", {"life": number})
    assert result.structured_content == {"result": [6, 2, 1]}
    return len(life.ticks)


async def cancel_at_each(give_up: Callable[[Case], Awaitable[None]], mode: str, root: Path, *, asks: bool = False) -> list[str]:
    """Return what became of each."""
    statuses: list[str] = []
    options: dict[str, Any] = {"elicitation_callback": fill_in_for_ever} if asks else {}
    async with served(root) as (desk, url), Client(url, mode=mode, **options) as client:
        ticks = await ticks_of(desk, client)
        async with httpx.AsyncClient() as by_hand:
            session = await handshake(by_hand, url) if mode == LEGACY else ""
        before = Holdings.now()
        todo = iter(points(seed_of(), POINTS, UNANSWERED if asks else ticks))
        unsure = []
        async with anyio.create_task_group() as group:

            async def carry_out() -> None:
                for point in todo:
                    with point.told(), anyio.fail_after(20):
                        number, life = desk.live(at=point.tick, holds=not asks and point.chance < HELD)
                        await give_up(Case(url, client, session, point, number, life))
                        if not life.ticks:
                            # It may yet begin: the server may not have read the request.
                            unsure.append(number)
                            continue
                        await until(lambda number=number: desk.has_ended(number))  # type: ignore[misc]  # a lambda's default
                        statuses.append(desk.check(number, ticks=ticks))

            for _ in range(AT_ONCE):
                group.start_soon(carry_out)
        await before.check(desk)
        statuses += [desk.check(number, ticks=ticks) for number in unsure]
        assert not any(life.late for life in desk.lives.values())
    return statuses


CALLS = [
    by_giving_up_the_call,
    by_hanging_up,
    pytest.param(by_giving_up_a_call_that_tells_how_it_goes, marks=pytest.mark.slow),
    pytest.param(by_hanging_up_while_it_tells_how_it_goes, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("give_up", CALLS)
async def test_whatever_the_moment_at_which_its_call_is_given_up_a_run_lets_go_of_all_that_it_held(
    give_up: Callable[[Case], Awaitable[None]], mode: str, tmp_path: Path
) -> None:
    statuses = await cancel_at_each(give_up, mode, tmp_path)
    assert statuses.count("cancelled") > POINTS / 2


async def test_whatever_the_moment_at_which_its_call_is_given_up_a_run_that_asks_lets_go_of_all_that_it_held(
    tmp_path: Path,
) -> None:
    statuses = await cancel_at_each(by_giving_up_while_a_form_is_filled_in, LEGACY, tmp_path, asks=True)
    assert set(statuses) <= {"cancelled", "never begun"}
    assert statuses.count("cancelled") > POINTS / 2
