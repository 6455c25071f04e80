"""A workflow that is going to be removed says so wherever it shows, and what to use instead."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

import nexus
from nexus import Nexus, NexusConfig, Problem, RegistrationError, Workflow
from nexus.testing import Client
from nexus_click import invoke
from nexus_mcp import server
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> Nexus:
    app = nexus.create_nexus(NexusConfig())

    @app.workflow(deprecated="use totals@2")
    async def sum_up(numbers: list[int]) -> int:
        """Add numbers."""
        if not numbers:
            raise Problem("invalid_argument", "there are none")
        return sum(numbers)

    @app.workflow
    async def totals(numbers: list[int]) -> int:
        """Add numbers, better."""
        return sum(numbers)

    return app


async def answered(app: Nexus, path: str, body: Any = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(asgi(app))
    async with app, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await (http.get(path) if body is None else http.post(path, json=body, headers=headers))


async def test_a_listing_says_what_to_use_instead(app: Nexus) -> None:
    async with Client(app, channel="api") as client:
        listing = await client.call("workflows.list")
    assert {view["name"]: view["deprecated"] for view in listing} == {"sum_up": "use totals@2", "totals": None}


@pytest.mark.parametrize(("prefer", "status"), [("", 200), ("respond-async", 202)])
async def test_a_reply_has_the_header_and_the_notice(app: Nexus, prefer: str, status: int) -> None:
    reply = await answered(app, "/api/workflows/sum_up/execute", {"inputs": {"numbers": [1, 2]}}, prefer=prefer)
    assert (reply.status_code, reply.headers["deprecation"]) == (status, "@0")
    assert reply.json()["metadata"]["deprecated"] == "use totals@2"


async def test_a_reply_of_a_run_that_failed_has_them_too(app: Nexus) -> None:
    reply = await answered(app, "/api/workflows/sum_up/execute", {"inputs": {"numbers": []}})
    assert (reply.status_code, reply.headers["deprecation"]) == (422, "@0")
    assert reply.json()["metadata"]["deprecated"] == "use totals@2"


async def test_a_reply_of_another_workflow_has_neither(app: Nexus) -> None:
    reply = await answered(app, "/api/workflows/totals/execute", {"inputs": {"numbers": [1]}})
    assert "deprecation" not in reply.headers
    assert "deprecated" not in reply.json()["metadata"]


async def test_the_openapi_document_marks_it(app: Nexus) -> None:
    document = (await answered(app, "/openapi.json")).json()
    validate(document)
    old, new = (document["paths"][f"/api/workflows/{name}/execute"]["post"] for name in ("sum_up", "totals"))
    assert (old["deprecated"], old["description"], old["summary"]) == (True, "Deprecated: use totals@2", "Add numbers.")
    assert "Deprecation" in old["responses"]["200"]["headers"]
    assert "deprecated" not in new
    assert "Deprecation" not in new["responses"]["200"]["headers"]


async def test_the_command_line_warns_on_standard_error_and_goes_on(app: Nexus) -> None:
    async with app:
        old = await invoke(app, ["sum-up", "1", "2"])
        new = await invoke(app, ["totals", "1", "2"])
    assert (old.exit_code, json.loads(old.stdout)) == (0, 3)
    assert old.stderr == "Warning: sum-up 1 is deprecated: use totals@2\n"
    assert new.stderr == ""


async def test_the_help_of_the_command_line_says_so(app: Nexus) -> None:
    async with app:
        group, command = await invoke(app, ["--help"]), await invoke(app, ["sum-up", "--help"])
    assert "(deprecated) Add numbers." in group.stdout
    assert "Deprecated: use totals@2" in command.stdout


async def test_a_tool_says_so_first(app: Nexus) -> None:
    mcp = pytest.importorskip("mcp")
    async with app, mcp.Client(server(app)) as client:
        tools = {tool.name: tool.description for tool in (await client.list_tools()).tools}
    assert tools == {"sum_up": "Deprecated: use totals@2\n\nAdd numbers.", "totals": "Add numbers, better."}


async def test_one_version_may_be_deprecated_and_another_not(app: Nexus) -> None:
    old, new = Workflow("report", deprecated="use report@2"), Workflow("report", version="2")
    for version in (old, new):

        @version.step
        async def lines() -> list[str]:
            return []

        app.register(version)
    assert [(operation.version, operation.deprecated) for operation in app.operations() if operation.name == "report"] == [
        ("2", ""),
        ("1", "use report@2"),
    ]


@pytest.mark.parametrize("notice", [True, "", "  "])
def test_a_notice_without_words_is_refused(notice: Any) -> None:
    with pytest.raises(RegistrationError, match="say what to use instead, like deprecated='use report@2'"):
        Workflow("report", deprecated=notice)
