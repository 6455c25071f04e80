"""Between the gateway and the runtime: makes runs, decides how they are started, and takes answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import anyio
import attrs
import msgspec

from nexus.abc import Clock, Interaction, RunStore, Runtime
from nexus.exceptions import (
    ArgumentProblem,
    CancelledError,
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NexusError,
    NotFoundError,
    Problem,
    UnavailableError,
    WorkflowFailedError,
)
from nexus.models import Answer, Call, Operation, Question, RunError, RunRecord, Scope
from nexus.workflows.answers import check_answer
from nexus.workflows.live import DETACHED
from nexus.workflows.local import Work
from nexus.workflows.plan import Plan

__all__ = ["Executor", "error_of"]

ATTEMPTS: Final = 20
CLEAN_UP_S: Final = 5.0


@attrs.define(eq=False)
class Executor:
    """Carry out workflows: one record per run."""

    runtime: Runtime
    runs: RunStore
    clock: Clock

    async def run(
        self, call: Call, operation: Operation, plan: Plan, inputs: dict[str, Any], interaction: Interaction
    ) -> RunRecord:
        """
        Start a run, and return its record once it has ended or waits; at once where the request says `detach`.

        Raises:
            NexusError: It could not be started.
        """
        request, principal, tenant = call.request, call.principal, call.tenant
        detach = request.detach
        record = RunRecord(
            id=os.urandom(16).hex(),
            workflow=operation.name,
            workflow_version=operation.version,
            status="pending" if detach else "running",
            request_id=call.request_id,
            channel=request.caller.channel,
            principal=principal.id,
            tenant=None if tenant is None else tenant.id,
            session=call.session_id,
            created_at=call.now,
        )
        deadline = request.deadline
        seconds = None if deadline is None or detach else max(0.0, (deadline - call.now).total_seconds())
        work = Work(plan=plan, inputs=inputs, call=call, seconds=seconds)
        if not detach:
            return await self.runtime.execute(record, work, interaction)
        record = await self.runs.create(call.scope, record)
        try:
            await self.runtime.submit(record, work)
        except NexusError as error:
            refused = record.changed(
                status="failed", ended_at=self.clock.now(), error=RunError(code=error.code, message=error.message)
            )
            await self.runs.save(refused, expected_version=record.version)
            raise
        return record

    async def answer(self, scope: Scope, run_id: str, name: str | None, answer: Any, interaction: Interaction) -> RunRecord:
        """
        Answer a question of a waiting run, and return its record once it has ended or waits again.

        Raises:
            NotFoundError: There is no such run, or it has no such question.
            InvalidArgumentError: The answer is wrong, or the run has several questions and none is named; it keeps waiting.
            ConflictError: The run has ended, or the question was answered differently.
        """
        for _ in range(ATTEMPTS):
            record = await self.runs.get(scope, run_id)
            question = _question(record, name)
            if question is None:
                return await self._attach(record, name, answer)
            try:
                record = await self.runs.save(_answered(record, question, answer), expected_version=record.version)
            except ConflictError:
                continue
            return await self._go_on(run_id, interaction)
        raise ConflictError(f"run {run_id} changes faster than it can be answered; try again")

    async def cancel(self, scope: Scope, run_id: str) -> RunRecord:
        """
        Cancel a run, and return its record once its clean-up is done; nothing changes if it has ended.

        Raises:
            NotFoundError: There is no such run.
        """
        await self.find(scope, run_id)
        await self.runtime.cancel(run_id)
        return await self.runs.get(scope, run_id)

    async def find(self, scope: Scope, run_id: str) -> RunRecord:
        """
        Return the record of a run, whoever carries it.

        Raises:
            NotFoundError: There is no such run.
        """
        return await self.runs.get(scope, run_id)

    async def _go_on(self, run_id: str, interaction: Interaction) -> RunRecord:
        await self.runtime.resume(run_id, interaction)
        settled = None
        try:
            settled = await self.runtime.settled(run_id)
            return settled
        finally:
            if settled is None or not settled.ended:
                # This caller leaves, with the record or without: what the run tells from now on is not for it.
                with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(UnavailableError):
                    await self.runtime.resume(run_id, DETACHED)

    async def _attach(self, record: RunRecord, name: str | None, answer: Any) -> RunRecord:
        """The same answer again gets the same reply."""
        if name is None:
            name = next(reversed(list(record.answers)), None)
        given = None if name is None else record.answers.get(name)
        if given is not None and _is_same(given, answer):
            return await self.runtime.settled(record.id)
        if record.ended:
            raise ConflictError(f"run {record.id} has ended ({record.status}); it takes no answers")
        if given is not None:
            raise ConflictError(f"question {name!r} of run {record.id} has been answered, differently")
        open_ones = ", ".join(record.questions) or "none"
        raise NotFoundError(f"run {record.id} has no question {name!r} open; open: {open_ones}")


def _is_same(given: Answer, again: Any) -> bool:
    try:
        checked = check_answer(given.schema, again)
    except InvalidArgumentError:
        return False
    # As JSON, where 1 is not true.
    return msgspec.json.encode(checked, order="sorted") == msgspec.json.encode(given.value, order="sorted")


def _question(record: RunRecord, name: str | None) -> Question | None:
    if name is not None:
        return record.questions.get(name)
    if len(record.questions) > 1:
        problem = ArgumentProblem("/question", f"missing; expected one of: {', '.join(record.questions)}")
        raise InvalidArgumentError(
            f"run {record.id} has {len(record.questions)} questions open; say which one this answers", [problem]
        )
    return next(iter(record.questions.values()), None)


def _answered(record: RunRecord, question: Question, answer: Any) -> RunRecord:
    checked = check_answer(question.schema, answer)
    questions: Mapping[str, Question] = {name: other for name, other in record.questions.items() if name != question.name}
    return record.changed(
        questions=questions,
        answers={**record.answers, question.name: Answer(checked, question.schema)},
        status="waiting" if questions else "running",
    )


def error_of(record: RunRecord) -> NexusError | None:
    """Return why the run did not succeed, as what is told to its caller; None if it did, or has not ended."""
    failure = record.error
    if failure is None:
        return None
    if not failure.private and isinstance(failure.exception, NexusError):
        return failure.exception
    if failure.private:
        told = WorkflowFailedError(f"the workflow failed; the log has the reason, under request id {record.request_id}")
        told.__cause__ = failure.exception
        return told
    kinds = {"cancelled": CancelledError, "deadline_exceeded": DeadlineExceededError, "unavailable": UnavailableError}
    if failure.code in kinds:
        return kinds[failure.code](failure.message, **failure.details)
    return Problem(failure.code, failure.message, **failure.details)
