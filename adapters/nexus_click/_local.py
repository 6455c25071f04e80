"""Carries out one command of an application: in this process, from its start to its stop, or on a server."""

from __future__ import annotations

import contextlib
import signal
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio

from nexus import Nexus
from nexus.abc import Gateway
from nexus.config import NexusConfig
from nexus.exceptions import CancelledError, NexusError
from nexus.models import Principal
from nexus_click._channel import CliChannel
from nexus_click._interruption import Interruption
from nexus_click._log import shown_log
from nexus_click._parsing import Invocation
from nexus_click._terminal import Terminal


class OpenGateway(Gateway, AbstractAsyncContextManager[Any], Protocol):
    """A gateway that is entered first: an application, which is started then, or what is connected to one."""


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
    # Whoever called looks at them only when the application has stopped.
    app.keep_files()
    with contextlib.redirect_stdout(sys.stderr), shown_log(refusals=False):
        return carry_out(app, app.config, invocation, terminal, principal=principal)


def carry_out(
    gateway: OpenGateway, config: NexusConfig, invocation: Invocation, terminal: Terminal, *, principal: Principal | None = None
) -> int:
    """Enter the gateway, carry out the command, leave it, and return the exit status; signals are as in `run_locally`."""
    status: int = anyio.run(_carry_out, gateway, CliChannel(gateway, config), invocation, terminal, principal)
    return status


async def _carry_out(
    gateway: OpenGateway, channel: CliChannel, invocation: Invocation, terminal: Terminal, principal: Principal | None
) -> int:
    interaction = channel.interaction(invocation, terminal)
    response = None
    interruption = Interruption(terminal=terminal, before=interaction.close)
    try:
        with interruption.handled(), interruption.cancellable():
            async with gateway:
                with interruption.cancellable():
                    response = await channel.call(invocation, interaction, principal=principal)
    except NexusError as error:
        return channel.show_error(error, invocation, terminal)
    if response is not None:
        return channel.show(response, invocation, terminal)
    channel.show_error(CancelledError("interrupted"), invocation, terminal)
    return 128 + (interruption.signum or signal.SIGINT)
