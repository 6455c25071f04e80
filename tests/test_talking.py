"""One workflow with progress, log, ask and chunk, unchanged, heard and answered on every channel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest
from mcp import Client as McpClient
from mcp.client.session import ClientRequestContext
from mcp_types import LOG_LEVEL_META_KEY, ElicitRequestParams, ElicitResult, LoggingMessageNotificationParams

from nexus_mcp import server
from tests.talking_desk import app

RESULT = ["before", "hello Ada"]
DESK = str(Path(__file__).with_name("talking_desk.py"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_in_a_terminal() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "nexus_click", "run", DESK, "talk"], encoding="utf-8", timeout=30, dimensions=(24, 100)
    )
    try:
        child.expect_exact("info: asking soon")
        child.expect_exact("before")
        child.expect_exact("Who is there?: ")
        child.sendline("Ada")
        child.expect_exact("hello Ada")
        child.expect(pexpect.EOF)
        assert child.before.strip().splitlines() == RESULT
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_through_the_official_mcp_client(mode: str) -> None:
    heard: list[Any] = []

    async def hear_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async def hear_message(params: LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        heard.append(params.message)
        return ElicitResult(action="accept", content={"answer": "Ada"})

    async with app, McpClient(server(app), mode=mode, logging_callback=hear_message, elicitation_callback=answer) as client:
        if mode == "legacy":
            with pytest.warns(UserWarning, match="deprecated"):
                await client.set_logging_level("info")
        meta: Any = {LOG_LEVEL_META_KEY: "info"}
        result = await client.call_tool("talk", {}, progress_callback=hear_progress, meta=meta)
    assert result.structured_content == {"result": RESULT}
    for told in (
        (1, 2, "half"),
        {"message": "asking soon"},
        {"chunk": "before"},
        "Who is there?",
        {"chunk": "hello Ada"},
        (2, 2, "all"),
    ):
        assert told in heard
