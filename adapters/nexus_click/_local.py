"""Runs one command of an application in this process, from its start to its stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import anyio
import attrs

from nexus import Nexus
from nexus.exceptions import CancelledError, NexusError
from nexus.models import Principal
from nexus_click._channel import CliChannel
from nexus_click._log import shown_log
from nexus_click._parsing import Invocation
from nexus_click._terminal import Terminal

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
NOTICE: Final = b"\nstopping; once more kills\n"


def run_locally(app: Nexus, invocation: Invocation, terminal: Terminal, *, principal: Principal | None = None) -> int:
    """
    Start the application, carry out the command, stop it, and return the exit status.

    The first SIGINT or SIGTERM cancels the command, so that its clean-up runs; the next one kills. What workflows print goes
    to standard error: standard output has the results and nothing else.

    Args:
        app: Not started.
        invocation: What to do.
        terminal: Where results and notes go.
        principal: Who calls; None is the anonymous.
    """
    app.scheduler.fires = False
    with contextlib.redirect_stdout(sys.stderr), shown_log(refusals=False):
        status: int = anyio.run(_run, app, invocation, terminal, principal)
    return status


async def _run(app: Nexus, invocation: Invocation, terminal: Terminal, principal: Principal | None) -> int:
    # Whoever called looks at them only when the application has stopped.
    app.keep_files()
    channel = CliChannel(app, app.config)
    interaction = channel.interaction(invocation, terminal)
    response = None
    interruption = Interruption(terminal=terminal, before=interaction.close)
    try:
        with interruption.handled(), interruption.cancellable():
            async with app:
                with interruption.cancellable():
                    response = await channel.call(invocation, interaction, principal=principal)
    except NexusError as error:
        return channel.show_error(error, invocation, terminal)
    if response is not None:
        return channel.show(response, invocation, terminal)
    channel.show_error(CancelledError("interrupted"), invocation, terminal)
    return 128 + (interruption.signum or signal.SIGINT)


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
