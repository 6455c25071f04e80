"""A compiled workflow: the graph with every look-up done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from nexus.workflows.codecs import Codecs
from nexus.workflows.definition import Workflow
from nexus.workflows.fields import Field
from nexus.workflows.graph import Graph
from nexus.workflows.injection import Lender
from nexus.workflows.live import LiveRun
from nexus.workflows.result_codecs import require_storable
from nexus.workflows.retries import Retry
from nexus.workflows.run import BlockingRun, Run
from nexus.workflows.schema import has_format
from nexus.workflows.secrecy import Secrecy, secrecy_of
from nexus.workflows.signatures import Signature
from nexus.workflows.steps import OnError, RunIn
from nexus.workflows.wiring import StepNode

__all__ = ["CachedOutput", "Plan", "PlannedStep", "compile_plan"]

CachedOutput = Callable[[LiveRun, Mapping[str, Any], Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Called with a run that has not taken its turn, its inputs, and what carries the steps out; gives the output."""


@attrs.frozen(kw_only=True, eq=False)
class PlannedStep:
    """
    A step, by numbers.

    Attributes:
        run_type: `Run` or `BlockingRun`, where a parameter gets the run.
        injected: The parameters that get dependencies, and their types.
        borrows: It gets dependencies, or may ask its run for them.
        from_steps: `(parameter, index of the step)`.
        from_inputs: `(parameter, input)`.
        each: `(parameter, index of the step, None)` or `(parameter, -1, input)`.
        when: `(function, ((parameter, index of the step), …), (input, …))`.
        optional: Parameters that take their default where the step they are named after was skipped.
        lets_on: Indexes of the steps that wait for this one, or for a fan-out that is carried out with it.
        waits_for: How many steps this one waits for.
        streams_to: Indexes of the fan-outs that take its items as it yields them.
        is_streamed: It is such a fan-out: the step that yields carries it out.
        keeps: What it yields is wanted as a list too.
        is_output: Its result is the workflow's.
        plain: `async def` that does not yield, tried once, without timeout, and given nothing but results and inputs.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    run_parameter: str | None
    run_type: type[Run | BlockingRun] | None
    injected: Mapping[str, Any]
    borrows: bool
    from_steps: tuple[tuple[str, int], ...]
    from_inputs: tuple[tuple[str, str], ...]
    each: tuple[str, int, str | None] | None
    limit: int
    on_error: OnError
    when: tuple[Callable[..., bool], tuple[tuple[str, int], ...], tuple[str, ...]] | None
    optional: frozenset[str]
    retry: Retry | None
    timeout: float | None
    run_in: RunIn | None
    yields: bool
    streams_to: tuple[int, ...]
    is_streamed: bool
    keeps: bool
    is_output: bool
    lets_on: tuple[int, ...]
    waits_for: int
    plain: bool


@attrs.frozen(kw_only=True, eq=False)
class Plan:
    """
    What the local runtime carries out.

    Attributes:
        in_line: Each step has at most one before and one after it, so that they run one after another with no task.
        takes_run: A step may ask.
        durable: Each step's result is kept before the next is called, and a run that is dropped goes on at the next start.
        hands_out_files: A path may be in the output.
        lender: Has the application's dependencies.
        injects: A step has a parameter that gets one.
        may_skip: A step has a `when`.
        timeout: Seconds for a whole run.
        concurrency: At most this many runs at once.
        single: The only step, where that is all there is to it: `async def`, no fan-out, no option, nothing injected.
        secrecy: What it is discreet about, where there are secrets among its inputs or in its output.
        result: The field of its output.
        cached: Looks among the results that are kept, and carries the plan out only where it must.
    """

    graph: Graph
    signature: Signature
    steps: tuple[PlannedStep, ...]
    output: int
    in_line: bool
    takes_run: bool
    hands_out_files: bool
    durable: bool
    lender: Lender
    injects: bool
    may_skip: bool
    timeout: float | None
    concurrency: int | None
    single: PlannedStep | None
    secrecy: Secrecy | None
    cached: CachedOutput | None = None
    result: Field | None = None

    @property
    def hash(self) -> str:
        """The graph's."""
        return self.graph.hash


