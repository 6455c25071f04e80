"""How a run talks to an MCP client while the call is open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import attrs
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    ClientCapabilities,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    ProgressNotification,
    ProgressNotificationParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from nexus.abc import Interaction
from nexus.exceptions import CancelledError, UnavailableError
from nexus.models import Answers, Event, Question
from nexus_mcp._elicitation import NO_SECRETS, answer, asks_for_secret, form
from nexus_mcp._tasks import related_to

__all__ = ["LEVELS", "ClientInteraction", "Levels", "answers_of", "connection_of", "interaction_of"]

LEVELS: Final[tuple[LoggingLevel, ...]] = get_args(LoggingLevel)
"""From the least to the most severe."""

Levels = dict[str | None, LoggingLevel]
"""From which level on the client of a connection wants to hear messages."""


def answers_of(ctx: ServerRequestContext[Any, Any]) -> Answers:
    """Return when this client can answer: now over a channel back to it, later by a second call, or never."""
    if not _fills_in_forms(ctx.session.client_capabilities):
        return Answers.NEVER
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return Answers.LATER
    return Answers.NOW if ctx.session.can_send_request else Answers.NEVER


def interaction_of(ctx: ServerRequestContext[Any, Any], *, task: str | None = None) -> ClientInteraction:
    """Return how a run talks to who sent the message; *task* is the id of the task whose result that waits for."""
    levels: Levels = ctx.lifespan_context
    return ClientInteraction(ctx, levels.get(connection_of(ctx)) if levels else None, task)


def connection_of(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Return the id of the connection's MCP session; None where the connection is the only one of its server."""
    return None if ctx.request is None else ctx.request.headers.get("mcp-session-id")


def _fills_in_forms(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client elicits by forms, which it also says by naming no mode at all."""
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


@attrs.define(eq=False)
class ClientInteraction(Interaction):
    """
    The client behind one call.

    Attributes:
        least: The least severe message the client wants to hear, where it has said so for the whole connection.
        task: The id of the task whose result the call waits for; None where there is no task.
    """

    ctx: ServerRequestContext[Any, Any]
    least: LoggingLevel | None = None
    task: str | None = None
    answers: Answers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answers = answers_of(self.ctx)

    async def tell(self, event: Event) -> None:
        """Send progress, if the call asked for it, and messages, if the client hears them; a piece of the result is one too."""
        if event.type == "run.progress":
            await self._report(event.data)
        elif event.type == "run.log":
            told = event.data
            await self._say(told["level"], told["step"], {"message": told["message"], **told["fields"]})
        elif event.type == "run.chunk":
            await self._say("info", event.data["step"], {"chunk": event.data["value"]})

    async def ask(self, question: Question) -> Any:
        """Show a form, and return what was filled in."""
        if asks_for_secret(question):
            raise UnavailableError(f"{NO_SECRETS} (asked: {question.text!r})", question=question.name)
        message, schema = form(question)
        # `elicit_form` does this too, and has no place for what names the task.
        request = ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema, _meta=self._related()))
        channel = ServerMessageMetadata(related_request_id=self.ctx.request_id)
        try:
            result = await self.ctx.session.send_request(request, ElicitResult, metadata=channel)
        except (MCPError, ValidationError) as error:
            raise UnavailableError(f"the client could not put the question {question.text!r} to its user: {error}") from error
        if result.action != "accept":
            raise CancelledError(f"the question {question.text!r} was declined")
        return answer(question, result.content)

    async def _say(self, level: LoggingLevel, step: str, data: Mapping[str, Any]) -> None:
        if level not in allowed_log_levels(self.ctx.protocol_version, self.ctx.meta):
            return
        if self.least is not None and LEVELS.index(level) < LEVELS.index(self.least):
            return
        # `send_log_message` does this too, and warns each time that MCP 2026-07-28 makes messages an opt-in.
        await self.ctx.session.send_notification(
            LoggingMessageNotification(
                params=LoggingMessageNotificationParams(level=level, logger=step, data=data, _meta=self._related())
            ),
            related_request_id=self.ctx.request_id,
        )

    async def _report(self, told: Mapping[str, Any]) -> None:
        done, total, message = told["done"], told.get("total"), told.get("message") or None
        token = (self.ctx.meta or {}).get("progress_token")
        if self.task is None or token is None:
            await self.ctx.session.report_progress(done, total, message)
            return
        params = ProgressNotificationParams(
            progress_token=token, progress=done, total=total, message=message, _meta=self._related()
        )
        await self.ctx.session.send_notification(ProgressNotification(params=params), related_request_id=self.ctx.request_id)

    def _related(self) -> Any:
        return None if self.task is None else related_to(self.task)
