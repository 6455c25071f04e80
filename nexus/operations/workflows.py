"""`workflows.list`, `workflows.get`, `workflows.schema`, `workflows.graph`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nexus.abc import Interaction
from nexus.catalogue import Outcome
from nexus.exceptions import WorkflowNotFoundError
from nexus.models import Call, Hints, Operation
from nexus.operations import BuiltIn
from nexus.workflows.signatures import Parameter

__all__ = ["workflow_operations"]

WORKFLOW = Parameter(name="workflow", hint=str, description="`name` (its newest version) or `name@version`.")


def workflow_operations(
    visible: Callable[[Call], Awaitable[Sequence[Operation]]], not_found: Callable[[Call, str], Awaitable[WorkflowNotFoundError]]
) -> Sequence[BuiltIn]:
    """
    Return the operations on workflows.

    Args:
        visible: Gives what a caller may use.
        not_found: Makes the error that suggests the nearest of it.
    """

    async def find(call: Call, arguments: dict[str, Any]) -> Operation:
        wanted = arguments["workflow"]
        for operation in _workflows(await visible(call)):
            if wanted == operation.reference or (operation.newest and wanted == operation.name):
                return operation
        raise await not_found(call, wanted)

    async def listing(call: Call, _arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return [operation.view() for operation in _workflows(await visible(call))], None, None

    async def get(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        found = await find(call, arguments)
        return {**found.view(), "input_schema": found.input_schema, "output_schema": found.output_schema}, None, None

    async def schema(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        found = await find(call, arguments)
        return {"input": found.input_schema, "output": found.output_schema}, None, None

    async def graph(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return (await find(call, arguments)).graph, None, None

    def built_in(
        name: str, summary: str, carry_out: Any, result: Any = dict[str, Any], parameters: Sequence[Parameter] = (WORKFLOW,)
    ) -> BuiltIn:
        return BuiltIn(
            name=name,
            summary=summary,
            parameters=parameters,
            carry_out=carry_out,
            result=result,
            hints=Hints(read_only=True),
            public=True,
        )

    return [
        built_in("workflows.list", "List the workflows.", listing, list[dict[str, Any]], ()),
        built_in("workflows.get", "Show a workflow, with the schemas of its inputs and output.", get),
        built_in("workflows.schema", "Show the schemas of a workflow's inputs and output.", schema),
        built_in("workflows.graph", "Show the graph of a workflow.", graph),
    ]


def _workflows(operations: Sequence[Operation]) -> list[Operation]:
    return [operation for operation in operations if operation.kind == "workflow"]
