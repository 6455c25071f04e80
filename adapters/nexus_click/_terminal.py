"""The three streams of a command, whether they are a terminal's, a pipe's or a test's."""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self, TextIO

import anyio
import attrs

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

LOCAL_FLAGS: Final = 3
"""Where the flags with ECHO are in what `termios.tcgetattr` returns."""


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

    async def read_hidden_line(self) -> str:
        """
        Return the next line, which a terminal does not show while it is typed.

        Raises:
            EOFError: There is no more.
        """
        if termios is None and self.stdin.isatty():
            return await anyio.to_thread.run_sync(getpass.getpass, "", abandon_on_cancel=True)
        with _without_echo(self.stdin):
            line = await self.read_line()
        if self.stdin.isatty():
            # The end of the line was not shown either.
            self.write_note("")
        return line


@contextmanager
def _without_echo(stream: TextIO) -> Iterator[None]:
    """Let a terminal not show what is typed; others show nothing anyway."""
    if termios is None or not stream.isatty():
        yield
        return
    descriptor = stream.fileno()
    before = termios.tcgetattr(descriptor)
    silent = list(before)
    silent[LOCAL_FLAGS] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
