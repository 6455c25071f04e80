"""`runs.list`, `runs.get`, `runs.wait`, `runs.file`, `runs.cancel`, `runs.retry`, `runs.answer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from nexus.abc import Interaction
from nexus.catalogue import Outcome
from nexus.models import MISSING, Call, Hints, RunRecord, RunStatus
from nexus.operations import BuiltIn
from nexus.workflows.codecs import Codecs
from nexus.workflows.executor import Executor, error_of
from nexus.workflows.folders import find_file
from nexus.workflows.signatures import Parameter

__all__ = ["run_operations"]

RUN_ID = Parameter(name="run_id", hint=str, description="The run's id.")
TIMEOUT = Parameter(
    name="timeout",
    hint=Annotated[float, msgspec.Meta(gt=0)],
    default=30.0,
    description="Seconds; then the run is shown as it is.",
)
RUN: Final = dict[str, Any]
FILTERS = [
    Parameter(name="status", hint=RunStatus | None, default=None, description="Only runs of this status."),
    Parameter(name="workflow", hint=str | None, default=None, description="Only runs of the workflow of this name."),
    Parameter(name="after", hint=str | None, default=None, description="The cursor of the page before."),
    Parameter(name="limit", hint=Annotated[int, msgspec.Meta(ge=1, le=100)], default=20, description="At most this many."),
]


def run_operations(executor: Executor) -> Sequence[BuiltIn]:
    """Return the operations on runs."""

    def shown(record: RunRecord) -> Outcome:
        return _view(record, executor.codecs), record, None

    def whole(record: RunRecord) -> Outcome:
        """Show the run to who waited for its result, as who gives the last answer does."""
        returned = {} if record.returned is MISSING else {"results": record.returned}
        return {**_view(record, executor.codecs), **returned}, record, error_of(record)

    async def get(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return shown(await executor.answering.look(call.scope, call.principal, arguments["run_id"]))

    async def wait(call: Call, arguments: dict[str, Any], interaction: Interaction) -> Outcome:
        return shown(await executor.wait(call.scope, arguments["run_id"], arguments["timeout"], interaction))

    async def file(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        record = await executor.find(call.scope, arguments["run_id"])
        return await find_file(record, arguments["name"]), record, None

    async def events(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        run_id = arguments["run_id"]
        record = await executor.find(call.scope, run_id)
        return await executor.events(call.scope, run_id, after=arguments["after"]), record, None

    async def cancel(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        return shown(await executor.cancel(call.scope, arguments["run_id"]))

    async def retry(call: Call, arguments: dict[str, Any], interaction: Interaction) -> Outcome:
        return whole(await executor.retry(call, call.scope, arguments["run_id"], interaction))

    async def answer(call: Call, arguments: dict[str, Any], interaction: Interaction) -> Outcome:
        run_id, given = arguments["run_id"], {name: arguments[name] for name in ("question", "answer")}
        detach = call.request.detach
        return whole(await executor.answer(call.scope, call.principal, run_id, interaction, detach=detach, **given))

    return [
        _listing(executor),
        BuiltIn(
            name="runs.get",
            summary="Show a run.",
            parameters=[RUN_ID],
            carry_out=get,
            result=RUN,
            hints=Hints(read_only=True),
            tends_background=True,
        ),
        BuiltIn(
            name="runs.wait",
            summary="Wait until a run has ended or asks something, and show it.",
            parameters=[RUN_ID, TIMEOUT],
            carry_out=wait,
            result=RUN,
            hints=Hints(read_only=True),
            tends_background=True,
        ),
        BuiltIn(
            name="runs.file",
            summary="Find a file that the output of a run names.",
            parameters=[RUN_ID, Parameter(name="name", hint=str, description="The file's name, as the run shows it.")],
            carry_out=file,
            result=dict[str, Any],
            hints=Hints(read_only=True),
        ),
        BuiltIn(
            name="runs.events",
            summary="Follow what a run tells, until it has ended.",
            parameters=[
                RUN_ID,
                Parameter(name="after", hint=int, default=0, description="The number of the event after which to begin."),
            ],
            carry_out=events,
            result=list[dict[str, Any]],
            hints=Hints(read_only=True),
            # What it gives is an asynchronous iterator, which a command line has no words for.
            channels=frozenset({"api"}),
        ),
        BuiltIn(
            name="runs.cancel",
            summary="Cancel a run, and show it once its clean-up is done.",
            parameters=[RUN_ID],
            carry_out=cancel,
            result=RUN,
            hints=Hints(destructive=True, idempotent=True),
            tends_background=True,
        ),
        BuiltIn(
            name="runs.retry",
            summary="Run a run that failed or was cancelled again, without the steps that have succeeded, and show the new run.",
            parameters=[RUN_ID],
            carry_out=retry,
            result=RUN,
        ),
        BuiltIn(
            name="runs.answer",
            summary="Answer a question of a waiting run, and show the run once it has ended or waits again.",
            parameters=[
                RUN_ID,
                Parameter(name="answer", hint=Any, description="The answer, as the question's schema has it."),
                Parameter(name="question", hint=str | None, default=None, description="Its name, where several are open."),
            ],
            carry_out=answer,
            result=RUN,
        ),
    ]


def _listing(executor: Executor) -> BuiltIn:
    async def listing(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        where = {name: arguments[name] for name in ("status", "workflow") if arguments[name] is not None}
        page = await executor.listing(call.scope, where=where, after=arguments["after"], limit=arguments["limit"])
        return {"items": [_view(record, executor.codecs) for record in page.items], "cursor": page.cursor}, None, None

    return BuiltIn(
        name="runs.list",
        summary="List runs, newest first.",
        parameters=FILTERS,
        carry_out=listing,
        result=dict[str, Any],
        hints=Hints(read_only=True),
    )


def _view(record: RunRecord, codecs: Codecs) -> dict[str, Any]:
    return {**record.view(), "inputs": {name: _writable(value, codecs) for name, value in record.inputs.items()}}


def _writable(value: Any, codecs: Codecs) -> Any:
    """Return the value, or its `repr` where JSON has no word for it: in-process an input of type `Any` may be of any kind."""
    try:
        codecs.encode(value)
    except Exception:  # noqa: BLE001 - what is shown of a run must not be what fails
        return repr(value)
    return value
