"""The graph of a workflow: its steps wired by names, and everything that can be wrong with it told before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import MISSING
from nexus.workflows.fits import fits, item_of, named
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.signatures import Parameter, parameters_of, returns_of
from nexus.workflows.steps import Input, StepDefinition

__all__ = ["Graph", "StepNode", "analyse"]

LONG_NAME: Final = 8
SHORT_NAME: Final = 3
FARTHEST: Final = 2


@attrs.frozen(kw_only=True, eq=False)
class StepNode:
    """
    A step, wired.

    Attributes:
        run_parameter: The parameter that gets the run, by its type.
        from_steps: `(parameter, step's name)`; without the one of `each`.
        from_inputs: `(parameter, workflow's input)`; without the one of `each`.
        each: `(parameter, is a step, name)` of what is iterated.
        result: The type of its result; of one item where it has `each`.
    """

    definition: StepDefinition
    is_async: bool
    run_parameter: str | None
    parameters: Sequence[Parameter]
    from_steps: Sequence[tuple[str, str]]
    from_inputs: Sequence[tuple[str, str]]
    each: tuple[str, bool, str] | None
    result: Any

    @property
    def name(self) -> str:
        """The step's name."""
        return self.definition.name

    @property
    def needs(self) -> Sequence[str]:
        """The steps that come before."""
        names = [name for _, name in self.from_steps]
        if self.each is not None and self.each[1]:
            names.append(self.each[2])
        return list(dict.fromkeys(names))

    @property
    def whole_result(self) -> Any:
        """The type of what its followers get."""
        return list[self.result] if self.each is not None else self.result  # type: ignore[name-defined]


@attrs.frozen(kw_only=True, eq=False)
class Graph:
    """
    The steps in an order in which they could run, one after another.

    Attributes:
        inputs: What the caller gives.
        output: The name of the step whose result is the workflow's.
    """

    steps: Sequence[StepNode]
    inputs: Sequence[Parameter]
    output: str

    def step(self, name: str) -> StepNode:
        """Return the step of that name."""
        return next(step for step in self.steps if step.name == name)

    def view(self) -> dict[str, Any]:
        """Return the graph as channels show it."""
        return {
            "steps": [{"name": s.name, "needs": list(s.needs), "each": s.each[2] if s.each else None} for s in self.steps],
            "output": self.output,
            "mermaid": self.mermaid(),
        }

    def mermaid(self) -> str:
        """Return a Mermaid flowchart: inputs round, steps square, fan-outs stacked."""
        lines = ["flowchart LR"]
        lines += [f"    in_{parameter.name}([{parameter.name}])" for parameter in self.inputs]
        lines += [f"    {s.name}[[{s.name} over {s.each[2]}]]" if s.each else f"    {s.name}[{s.name}]" for s in self.steps]
        for step in self.steps:
            lines += [f"    in_{source} --> {step.name}" for source in dict.fromkeys(name for _, name in _inputs_of(step))]
            lines += [f"    {needed} --> {step.name}" for needed in step.needs]
        lines.append(f"    {self.output} --> out((result))")
        return "\n".join(lines) + "\n"


def _inputs_of(step: StepNode) -> list[tuple[str, str]]:
    iterated = [] if step.each is None or step.each[1] else [(step.each[0], step.each[2])]
    return [*step.from_inputs, *iterated]


def analyse(steps: Sequence[StepDefinition], *, output: str | None, place: str) -> Graph:
    """
    Wire the steps by names.

    Raises:
        RegistrationError: Something is wrong with them; the text names the place and the way out.
    """
    if not steps:
        raise RegistrationError(
            f"{place}: a workflow without steps; give it one with @{place.rpartition(':')[2].partition('@')[0]}.step"
        )
    names = {step.name for step in steps}
    nodes = _in_order({step.name: _wire(step, names) for step in steps}, place)
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        _check_types(node, by_name)
    inputs = _inputs(nodes)
    _check_near_misses(nodes, names)
    return Graph(steps=nodes, inputs=inputs, output=_output(nodes, output, place))


