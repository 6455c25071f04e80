"""The SDK's server, with the catalogue behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    EmptyResult,
    ListToolsResult,
    PaginatedRequestParams,
    SetLevelRequestParams,
)
from pydantic import ValidationError

from nexus.abc import Gateway
from nexus.exceptions import MalformedRequestError, NexusError
from nexus.models import Answers, Caller, Response
from nexus_mcp._answering import Context, about, answered, exchange_of, settled
from nexus_mcp._caller import behind, bound_principal, caller_of
from nexus_mcp._interaction import ClientInteraction, Levels, connection_of, interaction_of
from nexus_mcp._task_methods import TaskMethods
from nexus_mcp._tasks import CORE
from nexus_mcp._tools import Projection, Tools
from nexus_mcp._wire import (
    RefusedError,
    error_of_run,
    open_questions,
    parse_call,
    refusal,
    render_error,
    render_output,
    render_questions,
    secret_asked,
    with_output,
)

__all__ = ["server"]

STATE_LIFETIME_S: Final = 12 * 3600.0
MOST_CONNECTIONS: Final = 10_000

WAIT: Final = "runs.wait"


def server(app: Gateway) -> Server[Levels]:
    """
    Return the SDK's low-level server, whose tools are the operations that show on the channel `mcp`.

    It has neither transport nor lifecycle: the application is started by whoever runs it (`async with app:`).
    """
    endpoint = Endpoint(gateway=app)
    sdk: Server[Levels] = Server(
        app.title,
        version=app.version,
        instructions=app.description or None,
        lifespan=_levels,
        # By the schema alone the SDK would run `tools/list` for each call, to look for headers that repeat arguments.
        get_tool_input_schema=endpoint.tools.header_schema,
        on_list_tools=endpoint.list_tools,
    )
    sdk.add_request_handler("tools/call", CallToolRequestParams, endpoint.call_tool)
    # As a handler of one's own, which says that messages may come; the constructor's argument for it is deprecated.
    sdk.add_request_handler("logging/setLevel", SetLevelRequestParams, endpoint.set_level)
    endpoint.tasks.register(sdk)
    security = RequestStateSecurity(keys=[os.urandom(32)], ttl=STATE_LIFETIME_S, bind_principal=bound_principal)
    # In place of the SDK's span around each message: the gateway has its own.
    sdk.middleware[:] = [endpoint.on_message, RequestStateBoundary(security, default_audience=app.title)]
    return sdk


@asynccontextmanager
async def _levels(_server: Server[Levels]) -> AsyncIterator[Levels]:
    """Hold, by connection, from which level on its client wants to hear messages."""
    yield {}


@attrs.define(eq=False, kw_only=True)
class Endpoint:
    """What the SDK's server calls."""

    gateway: Gateway
    tools: Tools = attrs.field(init=False)
    tasks: TaskMethods = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tools = Tools(self.gateway)
        self.tasks = TaskMethods(self.gateway, self.tools)

    async def on_message(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Tell the gateway of a message that never became a request; give results the shape of tasks (middleware of the SDK)."""
        exchange = exchange_of(ctx)
        if exchange is not None:
            exchange.understood = True
        try:
            return self.tasks.shaped(ctx, await call_next(ctx))
        except (MCPError, ValidationError) as error:
            if ctx.request_id is not None and not isinstance(error, RefusedError):
                why = error.message if isinstance(error, MCPError) else "invalid parameters"
                await self.gateway.reject(caller_of(ctx), MalformedRequestError(f"{ctx.method}: {why}"))
            raise

    async def list_tools(self, ctx: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        """Answer `tools/list`: what the caller may use, all in one page."""
        return await answered(ctx, "tools/list", partial(self._list, ctx))

    async def _list(self, ctx: Context) -> ListToolsResult:
        try:
            shown = await self.gateway.visible(caller_of(ctx))
        except NexusError as error:
            raise refusal(self.gateway, error) from error
        return ListToolsResult(tools=list(self.tools.list(shown)))

    async def set_level(self, ctx: Context, params: SetLevelRequestParams) -> EmptyResult:
        """Answer `logging/setLevel` of the handshake era."""
        levels: Levels = ctx.lifespan_context
        levels[connection_of(ctx)] = params.level
        if len(levels) > MOST_CONNECTIONS:
            del levels[next(iter(levels))]
        return EmptyResult()

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        """Answer `tools/call`."""
        return await answered(ctx, f"the call of tool {params.name!r}", partial(self._call, ctx, params))

    async def _call(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        tool = self.tools.find(params.name)
        caller = caller_of(ctx)
        interaction = interaction_of(ctx)
        if params.request_state is not None:
            return await self._resume(tool, caller, interaction, params)
        operation = params.name if tool is None else tool.operation.reference
        background = tool is not None and tool.operation.background
        as_task = params.task is not None and ctx.protocol_version == CORE
        if as_task and tool is not None and not background:
            raise MCPError(METHOD_NOT_FOUND, f"tool {params.name!r} can't be called as a task", params.name)
        response = await self.gateway.dispatch(parse_call(params, operation, caller, detach=background), interaction)
        if as_task and response.error is not None:
            raise refusal(self.gateway, response.error)
        if background and response.error is None and response.run is not None:
            return self.tasks.begun(ctx, response, response.run)
        return self._render(tool, response, interaction, {})

    async def _resume(
        self, tool: Projection | None, caller: Caller, interaction: ClientInteraction, params: CallToolRequestParams
    ) -> dict[str, Any]:
        """Answer the questions of the run whose id the client sent back sealed."""
        caller = behind(caller)
        response = await self.gateway.dispatch(about("runs.get", params.request_state or "", caller))
        response, problems = await settled(self.gateway, response, params.input_responses or {}, caller, interaction)
        if tool is not None and tool.operation.name == WAIT:
            if not problems:
                response = await self.gateway.dispatch(parse_call(params, WAIT, caller), interaction)
        else:
            response = with_output(response)
        return self._render(tool, response, interaction, problems)

    def _render(
        self, tool: Projection | None, response: Response, interaction: ClientInteraction, problems: Mapping[str, str]
    ) -> dict[str, Any]:
        error = response.error
        run = response.run
        if tool is None or error is not None or run is None:
            pass
        elif tool.operation.name == WAIT:
            # Whoever waits and can be asked is asked; others are shown the questions.
            if interaction.answers is Answers.LATER and open_questions(run) and secret_asked(run) is None:
                return render_questions(run, problems)
        elif tool.operation.kind == "workflow":
            if run.status == "waiting" and open_questions(run):
                error = secret_asked(run)
                if error is None:
                    return render_questions(run, problems)
            else:
                error = error_of_run(run)
        if error is not None:
            return render_error(self.gateway, response, error)
        return render_output(self.gateway, response, wraps=tool is None or tool.wraps)
