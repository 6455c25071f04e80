"""The wire to the CLI channel: command lines, without a process."""

from __future__ import annotations

import json
from collections import UserDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Any

import attrs

from nexus.models import Question
from nexus.testing.answers import Script
from nexus.testing.wires import Wire, adapter, error_of

__all__ = ["CliWire"]


class _AnswersByName(UserDict[str, Any]):
    """The script as the mapping that the command line takes: each question that is asked has an answer there, or fails."""

    def __init__(self, script: Script, asked: dict[str, Question]) -> None:
        self.data = asked
        self._script = script

    def __getitem__(self, name: str) -> Any:
        return self._script.answer(self.data[name])


@attrs.define(eq=False)
class CliWire(Wire):
    """Words in, one JSON document out, or one on standard error; paths are used as they are."""

    _click: ModuleType = attrs.field(init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:  # noqa: ARG002 - there is nothing to close
        """See `Service.start`."""
        self._click = adapter("cli")

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """See `Wire.execute`."""
        words = self._click.to_argv(self.recorder, self.operation(workflow), inputs)
        answers = None if self.script is None else _AnswersByName(self.script, self.recorder.asked)
        name, at, version = workflow.partition("@")
        argv = ["--format", "json", f"{name.replace('_', '-')}{at}{version}", *words]
        result = await self._click.invoke(self.recorder, argv, principal=self.principal, answers=answers)
        if result.exit_code == 0:
            return json.loads(result.stdout)
        try:
            shown = json.loads(result.stderr.rstrip("\n").rpartition("\n")[2])
        except ValueError:
            raise AssertionError(f"{' '.join(argv)!r} ended with {result.exit_code} and said: {result.stderr}") from None
        raise error_of(shown)

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """See `Wire.call`."""
        return await self.execute(operation, arguments)
