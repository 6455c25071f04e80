"""The built-in operations: entries of the catalogue like any workflow."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from nexus.abc import Interaction
from nexus.catalogue import Catalogue, Entry, Outcome
from nexus.models import Call, Hints, Operation
from nexus.workflows.codecs import Codecs
from nexus.workflows.signatures import Parameter, Signature

__all__ = ["BuiltIn", "add_operations"]


@attrs.frozen(kw_only=True)
class BuiltIn:
    """
    A built-in operation.

    Attributes:
        carry_out: Called with the call, the checked arguments and the caller's interaction.
        channels: Where it shows.
        tends_background: It shows also where a workflow with `background` does.
        public: Whoever asks may use it: it shows no more than they may.
    """

    name: str
    summary: str
    parameters: Sequence[Parameter] = ()
    carry_out: Callable[[Call, dict[str, Any], Interaction], Awaitable[Outcome]]
    result: Any = Any
    hints: Hints = attrs.field(factory=Hints)
    channels: frozenset[str] = frozenset({"api", "cli"})
    tends_background: bool = False
    public: bool = False


def add_operations(catalogue: Catalogue, codecs: Codecs, operations: Sequence[BuiltIn]) -> None:
    """
    Enter them: shown on API and command line if they don't say otherwise, and to the application itself.

    On MCP only those show that look after background work, where there is any.
    """
    for built_in in operations:
        place = f"{inspect.getmodule(built_in.carry_out).__name__}:{built_in.name}"  # type: ignore[union-attr]
        signature = Signature(built_in.name, built_in.parameters, codecs=codecs, place=place)
        operation = Operation(
            name=built_in.name,
            kind="admin",
            summary=built_in.summary,
            channels=built_in.channels,
            hints=built_in.hints,
            permission=built_in.name.replace(".", ":"),
            public=built_in.public,
            place=place,
            input_schema=lambda signature=signature: signature.schema,  # type: ignore[misc]
            output_schema=lambda built_in=built_in: codecs.output_schema(built_in.result),  # type: ignore[misc]
        )
        catalogue.add(
            Entry(
                operation=operation,
                signature=signature,
                carry_out=built_in.carry_out,
                tends_background=built_in.tends_background,
            )
        )
