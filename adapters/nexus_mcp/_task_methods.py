"""The methods `tasks/*`. A task is a run: what is told of it is made from the run's record, and nothing else is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import attrs
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CancelTaskRequestParams,
    ElicitResult,
    GetTaskPayloadRequestParams,
    GetTaskRequestParams,
    PaginatedRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from nexus.abc import Gateway
from nexus.exceptions import UnavailableError
from nexus.models import ANONYMOUS, Answers, Request, Response, RunRecord
from nexus_mcp._answering import Context, about, answered, settled, told
from nexus_mcp._caller import behind, caller_of
from nexus_mcp._interaction import ClientInteraction, answers_of, interaction_of
from nexus_mcp._tasks import (
    CAPABILITY,
    CORE,
    EXTENSION,
    UpdateTaskParams,
    created,
    extension_task,
    handed_over,
    task_of,
    with_related,
)
from nexus_mcp._tools import CHANNEL, Tools
from nexus_mcp._wire import (
    RefusedError,
    goes_on,
    meta_of,
    open_questions,
    refusal,
    render_ended,
    render_question,
    render_submitted,
    secret_asked,
)

__all__ = ["TaskMethods", "declares_tasks"]

PAGE: Final = 50
WAIT_S: Final = 12 * 3600.0
LOOK_EVERY_S: Final = 1.0
MOST_REFUSED: Final = 10_000


def declares_tasks(ctx: Context) -> bool:
    """Whether the client knows the extension, as far as this very request says (SEP-2663)."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and EXTENSION in (capabilities.extensions or {})


