"""Reads server-sent events (HTML Standard, section 9.2.6) from pieces of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

__all__ = ["Frame", "FrameReader"]


@attrs.frozen
class Frame:
    """One event as it was sent."""

    event: str
    data: bytes


@attrs.define(eq=False, repr=False)
class FrameReader:
    """Puts pieces together; lines end with a line feed, before which there may be a carriage return."""

    _rest: bytearray = attrs.field(factory=bytearray, init=False)
    _searched: int = attrs.field(default=0, init=False)
    _event: str = attrs.field(default="message", init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Yield the events that are whole with this piece."""
        self._rest += piece
        while (end := self._rest.find(b"\n", self._searched)) >= 0:
            line = bytes(self._rest[:end]).removesuffix(b"\r")
            del self._rest[: end + 1]
            self._searched = 0
            if line:
                self._take(line)
            elif self._data:
                yield Frame(self._event, b"\n".join(self._data))
                self._event, self._data = "message", []
        self._searched = len(self._rest)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"data":
            self._data.append(value)
