"""The catalogue: one list of operations, of which every channel is a projection."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import attrs

from nexus.abc import Interaction
from nexus.exceptions import NexusError, RegistrationError
from nexus.models import Call, Operation, RunRecord
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import FunctionWorkflow, Workflow
from nexus.workflows.executor import Executor, error_of
from nexus.workflows.plan import compile_plan
from nexus.workflows.signatures import Signature, describe

__all__ = ["Catalogue", "Entry", "Outcome", "nearest", "workflow_entry"]

LONGEST = 64
"""Longer names are not compared: it would cost their square, and a caller may send what it likes."""

PARTS = re.compile(r"(\d+)|([^\d.]+)")

Outcome = tuple[Any, RunRecord | None, NexusError | None]
"""What carrying out gives: the output, the run's record where there is one, and why that run did not succeed."""


@attrs.frozen(kw_only=True, eq=False)
class Entry:
    """An operation, and what the gateway needs to carry it out."""

    operation: Operation
    signature: Signature
    carry_out: Callable[[Call, dict[str, Any], Interaction], Awaitable[Outcome]]


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Order versions as people do: numbers by value, words before numbers."""
    return tuple((1, int(number), "") if number else (0, 0, word) for number, word in PARTS.findall(version))


@attrs.define(eq=False)
class Catalogue:
    """
    Operations by name and version.

    Attributes:
        changes: Rises with each change, for those who keep what they made of it.
    """

    changes: int = attrs.field(default=0, init=False)
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _versions: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    _places: dict[str, str] = attrs.field(factory=dict, init=False)
    _sorted: Sequence[Operation] | None = attrs.field(default=None, init=False)

    def add(self, *entries: Entry) -> None:
        """
        Add entries, all or none; one from the same place as an older one replaces it.

        Raises:
            RegistrationError: Another place has that name and version.
        """
        places: dict[str, str] = {}
        for entry in entries:
            operation = entry.operation
            there = self._entries.get(operation.reference)
            other = places.setdefault(operation.reference, operation.place if there is None else there.operation.place)
            if other != operation.place:
                raise RegistrationError(
                    f"{operation.place}: there is an operation {operation.reference} already, from {other}; "
                    "give name=… or version=…"
                )
        for entry in entries:
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        operation = entry.operation
        if operation.place in self._places:
            self._remove(self._places[operation.place])
        self._entries[operation.reference] = entry
        self._places[operation.place] = operation.reference
        self._versions.setdefault(operation.name, []).append(operation.version)
        self._elect(operation.name)

    def find(self, reference: str) -> Entry | None:
        """Return the entry of that `name` (newest version) or `name@version`."""
        return self._entries.get(reference)

    def at(self, place: str) -> Entry | None:
        """Return the entry that was registered from `module:qualname`."""
        reference = self._places.get(place)
        return None if reference is None else self._entries[reference]

    def operations(self) -> Sequence[Operation]:
        """Return all, sorted by name, the newest version first."""
        if self._sorted is None:
            self._sorted = [
                self._entries[f"{name}@{version}" if version else name].operation
                for name in sorted(self._versions)
                for version in self._versions[name]
            ]
        return self._sorted

    def _remove(self, reference: str) -> None:
        operation = self._entries.pop(reference).operation
        versions = self._versions[operation.name]
        versions.remove(operation.version)
        self._entries.pop(operation.name, None)
        if versions:
            self._elect(operation.name)
        else:
            del self._versions[operation.name]

    def _elect(self, name: str) -> None:
        """Let *name* alone mean the newest version."""
        self.changes += 1
        self._sorted = None
        versions = self._versions[name]
        versions.sort(key=version_key, reverse=True)
        for number, version in enumerate(versions):
            reference = f"{name}@{version}" if version else name
            entry = self._entries[reference]
            if entry.operation.newest != (number == 0):
                entry = attrs.evolve(entry, operation=attrs.evolve(entry.operation, newest=number == 0))
                self._entries[reference] = entry
            if number == 0:
                self._entries[name] = entry


def workflow_entry(definition: Workflow, codecs: Codecs, executor: Executor) -> Entry:
    """
    Compile a workflow into an entry.

    Raises:
        RegistrationError: The graph or a signature is wrong; the text names the place and the way out.
    """
    plan = compile_plan(definition, codecs)
    options = definition.options
    summary, _, description = options.description.strip().partition("\n")
    if not summary and isinstance(definition, FunctionWorkflow):
        described = describe(definition.steps[0].function)
        summary, description = described.summary, described.description
    last = plan.graph.step(plan.graph.output)
    output, namespace = last.whole_result, last.definition.namespace
    codecs.field(output, place=f"{last.definition.place}: the result", localns=namespace)
    operation = Operation(
        name=options.name,
        kind="workflow",
        version=options.version,
        summary=summary.strip(),
        description=description.strip(),
        tags=options.tags,
        channels=options.channels,
        hints=options.hints,
        place=definition.place,
        input_schema=lambda: plan.signature.schema,
        output_schema=lambda: codecs.output_schema(output, localns=namespace),
        graph=plan.graph.view,
    )

    async def carry_out(call: Call, inputs: dict[str, Any], interaction: Interaction) -> Outcome:
        run = await executor.run(call, operation, plan, inputs, interaction)
        return run.output, run, error_of(run)

    return Entry(operation=operation, signature=plan.signature, carry_out=carry_out)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that *name* was most likely meant to be."""
    import difflib  # noqa: PLC0415 - only needed where a name was wrong

    if len(name) > LONGEST:
        return None
    wanted = name.replace("-", "_").lower()
    return next(iter(difflib.get_close_matches(wanted, list(candidates), n=1, cutoff=0.6)), None)
