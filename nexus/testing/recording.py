"""A gateway that goes between a channel and the application, and remembers what became of each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from nexus.abc import Interaction
from nexus.models import Caller, Event, Operation, Principal, Question, Request, Response, RunRecord
from nexus.workflows.live import SILENT

__all__ = ["Recorder"]


class _Overheard(Interaction):
    """The caller that a channel brought; what it is told and asked is noted on the way."""

    def __init__(self, caller: Interaction, recorder: Recorder) -> None:
        self.answers = caller.answers
        self._caller = caller
        self._recorder = recorder

    async def tell(self, event: Event) -> None:
        """Note the event and pass it on."""
        self._recorder.events.append(event)
        await self._caller.tell(event)

    async def ask(self, question: Question) -> Any:
        """Note the question and pass it on."""
        self._recorder.asked[question.name] = question
        return await self._caller.ask(question)


@attrs.define(eq=False)
class Recorder:
    """
    The application as a channel sees it: every call goes through.

    Attributes:
        app: What carries the calls out.
        verified: Who is asking, for a channel that has no way of its own to say whom its host has verified.
        events: What the callers were told.
        asked: The questions that were put to the callers while they listened, by name.
        run: The record of the last run, as the gateway returned it.
    """

    app: Any
    verified: Principal | None = attrs.field(default=None, init=False)
    events: list[Event] = attrs.field(factory=list, init=False)
    asked: dict[str, Question] = attrs.field(factory=dict, init=False)
    run: RunRecord | None = attrs.field(default=None, init=False)

    def clear(self) -> None:
        """Forget the calls so far."""
        self.events = []
        self.asked = {}
        self.run = None

    async def dispatch(self, request: Request, interaction: Interaction | None = None) -> Response:
        """See `Gateway.dispatch`."""
        if self.verified is not None:
            request = attrs.evolve(request, caller=attrs.evolve(request.caller, principal=self.verified))
        response: Response = await self.app.dispatch(request, _Overheard(interaction or SILENT, self))
        if response.run is not None:
            self.run = response.run
        return response

    async def visible(self, caller: Caller) -> Sequence[Operation]:
        """See `Gateway.visible`."""
        verified = caller if self.verified is None else attrs.evolve(caller, principal=self.verified)
        shown: Sequence[Operation] = await self.app.visible(verified)
        return shown

    def __getattr__(self, name: str) -> Any:
        """Everything else is the application's."""
        return getattr(self.app, name)
