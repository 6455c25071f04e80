"""The graph of a workflow: its steps wired by names, and everything that can be wrong with it told before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, get_args, get_origin

import attrs

from nexus.exceptions import RegistrationError
from nexus.models import MISSING
from nexus.workflows.fits import fits, item_of, named
from nexus.workflows.hashing import digest, hint_of
from nexus.workflows.signatures import Parameter
from nexus.workflows.steps import Input, StepDefinition
from nexus.workflows.wiring import StepNode, wire

__all__ = ["Graph", "analyse", "inputs_of"]

LONG_NAME: Final = 8
SHORT_NAME: Final = 3
FARTHEST: Final = 2
# Words of Mermaid's flowcharts, which can't be the name of a node.
MERMAID_WORDS: Final = frozenset(
    {"call", "class", "click", "end", "flowchart", "graph", "href", "interpolate", "style", "subgraph"}
)


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

    @cached_property
    def hash(self) -> str:
        """SHA-256, as hex, of the steps' names, what each takes from where, and all hints: the same in every process."""
        return digest([self.output, sorted(_hashed(step) for step in self.steps)])

    def view(self) -> dict[str, Any]:
        """Return the graph as channels show it."""
        return {
            "steps": [
                {
                    "name": step.name,
                    "needs": list(step.needs),
                    "each": step.each[2] if step.each else None,
                    "conditional": step.definition.when is not None,
                }
                for step in self.steps
            ],
            "output": self.output,
            "mermaid": self.mermaid(),
        }

    def mermaid(self) -> str:
        """Return a Mermaid flowchart: inputs round, steps square, fan-outs stacked; dotted where nothing is taken."""
        lines = ["flowchart LR"]
        lines += [f"    in_{parameter.name}([{parameter.name}])" for parameter in self.inputs]
        lines += [f"    {_node(s.name)}{f'[[{s.name} over {s.each[2]}]]' if s.each else f'[{s.name}]'}" for s in self.steps]
        for step in self.steps:
            here = _node(step.name)
            lines += [f"    in_{source} --> {here}" for source in dict.fromkeys(name for _, name in inputs_of(step))]
            lines += [f"    {_node(needed)} {'-->' if needed in step.takes else '-.->'} {here}" for needed in step.needs]
        lines.append(f"    {_node(self.output)} --> out((result))")
        return "\n".join(lines) + "\n"


def _node(step: str) -> str:
    """Return what Mermaid shall call a step: its name, where that means nothing else; no step's name has a capital."""
    return f"Step_{step}" if step in MERMAID_WORDS or step == "out" or step.startswith("in_") else step


def _hashed(step: StepNode) -> list[str]:
    edges = [step.each, step.from_steps, step.from_inputs, step.when, step.definition.after]
    hints = [[parameter.name, hint_of(parameter.hint)] for parameter in step.parameters]
    return [step.name, digest([edges, hints, hint_of(step.whole_result)])]


def inputs_of(step: StepNode) -> list[tuple[str, str]]:
    """Return `(parameter, workflow's input)` of a step, with the one of `each`."""
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
    nodes = _in_order({step.name: wire(step, names) for step in steps}, place)
    nodes = _with_skips(nodes)
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        _check_types(node, by_name)
    inputs = _inputs(nodes)
    _check_near_misses(nodes, names)
    _check_conditions(nodes, names | {parameter.name for parameter in inputs})
    return Graph(steps=nodes, inputs=inputs, output=_output(nodes, output, place))


def _with_skips(nodes: Sequence[StepNode]) -> list[StepNode]:
    skipped: set[str] = set()
    for node in nodes:
        if node.definition.when is not None or any(n in skipped and not node.can_do_without(n) for n in node.takes):
            skipped.add(node.name)
    return [attrs.evolve(node, may_skip=node.name in skipped) for node in nodes]


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
        for parameter_name, name in inputs_of(node):
            parameter = hints[parameter_name]
            if node.each is not None and parameter_name == node.each[0]:
                default = parameter.default if parameter.default is MISSING else [parameter.default]
                parameter = attrs.evolve(parameter, hint=list[parameter.hint], default=default)  # type: ignore[name-defined]
            found[name] = _merged(found[name], parameter, node) if name in found else parameter
    return list(found.values())


def _check_conditions(nodes: Sequence[StepNode], known: set[str]) -> None:
    for node in nodes:
        for name in node.when[1]:
            if name not in known:
                raise RegistrationError(
                    f"{node.definition.place}: when= takes {name!r}, which is neither a step nor an input; "
                    f"there are: {', '.join(sorted(known))}"
                )


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
