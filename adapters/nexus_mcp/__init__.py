"""
The MCP adapter of Nexus: workflows as tools of the Model Context Protocol.

`server(app)` is the official SDK's low-level server, `serve_stdio(app)` runs it on standard input and output, and `McpChannel`
is what `nexus_starlette.asgi(app)` serves at `/mcp`.
"""

from nexus_mcp._channel import McpChannel
from nexus_mcp._server import server
from nexus_mcp._stdio import serve_stdio
from nexus_mcp._wire import META_EXECUTION_TIME, META_IDEMPOTENCY_KEY, META_REQUEST_ID, META_RUN_ID, META_WORKFLOW_VERSION

__all__ = [
    "META_EXECUTION_TIME",
    "META_IDEMPOTENCY_KEY",
    "META_REQUEST_ID",
    "META_RUN_ID",
    "META_WORKFLOW_VERSION",
    "McpChannel",
    "serve_stdio",
    "server",
]
