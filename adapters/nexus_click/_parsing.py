"""
A command line made into the arguments of an operation, and back.

Nothing is checked here: types, required, unknown and superfluous arguments are all told at once by the operation's signature.
What only the text shows (broken JSON, a file that can't be read, an option without its value) goes along as an argument that
no operation has, so that it is told with the rest.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import attrs

from nexus.abc import Gateway
from nexus.exceptions import ArgumentProblem, InvalidArgumentError
from nexus.models import Operation
from nexus_click._parameters import Parameter, json_type, mentions_secret, parameters_of

__all__ = ["Invocation", "Settings", "parse", "to_argv"]

NEGATIVE_NUMBER: Final = re.compile(r"-\.?\d")
SWITCHES: Final = {"yes": "assume_yes", "no-input": "no_input", "verbose": "verbose", "help": "help"}
VALUES: Final = {"format": "format", "idempotency-key": "idempotency_key"}
REMOTE_VALUES: Final = {**VALUES, "output-dir": "output_dir"}
FORMATS: Final = ("text", "json")
ESCAPED_AT: Final = "@@"


@attrs.frozen(kw_only=True)
class Settings:
    """
    What a command line says beside the arguments.

    Attributes:
        format: None: text on a terminal, JSON in a pipe.
        assume_yes: Answer questions with yes, or their default.
        no_input: Never prompt.
        verbose: Tell id and duration of the run.
        idempotency_key: The same caller, workflow and key get the same run.
        output_dir: Where files of a result go that are downloaded; None: the current folder.
    """

    format: Literal["text", "json"] | None = None
    assume_yes: bool = False
    no_input: bool = False
    verbose: bool = False
    idempotency_key: str | None = None
    output_dir: str | None = None


@attrs.frozen(kw_only=True)
class Invocation:
    """
    What a command line asks for; nothing has happened yet.

    Attributes:
        operation: Its name, or `name@version`.
        arguments: By name, as text, or JSON values where the text was JSON.
        spellings: How each argument was or is written, by its name.
        faults: What the text itself shows to be wrong, by the name under which it is among the arguments.
        wants_help: Asks what the operation does, instead of calling it.
    """

    operation: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    spellings: Mapping[str, str] = attrs.field(factory=dict)
    faults: Mapping[str, ArgumentProblem] = attrs.field(factory=dict)
    settings: Settings = attrs.field(factory=Settings)
    wants_help: bool = False

    def spelling(self, problem: ArgumentProblem) -> str:
        """Return how the argument with that problem is written, empty for the arguments as a whole."""
        name = _first(problem.pointer)
        return self.spellings.get(name, name)

    def explain(self, error: InvalidArgumentError) -> InvalidArgumentError:
        """Return the error with the faults in the words of the command line."""
        if not self.faults:
            return error
        told = {fault.pointer for fault in self.faults.values() if fault.pointer}
        problems = []
        for problem in error.problems:
            fault = self.faults.get(_first(problem.pointer))
            if fault is not None:
                problems.append(fault)
            elif problem.pointer not in told:
                problems.append(problem)
        return InvalidArgumentError(f"the arguments of {self.operation!r} don't fit", problems)


def parse(
    operation: str,
    schema: Mapping[str, Any],
    argv: Sequence[str],
    *,
    read_stdin: Callable[[], str],
    settings: Settings,
    remote: bool = False,
) -> Invocation:
    """
    Read the words after an operation's name.

    Args:
        operation: Its name, or `name@version`.
        schema: JSON Schema of its arguments.
        argv: The words.
        read_stdin: Returns what `@-` stands for.
        settings: What was said before the operation's name.
        remote: It is carried out elsewhere, so that there are settings for what comes from there.
    """
    valued = REMOTE_VALUES if remote else VALUES
    reading = _Reading(parameters_of(schema), discreet=mentions_secret(schema), valued=valued)
    reading.scan(argv)
    reading.place()
    arguments, faults = reading.values(_Files(read_stdin))
    return Invocation(
        operation=operation,
        arguments=arguments,
        spellings=reading.spellings,
        faults=faults,
        settings=attrs.evolve(settings, **reading.said),
        wants_help=reading.wants_help,
    )


def to_argv(gateway: Gateway, operation: Operation, arguments: Mapping[str, Any]) -> list[str]:
    """
    Return the words that `parse` makes these arguments from.

    Args:
        gateway: Knows how Python values read as JSON.
        operation: Whose arguments they are.
        arguments: By name; Python values are good too.
    """
    known = {parameter.name: parameter for parameter in parameters_of(operation.input_schema)}
    argv = []
    for name, value in gateway.to_builtins(dict(arguments)).items():
        parameter = known.get(name, Parameter(name=name))
        if value is None and parameter.default is None:
            # There is no word for it, nor is one needed.
            continue
        if parameter.is_flag and isinstance(value, bool):
            argv.append(parameter.option if value else parameter.negation)
        elif value is None and parameter.negatable:
            argv.append(parameter.negation)
        elif isinstance(value, str) and not parameter.accepts & {"array", "object"}:
            at = "@" if parameter.is_secret and value.startswith("@") else ""
            argv.append(f"{parameter.option}={at}{value}")
        else:
            argv.append(f"{parameter.option}={json.dumps(value)}")
    return argv


@attrs.define(eq=False)
class _Reading:
    parameters: Sequence[Parameter]
    discreet: bool = False
    valued: Mapping[str, str] = VALUES
    said: dict[str, Any] = attrs.field(factory=dict)
    given: dict[str, list[str | bool | None]] = attrs.field(factory=dict)
    plain: list[str] = attrs.field(factory=list)
    unknown: dict[str, str] = attrs.field(factory=dict)
    spellings: dict[str, str] = attrs.field(factory=dict)
    faults: dict[str, ArgumentProblem] = attrs.field(factory=dict)
    wants_help: bool = False
    _options: dict[str, Parameter] = attrs.field(init=False)
    _negations: dict[str, Parameter] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.spellings = {parameter.name: parameter.spelling for parameter in self.parameters}
        self._options = {parameter.option: parameter for parameter in self.parameters}
        self._negations = {parameter.negation: parameter for parameter in self.parameters if parameter.negatable}

    def scan(self, argv: Sequence[str]) -> None:
        """Tell options and plain words apart."""
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.plain.extend(rest)
                return
            if word == "-" or not word.startswith("-") or NEGATIVE_NUMBER.match(word):
                self.plain.append(word)
            else:
                self._option(word, rest)

    def _option(self, word: str, rest: list[str]) -> None:
        written, equals, value = word.partition("=")
        option = written[:2] + written[2:].replace("_", "-")
        if option in self._options:
            parameter = self._options[option]
            self._give(parameter, written, value if equals else None, rest)
        elif option in self._negations and not equals:
            parameter = self._negations[option]
            self.given[parameter.name] = [False if parameter.is_flag else None]
        elif option[2:] in self.valued:
            self._set(option[2:], value if equals else (rest.pop(0) if rest else ""))
        elif option[2:] in SWITCHES and not equals:
            self._switch(SWITCHES[option[2:]])
        else:
            name = option[2:].replace("-", "_") if option.startswith("--") else written
            self.spellings[name] = written
            self.unknown[name] = value if equals else "true"
            if not equals and rest and not rest[0].startswith("-") and not self._is_nearly_a_flag(option):
                self.unknown[name] = rest.pop(0)

    def _is_nearly_a_flag(self, option: str) -> bool:
        """Whether the word after an unknown option is probably not its value."""
        flags = {parameter.option for parameter in self.parameters if parameter.is_flag}
        flags |= {*self._negations, *(f"--{name}" for name in SWITCHES)}
        near = difflib.get_close_matches(option, flags | {*self._options, *(f"--{name}" for name in self.valued)}, n=1)
        return option.startswith("--no-") or not flags.isdisjoint(near)

    def _give(self, parameter: Parameter, written: str, value: str | None, rest: list[str]) -> None:
        values = self.given.setdefault(parameter.name, [])
        if value is None and parameter.is_flag:
            values.append(True)
        elif value is not None or rest:
            values.append(rest.pop(0) if value is None else value)
        else:
            self.fault(parameter.name, f"{written} needs a value")

    def _switch(self, setting: str) -> None:
        if setting == "help":
            self.wants_help = True
        else:
            self.said[setting] = True

    def _set(self, option: str, value: str) -> None:
        setting = self.valued[option]
        if setting != "format" or value in FORMATS:
            self.said[setting] = value
        else:
            self.fault("format", f"expected one of {', '.join(FORMATS)}, got {value!r}")
            self.spellings.setdefault("format", "--format")

    def fault(self, name: str, message: str) -> None:
        """Note what is wrong with an argument, or with the words as a whole where the name is empty."""
        self.faults[f"#{len(self.faults) + 1}"] = ArgumentProblem(f"/{_escaped(name)}" if name else "", message)

    def place(self) -> None:
        """Give the plain words to the arguments; what is left over belongs to none."""
        free = [parameter for parameter in self.parameters if parameter.positional and parameter.name not in self.given]
        texts = self.plain
        for parameter in free:
            taken = texts if parameter.takes_rest else texts[:1]
            if taken:
                self.given[parameter.name] = list(taken)
            texts = texts[len(taken) :]
        for text in texts:
            # It may be a secret that was put in the wrong place.
            shown = "" if self.discreet else f" {text!r}"
            self.fault("", f"unexpected extra argument{shown}")

    def values(self, files: _Files) -> tuple[dict[str, Any], dict[str, ArgumentProblem]]:
        """Return the arguments, the faults among them."""
        arguments: dict[str, Any] = {}
        for parameter in self.parameters:
            values = self.given.get(parameter.name)
            if values:
                try:
                    arguments[parameter.name] = _value(parameter, values, files)
                except ValueError as error:
                    self.fault(parameter.name, str(error))
        arguments.update(self.unknown)
        arguments.update({name: fault.message for name, fault in self.faults.items()})
        return arguments, self.faults


class UnreadableError(ValueError):
    """A file that can't be read; the second argument says why, without its name."""

    def __str__(self) -> str:
        return str(self.args[0])


