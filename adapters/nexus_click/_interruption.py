"""What Ctrl-C does: the first cancels, so that clean-up runs, the second kills."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import anyio
import attrs

from nexus_click._terminal import Terminal

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
NOTICE: Final = b"\nstopping; once more kills\n"


@attrs.define(eq=False)
class Interruption:
    """
    Makes the first signal a cancellation, and lets the next one kill.

    A handler of the signal module, not of the event loop: an `async def` step that never yields blocks the latter.

    Attributes:
        terminal: Is told, if somebody sits at it.
        before: Called on the event loop just before the cancellation.
        signum: The signal that came.
    """

    terminal: Terminal
    before: Callable[[], None]
    signum: int | None = None
    _scopes: list[anyio.CancelScope] = attrs.field(factory=list)

    @contextlib.contextmanager
    def cancellable(self) -> Iterator[None]:
        """Cancel what is inside, the innermost only, when the signal comes."""
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                yield
            finally:
                self._scopes.pop()

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals; only a process' main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def first(signum: int, _frame: FrameType | None) -> None:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            self.signum = signum
            if self.terminal.stderr.isatty():
                # Not by the stream, which may be in the middle of a write.
                os.write(self.terminal.stderr.fileno(), NOTICE)
            loop.call_soon_threadsafe(self._cancel)

        before = {each: signal.signal(each, first) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _cancel(self) -> None:
        self.before()
        if self._scopes:
            self._scopes[-1].cancel()