def compile_plan(workflow: Workflow, codecs: Codecs, lender: Lender) -> Plan:
    """
    Compile a workflow.

    Raises:
        RegistrationError: The graph or a signature is wrong; the text names the place and the way out.
    """
    graph = workflow.graph()
    signature = Signature(workflow.options.name, graph.inputs, codecs=codecs, place=workflow.place)
    index = {step.name: i for i, step in enumerate(graph.steps)}
    followers: dict[str, list[StepNode]] = {step.name: [] for step in graph.steps}
    for step in graph.steps:
        for needed in step.needs:
            followers[needed].append(step)
    durable = workflow.options.durable
    if durable:
        require_storable(graph, signature, codecs)
    steps = tuple(_planned(step, graph, index, followers, streams=not durable) for step in graph.steps)
    first = steps[0]
    alone = (
        len(steps) == 1
        and first.is_async
        and not first.yields
        and first.each is None
        and first.timeout is None
        and first.retry is None
        and not first.injected
        and not durable
    )
    last = graph.step(graph.output)
    output, namespace = last.final_result, last.definition.namespace
    field = codecs.field(output, place=f"{last.definition.place}: the result", localns=namespace)
    return Plan(
        graph=graph,
        signature=signature,
        steps=steps,
        output=index[graph.output],
        in_line=sum(not s.waits_for for s in steps) == 1
        and all(s.waits_for <= 1 and len(s.lets_on) <= 1 and not s.streams_to for s in steps),
        takes_run=any(step.run_type is not None for step in steps),
        lender=lender,
        injects=any(step.injected for step in steps),
        may_skip=any(step.when is not None for step in steps),
        timeout=workflow.options.timeout,
        concurrency=workflow.options.concurrency,
        durable=durable,
        # The field of what somebody else describes can't tell.
        hands_out_files=field.holds_paths and has_format(codecs.output_schema(output, localns=namespace), {"path"}),
        single=first if alone and first.when is None else None,
        secrecy=secrecy_of(signature, field, codecs),
    )


def _streams(graph: Graph, source: StepNode) -> list[StepNode]:
    """Return the fan-outs over what a step yields that wait for nothing else, to which it can be streamed."""
    if not source.yields or source.definition.retry is not None:
        return []
    return [
        step
        for step in graph.steps
        if step.each is not None and step.each[1] and list(step.needs) == [source.name] and step.definition.when is None
    ]


def _planned(
    step: StepNode, graph: Graph, index: Mapping[str, int], followers: Mapping[str, list[StepNode]], *, streams: bool
) -> PlannedStep:
    definition, is_output = step.definition, step.name == graph.output
    streamed = _streams(graph, step) if streams else []
    source = graph.step(step.each[2]) if step.each is not None and step.each[1] else None
    when = None
    if definition.when is not None:
        when = (definition.when, tuple((name, index[name]) for name in step.when[0]), tuple(step.when[1]))
    each = None
    if step.each is not None:
        parameter, is_step, iterated = step.each
        each = (parameter, index[iterated], None) if is_step else (parameter, -1, iterated)
    run_type: type[Run | BlockingRun] | None = None
    if step.run_parameter is not None:
        run_type = Run if step.is_async else BlockingRun
    return PlannedStep(
        name=step.name,
        function=step.definition.function,
        is_async=step.is_async,
        run_parameter=step.run_parameter,
        run_type=run_type,
        injected=step.injected,
        borrows=bool(step.injected) or run_type is not None,
        from_steps=tuple((parameter, index[source]) for parameter, source in step.from_steps),
        from_inputs=tuple(step.from_inputs),
        each=each,
        limit=definition.limit,
        on_error=definition.on_error,
        when=when,
        optional=frozenset(name for name, _ in step.from_steps if step.can_do_without(name)),
        retry=definition.retry,
        timeout=definition.timeout,
        run_in=definition.run_in,
        yields=step.yields,
        streams_to=tuple(index[other.name] for other in streamed),
        is_streamed=streams and source is not None and step in _streams(graph, source),
        keeps=step.yields and (is_output or any(step.name in other.takes and other not in streamed for other in graph.steps)),
        is_output=is_output,
        lets_on=tuple(index[other.name] for done in (step, *streamed) for other in followers[done.name] if other not in streamed),
        waits_for=len(step.needs),
        plain=step.is_async
        and not step.yields
        and step.run_parameter is None
        and not step.injected
        and definition.timeout is None
        and definition.retry is None,
    )
