"""
The `nexus` script: run, list, graph, serve, mcp.

Only click is imported here. What a command needs is imported when it is carried out, so that `nexus --help` is as quick as
click itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nexus_click._settings import setting_options

if TYPE_CHECKING:
    from nexus import Nexus

INTERRUPTED = 130
TARGET_HELP = "TARGET names the application: module:attribute, or path/to/file.py[:attribute]."


def run_program(argv: list[str] | None = None) -> int:
    """Carry out the words of the command line, those of the process by default, and return the exit status."""
    try:
        status = program.main(argv, prog_name="nexus", standalone_mode=False)
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status if isinstance(status, int) else 0


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted and not ctx.resilient_parsing:
        click.echo(f"nexus {importlib.import_module('nexus').__version__}")
        ctx.exit()


@click.group()
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
def program() -> None:
    """Run, list and serve the workflows of an application."""


def run(target: str, command: tuple[str, ...], **said: Any) -> int:
    """
    Run a workflow in this process, without a server.

    TARGET names the application: module:attribute, or path/to/file.py[:attribute]; module:function() calls a function that
    returns it.

    Required parameters of the workflow are arguments, the others options. A nested value is JSON, or @FILE to read it from a
    file (@- is standard input); a list is an option given several times, or JSON. Every argument can be given by its name too:
    --file data.csv. A parameter that has the name of an option below wins; then write the option before the workflow.

    Without a workflow, or with --help, the workflows are listed; after one, --help explains it.

    Results go to standard output, all else to standard error. Schedules don't fire.
    """
    commands = importlib.import_module("nexus_click._commands")
    local = importlib.import_module("nexus_click._local")
    parsing = importlib.import_module("nexus_click._parsing")
    terminal = importlib.import_module("nexus_click._terminal").Terminal.of_process()
    app = _load(target)
    invocation = commands.parse_command_line(
        commands.OperationGroup(app),
        command,
        program=f"nexus run {target}",
        terminal=terminal,
        settings=parsing.Settings(**said),
    )
    status: int = local.run_locally(app, invocation, terminal)
    return status


program.add_command(
    click.Command(
        "run",
        callback=run,
        help=run.__doc__,
        short_help="Run a workflow in this process.",
        context_settings={"allow_interspersed_args": False},
        params=[
            *setting_options(),
            click.Argument(["target"]),
            click.Argument(["command"], nargs=-1, type=click.UNPROCESSED, metavar="WORKFLOW [ARGS]..."),
        ],
    )
)


@program.command("list", short_help="List the workflows.", epilog=TARGET_HELP)
@click.argument("target")
@click.option("--all", "everything", is_flag=True, help="Older versions too.")
@click.option("--format", type=click.Choice(["text", "json"]), help="By default text on a terminal and JSON in a pipe.")
def list_(target: str, everything: bool, format: str | None) -> int:  # noqa: FBT001 - click passes by name
    """List the workflows of an application."""
    app = _load(target)
    listing = importlib.import_module("nexus_click._listing")
    status: int = listing.show_workflows(app, everything=everything, format=format)
    return status


@program.command(short_help="Draw the steps of a workflow.", epilog=TARGET_HELP)
@click.argument("target")
@click.argument("workflow")
@click.option("--format", type=click.Choice(["mermaid", "json"]), default="mermaid", help="Mermaid, or the graph as JSON.")
def graph(target: str, workflow: str, format: str) -> int:
    """
    Draw the steps of a workflow, and what each of them needs, as a Mermaid diagram.

    WORKFLOW is one that `nexus list` shows, or name@version.
    """
    app = _load(target)
    listing = importlib.import_module("nexus_click._listing")
    status: int = listing.show_graph(app, workflow, format=format)
    return status


@program.command(short_help="Serve the workflows over HTTP.", epilog=TARGET_HELP)
@click.argument("target")
@click.option("--host", help="Address to listen on; by default that of the configuration, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; by default that of the configuration, 8000.")
@click.option("--allow-anonymous", is_flag=True, help="Let anybody who reaches a host that is not loopback run the workflows.")
def serve(target: str, host: str | None, port: int | None, allow_anonymous: bool) -> int:  # noqa: FBT001 - click passes by name
    """
    Serve the workflows as REST API and MCP on one port.

    Schedules fire. Runs and sessions are kept in memory, and are gone when the server stops.
    """
    app = _load(target)
    api = app.config.channels.api
    host, port = host or api.host, api.port if port is None else port
    if not allow_anonymous and not _is_loopback(host):
        raise click.UsageError(
            f"{host} can be reached from other machines, and whoever reaches it can run every workflow, for there is no "
            "authentication; add --allow-anonymous if that is meant, or leave out --host"
        )
    serving = _adapter("api", "nexus_starlette")
    click.echo(f"{app.title} keeps runs and sessions in memory: they are gone when it stops", err=True)
    with _serving():
        status: int = serving.serve(app, host=host, port=port)
    return status


@program.command(short_help="Serve the workflows to an MCP client over stdio.", epilog=TARGET_HELP)
@click.argument("target")
def mcp(target: str) -> int:
    """Serve the workflows to an MCP client over standard input and output. Schedules don't fire."""
    app = _load(target)
    serving = _adapter("mcp", "nexus_mcp")
    with _serving():
        importlib.import_module("anyio").run(serving.serve_stdio, app)
    return 0


def _load(target: str) -> Nexus:
    app: Nexus = importlib.import_module("nexus_click._target").load_target(target)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return app


def _adapter(channel: str, module: str) -> Any:
    """Import the adapter of a channel, or say what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        explained = importlib.import_module("nexus.adapters").missing_dependency(channel, module, error)
        if explained is None:
            raise
        raise click.ClickException(explained.message) from error


@contextlib.contextmanager
def _serving() -> Iterator[None]:
    """Show the application's log, and what keeps it from being served."""
    errors = importlib.import_module("nexus.exceptions")
    rendering = importlib.import_module("nexus_click._rendering")
    with importlib.import_module("nexus_click._log").shown_log(refusals=True):
        try:
            yield
        except errors.NexusError as error:
            click.echo(f"Error: {rendering.clean(error.message)}", err=True)
            raise click.exceptions.Exit(rendering.EXIT_STATUS[error.code]) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
