"""`schedules.list`, `schedules.pause`, `schedules.resume`, `schedules.trigger`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexus.abc import Interaction
from nexus.catalogue import Outcome
from nexus.models import Call, Hints
from nexus.operations import BuiltIn
from nexus.scheduler import Scheduler
from nexus.workflows.executor import Executor
from nexus.workflows.signatures import Parameter

__all__ = ["schedule_operations"]

SCHEDULE = Parameter(name="schedule", hint=str, description="The schedule's name.")
WAIT = Parameter(
    name="wait", hint=bool, default=False, description="Answer when the run has ended, or waits for an answer; not at once."
)


def schedule_operations(scheduler: Scheduler, executor: Executor) -> Sequence[BuiltIn]:
    """Return the operations on schedules."""

    async def listing(_call: Call, _arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return await scheduler.view(), None, None

    async def pause(_call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return await scheduler.pause(arguments["schedule"]), None, None

    async def resume(_call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return await scheduler.resume(arguments["schedule"]), None, None

    async def trigger(_call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        run = await scheduler.trigger(arguments["schedule"])
        if arguments["wait"]:
            run = await executor.runtime.settled(run.id)
        # Not as the call's own run, which it is not: it belongs to the application.
        return run.view(), None, None

    return [
        BuiltIn(
            name="schedules.list",
            summary="List the schedules, with their next due times and their last firing.",
            carry_out=listing,
            result=list[dict[str, Any]],
            hints=Hints(read_only=True),
        ),
        BuiltIn(
            name="schedules.pause",
            summary="Let a schedule fire no more in this process, until it is resumed, and show it.",
            parameters=[SCHEDULE],
            carry_out=pause,
            result=dict[str, Any],
            hints=Hints(idempotent=True),
        ),
        BuiltIn(
            name="schedules.resume",
            summary="Let a paused schedule fire again, from now on, and show it.",
            parameters=[SCHEDULE],
            carry_out=resume,
            result=dict[str, Any],
            hints=Hints(idempotent=True),
        ),
        BuiltIn(
            name="schedules.trigger",
            summary="Fire a schedule now, paused or not, and show the run.",
            parameters=[SCHEDULE, WAIT],
            carry_out=trigger,
            result=dict[str, Any],
        ),
    ]
