"""A tool call of the stateless MCP revision, and its answer."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from benchmarks.asgi import RefusedError

TOOL = "invoice_for"
_VERSION = "2026-07-28"
HEADERS = (
    (b"accept", b"application/json, text/event-stream"),
    (b"mcp-protocol-version", _VERSION.encode()),
    (b"mcp-method", b"tools/call"),
    (b"mcp-name", TOOL.encode()),
)
_META = {
    "io.modelcontextprotocol/protocolVersion": _VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "benchmarks", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_ids = count(1)


def call(arguments: dict[str, Any]) -> bytes:
    """Return the body of a `tools/call`, each with an id of its own."""
    params = {"name": TOOL, "arguments": arguments, "_meta": _META}
    return json.dumps({"jsonrpc": "2.0", "id": next(_ids), "method": "tools/call", "params": params}).encode()


def structured(answer: bytes) -> Any:
    """Return the tool's output, or raise `RefusedError`."""
    message = json.loads(answer)
    if "error" in message or message["result"].get("isError"):
        raise RefusedError(answer.decode())
    return message["result"]["structuredContent"]
