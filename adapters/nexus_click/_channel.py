"""The CLI channel: a parsed command line in, results on standard output and an exit status out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs
import msgspec

from nexus.abc import Channel, Gateway
from nexus.config import NexusConfig
from nexus.exceptions import InternalError, InvalidArgumentError, NexusError, PermissionDeniedError, details_of
from nexus.models import Caller, Principal, Request, Response
from nexus_click._interaction import TerminalInteraction
from nexus_click._parsing import Invocation
from nexus_click._rendering import EXIT_STATUS, as_text, clean, error_lines
from nexus_click._terminal import Terminal

UNSPECIFIC: Final = 70
"""EX_SOFTWARE of sysexits.h."""


@attrs.define(eq=False)
class CliChannel(Channel):
    """
    A command line. Of a local one the caller is whoever may run the application's code, so paths are used as they are.

    Attributes:
        gateway: The application, or what is connected to one.
        config: Its settings.
    """

    name: ClassVar[str] = "cli"

    gateway: Gateway
    config: NexusConfig

    def interaction(
        self, invocation: Invocation, terminal: Terminal, *, answers: Mapping[str, Any] | None = None
    ) -> TerminalInteraction:
        """
        Return how a run talks to that terminal.

        Args:
            invocation: Whose settings decide about prompts.
            terminal: Where the caller is.
            answers: By the name of their question, instead of prompts.
        """
        return TerminalInteraction(terminal=terminal, settings=invocation.settings, clock=self.gateway.clock, scripted=answers)

    async def call(
        self, invocation: Invocation, interaction: TerminalInteraction, *, principal: Principal | None = None
    ) -> Response:
        """Carry out what a command line asks for."""
        request = to_request(invocation, principal)
        if not self.config.channels.cli.enabled:
            error = PermissionDeniedError("the command line of this application is switched off: channels.cli.enabled is false")
            return await self.gateway.reject(request.caller, error, request_id=request.id)
        operation = self.gateway.operation(request.operation, channel=self.name)
        if operation is not None and operation.deprecated:
            name = operation.name.replace("_", "-")
            interaction.terminal.write_note(clean(f"Warning: {name} {operation.version} is deprecated: {operation.deprecated}"))
        try:
            return await self.gateway.dispatch(request, interaction)
        finally:
            interaction.close()

    def show(self, response: Response, invocation: Invocation, terminal: Terminal) -> int:
        """Write results on standard output, errors on standard error, and return the exit status."""
        run = response.run
        unfinished = run.unfinished() if response.data is None and run is not None and not run.ended else None
        error = response.error or unfinished
        if error is not None:
            status = self.show_error(error, invocation, terminal)
        else:
            status = self._show_result(response, invocation, terminal)
        if invocation.settings.verbose and run is not None:
            kept = ", kept from an earlier run" if run.cached else ""
            times = f"{run.duration or 0.0:.3f} s{kept}"
            terminal.write_note(f"{run.workflow}@{run.workflow_version}: {run.status}, run {run.id}, {times}")
        return status

    def show_error(self, error: NexusError, invocation: Invocation, terminal: Terminal) -> int:
        """Write an error on standard error, as one JSON object where JSON was asked for, and return the exit status."""
        if isinstance(error, InvalidArgumentError):
            error = invocation.explain(error)
        if invocation.settings.format == "json":
            terminal.write_note(self.gateway.encode(details_of(error)).decode())
        else:
            for line in error_lines(error, invocation):
                terminal.write_note(line)
        return EXIT_STATUS.get(error.code, UNSPECIFIC)

    def _show_result(self, response: Response, invocation: Invocation, terminal: Terminal) -> int:
        shape = invocation.settings.format or ("text" if terminal.stdout.isatty() else "json")
        try:
            encoded = self.gateway.encode(response.data)
        except TypeError as error:
            fault = InternalError(f"the result can't be written as JSON: {error}; teach its type with app.codec(…)")
            return self.show_error(fault, invocation, terminal)
        if shape == "json":
            terminal.write_json(encoded)
        elif text := as_text(msgspec.json.decode(encoded)):
            terminal.write_result(text)
        return 0


def to_request(invocation: Invocation, principal: Principal | None) -> Request:
    """Return the request that a command line is."""
    return Request(
        operation=invocation.operation,
        arguments=invocation.arguments,
        caller=Caller(channel=CliChannel.name, principal=principal),
        trusted_files=True,
        lenient=True,
        idempotency_key=invocation.settings.idempotency_key,
    )
