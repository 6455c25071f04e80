"""
`multipart/form-data` (RFC 7578), read as it comes: files go to the disk, and are never in memory as a whole.

A part with a file name is a file; one that is `application/json` is a JSON value; any other is text. Parts of one name are a
list. A part called `inputs` holds what has no part of its own, as a JSON object, unless the workflow has an input of that name.
"""

from __future__ import annotations

import errno
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive

from nexus.exceptions import (
    ArgumentProblem,
    CancelledError,
    InvalidArgumentError,
    MalformedRequestError,
    NexusError,
    PayloadTooLargeError,
    UnavailableError,
)
from nexus.models import Upload
from nexus_starlette import parse
from nexus_starlette.routes import FORM, JSON

__all__ = ["FormReader", "is_form", "safe_name"]

MOST_PARTS: Final = 1000
MOST_HEADERS: Final = 16
LONGEST_HEADER: Final = 8192
LONGEST_NAME: Final = 150
WRITTEN_AT_ONCE: Final = 256 * 1024

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What separates folders somewhere, and what file systems keep for themselves.
SEPARATORS: Final = re.compile(r"[/\\]")
RESERVED: Final = re.compile(r'[<>:"|?*]')


def is_form(head: parse.Head) -> bool:
    """Whether the body is said to be a form with files."""
    return head.headers.get(b"content-type", b"")[: len(FORM)].lower() == FORM.encode()


def safe_name(sent: str) -> str:
    """Return a file's name as a caller gave it, without folders, control characters and what file systems may not like."""
    last = SEPARATORS.split(unicodedata.normalize("NFC", sent))[-1]
    name = RESERVED.sub("_", "".join(char for char in last if char.isprintable())).strip().rstrip(". ")
    stem, dot, ending = name.rpartition(".")
    if len(name.encode()) > LONGEST_NAME and stem and len(ending.encode()) < LONGEST_NAME // 2:
        return _cut(stem, LONGEST_NAME - 1 - len(ending.encode())) + dot + ending
    return _cut(name, LONGEST_NAME) or "file"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


@attrs.define(eq=False)
class _Value:
    """A part that is no file."""

    name: str
    media: str
    _body: bytearray = attrs.field(factory=bytearray, init=False)

    async def take(self, data: bytes) -> None:
        self._body += data

    async def end(self) -> Any:
        if self.media == JSON:
            return parse.json_value(bytes(self._body), f"part {self.name!r}")
        try:
            return self._body.decode()
        except UnicodeDecodeError as error:
            raise MalformedRequestError(
                f"part {self.name!r} is not text in UTF-8; give it a file name if it is a file"
            ) from error


