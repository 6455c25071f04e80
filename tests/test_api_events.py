"""Server-sent events: a run that is heard while it goes on, over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

import nexus
from nexus import Nexus, NexusConfig, Request, Run
from nexus.models import APPLICATION, Caller, Scope
from nexus.testing import FakeClock
from nexus.workflows.live import SILENT
from nexus_starlette import asgi
from tests.talking_desk import app as talking
from tests.test_api_http import listening

STREAM = {"accept": "text/event-stream"}
EXECUTE = "/api/workflows/{}/execute"


def desk(**options: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(), **options)

    @app.workflow
    async def count(limit: int, *, run: Run) -> AsyncIterator[int]:
        for number in range(limit):
            await run.progress(number + 1, limit)
            yield number

    @app.workflow
    async def asks(*, run: Run) -> str:
        return await run.ask("Name?", str)

    @app.workflow
    async def fails() -> None:
        raise ValueError("a secret")

    return app


@asynccontextmanager
async def serving(app: Nexus) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


def parsed(text: str) -> list[tuple[str, Any]]:
    """Return the events of a stream, comments left out."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.anyio
async def test_a_run_is_heard_while_it_goes_on_and_ends_in_the_usual_reply() -> None:
    async with serving(desk()) as client:
        response = await client.post(EXECUTE.format("count"), json={"inputs": {"limit": 2}}, headers=STREAM)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-store"
    events = parsed(response.text)
    assert [name for name, _ in events] == [
        "run.started", "run.progress", "run.chunk", "run.progress", "run.chunk", "run.succeeded", "response",
    ]  # fmt: skip
    assert [data["data"]["value"] for name, data in events if name == "run.chunk"] == [0, 1]
    assert events[-1][1]["success"] is True
    assert events[-1][1]["data"]["results"] == [0, 1]
    assert events[0][1]["request_id"] == response.headers["x-request-id"]


@pytest.mark.anyio
async def test_what_never_starts_is_answered_without_a_stream() -> None:
    async with serving(desk()) as client:
        response = await client.post(EXECUTE.format("count"), json={"inputs": {"limit": "x"}}, headers=STREAM)
    assert (response.status_code, response.headers["content-type"]) == (422, "application/json")


@pytest.mark.anyio
async def test_a_run_that_fails_ends_in_its_error_without_its_text() -> None:
    async with serving(desk()) as client:
        response = await client.post(EXECUTE.format("fails"), headers=STREAM)
    events = parsed(response.text)
    assert [name for name, _ in events] == ["run.started", "run.failed", "response"]
    assert events[-1][1]["error"]["code"] == "failed"
    assert "a secret" not in response.text


@pytest.mark.anyio
async def test_a_question_ends_the_stream_and_its_answer_begins_another() -> None:
    async with serving(desk()) as client:
        asked = parsed((await client.post(EXECUTE.format("asks"), headers=STREAM)).text)
        assert [name for name, _ in asked] == ["run.started", "run.waiting", "response"]
        assert asked[1][1]["data"]["questions"][0]["text"] == "Name?"
        run_id = asked[-1][1]["data"]["run_id"]
        answered = await client.post(f"/api/runs/{run_id}/answer", json={"answer": "Ada"}, headers=STREAM)
        told = parsed(answered.text)
        assert [name for name, _ in told] == ["run.succeeded", "response"]
        assert told[-1][1]["data"]["results"] == "Ada"


@pytest.mark.anyio
async def test_a_submitted_run_is_followed_and_gone_on_with_after_the_last_event() -> None:
    async with serving(desk()) as client:
        accepted = await client.post(EXECUTE.format("count"), json={"inputs": {"limit": 2}}, headers={"prefer": "respond-async"})
        path = f"{accepted.headers['location']}/events"
        whole = await client.get(path)
        names = [name for name, _ in parsed(whole.text)]
        assert names == ["run.started", "run.progress", "run.chunk", "run.progress", "run.chunk", "run.succeeded"]
        run_id = parsed(whole.text)[0][1]["run_id"]
        rest = await client.get(path, headers={"last-event-id": f"{run_id}-4"})
        assert [name for name, _ in parsed(rest.text)] == names[4:]
        nothing = await client.get(path, headers={"last-event-id": f"{run_id}-6"})
        assert (nothing.status_code, nothing.text) == (204, "")


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "headers", "status"), [("/api/runs/none/events", {}, 404), ("", {"accept": "image/png"}, 406)])
async def test_what_can_not_be_followed_says_so(path: str, headers: dict[str, str], status: int) -> None:
    async with serving(desk()) as client:
        accepted = await client.post(EXECUTE.format("asks"), headers={"prefer": "respond-async"})
        response = await client.get(path or f"{accepted.headers['location']}/events", headers=headers)
    assert response.status_code == status


@pytest.mark.anyio
async def test_a_silent_run_shows_signs_of_life() -> None:
    clock = FakeClock()
    app = desk(clock=clock)
    application = asgi(app)
    sent: list[bytes] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async with app, anyio.create_task_group() as group:
        request = Request(operation="asks", arguments={}, caller=Caller(channel="api"), detach=True)
        run = (await app.dispatch(request)).run
        assert run is not None
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": f"/api/runs/{run.id}/events",
            "headers": [],
            "client": None,
        }
        group.start_soon(application, scope, receive, send)
        await clock.advance(31)
        assert sent.count(b":\n\n") == 2
        await app.executor.answer(Scope.ALL, APPLICATION, run.id, SILENT, question=None, answer="Ada")
    assert b"event: run.succeeded" in b"".join(sent)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_that_leaves_a_stream_stops_the_work(anyio_backend: str) -> None:
    app = desk()
    left: list[str] = []

    @app.workflow
    async def endless(*, run: Run) -> None:
        try:
            while True:
                await run.progress(1)
                await anyio.sleep(0.01)
        finally:
            left.append("cleaned up")

    async with listening(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        async with client.stream("POST", EXECUTE.format("endless"), headers=STREAM) as response:
            async for line in response.aiter_lines():
                if line == "event: run.progress":
                    break
        with anyio.fail_after(2):
            while not left:  # noqa: ASYNC110 - it happens in the server's own task
                await anyio.sleep(0.01)
        (record,) = (await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=2)).items
        assert record.status == "cancelled"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_talking_workflow_with_curl(anyio_backend: str) -> None:
    async with listening(talking) as port:

        async def curl(path: str, body: str) -> list[tuple[str, Any]]:
            words = ["curl", "-sSN", "--json", body, "-H", "accept: text/event-stream", f"http://127.0.0.1:{port}{path}"]
            done = await anyio.to_thread.run_sync(lambda: subprocess.run(words, capture_output=True, text=True, check=True))
            return parsed(done.stdout)

        asked = await curl(EXECUTE.format("talk"), "{}")
        run_id = asked[-1][1]["data"]["run_id"]
        answered = await curl(f"/api/runs/{run_id}/answer", '{"answer": "Ada"}')
    assert [name for name, _ in asked] == ["run.started", "run.progress", "run.log", "run.chunk", "run.waiting", "response"]
    assert asked[2][1]["data"]["message"] == "asking soon"
    assert [name for name, _ in answered] == ["run.chunk", "run.progress", "run.succeeded", "response"]
    assert answered[-1][1]["data"]["results"] == ["before", "hello Ada"]
