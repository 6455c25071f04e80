"""The three streams of a command, whether they are a terminal's, a pipe's or a test's."""

from __future__ import annotations

import io
import sys
from typing import Self, TextIO

import anyio
import attrs


@attrs.frozen(kw_only=True)
class Terminal:
    """Where a command reads and writes: results on `stdout`, all else on `stderr`."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    @classmethod
    def of_process(cls) -> Self:
        """Return the streams of this process; in place of one that was closed before it began, one that leads nowhere."""
        stdin, stdout, stderr = (stream or io.StringIO() for stream in (sys.stdin, sys.stdout, sys.stderr))
        return cls(stdin=stdin, stdout=stdout, stderr=stderr)

    @property
    def can_prompt(self) -> bool:
        """Whether somebody sits at it."""
        return self.stdin.isatty() and self.stderr.isatty()

    def write_result(self, text: str) -> None:
        """Write a line on standard output."""
        _write(self.stdout, f"{text}\n")

    def write_json(self, document: bytes) -> None:
        """Write a JSON document and a line's end on standard output, in UTF-8 whatever the encoding of the stream."""
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.write_result(document.decode())
            return
        self.stdout.flush()
        buffer.write(document + b"\n")
        buffer.flush()

    def write_note(self, text: str) -> None:
        """Write a line on standard error."""
        _write(self.stderr, f"{text}\n")

    def write_prompt(self, text: str) -> None:
        """Write on standard error, and stay on the line."""
        _write(self.stderr, text)

    async def read_line(self) -> str:
        """
        Return the next line without its end; waits on the event loop, so that cancellation is seen at once.

        Raises:
            EOFError: There is no more.
        """
        try:
            await anyio.wait_readable(self.stdin.fileno())
        except (OSError, ValueError):
            # Not a terminal, or not one that can be waited on: files, tests, Windows.
            line = await anyio.to_thread.run_sync(self.stdin.readline, abandon_on_cancel=True)
        else:
            line = self.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