@attrs.define(eq=False)
class _File:
    """A part that is a file; it is opened anew for each piece, so that there is nothing to close."""

    name: str
    media: str
    path: Path
    _waiting: list[bytes] = attrs.field(factory=list, init=False)
    _waits: int = attrs.field(default=0, init=False)
    _size: int = attrs.field(default=0, init=False)
    _hash: Any = attrs.field(factory=hashlib.sha256, init=False)

    async def take(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waits += len(data)
        if self._waits >= WRITTEN_AT_ONCE:
            await self._write()

    async def end(self) -> Upload:
        await self._write()
        return Upload(
            filename=self.path.name,
            media_type=self.media or "application/octet-stream",
            size=self._size,
            sha256=self._hash.hexdigest(),
            path=self.path,
        )

    async def _write(self) -> None:
        data, self._waiting, self._waits = b"".join(self._waiting), [], 0
        try:
            await anyio.to_thread.run_sync(self._append, data)
        except OSError as error:
            if error.errno in FULL:
                raise UnavailableError("there is no room for the file now; try again later") from error
            if isinstance(error, FileNotFoundError):
                raise UnavailableError("the application has stopped before the file was here; try again later") from error
            raise
        self._size += len(data)

    def _append(self, data: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(data)
        self._hash.update(data)


@attrs.define(eq=False)
class _Parts:
    """The parts of a body that came so far: what python_multipart tells of them, and what became of them."""

    folder: Path
    most_text: int
    given: dict[str, list[Any]] = attrs.field(factory=dict, init=False)
    ended: bool = attrs.field(default=False, init=False)
    _tokens: list[bytes | dict[bytes, bytes] | None] = attrs.field(factory=list, init=False)
    _headers: dict[bytes, bytes] = attrs.field(factory=dict, init=False)
    _header: list[bytes] = attrs.field(factory=lambda: [b"", b""], init=False)
    _open: _Value | _File | None = attrs.field(default=None, init=False)
    _files: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)
    _text: int = attrs.field(default=0, init=False)

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._tokens.append(self._headers),
                "on_part_data": lambda data, start, end: self._tokens.append(data[start:end]),
                "on_part_end": lambda: self._tokens.append(None),
                "on_end": lambda: setattr(self, "ended", True),
            },
            max_header_count=MOST_HEADERS,
            max_header_size=LONGEST_HEADER,
        )

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise PayloadTooLargeError(f"the form has more than {MOST_PARTS} parts; send less", limit=MOST_PARTS)
        self._headers = {}

    def _add(self, which: int, data: bytes) -> None:
        self._header[which] += data

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    async def take(self) -> None:
        """Take what the parser has told."""
        tokens, self._tokens = self._tokens, []
        for token in tokens:
            if isinstance(token, dict):
                self._open = self._opened(token)
            elif self._open is not None:
                await self._go_on(self._open, token)

    async def _go_on(self, part: _Value | _File, data: bytes | None) -> None:
        if data is None:
            self.given.setdefault(part.name, []).append(await part.end())
            self._open = None
            return
        if isinstance(part, _Value):
            self._text += len(data)
            if self._text > self.most_text:
                raise PayloadTooLargeError(
                    f"what is no file in the form is longer than {self.most_text} bytes; send less", limit=self.most_text
                )
        await part.take(data)

    def _opened(self, headers: Mapping[bytes, bytes]) -> _Value | _File | None:
        kind, options = parse_options_header(headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise MalformedRequestError('a part of the form has no name; each needs `Content-Disposition: form-data; name="…"`')
        name = options[b"name"].decode(errors="replace")
        media = parse_options_header(headers.get(b"content-type"))[0].decode("latin-1").lower()
        sent = options.get(b"filename")
        if sent is None:
            return _Value(name, media)
        # A browser sends a field for files that nobody filled in as one without a name.
        if not sent:
            return None
        self._files += 1
        return _File(name, media, self.folder / str(self._files) / safe_name(sent.decode(errors="replace")))


@attrs.define(eq=False)
class FormReader:
    """
    Reads the body of one request.

    Attributes:
        limit: Bytes that the body may have.
        most_text: Bytes that all that is no file may have.
        properties: Of the inputs' JSON Schema.
        finished: The body has come to its end, or its sender is gone.
    """

    head: parse.Head
    receive: Receive
    limit: int
    most_text: int
    properties: Callable[[], Mapping[str, Any]]
    finished: bool = attrs.field(default=False, init=False)
    _over: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    async def read(self, folder: Path) -> Mapping[str, Any]:
        """
        Read all of it, and return the arguments.

        Args:
            folder: Where files go, each in a folder of its own.

        Raises:
            MalformedRequestError: It is no such form, or ends too early.
            PayloadTooLargeError: It is too long, or has too many parts; the rest has not been read.
            InvalidArgumentError: An argument is there twice.
            CancelledError: The client left.
        """
        try:
            return await self._read(folder)
        except FormParserError as error:
            if "exceeded" in str(error):
                raise PayloadTooLargeError("a part of the form has too many or too long headers") from error
            raise MalformedRequestError(f"the body is no form with that boundary: {error}") from error
        finally:
            self._over.set()

    async def rest(self) -> Message:
        """Receive what comes after the body: that the client has left."""
        await self._over.wait()
        return await self.receive()

    async def _read(self, folder: Path) -> Mapping[str, Any]:
        if parse.is_of_another_site(self.head):
            raise MalformedRequestError(
                "a page of another site can't send forms here; send application/json", reason="content_type"
            )
        parse.check_length(self.head, self.limit)
        _, options = parse_options_header(self.head.headers[b"content-type"])
        if not options.get(b"boundary"):
            raise MalformedRequestError(
                "the content type multipart/form-data has no boundary; let your HTTP client make the form"
            )
        parts = _Parts(folder, self.most_text)
        parser = parts.parser(options[b"boundary"])
        size = 0
        while not self.finished:
            chunk = await self._next()
            size += len(chunk)
            if size > self.limit:
                raise parse.too_large(self.limit)
            parser.write(chunk)
            await parts.take()
        if not parts.ended:
            raise MalformedRequestError("the form ends before its last boundary")
        return self._arguments(parts.given)

    async def _next(self) -> bytes:
        message = await self.receive()
        self.finished = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise CancelledError("the client left before the end of its body")
        body: bytes = message.get("body", b"")
        return body

    def _arguments(self, given: dict[str, list[Any]]) -> Mapping[str, Any]:
        properties = self.properties()
        rest: Mapping[str, Any] = {}
        if "inputs" not in properties:
            rest = _rest_of(given.pop("inputs", []))
        twice = [name for name in given if name in rest]
        if twice:
            problems = [ArgumentProblem(f"/{name}", "given twice: as a part, and in the part 'inputs'") for name in twice]
            raise InvalidArgumentError("an argument is there twice", problems)
        return {**rest, **{name: _one_or_all(values, properties.get(name, {})) for name, values in given.items()}}


def _rest_of(values: list[Any]) -> Mapping[str, Any]:
    if len(values) > 1:
        raise _not_inputs("there are several parts of that name")
    if not values:
        return {}
    value = parse.json_value(values[0].encode(), "part 'inputs'") if isinstance(values[0], str) else values[0]
    if not isinstance(value, dict):
        raise _not_inputs("it is something else")
    return value


def _not_inputs(reason: str) -> NexusError:
    problem = ArgumentProblem("/inputs", f"expected one JSON object of arguments by name; {reason}")
    return InvalidArgumentError("the part 'inputs' must be a JSON object", [problem])


def _one_or_all(values: list[Any], schema: Mapping[str, Any]) -> Any:
    """Return the value of the only part of its name, but for an input that is a list: those of all."""
    if len(values) > 1:
        return values
    whole = isinstance(values[0], list) or (isinstance(values[0], str) and values[0].lstrip().startswith("["))
    return values if _is_list(schema) and not whole else values[0]


def _is_list(schema: Mapping[str, Any]) -> bool:
    members = [member for member in schema.get("anyOf", [schema]) if member.get("type") != "null"]
    return all(member.get("type") == "array" for member in members)
