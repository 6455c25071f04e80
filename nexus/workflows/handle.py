"""What the submitter of a run gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs

from nexus.models import APPLICATION, Event, Principal, RunRecord, Scope
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
    _principal: Principal = APPLICATION

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
        return output_of(self._executor.restored(record))

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """
        Yield what the run tells, from the beginning or after event number *after*, until it has ended.

        Raises:
            UnavailableError: Another process carries the run.
        """
        async for event in await self._executor.events(self._scope, self.id, after=after):
            yield event

    async def answer(self, answer: Any, question: str | None = None, *, principal: Principal | None = None) -> RunRecord:
        """
        Wait until the run asks, answer, and return its record once it has ended or waits again.

        Args:
            answer: A JSON value that fits the question's schema.
            question: The question's name, where several are open.
            principal: Who answers, where it isn't the one who started the run; then the record is shown at once, and has only
                what concerns that one.

        Raises:
            PermissionDeniedError: The question is for somebody else.
            InvalidArgumentError: The answer is wrong; the run keeps waiting.
            ConflictError: The run has ended, or the question was answered differently.
        """
        await self._executor.runtime.settled(self.id)
        scope, who = self._scope, self._principal
        if principal is not None:
            scope, who = Scope(tenant=principal.tenant_id, principal=principal.id), principal
        return await self._executor.answer(scope, who, self.id, SILENT, question=question, answer=answer)

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
        return RunHandle(record.id, self._executor, self._scope, self._principal)


def output_of(record: RunRecord) -> Any:
    """Return the output of a run that succeeded, or raise why there is none."""
    if record.status == "succeeded":
        return record.whole_output()
    error = error_of(record)
    if error is not None:
        raise error
    raise record.unfinished()
