"""A run that goes on by itself, and the caller who looks after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from nexus.abc import Runtime
from nexus.models import RunRecord
from nexus.testing.wires import Wire
from nexus.workflows.executor import error_of

__all__ = ["Submitted"]


@attrs.define(eq=False)
class Submitted:
    """
    The handle of a submitted run; every method is a call on the client's channel.

    Attributes:
        id: The run's id.
    """

    id: str
    _wire: Wire
    _answered: Callable[[Awaitable[Any]], Awaitable[Any]]
    _runtime: Runtime

    async def status(self) -> RunRecord:
        """Return the run's record as it is now."""
        await self._wire.call("runs.get", {"run_id": self.id})
        return self._record()

    async def result(self) -> Any:
        """
        Wait until the run has ended, answer its questions, and return its output, as `Client.execute` does.

        Raises:
            NexusError: Why it did not succeed.
            AssertionError: It asked what has no answer in the client's `answers`.
        """
        return await self._answered(self._result())

    async def answer(self, answer: Any, question: str | None = None) -> RunRecord:
        """
        Answer an open question, and return the run's record once it has ended or waits again.

        Args:
            answer: A value that fits the question's schema.
            question: Its name, where several are open.

        Raises:
            InvalidArgumentError: The answer is wrong; the run keeps waiting.
            ConflictError: The run has ended, or the question was answered differently.
        """
        await self._wire.call("runs.answer", {"run_id": self.id, "answer": answer, "question": question})
        return self._record()

    async def cancel(self) -> RunRecord:
        """Cancel the run, and return its record once its clean-up is done."""
        await self._wire.call("runs.cancel", {"run_id": self.id})
        return self._record()

    async def _result(self) -> Any:
        while True:
            await self._runtime.settled(self.id)
            shown = await self._wire.call("runs.get", {"run_id": self.id})
            record = self._record()
            if record.ended:
                break
            if not record.own_questions:
                raise record.unfinished()
            await self._wire.answer_waiting(self.id, record.own_questions[0])
        error = error_of(record)
        if error is not None:
            raise error
        return shown["results"]

    def _record(self) -> RunRecord:
        record = self._wire.recorder.run
        assert record is not None  # noqa: S101 - for the type checker: these operations have a run
        return record