@attrs.define(eq=False)
class _Files:
    """Reads `@file` and `@-`; standard input can be read once."""

    _read_stdin: Callable[[], str]
    _stdin_used: bool = False

    def read(self, name: str) -> str:
        if name == "-":
            if self._stdin_used:
                raise ValueError("standard input (@-) can be used once only")
            self._stdin_used = True
            return self._read_stdin()
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UnreadableError(f"can't read {name!r}: {reason}", reason) from error


def _value(parameter: Parameter, values: Sequence[str | bool | None], files: _Files) -> Any:
    if parameter.is_secret and isinstance(values[-1], str):
        return _secret(values[-1], files)
    if not parameter.is_list:
        return _single(parameter.accepts, values[-1], files)
    if len(values) == 1 and isinstance(values[0], str):
        try:
            whole = _json(values[0])
        except ValueError:
            whole = None
        if isinstance(whole, list):
            return whole
    return None if values == [None] else list(values)


def _secret(text: str, files: _Files) -> str:
    """Return the text, or that of the file in `@FILE` without its line's end: what is on a command line, others can see."""
    if text.startswith(ESCAPED_AT):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        return files.read(text[1:]).removesuffix("\n").removesuffix("\r")
    except UnreadableError as error:
        # Not by its name: that may be no file's, but the secret.
        reason = error.args[1]
        raise ValueError(f"can't read the file after the @: {reason}; a secret that begins with @ is written with @@") from None


def _single(accepts: frozenset[str], text: str | bool | None, files: _Files) -> Any:  # noqa: FBT001 - a flag's value
    """Return the text, or the JSON in it where no text, or not only text, is good."""
    if not isinstance(text, str) or not accepts & {"array", "object"}:
        return text
    source = text
    if text.startswith("@") and "string" not in accepts:
        text = files.read(text[1:])
    try:
        value = _json(text)
    except ValueError as error:
        if "string" in accepts:
            return text
        named = f" in {source!r}" if source.startswith("@") else ""
        raise ValueError(f"expected JSON, or @file with JSON in it{named}: {error}") from error
    kind = json_type(value)
    fits = kind in accepts or (kind == "integer" and "number" in accepts)
    return text if not fits and "string" in accepts else value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _first(pointer: str) -> str:
    """Return the name of the argument that a JSON pointer leads into."""
    return pointer[1:].partition("/")[0].replace("~1", "/").replace("~0", "~")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
