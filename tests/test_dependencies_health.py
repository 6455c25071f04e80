"""Whether what is open is well, as probes are told."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import httpx
import pytest

import nexus
from nexus import (
    Inject,
    NexusConfig,
)
from nexus.testing import FakeClock
from nexus_starlette import asgi
from tests.dependency_desk import Desk, Pool, Repository

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- health


async def test_health_is_of_those_that_are_open_and_can_say(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    sick: set[int] = set()

    async def check(pool: Pool) -> bool:
        if pool.number in sick:
            raise OSError("password of the database: hunter2")
        return True

    desk.app.provide(Pool, desk.open_pool, per="app", health=check)
    desk.app.provide(Repository, Repository, per="app")

    @desk.app.workflow
    async def use(*, repository: Inject[Repository]) -> None: ...

    assert await desk.app.health() == {}
    async with desk.app:
        assert await desk.app.health() == {}
        await desk.app.execute_workflow("use")
        assert await desk.app.health() == {"Pool": True}
        sick.add(1)
        assert await desk.app.health() == {"Pool": False}
        assert await desk.app.health() == {"Pool": False}
        assert len(caplog.records) == 1
        sick.clear()
        assert await desk.app.health() == {"Pool": True}


async def test_health_asks_all_at_once_and_waits_two_seconds() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(NexusConfig(), clock=clock)

    async def hang(_: object) -> None:
        await anyio.sleep_forever()

    async def says_no(_: object) -> bool:
        return False

    class Other: ...

    app.provide(Pool, lambda: Pool(), per="app", health=hang)  # noqa: PLW0108
    app.provide(Repository, Repository, per="app", health=hang)
    app.provide(Other, Other, per="app", health=says_no)

    @app.workflow
    async def use(*, repository: Inject[Repository], other: Inject[Other]) -> None: ...

    found: dict[str, bool] = {}

    async def look() -> None:
        found.update(await app.health())

    async with app:
        await app.execute_workflow("use")
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await clock.advance(2)
    assert list(found.values()) == [False, False, False]


async def test_an_application_is_not_ready_while_what_is_open_is_not_well(desk: Desk) -> None:
    sick: list[str] = []

    async def check(pool: Pool) -> None:
        if sick:
            raise OSError("password of the database: hunter2")

    desk.app.provide(Pool, desk.open_pool, per="app", health=check)

    @desk.app.workflow
    async def use(*, pool: Inject[Pool]) -> None: ...

    transport = httpx.ASGITransport(asgi(desk.app))
    async with desk.app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        await desk.app.execute_workflow("use")
        well = await client.get("/health/ready")
        sick.append("flu")
        ill, alive = await client.get("/health/ready"), await client.get("/health/live")
    assert (well.status_code, ill.status_code, alive.status_code) == (200, 503, 200)
    error = ill.json()["error"]
    assert (error["code"], error["details"]) == ("unavailable", {"failing": ["Pool"]})
    assert "Pool" in error["message"]
    assert "hunter2" not in ill.text