@attrs.define(eq=False)
class TaskMethods:
    """
    Runs as tasks.

    Attributes:
        refused: By run and question, how often an answer was not taken, and why the last one was not: what was responded to must
            come again under another key (SEP-2663).
    """

    gateway: Gateway
    tools: Tools
    refused: dict[tuple[str, str], tuple[int, str]] = attrs.field(factory=dict, init=False)

    def register(self, sdk: Server[Any]) -> None:
        """Add the methods of both revisions; each says itself at which it is known."""
        sdk.add_request_handler("tasks/get", GetTaskRequestParams, self.get)
        sdk.add_request_handler("tasks/result", GetTaskPayloadRequestParams, self.result)
        sdk.add_request_handler("tasks/list", PaginatedRequestParams, self.list)
        sdk.add_request_handler("tasks/cancel", CancelTaskRequestParams, self.cancel)
        sdk.add_request_handler("tasks/update", UpdateTaskParams, self.update)
        sdk.extensions[EXTENSION] = {}

    def shaped(self, ctx: Context, result: HandlerResult) -> HandlerResult:
        """Return a result as MCP 2025-11-25 has it with tasks, for which the SDK has the types but not the place."""
        if ctx.method == "tools/call" and ctx.protocol_version == CORE and isinstance(result, dict):
            return handed_over(result)
        if ctx.method == "initialize" and isinstance(result, Mapping) and result.get("protocolVersion") == CORE:
            caller = caller_of(ctx)
            # The runs of those whom nobody knows are had by their ids, and listed for nobody.
            known = caller.credential is not None or caller.principal not in (None, ANONYMOUS)
            tasks = {**CAPABILITY, "list": {}} if known else CAPABILITY
            return {**result, "capabilities": {**result["capabilities"], "tasks": tasks}}
        return result

    def begun(self, ctx: Context, response: Response, run: RunRecord) -> dict[str, Any]:
        """Return the result of a call that began a run in the background."""
        submitted = render_submitted(self.gateway, response, run)
        if ctx.protocol_version == CORE and (ctx.params or {}).get("task") is not None:
            return created(submitted, self._task(run), goes_on(run))
        if declares_tasks(ctx):
            return {"resultType": "task", **extension_task(self._task(run)), "_meta": meta_of(response)}
        return submitted

    async def get(self, ctx: Context, params: GetTaskRequestParams) -> dict[str, Any]:
        """Answer `tasks/get`."""
        self._require(ctx, params.task_id, CORE, *MODERN_PROTOCOL_VERSIONS)
        return await answered(ctx, "tasks/get", partial(self._get, ctx, params.task_id))

    async def result(self, ctx: Context, params: GetTaskPayloadRequestParams) -> dict[str, Any]:
        """Answer `tasks/result`: wait for the end of the run, put its questions to the client meanwhile, and give its result."""
        self._require(ctx, None, CORE)
        return await answered(ctx, "tasks/result", partial(self._result, ctx, params.task_id))

    async def list(self, ctx: Context, params: PaginatedRequestParams) -> dict[str, Any]:
        """Answer `tasks/list`: the caller's runs, newest first."""
        self._require(ctx, None, CORE)
        return await answered(ctx, "tasks/list", partial(self._list, ctx, params.cursor))

    async def cancel(self, ctx: Context, params: CancelTaskRequestParams) -> dict[str, Any]:
        """Answer `tasks/cancel`."""
        self._require(ctx, params.task_id, CORE, *MODERN_PROTOCOL_VERSIONS)
        return await answered(ctx, "tasks/cancel", partial(self._cancel, ctx, params.task_id))

    async def update(self, ctx: Context, params: UpdateTaskParams) -> dict[str, Any]:
        """Answer `tasks/update`: give answers to a run that waits for them."""
        self._require(ctx, params.task_id, *MODERN_PROTOCOL_VERSIONS)
        return await answered(ctx, "tasks/update", partial(self._update, ctx, params))

    async def _get(self, ctx: Context, run_id: str) -> dict[str, Any]:
        response, run = await self._dispatch(about("runs.get", run_id, caller_of(ctx)))
        if ctx.protocol_version == CORE:
            return self._task(run)
        task = extension_task(self._task(run))
        if run.ended:
            self._forget(run.id)
        if open_questions(run):
            return {**task, **self._input_required(ctx, run)}
        if run.status in {"succeeded", "failed"}:
            return {**task, **await self._outcome(response, run)}
        return task

    async def _result(self, ctx: Context, run_id: str) -> dict[str, Any]:
        caller = caller_of(ctx)
        interaction = interaction_of(ctx, task=run_id)
        while True:
            # A deadline of its own, for `request_timeout` is not about who waits.
            deadline = self.gateway.clock.now() + timedelta(seconds=2 * WAIT_S)
            request = attrs.evolve(about("runs.wait", run_id, caller, timeout=WAIT_S), deadline=deadline)
            response, run = await self._dispatch(request, interaction)
            if run.ended:
                return with_related(await self._ended(response, run), run_id)
            questions = open_questions(run)
            if questions:
                asked = "; ".join(repr(question.text) for question in questions)
                why = f"run {run_id} waits for an answer, for which this client can't be asked ({asked})"
                way = "answer by runs.answer on another channel, or cancel it"
                raise refusal(self.gateway, UnavailableError(f"{why}; {way}", run_id=run_id))
            # Another process carries it, or it waits for the answer of somebody else: there is nothing here to wait on.
            await self.gateway.clock.sleep(LOOK_EVERY_S)

    async def _list(self, ctx: Context, cursor: str | None) -> dict[str, Any]:
        arguments = {"limit": PAGE, **({} if cursor is None else {"after": cursor})}
        caller = behind(caller_of(ctx))
        response = await self.gateway.dispatch(Request(operation="runs.list", arguments=arguments, caller=caller))
        if response.error is not None:
            raise refusal(self.gateway, response.error)
        tasks = [self._task_of(view) for view in response.data["items"]]
        following = response.data["cursor"]
        return {"tasks": tasks, **({} if following is None else {"nextCursor": following})}

    async def _cancel(self, ctx: Context, run_id: str) -> dict[str, Any]:
        caller = caller_of(ctx)
        _, run = await self._dispatch(about("runs.get", run_id, caller))
        if not run.ended:
            _, run = await self._dispatch(about("runs.cancel", run_id, caller))
            if ctx.protocol_version == CORE and run.status == "cancelled":
                return self._task(run)
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            self._forget(run_id)
            return {}
        if not run.ended:
            error = UnavailableError(f"task {run_id} can't be cancelled here: another process carries it", run_id=run_id)
            raise refusal(self.gateway, error)
        raise MCPError(INVALID_PARAMS, f"task {run_id} has ended already: it is {self._task(run)['status']}")

    async def _update(self, ctx: Context, params: UpdateTaskParams) -> dict[str, Any]:
        run_id = params.task_id
        response, run = await self._dispatch(about("runs.get", run_id, caller_of(ctx)))
        keys = {question.name: self._key(run_id, question.name) for question in open_questions(run)}
        given = params.input_responses
        answers = {name: _response(given[key]) for name, key in keys.items() if key in given}
        _, problems = await settled(self.gateway, response, answers, behind(caller_of(ctx)))
        for name, problem in problems.items():
            count, _ = self.refused.pop((run_id, name), (0, ""))
            self.refused[run_id, name] = count + 1, problem
        while len(self.refused) > MOST_REFUSED:
            del self.refused[next(iter(self.refused))]
        return {}

    async def _dispatch(self, request: Request, interaction: ClientInteraction | None = None) -> tuple[Response, RunRecord]:
        response = await self.gateway.dispatch(request, interaction)
        if response.error is not None or response.run is None:
            error = response.error
            raise RefusedError(INTERNAL_ERROR, "there is no record of the run") if error is None else refusal(self.gateway, error)
        return response, response.run

    def _task(self, run: RunRecord) -> dict[str, Any]:
        return self._task_of(run.view())

    def _task_of(self, view: Mapping[str, Any]) -> dict[str, Any]:
        return task_of(view, now=self.gateway.clock.now(), retention=self.gateway.run_retention)

    def _wraps(self, run: RunRecord) -> bool:
        reference = f"{run.workflow}@{run.workflow_version}"
        operation = self.gateway.operation(reference, channel=CHANNEL) or self.gateway.operation(reference)
        return True if operation is None else self.tools.of(operation).wraps

    async def _outcome(self, response: Response, run: RunRecord) -> dict[str, Any]:
        """Return how the run ended. To the extension a task has failed only where there is no result to tell it by."""
        try:
            return {"status": "completed", "result": await told("tasks/get", partial(self._ended, response, run))}
        except RefusedError as error:
            return {"status": "failed", "error": error.error.model_dump(mode="json", exclude_none=True)}

    async def _ended(self, response: Response, run: RunRecord) -> dict[str, Any]:
        return render_ended(self.gateway, response, wraps=self._wraps(run))

    def _input_required(self, ctx: Context, run: RunRecord) -> dict[str, Any]:
        secret = secret_asked(run)
        if secret is not None:
            # Of this client nothing is required: the answer has to come another way.
            return {"status": "working", "statusMessage": secret.message}
        if answers_of(ctx) is Answers.NEVER:
            raise _missing({"elicitation": {}})
        requests = {}
        for question in open_questions(run):
            _, problem = self.refused.get((run.id, question.name), (0, None))
            requests[self._key(run.id, question.name)] = render_question(question, problem)
        return {"inputRequests": requests}

    def _key(self, run_id: str, question: str) -> str:
        count, _ = self.refused.get((run_id, question), (0, ""))
        return question if count == 0 else f"{question}#{count + 1}"

    def _forget(self, run_id: str) -> None:
        for key in [key for key in self.refused if key[0] == run_id]:
            del self.refused[key]

    def _require(self, ctx: Context, name: str | None, *versions: str) -> None:
        """Refuse a method that this revision has not, or a client that has not said that it knows tasks."""
        if ctx.protocol_version not in versions:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        if not declares_tasks(ctx):
            raise _missing({"extensions": {EXTENSION: {}}})
        if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != name:
            raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId' parameter")


def _response(given: Any) -> Any:
    """Return what a client sent as the result of an elicitation, or as it is where it is none."""
    try:
        return ElicitResult.model_validate(given, by_name=False)
    except ValidationError:
        return given


def _missing(capabilities: Mapping[str, Any]) -> MCPError:
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY, "Missing required client capability", {"requiredCapabilities": dict(capabilities)}
    )
