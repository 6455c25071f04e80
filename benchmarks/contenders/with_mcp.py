"""The low-level server of the MCP SDK, over its own HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from pydantic import ValidationError

from benchmarks.asgi import lifespan, post
from benchmarks.contenders.pydantic_order import Invoice, Order, invoice_for
from benchmarks.harness import Work
from benchmarks.mcp_wire import HEADERS, TOOL, call, structured

_TOOL = types.Tool(name=TOOL, input_schema=Order.model_json_schema(), output_schema=Invoice.model_json_schema())


async def _list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[_TOOL])


async def _call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    try:
        invoice = invoice_for(Order.model_validate(params.arguments))
    except ValidationError as error:
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
    content: list[Any] = [types.TextContent(type="text", text=invoice.model_dump_json())]
    return types.CallToolResult(content=content, structured_content=invoice.model_dump(mode="json"))


def _schema(_: str) -> Mapping[str, Any]:
    return _TOOL.input_schema


@asynccontextmanager
async def tools(*, knows_schema: bool) -> AsyncIterator[Work]:
    """One tool; unless the server is told its schema, the SDK lists the tools at each call to look for it."""
    lookup: Callable[[str], Mapping[str, Any]] | None = _schema if knows_schema else None
    server: Server[Any] = Server("bench", on_list_tools=_list_tools, on_call_tool=_call_tool, get_tool_input_schema=lookup)
    app = server.streamable_http_app(json_response=True, stateless_http=True)
    async with lifespan(app):
        yield Work(unit=post(app, "/mcp", *HEADERS), write=call, read=structured)
