"""A compiled workflow: the graph with every look-up done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import Workflow
from nexus.workflows.graph import Graph, StepNode
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.signatures import Signature

__all__ = ["Plan", "PlannedStep", "compile_plan"]


@attrs.frozen(kw_only=True, eq=False)
class PlannedStep:
    """
    A step, by numbers.

    Attributes:
        run_type: `Run` or `BlockingRun`, where a parameter gets the run.
        from_steps: `(parameter, index of the step)`.
        from_inputs: `(parameter, input)`.
        each: `(parameter, index of the step, None)` or `(parameter, -1, input)`.
        followers: Indexes of the steps that wait for this one.
        waits_for: How many steps this one waits for.
        plain: `async def`, without timeout, and its run is not asked for.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    run_parameter: str | None
    run_type: type[Run | BlockingRun] | None
    from_steps: tuple[tuple[str, int], ...]
    from_inputs: tuple[tuple[str, str], ...]
    each: tuple[str, int, str | None] | None
    limit: int
    timeout: float | None
    followers: tuple[int, ...]
    waits_for: int
    plain: bool


@attrs.frozen(kw_only=True, eq=False)
class Plan:
    """
    What the local runtime carries out.

    Attributes:
        in_line: Each step has at most one before and one after it, so that they run one after another with no task.
        takes_run: A step may ask.
        single: The only step, where that is all there is to it: `async def`, no fan-out, no timeout.
    """

    graph: Graph
    signature: Signature
    steps: tuple[PlannedStep, ...]
    output: int
    in_line: bool
    takes_run: bool
    single: PlannedStep | None


def compile_plan(workflow: Workflow, codecs: Codecs) -> Plan:
    """
    Compile a workflow.

    Raises:
        RegistrationError: The graph or a signature is wrong; the text names the place and the way out.
    """
    graph = workflow.graph()
    signature = Signature(workflow.options.name, graph.inputs, codecs=codecs, place=workflow.place)
    index = {step.name: i for i, step in enumerate(graph.steps)}
    followers: dict[str, list[int]] = {step.name: [] for step in graph.steps}
    for step in graph.steps:
        for needed in step.needs:
            followers[needed].append(index[step.name])
    steps = tuple(_planned(step, index, followers) for step in graph.steps)
    first = steps[0]
    return Plan(
        graph=graph,
        signature=signature,
        steps=steps,
        output=index[graph.output],
        in_line=sum(not s.waits_for for s in steps) == 1 and all(s.waits_for <= 1 and len(s.followers) <= 1 for s in steps),
        takes_run=any(step.run_type is not None for step in steps),
        single=first if len(steps) == 1 and first.is_async and first.each is None and first.timeout is None else None,
    )


def _planned(step: StepNode, index: Mapping[str, int], followers: Mapping[str, list[int]]) -> PlannedStep:
    each = None
    if step.each is not None:
        parameter, is_step, source = step.each
        each = (parameter, index[source], None) if is_step else (parameter, -1, source)
    run_type: type[Run | BlockingRun] | None = None
    if step.run_parameter is not None:
        run_type = Run if step.is_async else BlockingRun
    return PlannedStep(
        name=step.name,
        function=step.definition.function,
        is_async=step.is_async,
        run_parameter=step.run_parameter,
        run_type=run_type,
        from_steps=tuple((parameter, index[source]) for parameter, source in step.from_steps),
        from_inputs=tuple(step.from_inputs),
        each=each,
        limit=step.definition.limit,
        timeout=step.definition.timeout,
        followers=tuple(followers[step.name]),
        waits_for=len(step.needs),
        plain=step.is_async and step.run_parameter is None and step.definition.timeout is None,
    )
