"""`nexus --url URL …`: the commands of an application that a server has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import anyio
import attrs
import click

from nexus.abc import RemoteGateway
from nexus.adapters import load
from nexus.config import NexusConfig
from nexus.exceptions import AdapterError, ConfigurationError, NexusError
from nexus_click._channel import CliChannel
from nexus_click._commands import OperationGroup, parse_command_line, reference_of
from nexus_click._listing import show_graph, show_workflows
from nexus_click._local import carry_out
from nexus_click._parsing import Invocation
from nexus_click._settings import setting_options
from nexus_click._target import is_target
from nexus_click._terminal import Terminal


@attrs.frozen(kw_only=True)
class Server:
    """
    Where the application is.

    Attributes:
        url: Its address.
        token: By which it knows the caller, or `@FILE`.
        program: How the command line names it, for help.
    """

    url: str
    token: str | None = attrs.field(default=None, repr=False)
    program: str = "nexus"

    def gateway(self) -> RemoteGateway:
        """
        Return what the commands work on.

        Raises:
            ClickException: The address or the token can't be one, or what calls servers is not installed.
        """
        try:
            made: RemoteGateway = load("gateway.http", RemoteGateway)(self.url, token=self._token())  # type: ignore[call-arg]  # see `RemoteGateway`
        except ConfigurationError as error:
            raise click.UsageError(error.message) from error
        except AdapterError as error:
            raise click.ClickException(error.message) from error
        return made

    def _token(self) -> str | None:
        if self.token is None or not self.token.startswith("@"):
            return self.token
        try:
            return Path(self.token[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            # Not by its name: that may be no file's, but the secret.
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise click.UsageError(f"can't read the file after the @ of the token: {reason}") from None


def run_remotely(server: Server, words: Sequence[str]) -> int:
    """
    Carry out a command line on the server, and return the exit status.

    Args:
        server: Which.
        words: Settings, a workflow and its arguments.

    Raises:
        ClickException: The words make no command.
        Exit: Help was asked for, and shown.
    """
    name = _workflow_in(words)
    require_no_target(() if name is None else [name])
    terminal = Terminal.of_process()
    gateway = server.gateway()
    reference = None if name is None else reference_of(name)
    refusal = anyio.run(_learn, gateway, reference)
    channel = CliChannel(gateway, NexusConfig())
    if refusal is not None and reference is None:
        return channel.show_error(refusal, Invocation(operation=""), terminal)
    invocation = parse_command_line(
        OperationGroup(gateway, remote=True), words, program=f"{server.program} run", terminal=terminal
    )
    if refusal is not None:
        return channel.show_error(refusal, invocation, terminal)
    gateway.folder = Path(invocation.settings.output_dir or ".")
    return carry_out(gateway, NexusConfig(), invocation, terminal)


def list_remotely(server: Server, *, everything: bool, format: Literal["text", "json"] | None) -> int:
    """Write the listing of the server's workflows, and return the exit status."""
    return show_workflows(server.gateway(), NexusConfig(), everything=everything, format=format)


def graph_remotely(server: Server, workflow: str, *, format: Literal["mermaid", "json"]) -> int:
    """Write the graph of one of the server's workflows, and return the exit status."""
    return show_graph(server.gateway(), NexusConfig(), workflow, format=format)


def require_no_target(words: Sequence[str]) -> None:
    """
    Let words pass that may be names of workflows.

    Raises:
        UsageError: One names an application of this machine.
    """
    for word in words:
        if is_target(word):
            raise click.UsageError(
                f"{word!r} names an application of this machine, but with --url (or NEXUS_URL) it is the server's workflows that "
                "are meant; leave out one of them"
            )


async def _learn(gateway: RemoteGateway, reference: str | None) -> NexusError | None:
    try:
        async with gateway:
            await gateway.learn(reference)
    except NexusError as error:
        return error
    return None


def _workflow_in(words: Sequence[str]) -> str | None:
    """Return the workflow that the words name; None where they name none, or ask for help before it."""
    settings = click.Group(params=list(setting_options(remote=True)))
    context = click.Context(settings, resilient_parsing=True)
    said, rest, _ = settings.make_parser(context).parse_args(list(words))
    return None if "help" in said or not rest else rest[0]
