"""The catalogue: one list of operations, of which every channel is a projection."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from nexus.abc import Interaction
from nexus.exceptions import ConflictError, NexusError, RegistrationError, WorkflowNotFoundError
from nexus.models import Call, Operation, RunRecord
from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import FunctionWorkflow, Workflow
from nexus.workflows.executor import Executor, error_of
from nexus.workflows.injection import Lender
from nexus.workflows.plan import Plan, compile_plan
from nexus.workflows.results import KeptResults, ResultCache, kept_results
from nexus.workflows.schedules import Schedule, named
from nexus.workflows.signatures import Signature, describe
from nexus.workflows.steps import is_rewritten, place_of

__all__ = ["Catalogue", "Entry", "Outcome", "nearest", "workflow_entry"]

LONGEST = 64
"""Longer names are not compared: it would cost their square, and a caller may send what it likes."""

PARTS = re.compile(r"(\d+)|([^\d._-]+)")
WORD, END, NUMBER = 0, 1, 2

Outcome = tuple[Any, RunRecord | None, NexusError | None]
"""What carrying out gives: the output, the run's record where there is one, and why that run did not succeed."""


@attrs.frozen(kw_only=True, eq=False)
class Entry:
    """
    An operation, and what the gateway needs to carry it out.

    Attributes:
        plan: Of a workflow.
        injected: Which step takes a dependency, and of which type.
        results: How its results are kept, where they are.
        tends_background: It shows also wherever a workflow with `background` does, for its callers to look after their runs.
    """

    operation: Operation
    signature: Signature
    carry_out: Callable[[Call, dict[str, Any], Interaction], Awaitable[Outcome]]
    source: Callable[..., Any] | Workflow | None = None
    plan: Plan | None = None
    injected: Sequence[tuple[str, Any]] = ()
    schedules: tuple[Schedule, ...] = ()
    results: KeptResults | None = None
    tends_background: bool = False


