"""Runs commands inside a running event loop, on an application that is started: for tests and for hosts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from nexus import Nexus
from nexus.models import Principal
from nexus_click._channel import CliChannel
from nexus_click._commands import OperationGroup, parse_command_line
from nexus_click._terminal import Terminal

__all__ = ["Result", "invoke"]


@attrs.frozen(kw_only=True)
class Result:
    """
    What a command left behind.

    Attributes:
        exit_code: The status that the process would have ended with.
        stdout: The results.
        stderr: All else; an error is its last lines, or its last line with `--format json`.
    """

    exit_code: int
    stdout: str
    stderr: str


async def invoke(
    app: Nexus,
    argv: Sequence[str],
    *,
    stdin: str = "",
    principal: Principal | None = None,
    answers: Mapping[str, Any] | None = None,
) -> Result:
    """
    Carry out a command line of `nexus run TARGET`, without a process.

    Args:
        app: Started.
        argv: What comes after TARGET.
        stdin: What can be read.
        principal: Who calls; None is the anonymous.
        answers: By the name of their question; None: nobody answers.
    """
    terminal = Terminal(stdin=io.StringIO(stdin), stdout=io.StringIO(), stderr=io.StringIO())
    status = await _status(app, argv, terminal, principal, answers)
    return Result(exit_code=status, stdout=_text(terminal.stdout), stderr=_text(terminal.stderr))


async def _status(
    app: Nexus, argv: Sequence[str], terminal: Terminal, principal: Principal | None, answers: Mapping[str, Any] | None
) -> int:
    try:
        with contextlib.redirect_stdout(terminal.stdout), contextlib.redirect_stderr(terminal.stderr):
            invocation = parse_command_line(OperationGroup(app), argv, program="nexus run TARGET", terminal=terminal)
    except click.ClickException as error:
        error.show(terminal.stderr)
        return error.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    channel = CliChannel(app, app.config)
    interaction = channel.interaction(invocation, terminal, answers=answers)
    response = await channel.call(invocation, interaction, principal=principal)
    return channel.show(response, invocation, terminal)


def _text(stream: Any) -> str:
    text: str = stream.getvalue()
    return text
