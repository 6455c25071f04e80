"""One step called: where it runs, how long, how often, and what is noted of it."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from nexus.exceptions import DeadlineExceededError, Problem
from nexus.models import StepStatus
from nexus.workflows.live import LiveRun
from nexus.workflows.plan import PlannedStep
from nexus.workflows.processes import call_in_process
from nexus.workflows.retries import retried
from nexus.workflows.run import BlockingRun, Run

__all__ = ["HandOn", "being_cancelled", "call_in_thread", "call_step", "recorded"]

HandOn = Callable[[int, Any], Awaitable[None]]


def being_cancelled() -> bool:
    """Whether the task that calls this is being cancelled, by a cancel scope or natively."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    # Not imported here: where it has not been, this runs on another event loop.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop, which has no other way to cancel
        return False
    return task is not None and task.cancelling() > 0


def call_step(
    live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any], hand_on: HandOn | None = None
) -> Awaitable[Any]:
    """
    Call a step once, as often as it is to be tried.

    Args:
        live: The run.
        step: What to call.
        name: The step's; of an item `name[i]`.
        arguments: By parameter; this call's own.
        hand_on: Takes what the step yields, as it does.
    """
    if step.plain:
        called: Awaitable[Any] = step.function(**arguments)
        return called
    if step.retry is None:
        return _attempt(live, step, name, arguments, hand_on)
    note = partial(live.note_attempt, name)
    return retried(lambda: _attempt(live, step, name, dict(arguments), hand_on), step.retry, live.clock, note)


def _attempt(live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any], hand_on: HandOn | None) -> Awaitable[Any]:
    if step.borrows and live.loans is not None:
        borrowed = live.loans.of_step(name, step.injected)
        return _borrowing(borrowed, lambda injected: _called(live, step, name, {**arguments, **injected}, hand_on))
    return _called(live, step, name, arguments, hand_on)


async def _borrowing(
    borrowed: AbstractAsyncContextManager[Mapping[str, Any]], call: Callable[[Mapping[str, Any]], Awaitable[Any]]
) -> Any:
    async with borrowed as injected:
        return await call(injected)


def _called(live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any], hand_on: HandOn | None) -> Awaitable[Any]:
    if step.run_parameter is not None:
        run = Run(live, name)
        arguments[step.run_parameter] = run if step.is_async else BlockingRun(run)
    called: Awaitable[Any]
    if step.yields:
        called = _drain(live, step, name, step.function(**arguments), hand_on)
    elif step.is_async:
        called = step.function(**arguments)
    elif step.run_in == "inline":
        called = _inline(partial(step.function, **arguments))
    elif step.run_in == "process":
        called = call_in_process(step.function, arguments, step=name)
    else:
        return _in_thread(live, step, name, arguments)
    return called if step.timeout is None else _in_time(live, name, step.timeout, called)


async def _drain(
    live: LiveRun, step: PlannedStep, name: str, items: AsyncGenerator[Any, None], hand_on: HandOn | None
) -> list[Any]:
    """Take what the step yields; of the step that makes the workflow's result each is told to the caller."""
    run = Run(live, name)
    most = live.facilities.max_chunks
    kept: list[Any] = []
    number = 0
    async with aclosing(items):
        async for item in items:
            if step.is_output:
                await run.chunk(item if live.secrets is None else live.secrets.shown_chunk(item))
            if step.keeps:
                if number == most:
                    raise Problem("payload_too_large", f"step {name!r} yields more than {most} values; hand on less")
                kept.append(item)
            if hand_on is not None:
                await hand_on(number, item)
            number += 1
    return kept


async def _inline(function: Callable[[], Any]) -> Any:
    result = function()
    return await result if inspect.isawaitable(result) else result


async def _in_thread(live: LiveRun, step: PlannedStep, name: str, arguments: dict[str, Any]) -> Any:
    function = partial(step.function, **arguments)
    if step.timeout is None:
        return await call_in_thread(function, live.facilities.limiter())
    # The time that it waits for a thread is not the step's.
    async with live.facilities.limiter():
        return await _in_time(live, name, step.timeout, call_in_thread(function, anyio.CapacityLimiter(1)))


async def call_in_thread(function: Callable[[], Any], limiter: anyio.CapacityLimiter) -> Any:
    """Call a function in a worker thread, and await what it returns if that can be."""
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


async def recorded(live: LiveRun, name: str, called: Awaitable[Any]) -> Any:
    """Await a step, and note in the run what became of it."""
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
        attempts = live.attempts.pop(name, 1) if live.attempts else 1
        live.steps.append((name, status, started, live.clock.monotonic() - live.started, error, attempts))
    return result
