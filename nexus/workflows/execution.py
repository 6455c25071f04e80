"""A plan carried out: one step after another, or on lanes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from nexus.exceptions import CancelledError, DeadlineExceededError, NexusError, Problem, UnavailableError, WorkflowFailedError
from nexus.workflows.calling import call_step, recorded
from nexus.workflows.lanes import Lanes
from nexus.workflows.live import LiveRun, Unfinished
from nexus.workflows.plan import Plan, PlannedStep
from nexus.workflows.run import Run
from nexus.workflows.steps import StepFailure

if TYPE_CHECKING:
    # At run time only a workflow that streams has use for it.
    from anyio.streams.memory import MemoryObjectReceiveStream

__all__ = ["TOLD", "carry_out", "failure_of", "hidden", "told"]

LANES: Final = 64
SKIPPED: Final = object()

TOLD: Final = (Problem, CancelledError, DeadlineExceededError, UnavailableError)
"""
What a run may end with as it is. Another error of ours was met by the workflow in a call of its own: that is its failure, and the
text not for its caller.
"""


def told(error: BaseException, request_id: str) -> NexusError:
    """Return what a run ended with as its caller is told it."""
    return error if isinstance(error, TOLD) else hidden(error, request_id)


def hidden(error: BaseException | None, request_id: str) -> WorkflowFailedError:
    """Return what is told instead of what a workflow raised, which is the `__cause__`."""
    failed = WorkflowFailedError(f"the workflow failed; the log has the reason, under request id {request_id}")
    failed.__cause__ = error
    return failed


def carry_out(live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Awaitable[Any]:
    """
    Return the workflow's output, or raise what its first failing step raised.

    *inputs* are the checked arguments; they are in the run's record too, and are left as they are.
    """
    if plan.single is not None:
        step = plan.single
        if step.run_parameter is not None:
            inputs = {**inputs, step.run_parameter: Run(live, step.name)}
            if plan.lender.lends:
                return plan.lender.carry(live, partial(step.function, **inputs))
        called: Awaitable[Any] = step.function(**inputs)
        return called
    if plan.cached is not None:
        return plan.cached(live, inputs, partial(_carry_out_graph, live, plan, inputs))
    return _carry_out_graph(live, plan, inputs)


def _carry_out_graph(live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Awaitable[Any]:
    if plan.injects or (plan.takes_run and plan.lender.lends):
        return plan.lender.carry(live, partial(_carry_out_steps, live, plan, inputs))
    return _carry_out_steps(live, plan, inputs)


async def _carry_out_steps(live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Any:
    results: list[Any] = [None] * len(plan.steps)
    try:
        if plan.in_line:
            for index in range(len(plan.steps)):
                results[index] = await _run_step(live, plan, index, inputs, results)
        else:
            await _on_lanes(live, plan, inputs, results)
    except BaseException:
        unfinished = _unfinished(live)
        unfinished.plan, unfinished.results = plan, results
        raise
    output = results[plan.output]
    return None if output is SKIPPED else output


def _unfinished(live: LiveRun) -> Unfinished:
    """Return where it is noted what the steps of a run that fails have returned."""
    if live.unfinished is None:
        live.unfinished = Unfinished()
    return live.unfinished


async def _on_lanes(live: LiveRun, plan: Plan, inputs: Mapping[str, Any], results: list[Any]) -> None:
    steps = plan.steps
    missing = [step.waits_for for step in steps]
    lanes = Lanes([index for index, count in enumerate(missing) if not count], LANES)

    async def run(index: int) -> None:
        results[index] = await _run_step(live, plan, index, inputs, results)
        for follower in steps[index].lets_on:
            missing[follower] -= 1
            if not missing[follower]:
                lanes.ready.append(follower)

    await lanes.run(run)


def _run_step(live: LiveRun, plan: Plan, index: int, inputs: Mapping[str, Any], results: list[Any]) -> Awaitable[Any]:
    step = plan.steps[index]
    if plan.may_skip and _is_skipped(live, step, inputs, results):
        return _skip(live, plan, index, results)
    arguments = {parameter: results[source] for parameter, source in step.from_steps}
    for parameter, name in step.from_inputs:
        arguments[parameter] = inputs[name]
    if plan.may_skip:
        arguments = {parameter: value for parameter, value in arguments.items() if value is not SKIPPED}
    if step.streams_to:
        fan_outs = [FanOut(live, plan.steps[other], _shared(plan.steps[other], inputs)) for other in step.streams_to]
        return _stream(live, step, arguments, fan_outs, results)
    if step.each is None:
        if live.results is not None:
            return live.results.carry(live, step, step.name, arguments)
        return recorded(live, step.name, call_step(live, step, step.name, arguments))
    return _fan_out(FanOut(live, step, arguments), inputs, results)


def _is_skipped(live: LiveRun, step: PlannedStep, inputs: Mapping[str, Any], results: Sequence[Any]) -> bool:
    sources = [source for parameter, source in step.from_steps if parameter not in step.optional]
    if step.each is not None and step.each[2] is None:
        sources.append(step.each[1])
    if any(results[source] is SKIPPED for source in sources):
        return True
    if step.when is None:
        return False
    condition, from_steps, from_inputs = step.when
    arguments = {parameter: results[source] for parameter, source in from_steps}
    if any(value is SKIPPED for value in arguments.values()):
        return True
    arguments.update((name, inputs[name]) for name in from_inputs)
    started = live.clock.monotonic() - live.started
    try:
        return not condition(**arguments)
    except Exception as error:
        ended = live.clock.monotonic() - live.started
        live.steps.append((step.name, "failed", started, ended, f"when=: {type(error).__name__}: {error}", 1))
        raise


async def _skip(live: LiveRun, plan: Plan, index: int, results: list[Any]) -> Any:
    now = live.clock.monotonic() - live.started
    for skipped in (index, *plan.steps[index].streams_to):
        live.steps.append((plan.steps[skipped].name, "skipped", now, now, None, 0))
        results[skipped] = SKIPPED
    return SKIPPED


@attrs.define(eq=False, repr=False)
class FanOut:
    """
    A step called once per item.

    Attributes:
        arguments: What each call gets beside its item.
        outputs: By number of the item.
    """

    live: LiveRun
    step: PlannedStep
    arguments: Mapping[str, Any]
    outputs: dict[int, Any] = attrs.field(factory=dict)

    async def call(self, number: int, item: Any) -> None:
        """Call the step with one item."""
        live, step = self.live, self.step
        assert step.each is not None  # noqa: S101 - that is what makes it a fan-out
        name = f"{step.name}[{number}]"
        arguments = {**self.arguments, step.each[0]: item}
        try:
            if live.results is not None:
                self.outputs[number] = await live.results.carry(live, step, name, arguments)
            else:
                self.outputs[number] = await recorded(live, name, call_step(live, step, name, arguments))
        except Exception as error:
            if step.on_error == "fail":
                raise
            if step.on_error == "collect":
                self.outputs[number] = StepFailure(number, *failure_of(error))

    def results(self) -> list[Any]:
        """Return the results, in the order of the items."""
        return [self.outputs[number] for number in sorted(self.outputs)]


def failure_of(error: Exception) -> tuple[str, str]:
    """Return the code and the message by which others are told how a step failed."""
    if isinstance(error, TOLD):
        return error.code, error.message
    return "failed", "the step failed; the run's record has the reason"


async def _fan_out(fan_out: FanOut, inputs: Mapping[str, Any], results: Sequence[Any]) -> list[Any]:
    assert fan_out.step.each is not None  # noqa: S101 - the caller looked
    _, index, source = fan_out.step.each
    items = list(results[index] if source is None else inputs[source])

    async def one(number: int) -> None:
        await fan_out.call(number, items[number])

    try:
        await Lanes(range(len(items)), fan_out.step.limit).run(one)
    except BaseException:
        _unfinished(fan_out.live).fan_outs[fan_out.step.name] = fan_out.outputs
        raise
    return fan_out.results()


async def _stream(
    live: LiveRun, step: PlannedStep, arguments: dict[str, Any], fan_outs: Sequence[FanOut], results: list[Any]
) -> list[Any]:
    """Carry out a step that yields, and beside it the fan-outs over what it yields."""
    kept: list[Any] = []
    async with AsyncExitStack() as stack:
        jobs: list[Callable[[], Awaitable[None]]] = []
        senders = []
        for fan_out in fan_outs:
            sender, receiver = anyio.create_memory_object_stream[tuple[int, Any]](0)
            senders.append(await stack.enter_async_context(sender))
            await stack.enter_async_context(receiver)
            jobs += [partial(_take_items, fan_out, receiver.clone()) for _ in range(fan_out.step.limit)]

        async def hand_on(number: int, item: Any) -> None:
            for sender in senders:
                await sender.send((number, item))

        async def produce() -> None:
            try:
                kept.extend(await recorded(live, step.name, call_step(live, step, step.name, arguments, hand_on)))
            finally:
                for sender in senders:
                    await sender.aclose()

        jobs.append(produce)

        async def carry_out_job(number: int) -> None:
            await jobs[number]()

        await Lanes(range(len(jobs)), len(jobs)).run(carry_out_job)
    for index, fan_out in zip(step.streams_to, fan_outs, strict=True):
        results[index] = fan_out.results()
    return kept


def _shared(step: PlannedStep, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {parameter: inputs[name] for parameter, name in step.from_inputs}


async def _take_items(fan_out: FanOut, receiver: MemoryObjectReceiveStream[tuple[int, Any]]) -> None:
    async with receiver:
        async for number, item in receiver:
            await fan_out.call(number, item)
