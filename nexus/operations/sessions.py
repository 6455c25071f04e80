"""`sessions.open`, `.current`, `.change`, `.end`, `.list`, `.revoke`; `admin.sessions.list`, `.revoke`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from nexus.abc import Interaction
from nexus.catalogue import Outcome
from nexus.exceptions import NotFoundError
from nexus.models import Call, Hints, Session
from nexus.operations import BuiltIn
from nexus.operations.scopes import administered
from nexus.sessions import Sessions
from nexus.workflows.signatures import Parameter

__all__ = ["PAGING", "session_operations"]

SESSION_ID: Final = Parameter(name="session_id", hint=str, description="The session's id, which is not its token.")
PAGING: Final = [
    Parameter(name="after", hint=str | None, default=None, description="The cursor of the page before."),
    Parameter(name="limit", hint=Annotated[int, msgspec.Meta(ge=1, le=100)], default=20, description="At most this many."),
]
STATE: Final = Parameter(name="state", hint=dict[str, Any], description="What is kept in the session from now on.")
VERSION: Final = Parameter(name="version", hint=int, description="The session's version that this is a change of.")
READ: Final = Hints(read_only=True)
END: Final = Hints(destructive=True, idempotent=True)


def session_operations(sessions: Sessions) -> Sequence[BuiltIn]:
    """Return the operations on sessions."""

    async def open_(call: Call, _arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        session, token = await sessions.open(call.principal, now=call.now, instead_of=_own(call))
        return {"token": token, **session.view()}, None, None

    async def current(call: Call, _arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        session = _own(call)
        return {**call.principal.view(), "session": None if session is None else session.view()}, None, None

    async def change(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        changed = await sessions.change(_required(call), arguments["state"], expected_version=arguments["version"])
        return changed.view(), None, None

    async def end(call: Call, _arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        session = _required(call)
        await sessions.end(call.scope, session.id)
        return {"session_id": session.id}, None, None

    async def revoke(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        await sessions.end(call.scope, arguments["session_id"])
        return {"session_id": arguments["session_id"]}, None, None

    async def revoke_any(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
        await sessions.end(administered(call), arguments["session_id"])
        return {"session_id": arguments["session_id"]}, None, None

    def listing(*, admin: bool) -> Any:
        async def carry_out(call: Call, arguments: dict[str, Any], _interaction: Interaction) -> Outcome:
            scope = administered(call) if admin else call.scope
            page = await sessions.listing(scope, now=call.now, after=arguments["after"], limit=arguments["limit"])
            return {"items": [session.view() for session in page.items], "cursor": page.cursor}, None, None

        return carry_out

    def built_in(
        name: str, summary: str, carry_out: Any, parameters: Sequence[Parameter] = (), hints: Hints | None = None
    ) -> BuiltIn:
        return BuiltIn(
            name=name,
            summary=summary,
            carry_out=carry_out,
            parameters=parameters,
            result=dict[str, Any],
            hints=hints or Hints(),
        )

    return [
        built_in("sessions.open", "Open a session, whose token is good on every channel; it takes the place of this one.", open_),
        built_in("sessions.current", "Show who is asking, and the session.", current, hints=READ),
        built_in("sessions.change", "Replace what is kept in this session.", change, [STATE, VERSION]),
        built_in("sessions.end", "End this session.", end, hints=END),
        built_in("sessions.list", "List one's own sessions, oldest first.", listing(admin=False), PAGING, READ),
        built_in("sessions.revoke", "End one of one's own sessions.", revoke, [SESSION_ID], END),
        built_in("admin.sessions.list", "List sessions, oldest first.", listing(admin=True), PAGING, READ),
        built_in("admin.sessions.revoke", "End a session, whosever it is.", revoke_any, [SESSION_ID], END),
    ]


def _own(call: Call) -> Session | None:
    """Return the session by whose token the caller came."""
    return call.session if call.session_id is not None else None


def _required(call: Call) -> Session:
    session = _own(call)
    if session is None:
        raise NotFoundError("this call is in no session that is kept; open one, and send its token")
    return session
