"""How a handler answers: what every one of them does about clients that go and things that go wrong."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, ElicitResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus.abc import Gateway, Interaction
from nexus.exceptions import (
    CancelledError,
    InternalError,
    InvalidArgumentError,
    NexusError,
    UnauthenticatedError,
    details_of,
)
from nexus.models import Caller, Request, Response
from nexus_mcp._caller import scope_of
from nexus_mcp._elicitation import answer
from nexus_mcp._exchange import EXCHANGE, Exchange
from nexus_mcp._wire import RefusedError, open_questions, parse_answer

__all__ = ["Context", "about", "answered", "exchange_of", "settled", "told"]

logger = logging.getLogger("nexus_mcp")

T = TypeVar("T")
Context = ServerRequestContext[Any, Any]


async def answered(ctx: Context, what: str, work: Callable[[], Awaitable[T]]) -> T:
    """
    Carry out what answers a message; stop when the HTTP request that brought it has gone.

    Args:
        ctx: The message's.
        what: What the message asks for, for the log.
        work: What answers it.

    Raises:
        MCPError: The JSON-RPC error that answers it.
    """
    exchange = exchange_of(ctx)
    try:
        if exchange is None or ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await told(what, work)
        # The connection of the handshake era carries the call, and would go on with it.
        with anyio.CancelScope() as scope:
            exchange.calls.add(scope)
            try:
                return await told(what, work)
            finally:
                exchange.calls.discard(scope)
    except RefusedError as error:
        if exchange is not None:
            exchange.challenge = (error.data or {}).get("code") == UnauthenticatedError.default_code
        raise
    raise RefusedError(CONNECTION_CLOSED, "the client has gone")


async def told(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """
    Carry out what answers a message, and tell of what goes wrong no more than the client may know.

    Raises:
        MCPError: The JSON-RPC error that answers it.
    """
    try:
        return await work()
    except MCPError:
        raise
    except NexusError as error:
        raise RefusedError(INTERNAL_ERROR, error.message, details_of(error)) from error
    except Exception as error:
        logger.exception("%s could not be answered", what)
        fault = InternalError("the call could not be answered; the log has the reason")
        raise RefusedError(INTERNAL_ERROR, fault.message, details_of(fault)) from error


async def settled(
    gateway: Gateway,
    response: Response,
    answers: Mapping[str, Any],
    caller: Caller,
    interaction: Interaction | None = None,
) -> tuple[Response, Mapping[str, str]]:
    """
    Answer the open questions of a run, and return what became of that, and by question why its answer was not taken.

    Args:
        gateway: The application.
        response: With the run.
        answers: By question, what the client sent.
        caller: In whose name.
        interaction: Of a client that waits for what comes of it; None where none does.
    """
    problems: dict[str, str] = {}
    run = response.run
    for question in [] if run is None else open_questions(run):
        given = answers.get(question.name)
        if run is None or given is None:
            continue
        if not isinstance(given, ElicitResult):
            problems[question.name] = "expected the result of an elicitation"
            continue
        if given.action != "accept":
            response = await gateway.dispatch(about("runs.cancel", run.id, caller))
            if response.error is None or response.error.code == CancelledError.default_code:
                declined = CancelledError(f"the question {question.text!r} was declined")
                response = Response(request_id=response.request_id, run=response.run, error=declined)
            break
        request = parse_answer(run.id, question.name, answer(question, given.content), caller, detach=interaction is None)
        taken = await gateway.dispatch(request, interaction)
        if isinstance(taken.error, InvalidArgumentError):
            problems[question.name] = "; ".join(problem.message for problem in taken.error.problems) or taken.error.message
            continue
        response = taken
        if response.run is None or response.run.ended:
            break
    return response, problems


def about(operation: str, run_id: str, caller: Caller, **arguments: Any) -> Request:
    """Return what asks for an operation on a run."""
    return Request(operation=operation, arguments={"run_id": run_id, **arguments}, caller=caller)


def exchange_of(ctx: Context) -> Exchange | None:
    """Return the HTTP request that brought the message; None where it came another way."""
    scope = scope_of(ctx)
    return None if scope is None else scope.get(EXCHANGE)
