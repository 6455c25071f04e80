"""A result that is too long is refused, never cut."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from mcp import Client as McpClient

import nexus
from nexus import ConfigurationError, Nexus, NexusConfig
from nexus.models import ANONYMOUS
from nexus_click import invoke
from nexus_mcp import server
from nexus_starlette import ApiChannel

pytestmark = pytest.mark.anyio

LIMIT = 2000


def app_of(**settings: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(max_value_bytes=LIMIT, **settings))

    @app.workflow
    async def text(length: int) -> str:
        return "x" * length

    return app


async def execute(app: Nexus, length: int) -> httpx.Response:
    transport = httpx.ASGITransport(ApiChannel(app, app.config))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.post("/api/workflows/text/execute", json={"inputs": {"length": length}})


async def test_over_http_it_is_an_error_that_says_how_long_it_was() -> None:
    async with app_of() as app:
        reply = await execute(app, LIMIT)

    error = reply.json()["error"]
    assert reply.status_code == 413
    assert error["code"] == "payload_too_large"
    assert error["details"]["limit"] == LIMIT
    assert error["details"]["size"] > LIMIT
    assert error["message"].endswith("and max_value_bytes is 2000; return less, or where to find it")


async def test_at_the_end_of_a_stream_it_is_the_same_error() -> None:
    app = app_of()

    @app.workflow
    async def talks(length: int, *, run: nexus.Run) -> str:
        await run.log.info("here it comes")
        return "x" * length

    transport = httpx.ASGITransport(ApiChannel(app, app.config))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        body = {"inputs": {"length": LIMIT}}
        reply = await client.post("/api/workflows/talks/execute", json=body, headers={"accept": "text/event-stream"})

    last = json.loads(reply.text.rpartition("data: ")[2])
    assert "event: response" in reply.text
    assert last["error"]["code"] == "payload_too_large"


async def test_a_result_within_the_limit_is_sent_whole() -> None:
    async with app_of() as app:
        reply = await execute(app, LIMIT // 2)

    assert reply.json()["data"]["results"] == "x" * (LIMIT // 2)


async def test_a_record_with_such_a_result_is_refused_as_well() -> None:
    async with app_of() as app:
        result = await app.execute_workflow("text", {"length": LIMIT}, principal=ANONYMOUS)
        transport = httpx.ASGITransport(ApiChannel(app, app.config))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            reply = await client.get(f"/api/runs/{result.run_id}")

    assert reply.status_code == 413


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_over_mcp_it_is_an_error_of_the_tool(mode: str) -> None:
    async with app_of() as app, McpClient(server(app), mode=mode) as client:
        refused = await client.call_tool("text", {"length": LIMIT})
        short = await client.call_tool("text", {"length": 10})

    assert refused.is_error
    assert refused.structured_content is not None
    assert refused.structured_content["code"] == "payload_too_large"
    assert short.structured_content == {"result": "x" * 10}


async def test_in_process_and_on_a_local_command_line_nothing_is_sent_and_nothing_refused() -> None:
    async with app_of() as app:
        assert len((await app.execute_workflow("text", {"length": LIMIT})).results) == LIMIT
        assert len((await invoke(app, ["text", str(LIMIT)])).stdout) > LIMIT


async def test_the_limit_is_ten_megabytes_unless_it_is_set() -> None:
    assert NexusConfig().max_value_bytes == 10_000_000
    assert NexusConfig(max_value_bytes="2 MB").max_value_bytes == 2_000_000
    with pytest.raises(ConfigurationError, match="max_value_bytes: expected a number of bytes"):
        NexusConfig(max_value_bytes=0)
