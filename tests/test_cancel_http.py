"""Cancelled at any moment, a run ends as `cancelled`, its clean-up done, and holds nothing any more: over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import attrs
import httpx
import pytest
import uvicorn

from nexus_starlette import asgi
from tests.cancel_desk import UNANSWERED, Desk, Holdings, Life, PausingStore, Point, opened, points, seed_of
from tests.files_desk import END, FORM, part
from tests.test_api_http import Server

pytestmark = pytest.mark.anyio

POINTS = 100
AT_ONCE = 25
HELD = 0.8
"""Of so many runs no step goes on after its client has left, for that is noticed only a while later."""

ROWS = b"1,2,3\n" * 100_000
"""More than is written to the disk at once."""


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn is asyncio only."""
    return "asyncio"


@attrs.define(eq=False)
class Served:
    """
    The application behind a server.

    Attributes:
        answered: Set when the server is done with a request, whether or not its client has heard the end, by number of its life.
    """

    desk: Desk
    port: int = 0
    answered: dict[int, anyio.Event] = attrs.field(factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path) -> AsyncIterator[Served]:
        served = cls(opened(root, run_store=PausingStore()))
        application = asgi(served.desk.app)

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            try:
                await application(scope, receive, send)
            finally:
                number = int(dict(scope["headers"]).get(b"x-life", 0))
                served.answered.setdefault(number, anyio.Event()).set()

        server = Server(uvicorn.Config(noting, port=0, lifespan="off", log_config=None, ws="none"))
        async with served.desk.app, anyio.create_task_group() as group:
            group.start_soon(server.serve)
            with anyio.fail_after(5):
                await server.listening.wait()
            served.port = server.servers[0].sockets[0].getsockname()[1]
            yield served
            server.should_exit = True

    async def has_answered(self, number: int) -> None:
        await self.answered.setdefault(number, anyio.Event()).wait()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}")


@attrs.define(eq=False)
class Case:
    """One run that is cancelled, or whose client leaves."""

    served: Served
    client: httpx.AsyncClient
    point: Point
    number: int
    life: Life

    async def moment(self) -> None:
        """Wait for the moment."""
        if self.point.tick:
            await self.life.reached.wait()
        for _ in range(self.point.turns):
            await anyio.lowlevel.checkpoint()

    async def send(self, body: bytes, media: str, *headers: str, most: int | None = None) -> anyio.abc.SocketStream:
        """Send a request on a connection of its own, as much of it as is said."""
        stream = await anyio.connect_tcp("127.0.0.1", self.served.port)
        lines = [
            "POST /api/workflows/everything/execute HTTP/1.1",
            "Host: localhost",
            f"X-Life: {self.number}",
            f"Content-Type: {media}",
            f"Content-Length: {len(body)}",
            *headers,
            "",
            "",
        ]
        await stream.send("\r\n".join(lines).encode() + body[:most])
        return stream

    async def execute(self, *headers: str) -> anyio.abc.SocketStream:
        return await self.send(b'{"inputs": {"life": %d}}' % self.number, "application/json", *headers)

    async def upload(self, most: int | None = None) -> anyio.abc.SocketStream:
        return await self.send(form(self.number), FORM, most=most)


def form(number: int) -> bytes:
    return part("file", ROWS, filename="rows.csv") + part("life", f"{number:4}") + END


async def by_request(case: Case, workflow: str = "everything") -> None:
    """Cancel a submitted run by another request."""
    body = {"inputs": {"life": case.number}}
    reply = await case.client.post(f"/api/workflows/{workflow}/execute", json=body, headers={"prefer": "respond-async"})
    assert reply.status_code == 202, reply.text
    await case.moment()
    ended = await case.client.post(f"{reply.headers['location']}/cancel")
    assert ended.json()["data"]["status"] in {"cancelled", "succeeded"}, ended.text


async def by_request_while_it_may_wait_for_answers(case: Case) -> None:
    await by_request(case, "asking")


async def by_leaving_while_it_waits(case: Case) -> None:
    async with await case.execute():
        await case.moment()
    await case.served.has_answered(case.number)


async def by_leaving_its_events(case: Case) -> None:
    async with await case.execute("Accept: text/event-stream") as stream, anyio.create_task_group() as group:

        async def read() -> None:
            async for _ in stream:
                pass

        group.start_soon(read)
        await case.moment()
        group.cancel_scope.cancel()
    await case.served.has_answered(case.number)


async def by_leaving_with_files_in_use(case: Case) -> None:
    async with await case.upload():
        await case.moment()
    await case.served.has_answered(case.number)


REQUESTS = [by_request, by_request_while_it_may_wait_for_answers]
CALLS = [*REQUESTS, by_leaving_while_it_waits, by_leaving_its_events, by_leaving_with_files_in_use]


async def ticks_of(served: Served, *, uploads: bool) -> int:
    """Return how many ticks a run has whose client stays; one more where it gets a file."""
    number, life = served.desk.live()
    async with served.client() as client:
        reply = await client.post(
            "/api/workflows/everything/execute", content=form(number), headers={"content-type": FORM, "connection": "close"}
        )
    assert reply.json()["data"]["results"] == [6, 2, 1]
    assert life.opened["sent"] == 1
    return len(life.ticks) - (not uploads)


async def cancel_at_each(call: Callable[[Case], Awaitable[None]], root: Path) -> list[str]:
    """Return what became of each."""
    statuses: list[str] = []
    async with Served.open(root) as served:
        desk = served.desk
        ticks = await ticks_of(served, uploads=call is by_leaving_with_files_in_use)
        before = Holdings.now()
        last = UNANSWERED if call is by_request_while_it_may_wait_for_answers else ticks
        todo = iter(points(seed_of(), POINTS, last))
        async with served.client() as client, anyio.create_task_group() as group:

            async def carry_out() -> None:
                for point in todo:
                    with point.told(), anyio.fail_after(20):
                        number, life = desk.live(at=point.tick, holds=call not in REQUESTS and point.chance < HELD)
                        await call(Case(served, client, point, number, life))
                        statuses.append(desk.check(number, ticks=ticks))

            for _ in range(AT_ONCE):
                group.start_soon(carry_out)
        await before.check(desk)
        assert not any(life.late for life in desk.lives.values())
    return statuses


@pytest.mark.parametrize("call", CALLS)
async def test_whatever_the_moment_at_which_it_is_cancelled_a_run_lets_go_of_all_that_it_held(
    call: Callable[[Case], Awaitable[None]], tmp_path: Path
) -> None:
    assert (await cancel_at_each(call, tmp_path)).count("cancelled") > POINTS / 2


async def test_wherever_in_its_body_a_client_leaves_nothing_of_it_stays(tmp_path: Path) -> None:
    async def by_leaving_its_upload(case: Case) -> None:
        # Not the last byte, so that no run begins; near the ends of the parts now and then.
        length = len(form(case.number))
        most = length - 1 - int(case.point.chance * (120 if case.point.turns else length))
        async with await case.upload(most):
            for _ in range(case.point.turns):
                await anyio.lowlevel.checkpoint()
        await case.served.has_answered(case.number)

    assert await cancel_at_each(by_leaving_its_upload, tmp_path) == ["never begun"] * POINTS
