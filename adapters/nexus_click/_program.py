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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from nexus_click._settings import setting_options

if TYPE_CHECKING:
    from nexus import Nexus

INTERRUPTED = 130
FOLDER = ".nexus"
TARGET_HELP = "TARGET names the application: module:attribute, or path/to/file.py[:attribute]."


def run_program(argv: list[str] | None = None) -> int:
    """Carry out the words of the command line, those of the process by default, and return the exit status."""
    try:
        status = program.main(argv, prog_name="nexus", standalone_mode=False)
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        _with_place(error).show()
        return error.exit_code
    return status if isinstance(status, int) else 0


def _with_place(error: click.ClickException) -> click.ClickException:
    """Return the error; of an option that is in the wrong place, with the right one."""
    if not (isinstance(error, click.NoSuchOption) and error.option_name in {"--url", "--token"}):
        return error
    return click.UsageError(f"{error.message.rstrip('.')}. It comes before the command: nexus --url URL run WORKFLOW.", error.ctx)


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted and not ctx.resilient_parsing:
        click.echo(f"nexus {importlib.import_module('nexus').__version__}")
        ctx.exit()


class Program(click.Group):
    """The commands; with `--url` some of them are those of a server."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name."""
        remote = REMOTE.get(cmd_name) if ctx.params.get("url") else None
        return remote or super().get_command(ctx, cmd_name)


@click.group(cls=Program)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
@click.option(
    "--url",
    metavar="URL",
    envvar="NEXUS_URL",
    show_envvar=True,
    help="Of a server whose workflows are meant: run, list and graph then take no TARGET.",
)
@click.option(
    "--token",
    metavar="@FILE",
    envvar="NEXUS_TOKEN",
    show_envvar=True,
    help="What the server knows you by. Best in the environment, or in a file: others can see what is on a command line.",
)
@click.pass_context
def program(ctx: click.Context, url: str | None, token: str | None) -> None:
    """
    Run, list and serve the workflows of an application.

    The application is code of this machine, a TARGET, or on a server: nexus --url http://127.0.0.1:8000 run WORKFLOW.
    """
    said = click.core.ParameterSource.COMMANDLINE
    if url and ctx.invoked_subcommand not in REMOTE and ctx.get_parameter_source("url") is said:
        raise click.UsageError(f"{ctx.invoked_subcommand} is for an application of this machine; leave out --url")
    if not url and ctx.get_parameter_source("token") is said:
        raise click.UsageError("--token is for a server; say where that is with --url")
    ctx.obj = (url, token)


def run(target: str, command: tuple[str, ...], **said: Any) -> int:
    """
    Run a workflow in this process, without a server.

    TARGET names the application: module:attribute, or path/to/file.py[:attribute]; module:function() calls a function that
    returns it.

    Required parameters of the workflow are arguments, the others options. A nested value is JSON, or @FILE to read it from a
    file (@- is standard input); a list is an option given several times, or JSON. Every argument can be given by its name too:
    --file data.csv. A parameter that has the name of an option below wins; then write the option before the workflow.

    Without a workflow, or with --help, the workflows are listed; after one, --help explains it.

    Results go to standard output, all else to standard error. Schedules don't fire. The run is kept where the application says
    (database_url), else in .nexus/nexus.db if there is a folder .nexus, else nowhere.
    """
    commands = importlib.import_module("nexus_click._commands")
    local = importlib.import_module("nexus_click._local")
    parsing = importlib.import_module("nexus_click._parsing")
    terminal = importlib.import_module("nexus_click._terminal").Terminal.of_process()
    app = _load(target, url=_database_that_is_there())
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
    status: int = listing.show_workflows(app, app.config, everything=everything, format=format)
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
    status: int = listing.show_graph(app, app.config, workflow, format=format)
    return status


@program.command(short_help="Serve the workflows over HTTP.", epilog=TARGET_HELP)
@click.argument("target")
@click.option("--host", help="Address to listen on; by default that of the configuration, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; by default that of the configuration, 8000.")
@click.option("--allow-anonymous", is_flag=True, help="Let anybody who reaches a host that is not loopback run the workflows.")
@click.option("--memory", is_flag=True, help="Keep runs and sessions in memory, whatever is configured.")
def serve(target: str, host: str | None, port: int | None, allow_anonymous: bool, memory: bool) -> int:  # noqa: FBT001 - click passes by name
    """
    Serve the workflows as REST API and MCP on one port.

    Schedules fire. Runs and sessions are kept where the application says (database_url), else in .nexus/nexus.db in the current
    folder.
    """
    app = _load(target, url=_in_current_folder(), memory=memory)
    api = app.config.channels.api
    host, port = host or api.host, api.port if port is None else port
    if not allow_anonymous and not _is_loopback(host):
        raise click.UsageError(
            f"{host} can be reached from other machines, and whoever reaches it can run every workflow, for there is no "
            "authentication; add --allow-anonymous if that is meant, or leave out --host"
        )
    serving = _adapter("api", "nexus_starlette")
    click.echo(_kept(app), err=True)
    with _serving():
        status: int = serving.serve(app, host=host, port=port)
    return status


