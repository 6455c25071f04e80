"""The wire that is none: requests go straight to the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nexus.abc import Interaction
from nexus.models import Answers, Caller, Event, Question, Request, Response
from nexus.testing.answers import Script
from nexus.testing.wires import Wire

__all__ = ["InprocessWire"]


class _Scripted(Interaction):
    """A caller that answers at once."""

    answers = Answers.NOW

    def __init__(self, script: Script) -> None:
        self._script = script

    async def tell(self, event: Event) -> None:
        """The recorder has noted it."""

    async def ask(self, question: Question) -> Any:
        """Answer by the script."""
        return self._script.answer(question)


@attrs.define(eq=False)
class InprocessWire(Wire):
    """Python values in, Python values out; paths are used as they are."""

    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """See `Wire.execute`."""
        return (await self._dispatch(workflow, inputs)).data

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """See `Wire.call`."""
        return (await self._dispatch(operation, arguments)).data

    async def submit(self, workflow: str, inputs: Mapping[str, Any]) -> str:
        """See `Wire.submit`."""
        response = await self._dispatch(workflow, inputs, detach=True)
        assert response.run is not None  # noqa: S101 - for the type checker: a submitted run has a record
        return response.run.id

    async def _dispatch(self, operation: str, arguments: Mapping[str, Any], *, detach: bool = False) -> Response:
        caller = Caller(channel="inprocess", principal=self.principal)
        request = Request(operation=operation, arguments=arguments, caller=caller, detach=detach, trusted_files=True)
        interaction = None if self.script is None else _Scripted(self.script)
        response = await self.recorder.dispatch(request, interaction)
        if response.error is not None:
            raise response.error
        return response