@attrs.frozen(eq=False)
class View:
    """
    The operations that show on a channel.

    Attributes:
        elected: By name, the newest that shows, where a newer one does not; and what shows for the sake of others.
    """

    operations: Sequence[Operation]
    elected: Mapping[str, Entry]


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Order versions as people do: numbers by value, `1.0-rc1` before `1.0` before `1.0.1`."""
    parts = [(NUMBER, int(number), "") if number else (WORD, 0, word) for number, word in PARTS.findall(version)]
    return (*parts, (END, 0, ""))


@attrs.define(eq=False, repr=False)
class Catalogue:
    """
    Operations by name and version.

    Attributes:
        changes: Rises with each change, for those who keep what they made of it.
    """

    changes: int = attrs.field(default=0, init=False)
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _versions: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    _places: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    _views: dict[str | None, View] = attrs.field(factory=dict, init=False)

    def add(self, *entries: Entry) -> None:
        """
        Add entries, all or none.

        One replaces what was registered before from the same place, written anew (a notebook's cell, a reloaded module). It
        does not replace another use of the same code (a factory, a function in two groups), nor another version in the same file.

        Raises:
            RegistrationError: Another place has that name and version, or one of *entries* has; or the name of a schedule.
        """
        batch: dict[str, Entry] = {}
        for entry in entries:
            operation = entry.operation
            twin = batch.setdefault(operation.reference, entry)
            other = self._entries.get(operation.reference, entry) if twin.source is entry.source else twin
            if other is twin is not entry or other.operation.place != operation.place:
                raise RegistrationError(
                    f"{operation.place}: there is an operation {operation.reference} already, from {other.operation.place}; "
                    "give name=… or version=…"
                )
            versions = self._versions.get(operation.name)
            namesake = operation if versions is None else self._entries[_reference(operation.name, versions[0])].operation
            if namesake.kind != operation.kind:
                raise RegistrationError(
                    f"{operation.place}: {operation.name!r} is the name of an operation that is built in; give another name=…"
                )
        if any(entry.schedules for entry in entries):
            self._require_own_schedules(entries)
        for entry in entries:
            self._put(entry)

    def schedules(self) -> Iterator[tuple[Operation, Schedule]]:
        """Yield every schedule with its workflow; no two have the same name."""
        for reference, entry in self._entries.items():
            if reference == entry.operation.reference:
                for schedule in entry.schedules:
                    yield entry.operation, schedule

    def _require_own_schedules(self, entries: Sequence[Entry]) -> None:
        owners = {schedule.name: entry for entry in self._entries.values() for schedule in entry.schedules}
        for entry in entries:
            for schedule in entry.schedules:
                here, other = entry.operation, owners.setdefault(schedule.name, entry)
                there = other.operation
                if here.reference != there.reference and not (
                    here.place == there.place and is_rewritten(other.source, entry.source)
                ):
                    raise RegistrationError(
                        f"{here.place}: there is a schedule {schedule.name!r} already, of {there.reference} from {there.place}; "
                        "give Schedule(…, name=…)"
                    )

    def _put(self, entry: Entry) -> None:
        operation = entry.operation
        references = self._places.setdefault(operation.place, [])
        for reference in list(references):
            if reference == operation.reference or is_rewritten(self._entries[reference].source, entry.source):
                self._remove(reference)
                references.remove(reference)
        references.append(operation.reference)
        self._entries[operation.reference] = entry
        self._versions.setdefault(operation.name, []).append(operation.version)
        self._elect(operation.name)

    def find(self, reference: str, channel: str | None = None) -> Entry | None:
        """Return the entry of that `name` (newest version) or `name@version`, if it shows on *channel* (None: any)."""
        entry = self._entries.get(reference)
        if entry is None or channel is None or entry.operation.shows_on(channel):
            return entry
        return self._view(channel).elected.get(reference)

    def planned(self, reference: str) -> tuple[Operation, Plan] | None:
        """Return the workflow of that `name@version`, and its plan."""
        entry = self._entries.get(reference)
        return None if entry is None or entry.plan is None else (entry.operation, entry.plan)

    def reference_of(self, workflow: Callable[..., Any] | Workflow) -> str:
        """
        Return the `name@version` under which this was registered.

        Raises:
            WorkflowNotFoundError: It was not, or under several names.
        """
        found = self._registered(workflow)
        if len({operation.name for operation in found}) > 1:
            names = ", ".join(operation.reference for operation in found)
            place = found[0].place
            raise WorkflowNotFoundError(f"{place} is registered as {names}; call one of them by its name", name=place)
        return max(found, key=lambda operation: version_key(operation.version)).reference

    def references_of(self, workflow: str | Callable[..., Any] | Workflow) -> Sequence[str]:
        """
        Return each `name@version` of a workflow: of all its versions, of one (`name@version`), or of what was registered.

        Raises:
            WorkflowNotFoundError: There is none.
        """
        if not isinstance(workflow, str):
            return [operation.reference for operation in self._registered(workflow)]
        name, _, version = workflow.partition("@")
        entry = self._entries.get(name)
        if entry is None or entry.operation.kind != "workflow":
            near = nearest(name, [operation.name for operation in self.operations() if operation.kind == "workflow"])
            hint = f"; did you mean {near!r}?" if near else ""
            raise WorkflowNotFoundError(f"there is no workflow {name!r}{hint}", name=name)
        versions = self._versions[name]
        if version and version not in versions:
            raise WorkflowNotFoundError(
                f"there is no version {version!r} of {name!r}; there are: {', '.join(versions)}", name=workflow
            )
        return [_reference(name, one) for one in ([version] if version else versions)]

    def _registered(self, workflow: Callable[..., Any] | Workflow) -> Sequence[Operation]:
        source = workflow.origin if isinstance(workflow, Workflow) else workflow
        place = workflow.place if isinstance(workflow, Workflow) else place_of(workflow)
        there = [self._entries[reference] for reference in self._places.get(place, ())]
        found = [entry.operation for entry in there if entry.source is source] or [entry.operation for entry in there]
        if not found:
            raise WorkflowNotFoundError(f"{place} is not registered; app.register it first", name=place)
        return found

    def operations(self, channel: str | None = None) -> Sequence[Operation]:
        """Return what shows on *channel* (None: any), sorted by name, the newest version first."""
        return self._view(channel).operations

    def injected(self) -> Sequence[tuple[str, Any]]:
        """Return which steps take a dependency, and of which type."""
        return [taken for reference in self._entries if "@" in reference for taken in self._entries[reference].injected]

    def _view(self, channel: str | None) -> View:
        if channel not in self._views:
            operations: list[Operation] = []
            elected: dict[str, Entry] = {}
            for name in sorted(self._versions):
                entries = [self._entries[_reference(name, version)] for version in self._versions[name]]
                shown = [entry for entry in entries if channel is None or entry.operation.shows_on(channel)]
                if shown and not shown[0].operation.newest:
                    shown[0] = elected[name] = _elected(shown[0], newest=True)
                elif channel is not None and not shown and entries[0].tends_background and self._has_background(channel):
                    shown, elected[name] = entries, entries[0]
                operations += [entry.operation for entry in shown]
            self._views[channel] = View(operations, elected)
        return self._views[channel]

    def _has_background(self, channel: str) -> bool:
        return any(entry.operation.background and entry.operation.shows_on(channel) for entry in self._entries.values())

    def kept_results(self, workflow: str | Callable[..., Any] | Workflow) -> Sequence[KeptResults]:
        """
        Return how the results of a workflow are kept: of every version, where its name alone is given.

        Raises:
            WorkflowNotFoundError: There is none, or it has no `cache`.
        """
        references = self.references_of(workflow)
        kept = [self._entries[reference].results for reference in references]
        found = [results for results in kept if results is not None]
        if not found:
            raise WorkflowNotFoundError(f"nothing is kept of {references[0]}: it has no cache=", name=references[0])
        return found

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
        self._views.clear()
        versions = self._versions[name]
        versions.sort(key=version_key, reverse=True)
        for number, version in enumerate(versions):
            reference = _reference(name, version)
            entry = self._entries[reference]
            if entry.operation.newest != (number == 0):
                entry = self._entries[reference] = _elected(entry, newest=number == 0)
            if number == 0:
                self._entries[name] = entry


def _reference(name: str, version: str) -> str:
    return f"{name}@{version}" if version else name


def _elected(entry: Entry, *, newest: bool) -> Entry:
    return attrs.evolve(entry, operation=attrs.evolve(entry.operation, newest=newest))


def workflow_entry(definition: Workflow, codecs: Codecs, executor: Executor, lender: Lender, cache: ResultCache) -> Entry:
    """
    Compile a workflow into an entry.

    Raises:
        RegistrationError: The graph or a signature is wrong; the text names the place and the way out.
    """
    plan = compile_plan(definition, codecs, lender)
    options = definition.options
    summary, _, description = options.description.strip().partition("\n")
    if not summary and isinstance(definition, FunctionWorkflow):
        described = describe(definition.steps[0].function)
        summary, description = described.summary, described.description
    last = plan.graph.step(plan.graph.output)
    output, namespace = last.final_result, last.definition.namespace
    field = codecs.field(output, place=f"{last.definition.place}: the result", localns=namespace)
    results = None if options.cache is None else kept_results(definition, plan, field, cache)
    plan = attrs.evolve(plan, result=field)
    if results is not None:
        plan = attrs.evolve(plan, single=None, cached=results.carry_out)
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
        deprecated=options.deprecated,
        background=options.background,
        permission=options.permission or f"workflow:{options.name}:execute",
        public=options.public,
        rate_limit=options.rate_limit,
        input_schema=lambda: plan.signature.schema,
        output_schema=lambda: codecs.output_schema(output, localns=namespace),
        graph=plan.graph.view,
    )

    async def carry_out(call: Call, inputs: dict[str, Any], interaction: Interaction) -> Outcome:
        run = await executor.run(call, operation, plan, inputs, interaction)
        return run.output, run, error_of(run)

    async def carry_out_discreetly(call: Call, inputs: dict[str, Any], interaction: Interaction) -> Outcome:
        run = await executor.run(call, operation, plan, inputs, interaction)
        try:
            return run.whole_output(), run, error_of(run)
        except ConflictError as error:
            return None, run, error

    injected = [
        (f"{step.definition.place}: step {step.name!r}", wanted) for step in plan.graph.steps for wanted in step.injected.values()
    ]
    schedules = named(options.schedules, options.name, plan.signature, place=definition.place) if options.schedules else ()
    return Entry(
        operation=operation,
        signature=plan.signature,
        carry_out=carry_out if plan.secrecy is None or plan.secrecy.output is None else carry_out_discreetly,
        source=definition.origin,
        plan=plan,
        injected=injected,
        schedules=schedules,
        results=results,
    )


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that *name* was most likely meant to be."""
    import difflib  # noqa: PLC0415 - only needed where a name was wrong

    if len(name) > LONGEST:
        return None
    wanted = name.replace("-", "_").lower()
    return next(iter(difflib.get_close_matches(wanted, list(candidates), n=1, cutoff=0.6)), None)
