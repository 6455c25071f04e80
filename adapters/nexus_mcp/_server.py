"""The SDK's server, with the catalogue behind it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import attrs
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    CallToolRequestParams,
    ElicitResult,
    EmptyResult,
    ListToolsResult,
    LoggingLevel,
    PaginatedRequestParams,
    SetLevelRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from nexus.abc import Gateway
from nexus.exceptions import (
    CancelledError,
    InternalError,
    InvalidArgumentError,
    MalformedRequestError,
    NexusError,
    UnauthenticatedError,
    details_of,
)
from nexus.models import Caller, Request, Response
from nexus_mcp._caller import behind, bound_principal, caller_of, scope_of
from nexus_mcp._elicitation import answer
from nexus_mcp._exchange import EXCHANGE, Exchange
from nexus_mcp._interaction import ClientInteraction
from nexus_mcp._tools import Projection, Tools
from nexus_mcp._wire import (
    RefusedError,
    error_of_run,
    open_questions,
    parse_answer,
    parse_call,
    render_error,
    render_output,
    render_questions,
    render_submitted,
    secret_asked,
    with_output,
)

__all__ = ["server"]

logger = logging.getLogger("nexus_mcp")

STATE_LIFETIME_S: Final = 12 * 3600.0
MOST_CONNECTIONS: Final = 10_000

Context = ServerRequestContext[Any, Any]
Levels = dict[str | None, LoggingLevel]


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
    security = RequestStateSecurity(keys=[os.urandom(32)], ttl=STATE_LIFETIME_S, bind_principal=bound_principal)
    # In place of the SDK's span around each message: the gateway has its own.
    sdk.middleware[:] = [endpoint.refused, RequestStateBoundary(security, default_audience=app.title)]
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

    def __attrs_post_init__(self) -> None:
        self.tools = Tools(self.gateway)

    async def refused(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Tell the gateway of a message that never became a request (middleware of the SDK)."""
        exchange = _exchange_of(ctx)
        if exchange is not None:
            exchange.understood = True
        try:
            return await call_next(ctx)
        except (MCPError, ValidationError) as error:
            if ctx.request_id is not None and not isinstance(error, RefusedError):
                why = error.message if isinstance(error, MCPError) else "invalid parameters"
                await self.gateway.reject(caller_of(ctx), MalformedRequestError(f"{ctx.method}: {why}"))
            raise

    async def list_tools(self, _ctx: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        """Answer `tools/list`, all in one page."""
        try:
            return ListToolsResult(tools=list(self.tools.list()))
        except NexusError as error:
            raise RefusedError(INTERNAL_ERROR, error.message, details_of(error)) from error

    async def set_level(self, ctx: Context, params: SetLevelRequestParams) -> EmptyResult:
        """Answer `logging/setLevel` of the handshake era."""
        levels: Levels = ctx.lifespan_context
        levels[_connection_of(ctx)] = params.level
        if len(levels) > MOST_CONNECTIONS:
            del levels[next(iter(levels))]
        return EmptyResult()

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        """Answer `tools/call`; stop when the HTTP request that brought it has gone."""
        exchange = _exchange_of(ctx)
        try:
            if exchange is None or ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                return await self._call(ctx, params)
            # The connection of the handshake era carries the call, and would go on with it.
            with anyio.CancelScope() as scope:
                exchange.calls.add(scope)
                try:
                    return await self._call(ctx, params)
                finally:
                    exchange.calls.discard(scope)
        except RefusedError as error:
            if exchange is not None:
                exchange.challenge = (error.data or {}).get("code") == UnauthenticatedError.default_code
            raise
        raise RefusedError(CONNECTION_CLOSED, "the client has gone")

    async def _call(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        try:
            tool = self.tools.find(params.name)
            caller = caller_of(ctx)
            levels: Levels = ctx.lifespan_context
            interaction = ClientInteraction(ctx, levels.get(_connection_of(ctx)) if levels else None)
            if params.request_state is not None:
                return await self._resume(tool, caller, interaction, params)
            operation = params.name if tool is None else tool.operation.reference
            background = tool is not None and tool.operation.background
            response = await self.gateway.dispatch(parse_call(params, operation, caller, detach=background), interaction)
            if background and response.error is None and response.run is not None:
                return render_submitted(self.gateway, response, response.run)
            return self._render(tool, response, {})
        except MCPError:
            raise
        except NexusError as error:
            raise RefusedError(INTERNAL_ERROR, error.message, details_of(error)) from error
        except Exception as error:
            logger.exception("the call of tool %r could not be answered", params.name)
            fault = InternalError("the call could not be answered; the log has the reason")
            raise RefusedError(INTERNAL_ERROR, fault.message, details_of(fault)) from error

    async def _resume(
        self, tool: Projection | None, caller: Caller, interaction: ClientInteraction, params: CallToolRequestParams
    ) -> dict[str, Any]:
        """Answer the questions of the run whose id the client sent back sealed."""
        run_id = params.request_state or ""
        caller = behind(caller)
        problems: dict[str, str] = {}
        response = await self.gateway.dispatch(_about("runs.get", run_id, caller))
        answers = params.input_responses or {}
        for question in [] if response.run is None else open_questions(response.run):
            given = answers.get(question.name)
            if given is None:
                continue
            if not isinstance(given, ElicitResult):
                problems[question.name] = "expected the result of an elicitation"
                continue
            if given.action != "accept":
                response = await self.gateway.dispatch(_about("runs.cancel", run_id, caller))
                error = response.error
                if error is None or error.code == CancelledError.default_code:
                    error = CancelledError(f"the question {question.text!r} was declined")
                return render_error(self.gateway, response, error)
            settled = await self.gateway.dispatch(
                parse_answer(run_id, question.name, answer(question, given.content), caller), interaction
            )
            if isinstance(settled.error, InvalidArgumentError):
                problems[question.name] = (
                    "; ".join(problem.message for problem in settled.error.problems) or settled.error.message
                )
                continue
            response = settled
            if response.run is None or response.run.ended:
                break
        return self._render(tool, with_output(response), problems)

    def _render(self, tool: Projection | None, response: Response, problems: Mapping[str, str]) -> dict[str, Any]:
        error = response.error
        run = response.run
        if error is None and run is not None and tool is not None and tool.operation.kind == "workflow":
            if run.status == "waiting" and open_questions(run):
                error = secret_asked(run)
                if error is None:
                    return render_questions(run, problems)
            else:
                error = error_of_run(run)
        if error is not None:
            return render_error(self.gateway, response, error)
        return render_output(self.gateway, response, wraps=tool is None or tool.wraps)


def _about(operation: str, run_id: str, caller: Caller) -> Request:
    return Request(operation=operation, arguments={"run_id": run_id}, caller=caller)


def _connection_of(ctx: Context) -> str | None:
    """Return the id of the connection's MCP session; None where the connection is the only one of its server."""
    return None if ctx.request is None else ctx.request.headers.get("mcp-session-id")


def _exchange_of(ctx: Context) -> Exchange | None:
    scope = scope_of(ctx)
    return None if scope is None else scope.get(EXCHANGE)
