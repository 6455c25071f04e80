"""The wire to the MCP channel: the official client, connected in memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Any, ClassVar

import attrs

from nexus.exceptions import CancelledError, UnavailableError
from nexus.models import Operation, Question
from nexus.testing.wires import Wire, adapter, error_of

__all__ = ["McpWire"]


@attrs.define(eq=False)
class McpWire(Wire):
    """
    Tools, called over a connection.

    Attributes:
        mode: The SDK's name for an era of the protocol: by default the handshake's, where questions come while a call is open.
    """

    mode: ClassVar[str] = "legacy"

    _sdk: ModuleType = attrs.field(init=False)
    _client: Any = attrs.field(init=False)

    async def start(self, exit_stack: AsyncExitStack) -> None:
        """See `Service.start`."""
        server = adapter("mcp").server(self.recorder)
        self.recorder.verified = self.principal
        self._sdk = importlib.import_module("mcp")
        asks = {} if self.script is None else {"elicitation_callback": self._elicited}
        self._client = await exit_stack.enter_async_context(self._sdk.Client(server, mode=self.mode, **asks))

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """See `Wire.execute`."""
        operation = self.operation(workflow)
        output = await self._called(operation, inputs)
        if not operation.background:
            return output if operation.output_schema.get("type") == "object" else output["result"]
        while output["status"] in {"pending", "running"}:
            output = await self.call("runs.wait", {"run_id": output["run_id"]})
        if output["status"] == "waiting":
            asked = ", ".join(repr(question["text"]) for question in output["questions"])
            raise UnavailableError(f"run {output['run_id']} asks {asked}, and there are no answers")
        if "error" in output:
            raise error_of(output["error"])
        return output["results"]

    async def _called(self, operation: Operation, inputs: Mapping[str, Any]) -> Any:
        name = operation.name.replace(".", "_")
        tool = name if operation.newest else f"{name}.v{operation.version}"
        arguments = self.recorder.to_builtins(dict(inputs))
        try:
            result = await self._client.call_tool(tool, arguments, progress_callback=_hear)
        except self._sdk.MCPError as error:
            if not error.data:
                raise
            raise error_of(error.data) from error
        if result.is_error:
            raise error_of(result.structured_content)
        return result.structured_content

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """See `Wire.call`."""
        return await self.execute(operation, arguments)

    async def _elicited(self, _context: Any, params: Any) -> Any:
        """Fill in a form by the script (`ElicitationFnT` of the SDK)."""
        assert self.script is not None  # noqa: S101 - for the type checker: this is only given along where there is one
        question = self._question_behind(params.message)
        try:
            answer = self.script.answer(question)
        except CancelledError:
            return self._sdk.types.ElicitResult(action="decline")
        fields = params.requested_schema["properties"]
        filled_in = answer if isinstance(answer, dict) else {next(iter(fields)): answer}
        content = {name: _as_choice(value, fields.get(name, {})) for name, value in filled_in.items()}
        return self._sdk.types.ElicitResult(action="accept", content=content)

    def _question_behind(self, message: str) -> Question:
        """Return the newest question whose text the form shows: MCP forms have no name."""
        waiting = {} if self.recorder.run is None else self.recorder.run.questions
        questions = reversed([*waiting.values(), *self.recorder.asked.values()])
        return next(question for question in questions if f"{message}\n\n".startswith(f"{question.text}\n\n"))


async def _hear(_progress: float, _total: float | None, _message: str | None) -> None:
    """Take progress: what is heard is noted by the recorder, and nobody who doesn't listen is sent any."""


def _as_choice(value: Any, field: Mapping[str, Any]) -> Any:
    """Return the value as a form has it: its choices are text."""
    if isinstance(value, list):
        return [_as_choice(item, field.get("items", {})) for item in value]
    return str(value) if "enum" in field and value is not None else value
