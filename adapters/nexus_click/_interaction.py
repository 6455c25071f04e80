"""How a run talks to the person at a terminal: progress bars, log lines and prompts, all on standard error."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
import attrs

from nexus.abc import Clock, Interaction
from nexus.exceptions import CancelledError, UnavailableError
from nexus.models import MISSING, Answers, Event, Question
from nexus_click._parameters import is_secret
from nexus_click._parsing import Settings
from nexus_click._rendering import as_text, clean
from nexus_click._terminal import Terminal

YES_NO: Final = {"y": True, "yes": True, "true": True, "1": True, "n": False, "no": False, "false": False, "0": False}

BARS_AFTER_S: Final = 0.2
"""A run that is over sooner shows no bar, and does not pay for importing what draws it."""


@attrs.define(eq=False, kw_only=True)
class TerminalInteraction(Interaction):
    """
    A person at a terminal, or what stands for one.

    Attributes:
        scripted: Answers by the name of their question, instead of a person.
    """

    terminal: Terminal
    settings: Settings
    clock: Clock
    scripted: Mapping[str, Any] | None = None
    answers: Answers = attrs.field(init=False)
    _started: float = attrs.field(init=False)
    _bars: Any = None
    _held: list[str] | None = None
    _turn: anyio.Lock = attrs.field(factory=anyio.Lock)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock.monotonic()
        answered = self.scripted is not None or self.settings.assume_yes
        self.answers = Answers.NOW if answered or self._prompts else Answers.NEVER

    @property
    def _prompts(self) -> bool:
        return self.terminal.can_prompt and not self.settings.no_input

    async def tell(self, event: Event) -> None:
        """Show a log line, how far a step is, or a piece of the result."""
        if event.type == "run.log":
            self._write(log_line(event.data))
        elif event.type == "run.chunk" and self.terminal.stderr.isatty():
            self._write(as_text(event.data["value"]))
        elif event.type == "run.progress" and self.terminal.stderr.isatty() and self._held is None:
            self._progress(event.data)

    async def ask(self, question: Question) -> Any:
        """Answer from the script, by `--yes`, or prompt; end of input declines."""
        async with self._turn:
            if self.scripted is not None:
                return self._from_script(question)
            if self.settings.assume_yes and question.problem is None:
                if question.schema.get("type") == "boolean":
                    return True
                if question.default is not MISSING:
                    return question.default
            if not self._prompts:
                raise _unanswered("nobody can answer here; give `default=`", question)
            return await self._prompt(question)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def _from_script(self, question: Question) -> Any:
        scripted = self.scripted or {}
        if question.name in scripted:
            return scripted[question.name]
        if question.default is not MISSING:
            return question.default
        raise _unanswered(f"there is no answer for {question.name!r}", question)

    async def _prompt(self, question: Question) -> Any:
        self.close()
        self._held = []
        try:
            return await self._answer(question)
        except EOFError:
            self.terminal.write_note("")
            raise CancelledError(f"nobody answered {question.text!r}", question=question.name) from None
        finally:
            lines, self._held = self._held, None
            for line in lines:
                self._write(line)

    async def _answer(self, question: Question) -> Any:
        if question.problem is not None:
            self.terminal.write_note(clean(f"  {question.problem}"))
        properties = question.schema.get("properties")
        if properties is None:
            return await self._read(clean(question.text), question.schema, question.default)
        self.terminal.write_note(clean(question.text))
        proposed = question.default if isinstance(question.default, Mapping) else {}
        answer = {}
        for name, part in properties.items():
            default = proposed.get(name, part.get("default", MISSING))
            value = await self._read(f"  {clean(name)}", part, default)
            if value != "" or name in question.schema.get("required", ()):
                answer[name] = value
        return answer

    async def _read(self, text: str, schema: Mapping[str, Any], default: Any) -> Any:
        self.terminal.write_prompt(prompt_text(text, schema, default))
        if is_secret(schema):
            return await self.terminal.read_hidden_line()
        line = await self.terminal.read_line()
        return default if not line.strip() and default is not MISSING else read_answer(schema, line)

    def _write(self, line: str) -> None:
        if self._held is not None:
            self._held.append(line)
        elif self._bars is not None:
            self._bars.write(line)
        else:
            self.terminal.write_note(line)

    def _progress(self, data: Mapping[str, Any]) -> None:
        if self._bars is None:
            if self.clock.monotonic() - self._started < BARS_AFTER_S:
                return
            self._bars = importlib.import_module("nexus_click._progress").ProgressBars(self.terminal.stderr)
        self._bars.show(data["step"], data, clean(data["message"] or data["step"]))


def _unanswered(reason: str, question: Question) -> UnavailableError:
    return UnavailableError(f"{reason} (asked: {question.text!r})", question=question.name)


def log_line(data: Mapping[str, Any]) -> str:
    """Render a `run.log` event as one line."""
    fields = "".join(f"  {name}={_shown(value)}" for name, value in data["fields"].items())
    return clean(f"{data['level']}: {data['message']}{fields}").replace("\n", " ")


def prompt_text(text: str, schema: Mapping[str, Any], default: Any) -> str:
    """Return what a prompt shows: the question, the choices, the default."""
    if schema.get("type") == "boolean":
        return f"{text} [{ {True: 'Y/n', False: 'y/N'}.get(default, 'y/n') }] "
    choices = _choices(schema)
    several = ", separated by commas" if schema.get("type") == "array" else ""
    shown = f" ({', '.join(map(_shown, choices))}{several})" if choices else ""
    proposed = "" if default is MISSING else f" [{_shown(default)}]"
    return clean(f"{text}{shown}{proposed}: ")


def read_answer(schema: Mapping[str, Any], line: str) -> Any:
    """Return the JSON value that a line stands for; what it does not understand it leaves to whoever asked."""
    if schema.get("type") == "boolean":
        return YES_NO.get(line.strip().lower(), line)
    if schema.get("type") == "array":
        return [word.strip() for word in line.split(",") if word.strip()]
    return line


def _choices(schema: Mapping[str, Any]) -> Sequence[Any]:
    choices: Sequence[Any] = schema.get("enum") or schema.get("items", {}).get("enum", ())
    return choices


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
