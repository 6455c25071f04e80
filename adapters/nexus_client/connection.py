"""The connection to a server: messages of the API channel, and what is said where none come back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Final

import anyio
import attrs
import httpx
import msgspec

from nexus import __version__
from nexus.exceptions import NexusError, UnavailableError, error_of
from nexus_client.frames import Frame, FrameReader

__all__ = ["Connection", "Reply"]

CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
SILENCE_S: Final = 60.0
"""After which a stream of events is given up; a server gives a sign of life every 15 seconds."""

EVENT_STREAM: Final = "text/event-stream"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
NO_CONTENT: Final = 204


@attrs.frozen(kw_only=True)
class Reply:
    """
    What a server answered.

    Attributes:
        data: The envelope's.
        time: Of the reply, by the server's clock.
        version: The application's.
    """

    data: Any = attrs.field(default=None, repr=False)
    error: NexusError | None = None
    request_id: str = ""
    time: datetime | None = None
    version: str = ""

    def required(self) -> Any:
        """
        Return the data.

        Raises:
            NexusError: It is an error.
        """
        if self.error is not None:
            raise self.error
        return self.data


class _Metadata(msgspec.Struct):
    timestamp: datetime
    version: str
    request_id: str


class _Envelope(msgspec.Struct):
    success: bool
    metadata: _Metadata
    data: Any = None
    error: dict[str, Any] | None = None


ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


@attrs.define(eq=False, repr=False)
class Connection:
    """
    A connection to one server; nothing is ever sent to another, whatever that one answers.

    Attributes:
        url: Where the server is, without a slash at the end.
        token: By which it knows the caller.
    """

    url: str
    token: str | None = None
    _client: httpx.AsyncClient | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """
        Be connected inside of the block.

        Raises:
            UnavailableError: There can be no connection from here.
        """
        headers = {"user-agent": f"nexus-client/{__version__}", "accept-encoding": "identity"}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        try:
            client = httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=False)
        except (ImportError, ValueError) as error:
            raise UnavailableError(f"the proxy that the environment names can't be used: {error}") from error
        async with client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """
        Return what is at a path.

        Raises:
            UnavailableError: The server can't be reached, or is none of ours.
        """
        async with self.response("GET", path, params=query) as response:
            return await self.reply(response)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """
        Send JSON to a path, and return the reply, however long that takes.

        Raises:
            UnavailableError: The server can't be reached, or is none of ours.
        """
        return await self.send("POST", path, body, headers)

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """
        Send JSON to a path by that method, and return the reply, however long that takes.

        Raises:
            UnavailableError: The server can't be reached, or is none of ours.
        """
        content = b"" if method == "DELETE" else msgspec.json.encode(body or {})
        sent = {"content-type": "application/json", **(headers or {})}
        async with self.response(method, path, content=content, headers=sent, waits=True) as response:
            return await self.reply(response)

    @asynccontextmanager
    async def response(self, method: str, path: str, *, waits: bool = False, **sent: Any) -> AsyncIterator[httpx.Response]:
        """
        Send a request, and give the response to the block, whose body has not been read.

        Args:
            method: `GET`, `POST`, `PUT` or `DELETE`.
            path: Below the address of the server.
            waits: The reply may be long in coming.
            sent: What else httpx takes.

        Raises:
            UnavailableError: The server can't be reached, or is none of ours.
        """
        if self._client is None:
            raise UnavailableError("there is no connection to the server: use the gateway inside `async with gateway:`")
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, read=None) if waits else httpx.USE_CLIENT_DEFAULT
        with self._explained(sends_files="files" in sent):
            async with self._client.stream(method, f"{self.url}{path}", timeout=timeout, **sent) as response:
                if response.status_code in REDIRECTS:
                    raise self._redirected(response)
                yield response

    async def frames(self, response: httpx.Response) -> AsyncGenerator[Frame]:
        """
        Yield the events of a response.

        Raises:
            UnavailableError: There is no sign of life any more.
        """
        reader = FrameReader()
        async with aclosing(response.aiter_bytes()) as pieces:  # type: ignore[type-var]  # httpx does not say that it is a generator
            while True:
                piece = None
                with anyio.move_on_after(SILENCE_S) as silence:
                    piece = await anext(pieces, None)
                if silence.cancelled_caught:
                    raise UnavailableError(f"the server at {self.url} has fallen silent")
                if piece is None:
                    return
                for each in reader.feed(piece):
                    yield each

    async def reply(self, response: httpx.Response) -> Reply:
        """
        Read the whole body of a response.

        Raises:
            UnavailableError: It is not what a Nexus server sends.
        """
        if response.status_code == NO_CONTENT:
            return Reply()
        await response.aread()
        return self.opened_reply(response.content, what=f"HTTP {response.status_code}")

    def opened_reply(self, body: bytes, *, what: str = "a stream") -> Reply:
        """
        Return what is in an envelope.

        Args:
            body: JSON.
            what: How it came, for messages.

        Raises:
            UnavailableError: It is not what a Nexus server sends.
        """
        try:
            envelope = ENVELOPE.decode(body)
            error = None if envelope.error is None else error_of(envelope.error)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            raise self.not_ours(what) from None
        metadata = envelope.metadata
        return Reply(
            data=envelope.data, error=error, request_id=metadata.request_id, time=metadata.timestamp, version=metadata.version
        )

    def not_ours(self, what: str) -> UnavailableError:
        """Return the error for an answer that makes no sense."""
        return UnavailableError(
            f"what is at {self.url} answers ({what}), but not as a Nexus server does; check the address, and the path under "
            f"which the application is mounted there"
        )

    def _redirected(self, response: httpx.Response) -> UnavailableError:
        place = response.headers.get("location", "nowhere")
        shown = "".join(char for char in place if char.isprintable())
        return UnavailableError(f"{self.url} redirects to {shown}, which is not followed; give the address of the server itself")

    @contextmanager
    def _explained(self, *, sends_files: bool) -> Iterator[None]:
        """Say in a sentence why there is no answer."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            reason = f" ({error})" if str(error) else ""
            raise UnavailableError(
                f"there is no server at {self.url}{reason}; check the address, and that it runs: nexus serve TARGET"
            ) from error
        except httpx.TimeoutException as error:
            raise UnavailableError(f"the server at {self.url} takes too long to answer; try again later") from error
        except httpx.TransportError as error:
            reason = f" ({error})" if str(error) else ""
            # A server that has answered without reading all of it closes the connection, often before that answer is read.
            hint = ", and that it takes that much (max_upload_bytes)" if sends_files else ""
            raise UnavailableError(f"the connection to {self.url} was lost{reason}; check that the server runs{hint}") from error
