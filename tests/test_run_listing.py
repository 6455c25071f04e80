"""Runs listed: `runs.list`, `GET /api/runs`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

import nexus
import nexus_click
from nexus import InvalidArgumentError, Nexus, Problem, WorkflowFailedError
from nexus.models import APPLICATION, Principal
from nexus.testing import Client, FakeClock
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(clock: FakeClock) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), clock=clock)

    @app.workflow
    async def double(number: int) -> int:
        return 2 * number

    @app.workflow
    async def boom() -> None:
        raise RuntimeError("the secret reason")

    return app


async def run_some(app: Nexus, clock: FakeClock, count: int, **options: Any) -> list[str]:
    """Run `double` a second apart, and return the runs' ids, the newest first."""
    ids = []
    for number in range(count):
        ids.append((await app.execute_workflow("double", {"number": number}, **options)).run_id)
        await clock.advance(1)
    return ids[::-1]


def ids_of(page: Any) -> list[str]:
    return [item["run_id"] for item in page["items"]]


async def test_the_newest_runs_come_first(app: Nexus, clock: FakeClock) -> None:
    async with Client(app, principal=APPLICATION) as client:
        ids = await run_some(app, clock, 3)
        assert await client.call("runs.list") == {
            "items": [await client.call("runs.get", run_id=run_id) for run_id in ids],
            "cursor": None,
        }


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_a_cursor_leads_from_page_to_page(app: Nexus, clock: FakeClock, channel: Any) -> None:
    ada = Principal(id="ada")
    async with Client(app, channel=channel, principal=ada) as client:
        ids = await run_some(app, clock, 5, principal=ada)
        first = await client.call("runs.list", limit=2)
        second = await client.call("runs.list", limit=2, after=first["cursor"])
        third = await client.call("runs.list", limit=2, after=second["cursor"])
        assert [ids_of(page) for page in (first, second, third)] == [ids[:2], ids[2:4], ids[4:]]
        assert third["cursor"] is None


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_runs_are_filtered_by_status_and_workflow(app: Nexus, clock: FakeClock, channel: Any) -> None:
    ada = Principal(id="ada")
    async with Client(app, channel=channel, principal=ada) as client:
        (good,) = await run_some(app, clock, 1, principal=ada)
        with pytest.raises(WorkflowFailedError):
            await client.execute("boom")
        bad = client.last_run.id
        assert ids_of(await client.call("runs.list", status="failed")) == [bad]
        assert ids_of(await client.call("runs.list", workflow="double")) == [good]
        assert ids_of(await client.call("runs.list", workflow="double", status="failed")) == []
        assert "secret" not in json.dumps(await client.call("runs.list", status="failed"), default=str)


async def test_a_caller_lists_its_own_runs_only(app: Nexus, clock: FakeClock) -> None:
    await run_some(app, clock, 1)
    (adas,) = await run_some(app, clock, 1, principal=Principal(id="ada"))
    async with Client(app, principal="ada") as client:
        assert ids_of(await client.call("runs.list")) == [adas]
    async with Client(app, principal="bob") as client:
        assert ids_of(await client.call("runs.list")) == []


async def test_the_anonymous_without_a_session_list_nothing(app: Nexus) -> None:
    async with Client(app, channel="api") as client:
        await client.execute("double", number=1)
        assert await client.call("runs.list") == {"items": [], "cursor": None}


@pytest.mark.parametrize("channel", ["inprocess", "api"])
@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"status": "lost"}, "/status"),
        ({"after": "nowhere"}, "/after"),
        ({"owner": "me"}, "/owner"),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place(
    app: Nexus, channel: Any, arguments: dict[str, Any], pointer: str
) -> None:
    async with Client(app, channel=channel) as client:
        with pytest.raises(InvalidArgumentError) as refused:
            await client.call("runs.list", **arguments)
    assert [problem.pointer for problem in refused.value.problems] == [pointer]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_over_http_a_name_given_twice_is_refused(app: Nexus) -> None:
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        reply = await client.get("/api/runs?limit=3&limit=4")
        assert (reply.status_code, reply.json()["error"]["details"]["errors"][0]["pointer"]) == (422, "/limit")
        assert (await client.get("/api/runs?status=%ff")).status_code == 400


async def test_the_command_line_lists_runs(app: Nexus, clock: FakeClock) -> None:
    ids = await run_some(app, clock, 2, principal=Principal(id="ada"))
    async with app:
        result = await nexus_click.invoke(app, ["runs.list", "--limit=1", "--format=json"], principal=Principal(id="ada"))
    assert ids_of(json.loads(result.stdout)) == ids[:1]


async def test_a_problem_of_a_run_is_shown_in_the_listing(app: Nexus) -> None:
    @app.workflow
    async def full() -> None:
        raise Problem("resource_exhausted", "the plane is full")

    async with Client(app, principal=APPLICATION) as client:
        with pytest.raises(Problem):
            await client.execute("full")
        (item,) = (await client.call("runs.list"))["items"]
    assert item["error"]["message"] == "the plane is full"
