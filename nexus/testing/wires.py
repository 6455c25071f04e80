"""How a test reaches an application: one wire for each channel."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import attrs

from nexus import adapters
from nexus.abc import Channel, Service
from nexus.exceptions import CancelledError, InvalidArgumentError, NexusError, UnavailableError, error_of
from nexus.models import MISSING, Operation, Principal, Question
from nexus.testing.answers import Script
from nexus.testing.recording import Recorder

__all__ = ["ATTEMPTS", "Wire", "adapter", "error_of"]

ATTEMPTS: Final = 3
"""How often a question is asked again after a wrong answer, as the core does where it can ask at once."""


@attrs.define(eq=False)
class Wire(Service):
    """
    One channel, seen from its caller; started, it is connected.

    Attributes:
        recorder: The application, as the channel sees it.
        principal: Who is asking; None is nobody in particular.
        script: The answers, None where nobody can answer.
    """

    recorder: Recorder
    principal: Principal | None
    script: Script | None

    @abstractmethod
    async def execute(self, workflow: str, inputs: Mapping[str, Any]) -> Any:
        """
        Carry out a workflow, answer its questions, and return its output.

        Args:
            workflow: `name` or `name@version`, known or not.
            inputs: Python values; the wire makes of them what its callers send.

        Raises:
            NexusError: What the wire said.
        """

    @abstractmethod
    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out a built-in operation, and return its data."""

    async def submit(self, workflow: str, inputs: Mapping[str, Any]) -> str:  # noqa: ARG002 - for those that can
        """Carry out a workflow without waiting, and return the run's id."""
        raise TypeError("this channel can't submit; use Client(app) or Client(app, channel='api')")

    async def answer_waiting(self, run_id: str, question: Question) -> Any:
        """
        Answer a question of a waiting run by calls of their own, again after a wrong answer, and return the run as it is shown.

        Raises:
            NexusError: There is no answer, or only wrong ones, and the run is cancelled; or it has failed since.
        """
        refusal: NexusError | None = None
        for _ in range(ATTEMPTS):
            try:
                answer = self._choose(question)
            except (CancelledError, UnavailableError) as nothing:
                refusal = nothing
                break
            try:
                return await self.call("runs.answer", {"run_id": run_id, "question": question.name, "answer": answer})
            except InvalidArgumentError as wrong:
                if self.recorder.run is not None and self.recorder.run.ended:
                    raise  # the answer was good, the run's own error is of that kind
                refusal = wrong
                question = attrs.evolve(question, problem="; ".join(problem.message for problem in wrong.problems))
        await self.call("runs.cancel", {"run_id": run_id})
        assert refusal is not None  # noqa: S101 - for the type checker: the loop returns, or leaves one behind
        raise refusal

    def _choose(self, question: Question) -> Any:
        if self.script is not None:
            return self.script.answer(question)
        if question.default is not MISSING:
            return question.default
        raise UnavailableError(f"nobody can answer here; give `default=` (asked: {question.text!r})", question=question.name)

    def operation(self, reference: str) -> Operation:
        """Return the operation of that name, one without arguments where there is none."""
        found: Operation | None = self.recorder.operation(reference)
        return found or Operation(name=reference, kind="workflow")


def adapter(channel: str) -> ModuleType:
    """
    Return the top-level module of the adapter that is installed for a channel.

    Raises:
        AdapterError: There is none, or what it needs is not installed; the text says how to get it.
    """
    place = adapters.load(f"channel.{channel}", Channel).__module__
    return importlib.import_module(place.partition(".")[0])
