"""The MCP channel: streamable HTTP, both eras of the protocol on one endpoint."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import Any, ClassVar, Final

import anyio
import attrs
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus.abc import Channel, Gateway
from nexus.config import NexusConfig
from nexus.exceptions import MalformedRequestError, NexusError, NotFoundError, PayloadTooLargeError, PermissionDeniedError
from nexus_mcp._caller import caller_of_scope
from nexus_mcp._exchange import EXCHANGE, Exchange, Message, Receive, Send, Watch
from nexus_mcp._server import server
from nexus_mcp._tools import CHANNEL, Tools

__all__ = ["McpChannel", "foreign", "refused_status"]

PATHS: Final = frozenset({"/mcp", "/mcp/"})
MODERN: Final = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

# Signs of a call whose answer may be more than one message.
STREAMED: Final = (b'"progressToken"', b"/logLevel", b'"subscriptions/listen"')


@attrs.define(eq=False)
class McpChannel(Channel):
    """Workflows as MCP tools at `/mcp`, for clients of the 2025-11-25 handshake and of the stateless 2026-07-28."""

    name: ClassVar[str] = CHANNEL

    gateway: Gateway
    config: NexusConfig
    _endpoint: _Endpoint | None = attrs.field(default=None, init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """
        Open the endpoint.

        Raises:
            RegistrationError: Two operations would bear the same tool's name.
        """
        Tools(self.gateway).check()
        sdk = server(self.gateway)
        most_bytes = self.config.max_body_bytes
        documents = StreamableHTTPSessionManager(sdk, json_response=True, stateless=True, max_request_body_size=most_bytes)
        streams = StreamableHTTPSessionManager(sdk, max_request_body_size=most_bytes)
        watch = Watch(self.gateway)
        # Closed without the error that stops the application, which these task groups would wrap in groups.
        opened = AsyncExitStack()
        exit_stack.push_async_callback(opened.aclose)
        await opened.enter_async_context(documents.run())
        await opened.enter_async_context(streams.run())
        tasks = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(watch.run)
        self._endpoint = _Endpoint(documents=documents, streams=streams, watch=watch)
        opened.callback(self._stop)

    def _stop(self) -> None:
        self._endpoint = None

    def matches(self, scope: Mapping[str, Any]) -> bool:
        """Whether the path, below where the application is mounted, is `/mcp`."""
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        return scope["type"] == "http" and (path.removeprefix(root) if root else path) in PATHS

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer the request (ASGI)."""
        endpoint = self._endpoint
        headers: dict[bytes, bytes] = dict(scope["headers"])
        posted = scope["method"] == "POST"
        exchange = Exchange(
            receive=receive,
            send=send,
            listens=scope["method"] == "GET",
            streams=b"text/event-stream" in headers.get(b"accept", b""),
        )
        scope = {**scope, EXCHANGE: exchange}
        try:
            if endpoint is None:
                await _answer(exchange.reply, 503, CONNECTION_CLOSED, "not started", (b"retry-after", b"1"))
                return
            server = scope.get("server")
            api = self.config.channels.api
            at = server[0] if server else ""
            status = foreign(headers.get(b"host", b""), headers.get(b"origin", b""), at, (api.host, *api.allowed_hosts))
            if status is not None:
                await _answer(exchange.reply, status, INVALID_REQUEST, refused_status(status).message)
            elif posted and headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
                await _answer(exchange.reply, 415, INVALID_REQUEST, "the content type must be application/json")
            elif posted and headers.get(b"mcp-protocol-version") in MODERN:
                await self._modern(endpoint, scope, headers, exchange)
            elif exchange.listens:
                await endpoint.listen(scope, exchange)
            else:
                await endpoint.streams.handle_request(scope, receive, exchange.reply)
        finally:
            exchange.finish()
        if not exchange.understood and exchange.status >= 400:  # noqa: PLR2004 - RFC 9110, section 15
            await self.gateway.reject(caller_of_scope(scope), refused_status(exchange.status))

    async def _modern(self, endpoint: _Endpoint, scope: Any, headers: Mapping[bytes, bytes], exchange: Exchange) -> None:
        """Answer by one JSON document where nothing else can come, which takes half the time of a stream."""
        body = await _read(exchange.receive, headers.get(b"content-length"), self.config.max_body_bytes)
        if body is None:
            await _answer(exchange.reply, 413, INVALID_REQUEST, f"the body is longer than {self.config.max_body_bytes} bytes")
            return
        unread: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def receive() -> Message:
            nonlocal unread
            message, unread = unread, None
            return await exchange.receive() if message is None else message

        if any(sign in body for sign in STREAMED):
            await endpoint.streams.handle_request(scope, receive, exchange.reply)
            return
        await endpoint.watched(exchange, endpoint.documents.handle_request(scope, receive, exchange.reply))


@attrs.frozen(kw_only=True)
class _Endpoint:
    """What is there while the application is started."""

    documents: StreamableHTTPSessionManager
    streams: StreamableHTTPSessionManager
    watch: Watch

    async def listen(self, scope: Any, exchange: Exchange) -> None:
        """Answer a request for the stream of what concerns no request."""
        await self.watched(exchange, self.streams.handle_request(scope, exchange.receive, exchange.reply))
        if exchange.scope.cancelled_caught:
            await exchange.close()

    async def watched(self, exchange: Exchange, work: Awaitable[None]) -> None:
        """Carry out until the exchange is cut off."""
        self.watch.add(exchange)
        try:
            with exchange.scope:
                await work
        finally:
            self.watch.discard(exchange)


@lru_cache(maxsize=256)
def foreign(host: bytes, origin: bytes, server: str, served: tuple[str, ...]) -> int | None:
    """
    Return the HTTP status that refuses a request which a page in a browser was led to send here, or None.

    A page can let its own name point to this machine (DNS rebinding; MCP 2025-11-25, transports). So what arrives at a loopback
    address is for its names only; a page elsewhere has no business here at all.

    Args:
        host: The `Host` header.
        origin: The `Origin` header; empty where no page sent the request.
        server: The address at which the request arrived.
        served: The hosts that the configuration says are served.
    """
    named = _name(host)
    names = {*LOOPBACK, *(f"[{name}]" if ":" in name else name.lower() for name in served)}
    if _is_loopback(server) and named not in names:
        return 421
    if origin and _name(origin.partition(b"://")[2]) not in names | {named}:
        return 403
    return None


def _name(host: bytes) -> str:
    """Return the host without its port."""
    text = host.decode("latin-1").lower()
    return text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return server == "localhost"


def refused_status(status: int) -> NexusError:
    """Return, for the log, why the SDK refused a message before it was one."""
    if status == 413:  # noqa: PLR2004 - RFC 9110, section 15.5.14
        return PayloadTooLargeError("the body of the MCP message is too long")
    if status == 404:  # noqa: PLR2004 - MCP 2025-11-25, session management
        return NotFoundError("there is no such MCP session")
    if status in {403, 421}:
        return PermissionDeniedError(
            "the Host or Origin header names another place; add the name that is served to channels.api.allowed_hosts"
        )
    reasons: Mapping[int, Any] = {405: "method", 406: "not_acceptable", 415: "content_type"}
    return MalformedRequestError(f"not an MCP message (status {status})", reason=reasons.get(status, "format"))


async def _read(receive: Receive, declared: bytes | None, most_bytes: int) -> bytes | None:
    """Return the body, or None as soon as it is too long; what came of it, where the client goes before its end."""
    if declared is not None and declared.isdigit() and int(declared) > most_bytes:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(send: Send, status: int, code: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Send a JSON-RPC error that answers no certain message."""
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}}).encode()
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
