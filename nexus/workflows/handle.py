"""What the submitter of a run gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs

from nexus.exceptions import UnavailableError
from nexus.models import Event, RunRecord, Scope
from nexus.workflows.executor import Executor, error_of
from nexus.workflows.live import DETACHED, SILENT

__all__ = ["RunHandle", "output_of"]


@attrs.define(eq=False, repr=False)
class RunHandle:
    """
    What the submitter of a run gets.

    Attributes:
        id: The run's id.
    """

    id: str
    _executor: Executor
    _scope: Scope

    def __repr__(self) -> str:
        return f"<RunHandle {self.id}>"

    async def status(self) -> RunRecord:
        """Return the run's record as it is now."""
        return await self._executor.find(self._scope, self.id)

    async def result(self) -> Any:
        """
        Wait until the run has ended, and return its output.

        Raises:
            NexusError: Why it did not succeed.
            UnavailableError: It waits for an answer; give it with `answer`.
            ConflictError: It ended before this was called, and its output had secrets, which are kept nowhere.
        """
        record = await self._executor.runtime.settled(self.id)
        return output_of(record)

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """
        Yield what the run tells, from the beginning or after event number *after*, until it has ended.

        Raises:
            UnavailableError: Another process carries the run.
        """
        async for event in await self._executor.events(self._scope, self.id, after=after):
            yield event

    async def answer(self, answer: Any, question: str | None = None) -> RunRecord:
        """
        Wait until the run asks, answer, and return its record once it has ended or waits again.

        Args:
            answer: A JSON value that fits the question's schema.
            question: The question's name, where several are open.

        Raises:
            InvalidArgumentError: The answer is wrong; the run keeps waiting.
            ConflictError: The run has ended, or the question was answered differently.
        """
        await self._executor.runtime.settled(self.id)
        return await self._executor.answer(self._scope, self.id, question, answer, SILENT)

    async def cancel(self) -> RunRecord:
        """Cancel the run, and return its record once its clean-up is done."""
        return await self._executor.cancel(self._scope, self.id)

    async def retry(self) -> RunHandle:
        """
        Run a run that failed or was cancelled again, and return the handle of the new run.

        Steps that have succeeded are not called again, as long as the workflow is what it was and their results could be stored.

        Raises:
            ConflictError: It has not failed.
            UnavailableError: The application is not started.
        """
        record = await self._executor.retry(None, self._scope, self.id, DETACHED)
        return RunHandle(record.id, self._executor, self._scope)


def output_of(record: RunRecord) -> Any:
    """Return the output of a run that succeeded, or raise why there is none."""
    if record.status == "succeeded":
        return record.whole_output() if record.redacted else record.output
    error = error_of(record)
    if error is not None:
        raise error
    if record.status != "waiting":
        raise UnavailableError(f"run {record.id} has not ended yet; look for it by its id", run_id=record.id)
    open_ones = ", ".join(f"{name!r} ({question.text})" for name, question in record.questions.items())
    raise UnavailableError(f"run {record.id} waits for an answer: {open_ones}", run_id=record.id)
