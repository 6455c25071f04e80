"""The catalogue as MCP tools, projected live: an operation that is registered later is in the next listing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
from mcp_types import Tool, ToolAnnotations, ToolExecution

from nexus.abc import Gateway
from nexus.exceptions import RegistrationError
from nexus.models import Operation
from nexus_mcp._schemas import either, is_object, object_at_root, wrapped

__all__ = ["CHANNEL", "SUBMITTED", "Projection", "Tools", "project", "tool_name"]

CHANNEL: Final = "mcp"

# MCP 2025-11-25, server/tools: letters, digits, underscore, hyphen and dot.
NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")
HEADER_ANNOTATION: Final = "x-mcp-header"

SUBMITTED: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "run_id": {"type": "string"},
        "workflow": {"type": "string"},
        "workflow_version": {"type": "string"},
        "status": {"enum": ["pending", "running", "waiting", "succeeded", "failed", "cancelled"]},
    },
    "required": ["run_id", "workflow", "workflow_version", "status"],
}
"""What a tool gives whose work goes on in the background, where the client has no tasks."""


@attrs.frozen(kw_only=True, eq=False)
class Projection:
    """
    An operation as a tool.

    Attributes:
        wraps: Whether the workflow's output is not an object, and goes as `{"result": output}`.
        header_schema: The input schema, if some of it is to be repeated in `Mcp-Param-*` headers; else None.
    """

    operation: Operation
    tool: Tool
    wraps: bool
    header_schema: Mapping[str, Any] | None


def tool_name(operation: Operation) -> str:
    """Return `name` for the newest version, `name.v1` for another; dots within a name become `_`."""
    name = operation.name.replace(".", "_")
    return name if operation.newest else f"{name}.v{NOT_IN_A_NAME.sub('-', operation.version)}"


def project(operation: Operation) -> Projection:
    """Return the operation as a tool; this is where its schemas are made."""
    inputs = object_at_root(operation.input_schema)
    wraps = not is_object(operation.output_schema)
    outputs = wrapped(operation.output_schema) if wraps else object_at_root(operation.output_schema)
    title = operation.name.replace(".", " ").replace("_", " ").capitalize()
    tool = Tool(
        name=tool_name(operation),
        title=title if operation.newest else f"{title} (version {operation.version})",
        description="\n\n".join(text for text in _described(operation) if text) or None,
        input_schema=inputs,
        output_schema=either(SUBMITTED, outputs) if operation.background else outputs,
        execution=ToolExecution(task_support="optional") if operation.background else None,
        annotations=ToolAnnotations(
            read_only_hint=operation.hints.read_only,
            destructive_hint=operation.hints.destructive,
            idempotent_hint=operation.hints.idempotent,
        ),
    )
    return Projection(
        operation=operation, tool=tool, wraps=wraps, header_schema=inputs if HEADER_ANNOTATION in repr(inputs) else None
    )


def _described(operation: Operation) -> Sequence[str]:
    notice = f"Deprecated: {operation.deprecated}" if operation.deprecated else ""
    way = "It takes long: this gives its run_id at once; ask runs_wait for the results." if operation.background else ""
    return notice, operation.summary, operation.description, way


@attrs.define(eq=False)
class Tools:
    """The tools that the catalogue holds at the moment."""

    gateway: Gateway
    _named: dict[str, tuple[str, list[Operation]]] = attrs.field(factory=dict, init=False)
    _projections: WeakKeyDictionary[Operation, Projection] = attrs.field(factory=WeakKeyDictionary, init=False)

    def list(self, operations: Sequence[Operation]) -> Sequence[Tool]:
        """
        Return operations as tools.

        Raises:
            RegistrationError: Two operations, be they among these or not, would bear the same tool's name; the text names both.
        """
        self.check()
        return [self.of(operation).tool for operation in operations]

    def find(self, name: str) -> Projection | None:
        """
        Return the tool of that name, whoever may call it; also by the name of its operation.

        Raises:
            RegistrationError: Two operations would bear that name.
        """
        operation = self._current(name)
        if operation is None:
            self._refresh()
            operation = self._current(name) or self.gateway.operation(name, channel=CHANNEL)
        return None if operation is None else self.of(operation)

    def of(self, operation: Operation) -> Projection:
        """Return the operation as a tool, made once."""
        projection = self._projections.get(operation)
        if projection is None:
            projection = self._projections[operation] = project(operation)
        return projection

    def header_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return the input schema by which the headers of a call are checked, or None where there is nothing to check."""
        projection = self.find(name)
        return None if projection is None else projection.header_schema

    def check(self) -> None:
        """
        Look at every operation.

        Raises:
            RegistrationError: Two operations would bear the same tool's name; the text names both.
        """
        self._refresh()
        for name, (_, operations) in self._named.items():
            _alone(name, operations)

    def _current(self, name: str) -> Operation | None:
        reference, operations = self._named.get(name, ("", []))
        if not operations or self.gateway.operation(reference, channel=CHANNEL) is not operations[0]:
            return None
        return _alone(name, operations)

    def _refresh(self) -> None:
        self._named = {}
        for operation in self.gateway.operations(channel=CHANNEL):
            # By its bare name where it is the newest, so that a newer one is noticed.
            reference = operation.name if operation.newest else operation.reference
            self._named.setdefault(tool_name(operation), (reference, []))[1].append(operation)


def _alone(name: str, operations: Sequence[Operation]) -> Operation:
    if len(operations) == 1:
        return operations[0]
    claims = " and ".join(
        f"{operation.reference}{f' ({operation.place})' if operation.place else ''}" for operation in operations
    )
    raise RegistrationError(f"{claims} would both be the MCP tool {name!r}; rename one, or leave one out with `channels=`")