@program.command(short_help="Serve the workflows to an MCP client over stdio.", epilog=TARGET_HELP)
@click.argument("target")
def mcp(target: str) -> int:
    """
    Serve the workflows to an MCP client over standard input and output. Schedules don't fire.

    Runs are kept where the application says (database_url), else in .nexus/nexus.db if there is a folder .nexus, else in memory.
    """
    app = _load(target, url=_database_that_is_there())
    serving = _adapter("mcp", "nexus_mcp")
    with _serving():
        importlib.import_module("anyio").run(serving.serve_stdio, app)
    return 0


@click.pass_context
def run_there(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Run a workflow of a server."""
    status: int = _remote().run_remotely(_server(ctx), words)
    return status


@click.pass_context
def list_there(ctx: click.Context, words: tuple[str, ...], everything: bool, format: str | None) -> int:  # noqa: FBT001 - as above
    """List the workflows of a server."""
    _require(ctx, words, 0)
    status: int = _remote().list_remotely(_server(ctx), everything=everything, format=format)
    return status


@click.pass_context
def graph_there(ctx: click.Context, words: tuple[str, ...], format: str) -> int:
    """
    Draw the steps of a workflow of a server, and what each of them needs, as a Mermaid diagram.

    WORKFLOW is one that `nexus list` shows, or name@version.
    """
    _require(ctx, words, 1)
    status: int = _remote().graph_remotely(_server(ctx), words[0], format=format)
    return status


def _there(here: click.Command, callback: Any, metavar: str) -> click.Command:
    """Return the command with the same options, for a server, without a TARGET."""
    words = click.Argument(["words"], nargs=-1, metavar=metavar)
    options = [option for option in here.params if isinstance(option, click.Option)]
    return click.Command(here.name, callback=callback, help=callback.__doc__, params=[*options, words])


def _require(ctx: click.Context, words: tuple[str, ...], count: int) -> None:
    """Let that many words pass, none of which is a TARGET."""
    _remote().require_no_target(words)
    if len(words) > count:
        raise click.UsageError(f"Got unexpected extra argument ({words[count]})", ctx)
    if len(words) < count:
        raise click.UsageError("Missing argument 'WORKFLOW'.", ctx)


REMOTE = {
    # Its words are settings, a workflow and the arguments of that; which those are the server has to say, for help too.
    "run": click.Command(
        "run",
        callback=run_there,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="WORKFLOW [ARGS]...")],
    ),
    "list": _there(list_, list_there, ""),
    "graph": _there(graph, graph_there, "WORKFLOW"),
}
"""The commands that a server can carry out too."""


def _remote() -> Any:
    return importlib.import_module("nexus_click._remote")


def _server(ctx: click.Context) -> Any:
    """Return where the server is, and how the command line says so."""
    url, token = ctx.obj
    group = ctx.find_root()
    shown = group.get_parameter_source("url") is click.core.ParameterSource.COMMANDLINE
    if not gc.isenabled():
        gc.enable()
    return _remote().Server(url=url, token=token, program=f"nexus --url {url}" if shown else "nexus")


def _load(target: str, *, url: str | None = None, memory: bool = False) -> Nexus:
    """
    Return the application.

    Args:
        target: Where it is.
        url: Where it keeps what it is told nowhere to keep.
        memory: It keeps all in memory.
    """
    config = importlib.import_module("nexus.config")
    before = config.keeping.set(config.Keeping(default_url=url, in_memory=memory))
    try:
        app: Nexus = importlib.import_module("nexus_click._target").load_target(target)
    finally:
        config.keeping.reset(before)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return app


def _in_current_folder() -> str:
    """Return the URL of the database in the current folder, wherever the application changes to."""
    return f"sqlite:///{quote(str(Path.cwd() / FOLDER / 'nexus.db'))}"


def _database_that_is_there() -> str | None:
    return _in_current_folder() if Path(FOLDER).is_dir() else None


def _kept(app: Nexus) -> str:
    """Say where an application keeps its runs and sessions."""
    if app.database is not None:
        return f"{app.title} keeps runs and sessions in {app.database.place}"
    if app.executor.runs.shared:
        return f"{app.title} keeps runs in a store of its own"
    return f"{app.title} keeps runs and sessions in memory: they are gone when it stops"


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