def _wire(step: StepDefinition, names: set[str]) -> StepNode:
    function, place = step.function, step.place
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise RegistrationError(f"{place}: a step can't be a generator; return a list")
    everything = parameters_of(function, place=place, localns=step.namespace)
    is_async = _is_async(function, everything)
    run_parameter = _run_parameter(everything, is_async=is_async, place=place)
    parameters = [parameter for parameter in everything if parameter.name != run_parameter]
    by_name = {parameter.name for parameter in parameters}
    each = None
    for name, source in step.each.items():
        if name not in by_name:
            raise RegistrationError(f"{place}: each= names parameter {name!r}, which step {step.name!r} does not have")
        if source not in names and source != name:
            raise RegistrationError(
                f"{place}: each={{{name!r}: {source!r}}} names a step that isn't there; steps: {', '.join(sorted(names))}; "
                f"to iterate over an input, write each={name!r}"
            )
        each = (name, source in names, source)
    rest = [parameter.name for parameter in parameters if each is None or parameter.name != each[0]]
    return StepNode(
        definition=step,
        is_async=is_async,
        run_parameter=run_parameter,
        parameters=parameters,
        from_steps=[(name, name) for name in rest if name in names],
        from_inputs=[(name, name) for name in rest if name not in names],
        each=each,
        result=returns_of(function, place=place, localns=step.namespace),
    )


def _is_async(function: Callable[..., Any], parameters: Sequence[Parameter]) -> bool:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 - an instance with an async __call__
        return True
    # A `def` that functools.wraps an `async def` most likely hands on its coroutine; who takes `Run` counts on it.
    return inspect.iscoroutinefunction(inspect.unwrap(function)) and any(parameter.hint is Run for parameter in parameters)


def _run_parameter(parameters: Sequence[Parameter], *, is_async: bool, place: str) -> str | None:
    found = [p for p in parameters if p.hint in (Run, BlockingRun)]
    if len(found) > 1:
        raise RegistrationError(f"{place}: two parameters get the run, {found[0].name!r} and {found[1].name!r}; one is enough")
    for parameter in found:
        if parameter.hint is Run and not is_async:
            raise RegistrationError(
                f"{place}: `{parameter.name}: Run` on a `def` step; take `BlockingRun`, or make the step `async def`"
            )
        if parameter.hint is BlockingRun and is_async:
            raise RegistrationError(f"{place}: `{parameter.name}: BlockingRun` on an `async def` step; take `Run`")
        return parameter.name
    return None


def _in_order(nodes: Mapping[str, StepNode], place: str) -> list[StepNode]:
    ordered: dict[str, StepNode] = {}
    for first in nodes:
        # No recursion: a chain may be longer than Python's stack.
        path = {first: iter(nodes[first].needs)} if first not in ordered else {}
        while path:
            name, needs = next(reversed(path.items()))
            needed = next((needed for needed in needs if needed not in ordered), None)
            if needed is None:
                del path[name]
                ordered[name] = nodes[name]
            elif needed in path:
                cycle = " -> ".join([*list(path)[list(path).index(needed) :], needed])
                raise RegistrationError(f"{place}: the steps wait for each other: {cycle}; rename a parameter, or a step")
            else:
                path[needed] = iter(nodes[needed].needs)
    return list(ordered.values())


