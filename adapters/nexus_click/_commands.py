"""click's commands for the operations of an application; help comes from schema and docstring."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import attrs
import click

from nexus import Nexus
from nexus.abc import Gateway
from nexus.models import MISSING, Operation, Principal
from nexus_click._channel import CliChannel
from nexus_click._local import run_locally
from nexus_click._parameters import Parameter, parameters_of
from nexus_click._parsing import Invocation, Settings, parse
from nexus_click._rendering import clean
from nexus_click._settings import setting_options
from nexus_click._terminal import Terminal

__all__ = ["OperationGroup", "cli", "parse_command_line"]

TERMINAL: Final = "nexus_click.terminal"
SETTINGS: Final = "nexus_click.settings"

JSON_HINT: Final = "JSON: written as it is, or @FILE to read it from a file; @- is standard input."
HINT_FOR_SECRETS: Final = (
    "SECRET: as it is, where others may see it, or @FILE to read it from a file; @- is standard input, @@ an @."
)
KEEP_LINES: Final = re.compile(r"^(\s|[-*+>|#]|\d+[.)]\s)", re.MULTILINE)


def cli(app: Nexus) -> click.Group:
    """
    Return the application's workflows as commands, for a script of its own.

    The group is an ordinary one: commands can be added to it. It starts the application for each command and stops it
    afterwards; a `Principal` given as `obj` is the caller.

    Args:
        app: The application, not started.
    """
    return _ApplicationGroup(app)


def parse_command_line(
    group: OperationGroup, argv: Sequence[str], *, program: str, terminal: Terminal, settings: Settings | None = None
) -> Invocation:
    """
    Return what a command line asks for.

    Args:
        group: The application's commands.
        argv: The words after the program's name.
        program: Its name, for help.
        terminal: Where `@-` is read.
        settings: What was said before.

    Raises:
        ClickException: The words make no command.
        Exit: Help was asked for, and shown.
    """
    context = group.make_context(program, list(argv))
    context.meta[TERMINAL] = terminal
    context.meta[SETTINGS] = settings or Settings()
    with context:
        invocation: Invocation = group.parsed(context)
    return invocation


class OperationGroup(click.Group):
    """
    The operations of an application as click commands.

    Args:
        gateway: What has them.
        remote: They are carried out elsewhere.
    """

    def __init__(self, gateway: Gateway, *, remote: bool = False) -> None:
        super().__init__(
            name=None,
            help=_paragraphs(gateway.description) or f"{gateway.title} {gateway.version}",
            params=list(setting_options(remote=remote)),
            subcommand_metavar="WORKFLOW [ARGS]...",
        )
        self.gateway = gateway
        self.remote = remote

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the workflows, spelt with dashes, and the commands that were added."""
        operations = self.gateway.operations(channel=CliChannel.name)
        workflows = [spelled(operation.name) for operation in operations if operation.kind == "workflow" and operation.newest]
        return [*super().list_commands(ctx), *workflows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; what no operation is called is left to the application to refuse."""
        added = super().get_command(ctx, cmd_name)
        if added is not None or cmd_name.startswith("-"):
            return added
        reference = reference_of(cmd_name)
        operation = self.gateway.operation(reference, channel=CliChannel.name)
        return OperationCommand(cmd_name, reference, operation, remote=self.remote)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, without what a terminal would obey: it may be a server's."""
        return clean(super().get_help(ctx))

    def parsed(self, ctx: click.Context) -> Any:
        """Return what the command gives back: an `Invocation`, or the result of a command that was added."""
        return super().invoke(ctx)


class _ApplicationGroup(OperationGroup):
    """The operations of an application that is here, which a command starts and stops."""

    def __init__(self, app: Nexus) -> None:
        super().__init__(app)
        self.app = app

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the command, and end with its exit status."""
        terminal = Terminal.of_process()
        ctx.meta.setdefault(TERMINAL, terminal)
        invocation = self.parsed(ctx)
        if isinstance(invocation, Invocation):
            ctx.exit(run_locally(self.app, invocation, terminal, principal=ctx.find_object(Principal)))
        return invocation


class OperationCommand(click.Command):
    """One operation; its arguments are checked by the application, all at once, and not by click."""

    def __init__(self, name: str, reference: str, operation: Operation | None, *, remote: bool = False) -> None:
        super().__init__(name, callback=_returned, help=_help(operation), short_help=_short_help(operation))
        self.reference = reference
        self.operation = operation
        self.remote = remote

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make an `Invocation` of the words."""
        terminal: Terminal = ctx.meta[TERMINAL]
        invocation = parse(
            self.reference,
            self.operation.input_schema if self.operation else {},
            args,
            read_stdin=terminal.stdin.read,
            settings=_settings(ctx),
            remote=self.remote,
        )
        if invocation.wants_help and self.operation is not None:
            click.echo(clean(self.get_help(ctx)), color=ctx.color)
            ctx.exit()
        ctx.params["invocation"] = invocation
        return []

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the options' placeholder and the arguments."""
        pieces = [f"{p.spelling}{'...' if p.takes_rest else ''}" for p in self._parameters if p.positional]
        return [*super().collect_usage_pieces(ctx), *pieces]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each argument and option means."""
        arguments = [(p.spelling, _meaning(p)) for p in self._parameters if p.positional]
        options = [(_usage(p), _meaning(p)) for p in self._parameters if not p.positional]
        taken = {p.option for p in self._parameters}
        for option in (*setting_options(remote=self.remote), *self.get_params(ctx)):
            record = option.get_help_record(ctx)
            if record is not None and not taken & set(option.opts):
                options.append(record)
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        hints = [JSON_HINT] if any("JSON" in p.metavar for p in self._parameters) else []
        for hint in [*hints, HINT_FOR_SECRETS] if any(p.is_secret for p in self._parameters) else hints:
            formatter.write_paragraph()
            formatter.write_text(hint)

    @property
    def _parameters(self) -> Sequence[Parameter]:
        return parameters_of(self.operation.input_schema) if self.operation else ()


def spelled(name: str) -> str:
    """Return an operation's name as it is written on a command line."""
    return name.replace("_", "-")


def reference_of(spelling: str) -> str:
    """Return the `name` or `name@version` that was written with dashes."""
    name, at, version = spelling.partition("@")
    return f"{name.replace('-', '_')}{at}{version}"


def _returned(invocation: Invocation) -> Invocation:
    return invocation


def _settings(ctx: click.Context) -> Settings:
    """Return what was said before the operation's name: before the target, then after it."""
    settings: Settings = ctx.meta.get(SETTINGS, Settings())
    said = ctx.parent.params if ctx.parent is not None else {}
    return attrs.evolve(settings, **{name: value for name, value in said.items() if value})


def _help(operation: Operation | None) -> str:
    if operation is None:
        return ""
    notice = f"Deprecated: {operation.deprecated}\n\n" if operation.deprecated else ""
    return _paragraphs(f"{notice}{operation.summary}\n\n{operation.description}")


def _short_help(operation: Operation | None) -> str:
    if operation is None:
        return ""
    return clean(f"(deprecated) {operation.summary}".rstrip()) if operation.deprecated else operation.summary


def _paragraphs(text: str) -> str:
    """Let click keep the lines of lists and code, and fold those of prose."""
    paragraphs = clean(text).strip().split("\n\n")
    return "\n\n".join(f"\b\n{part}" if KEEP_LINES.search(part) else part for part in paragraphs)


def _usage(parameter: Parameter) -> str:
    option = f"{parameter.option} / {parameter.negation}" if parameter.negatable else parameter.option
    return option if parameter.is_flag else f"{option} {parameter.metavar}"


def _meaning(parameter: Parameter) -> str:
    extras = [parameter.metavar] if parameter.positional else ["required"] if parameter.required else []
    if parameter.default not in (MISSING, None):
        default = parameter.default
        extras.append(f"default: {default if isinstance(default, str) else json.dumps(default)}")
    if parameter.limits:
        extras.append(parameter.limits)
    if parameter.is_list:
        extras.append("any number" if parameter.takes_rest else "repeatable")
    shown = f"[{'; '.join(extras)}]" if extras else ""
    return clean("  ".join(filter(None, (parameter.description, shown))))
