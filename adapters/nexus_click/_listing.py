"""`nexus list` and `nexus graph`: what an application has, without running it."""

from __future__ import annotations

from typing import Any, Literal

import anyio

from nexus.config import NexusConfig
from nexus.exceptions import NexusError
from nexus.models import Response
from nexus_click._channel import CliChannel
from nexus_click._commands import reference_of, spelled
from nexus_click._local import OpenGateway
from nexus_click._parsing import Invocation, Settings
from nexus_click._rendering import clean, table
from nexus_click._terminal import Terminal


def show_workflows(gateway: OpenGateway, config: NexusConfig, *, everything: bool, format: Literal["text", "json"] | None) -> int:
    """
    Write the listing, and return the exit status.

    Args:
        gateway: Not entered.
        config: The application's settings.
        everything: Older versions too.
        format: None: text on a terminal, JSON in a pipe.
    """
    terminal = Terminal.of_process()
    channel = CliChannel(gateway, config)
    invocation = Invocation(operation="workflows.list", settings=Settings(format=format))
    response = anyio.run(_call, gateway, channel, invocation, terminal)
    if response.error is not None:
        return channel.show(response, invocation, terminal)
    wanted = [view for view in response.data if everything or view["newest"]]
    if (format or ("text" if terminal.stdout.isatty() else "json")) == "json":
        terminal.write_json(gateway.encode(wanted))
    elif wanted:
        terminal.write_result("\n".join(table([_row(view) for view in wanted])))
    else:
        terminal.write_note("no workflows are registered")
    return 0


def show_graph(gateway: OpenGateway, config: NexusConfig, workflow: str, *, format: Literal["mermaid", "json"]) -> int:
    """
    Write the graph of a workflow, and return the exit status.

    Args:
        gateway: Not entered.
        config: The application's settings.
        workflow: `name` or `name@version`, spelt with dashes or not.
        format: A diagram as text, or the whole graph.
    """
    terminal = Terminal.of_process()
    channel = CliChannel(gateway, config)
    invocation = Invocation(
        operation="workflows.graph",
        arguments={"workflow": reference_of(workflow)},
        settings=Settings(format="json" if format == "json" else "text"),
    )
    response = anyio.run(_call, gateway, channel, invocation, terminal)
    if response.error is None and format == "mermaid":
        terminal.write_result(clean(response.data["mermaid"]).rstrip("\n"))
        return 0
    return channel.show(response, invocation, terminal)


async def _call(gateway: OpenGateway, channel: CliChannel, invocation: Invocation, terminal: Terminal) -> Response:
    try:
        async with gateway:
            return await channel.call(invocation, channel.interaction(invocation, terminal))
    except NexusError as error:
        return Response(request_id="", error=error)


def _row(view: dict[str, Any]) -> dict[str, Any]:
    name = spelled(view["name"])
    return {
        "name": name if view["newest"] else f"{name}@{view['version']}",
        "version": view["version"],
        "summary": f"(deprecated: {view['deprecated']}) {view['summary']}".rstrip() if view["deprecated"] else view["summary"],
    }