def _check_types(node: StepNode, nodes: Mapping[str, StepNode]) -> None:
    hints = {parameter.name: parameter.hint for parameter in node.parameters}
    for parameter, source in node.from_steps:
        result = nodes[source].whole_result
        if not fits(result, hints[parameter]):
            raise RegistrationError(
                f"{node.definition.place}: parameter {parameter!r} is {named(hints[parameter])}, "
                f"but step {source!r} returns {named(result)}; make the hints agree"
            )
    if node.each is not None and node.each[1]:
        parameter, _, source = node.each
        result = nodes[source].whole_result
        try:
            item = item_of(result)
        except TypeError:
            raise RegistrationError(
                f"{node.definition.place}: each= iterates over step {source!r}, which returns {named(result)}; return a list"
            ) from None
        if not fits(item, hints[parameter]):
            raise RegistrationError(
                f"{node.definition.place}: parameter {parameter!r} is {named(hints[parameter])}, "
                f"but an item of step {source!r} is {named(item)}"
            )


def _inputs(nodes: Sequence[StepNode]) -> list[Parameter]:
    found: dict[str, Parameter] = {}
    for node in nodes:
        hints = {parameter.name: parameter for parameter in node.parameters}
        for parameter_name, name in _inputs_of(node):
            parameter = hints[parameter_name]
            if node.each is not None and parameter_name == node.each[0]:
                default = parameter.default if parameter.default is MISSING else [parameter.default]
                parameter = attrs.evolve(parameter, hint=list[parameter.hint], default=default)  # type: ignore[name-defined]
            found[name] = _merged(found[name], parameter, node) if name in found else parameter
    return list(found.values())


def _merged(first: Parameter, second: Parameter, node: StepNode) -> Parameter:
    place = node.definition.place
    if first.hint != second.hint:
        raise RegistrationError(
            f"{place}: input {second.name!r} is {named(second.hint)} here and {named(first.hint)} in {first.place}; "
            "use one type for both"
        )
    defaults = [p.default for p in (first, second) if p.default is not MISSING]
    if len(defaults) > 1 and defaults[0] != defaults[1]:
        raise RegistrationError(
            f"{place}: input {second.name!r} has the default {second.default!r} here and {first.default!r} in {first.place}; "
            "use one for both"
        )
    described = first if first.description else second
    return attrs.evolve(described, default=defaults[0] if defaults else MISSING)


def _check_near_misses(nodes: Sequence[StepNode], names: set[str]) -> None:
    places = {
        parameter: node.definition.place
        for node in nodes
        for parameter in {name for name, _ in node.from_inputs} - {p.name for p in node.parameters if _is_declared(p.hint)}
    }
    ordered = sorted(names)
    for parameter, place in places.items():
        near = next((name for name in ordered if _nearly(parameter, name)), None)
        if near is not None:
            raise RegistrationError(
                f"{place}: parameter {parameter!r} is nearly the step {near!r}; write {near!r}, "
                f"or, if it is an input of the workflow, `{parameter}: Annotated[…, nexus.Input()]`"
            )


def _is_declared(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(m is Input or isinstance(m, Input) for m in get_args(hint)[1:])


def _nearly(name: str, step: str) -> bool:
    if abs(len(name) - len(step)) > FARTHEST or min(len(name), len(step)) < SHORT_NAME:
        return False
    return _distance(name, step) <= (FARTHEST if len(step) >= LONG_NAME else 1)


def _distance(a: str, b: str) -> int:
    """Damerau-Levenshtein, adjacent transpositions only (optimal string alignment)."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def _output(nodes: Sequence[StepNode], output: str | None, place: str) -> str:
    names = [node.name for node in nodes]
    if output is not None:
        if output not in names:
            near = next((name for name in names if _distance(output, name) <= FARTHEST), None)
            hint = f"; did you mean {near!r}?" if near else f"; steps: {', '.join(names)}"
            raise RegistrationError(f"{place}: output={output!r} is not a step{hint}")
        return output
    needed = {name for node in nodes for name in node.needs}
    leaves = [name for name in names if name not in needed]
    if len(leaves) > 1:
        raise RegistrationError(
            f"{place}: {len(leaves)} steps have no follower ({', '.join(leaves)}); say which is the result: output={leaves[-1]!r}"
        )
    return leaves[0]
