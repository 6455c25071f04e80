"""A plan carried out: one step after another, or on lanes."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from nexus.exceptions import DeadlineExceededError
from nexus.models import StepStatus
from nexus.workflows.live import LiveRun
from nexus.workflows.plan import Plan, PlannedStep
from nexus.workflows.run import BlockingRun, Run

__all__ = ["being_cancelled", "carry_out"]

LANES: Final = 64


def being_cancelled() -> bool:
    """Whether the task that calls this is being cancelled, by a cancel scope or natively."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop, which has no other way to cancel
        return False
    return task is not None and task.cancelling() > 0


async def carry_out(live: LiveRun, plan: Plan, inputs: dict[str, Any]) -> Any:
    """
    Return the workflow's output, or raise what its first failing step raised.

    *inputs* are the checked arguments, and belong to this call.
    """
    if plan.single is not None:
        step = plan.single
        if step.run_parameter is not None:
            inputs[step.run_parameter] = Run(live, step.name)
        return await step.function(**inputs)
    results: list[Any] = [None] * len(plan.steps)
    if plan.in_line:
        for index, step in enumerate(plan.steps):
            results[index] = await _run_step(live, step, inputs, results)
    else:
        await _on_lanes(live, plan, inputs, results)
    return results[plan.output]


async def _on_lanes(live: LiveRun, plan: Plan, inputs: Mapping[str, Any], results: list[Any]) -> None:
    steps = plan.steps
    missing = [step.waits_for for step in steps]
    lanes = Lanes([index for index, count in enumerate(missing) if not count], LANES)

    async def run(index: int) -> None:
        step = steps[index]
        results[index] = await _run_step(live, step, inputs, results)
        for follower in step.followers:
            missing[follower] -= 1
            if not missing[follower]:
                lanes.ready.append(follower)

    await lanes.run(run)


class Lanes:
    """
    Tasks that take work from a queue; made only while more is ready than tasks exist.

    The first failure cancels the others and is raised alone, no group around it.
    """

    def __init__(self, ready: Sequence[int], limit: int) -> None:
        self.ready = deque(ready)
        self.limit = limit
        self._open = 0
        self._starting = 0
        self._failure: BaseException | None = None

    async def run(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Call *work* with all that is ready, and with what becomes ready, until nothing is left."""
        async with anyio.create_task_group() as group:

            async def lane() -> None:
                self._starting -= 1
                try:
                    while self.ready:
                        index = self.ready.popleft()
                        fill()
                        await work(index)
                except Exception as error:  # noqa: BLE001 - kept, and raised below
                    if self._failure is None:
                        self._failure = error
                        group.cancel_scope.cancel()
                finally:
                    self._open -= 1

            def fill() -> None:
                while self._open < self.limit and len(self.ready) > self._starting:
                    self._open += 1
                    self._starting += 1
                    group.start_soon(lane)

            self._open += 1
            self._starting += 1
            await lane()
            # What became ready while this task was a lane is the other lanes' to finish; the group waits for them.
        if self._failure is not None:
            raise self._failure


def _run_step(live: LiveRun, step: PlannedStep, inputs: Mapping[str, Any], results: Sequence[Any]) -> Awaitable[Any]:
    arguments = {parameter: results[index] for parameter, index in step.from_steps}
    for parameter, name in step.from_inputs:
        arguments[parameter] = inputs[name]
    if step.each is None:
        return _recorded(live, step.name, _call(live, step, step.name, arguments))
    return _fan_out(live, step, arguments, inputs, results)


async def _fan_out(
    live: LiveRun, step: PlannedStep, arguments: Mapping[str, Any], inputs: Mapping[str, Any], results: Sequence[Any]
) -> list[Any]:
    assert step.each is not None  # noqa: S101 - the caller looked
    parameter, index, source = step.each
    items = list(results[index] if source is None else inputs[source])
    outputs: list[Any] = [None] * len(items)

    async def one(number: int) -> None:
        name = f"{step.name}[{number}]"
        outputs[number] = await _recorded(live, name, _call(live, step, name, {**arguments, parameter: items[number]}))

    await Lanes(range(len(items)), step.limit).run(one)
    return outputs


def _call(live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any]) -> Awaitable[Any]:
    if step.plain:
        called: Awaitable[Any] = step.function(**arguments)
        return called
    if step.run_parameter is not None:
        run = Run(live, name)
        arguments[step.run_parameter] = run if step.is_async else BlockingRun(run)
    if not step.is_async:
        return _in_thread(live, step, name, arguments)
    called = step.function(**arguments)
    return called if step.timeout is None else _in_time(live, name, step.timeout, called)


async def _in_thread(live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any]) -> Any:
    function = partial(step.function, **arguments)
    if step.timeout is None:
        return await _call_in_thread(function, live.limiter())
    # The time that it waits for a thread is not the step's.
    async with live.limiter():
        return await _in_time(live, name, step.timeout, _call_in_thread(function, anyio.CapacityLimiter(1)))


async def _call_in_thread(function: Callable[[], Any], limiter: anyio.CapacityLimiter) -> Any:
    # Boxed, for Trio takes no coroutine from a thread.
    (result,) = await anyio.to_thread.run_sync(lambda: (function(),), limiter=limiter)
    # The thread could not be stopped: a run that was cancelled meanwhile ends here.
    await anyio.lowlevel.checkpoint_if_cancelled()
    # A decorator around an `async def` may itself be a `def`.
    return await result if inspect.isawaitable(result) else result


async def _in_time(live: LiveRun, name: str, timeout: float, called: Awaitable[Any]) -> Any:
    started = live.clock.monotonic()
    result = None
    with live.clock.timeout(timeout) as scope:
        result = await called
    # A thread, or a step that never awaits, comes back late without having noticed.
    if scope.cancel_called or live.clock.monotonic() - started >= timeout:
        raise DeadlineExceededError(f"step {name!r} took longer than {timeout:g} s", step=name, timeout=timeout)
    return result


async def _recorded(live: LiveRun, name: str, called: Awaitable[Any]) -> Any:
    started = live.clock.monotonic() - live.started
    status: StepStatus = "cancelled"
    error: str | None = None
    try:
        result = await called
        status = "succeeded"
    except Exception as raised:
        status, error = "failed", f"{type(raised).__name__}: {raised}"
        raise
    except SystemExit as raised:
        status, error = "failed", f"SystemExit: {raised.code}"
        raise RuntimeError(f"step {name!r} called sys.exit({raised.code!r})") from raised
    except anyio.get_cancelled_exc_class() as raised:
        if being_cancelled():
            raise
        # It awaited something of its own that was cancelled; taken for a cancellation, that would end in silence.
        status, error = "failed", type(raised).__name__
        raise RuntimeError(f"step {name!r} raised {type(raised).__name__}, though nobody cancelled it") from raised
    finally:
        live.steps.append((name, status, started, live.clock.monotonic() - live.started, error))
    return result
