"""Between the gateway and the runtime: makes runs, decides how they are started, and takes answers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
import msgspec

from nexus._ids import new_id
from nexus.abc import Clock, Interaction, RunStore, Runtime
from nexus.exceptions import (
    CancelledError,
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    NexusError,
    NotFoundError,
    Problem,
    UnauthenticatedError,
    UnavailableError,
    WorkflowNotFoundError,
)
from nexus.models import ANONYMOUS, Answers, Call, Event, Operation, Page, Principal, RunError, RunRecord, Scope, Unstored
from nexus.workflows.again import call_again, inputs_again, require_repeatable
from nexus.workflows.answering import Answering
from nexus.workflows.codecs import Codecs
from nexus.workflows.durable import StepResults
from nexus.workflows.execution import hidden
from nexus.workflows.fields import Check
from nexus.workflows.hooks import Hooks
from nexus.workflows.live import DETACHED
from nexus.workflows.plan import Plan
from nexus.workflows.secrecy import slow_hash
from nexus.workflows.work import Work, refused

__all__ = ["Executor", "error_of"]

CLEAN_UP_S: Final = 5.0


@attrs.define(eq=False, repr=False)
class Executor:
    """Carry out workflows: one record per run."""

    runtime: Runtime
    runs: RunStore
    clock: Clock
    codecs: Codecs
    hooks: Hooks
    results: StepResults
    planned: Callable[[str], tuple[Operation, Plan] | None]
    answering: Answering = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answering = Answering(self.runs, self.runtime)

    async def run(
        self,
        call: Call,
        operation: Operation,
        plan: Plan,
        inputs: dict[str, Any],
        interaction: Interaction,
        *,
        retried: RunRecord | None = None,
    ) -> RunRecord:
        """
        Start a run, and return its record once it has ended or waits; at once where the request says `detach`.

        Under an idempotency key the run is the one that was started first, whoever waits for it now.

        Args:
            call: Who starts it.
            operation: The workflow.
            plan: What is carried out.
            inputs: The checked arguments; the run's own.
            interaction: How it talks to its caller.
            retried: The run of which it is a retry.

        Raises:
            NexusError: It could not be started.
        """
        request, principal, tenant = call.request, call.principal, call.tenant
        detach, key = request.detach, request.idempotency_key
        is_carried = detach or key is not None or plan.durable
        record = RunRecord(
            id=new_id(),
            workflow=operation.name,
            workflow_version=operation.version,
            status="pending" if is_carried else "running",
            request_id=call.request_id,
            channel=request.caller.channel,
            principal=principal.id,
            tenant=None if tenant is None else tenant.id,
            session=call.session_id,
            created_at=call.now,
            inputs=inputs if request.form is None else request.form.recorded(inputs),
            parent=None if call.parent is None else call.parent.run_id,
        )
        if plan.secrecy is not None:
            record = plan.secrecy.without_inputs(record)
        call.run_id = record.id
        deadline = request.deadline
        seconds = None if deadline is None or detach else max(0.0, (deadline - call.now).total_seconds())
        hooks = self.hooks.of(operation, plan) if self.hooks.all else None
        work = Work(plan=plan, inputs=inputs, call=call, seconds=seconds, hooks=hooks)
        if plan.durable or retried is not None:
            work = await self._with_results(record, work, retried)
        if not is_carried:
            return await self.runtime.execute(record, work, interaction)
        record, is_new = await self._submit(record, work, key)
        if detach:
            return record
        with nullcontext() if seconds is None else self.clock.timeout(seconds):
            if is_new:
                with suppress(UnavailableError):  # it has ended already
                    await self.runtime.resume(record.id, interaction)
            return await self._attend(record.id, interaction if is_new else DETACHED)
        way_out = "call again with the same idempotency key" if key is not None else "look for it by its id"
        raise DeadlineExceededError(f"run {record.id} goes on; {way_out}", run_id=record.id)

    async def _with_results(self, record: RunRecord, work: Work, retried: RunRecord | None) -> Work:
        """Return the work with what is known of its steps."""
        plan = work.plan
        if plan.durable:
            self.runtime.require_open(work)
            require_repeatable(record)
            record.complete(plan_hash=plan.hash)
        if retried is not None:
            record.complete(retry_of=retried.id)
        return attrs.evolve(work, results=await self.results.begun(record.id, plan, retried))

    async def _submit(self, record: RunRecord, work: Work, key: str | None) -> tuple[RunRecord, bool]:
        """Return the run's record, and whether it is a new run's."""
        call = work.call
        self.runtime.require_open(work)
        inputs_hash = "" if key is None else await self._hash_of(record, work, key)
        record.complete(owner=self.runtime.owner, inputs=dict(record.inputs))
        try:
            kept = await self.runs.create(call.scope, record, key=key, inputs_hash=inputs_hash)
        except BaseException as error:
            with anyio.move_on_after(CLEAN_UP_S, shield=True):
                await self._settle_submission(record, work, is_open=not isinstance(error, Exception))
            raise
        if kept.id != record.id:
            return kept, False
        await self._start(kept, work)
        return kept, True

    async def _settle_submission(self, record: RunRecord, work: Work, *, is_open: bool) -> None:
        """Start a run whose caller went away while the store was told of it, if the store has it; else leave nothing of it."""
        if is_open:
            with suppress(NexusError):
                await self._start(await self.runs.get(Scope.ALL, record.id), work)
                return
        if work.results is not None:
            await self.results.forget(record.id)

    async def _start(self, record: RunRecord, work: Work) -> None:
        try:
            await self.runtime.submit(record, work)
        except NexusError as error:
            await self.runs.save(refused(record, error, now=self.clock.now()), expected_version=record.version)
            raise

    async def _hash_of(self, record: RunRecord, work: Work, key: str) -> str:
        call, secrecy = work.call, work.plan.secrecy
        inputs = record.inputs if secrecy is None else {**record.inputs, **{name: work.inputs[name] for name in secrecy.inputs}}
        if call.principal.id == ANONYMOUS.id and call.session_id is None:
            raise UnauthenticatedError("an idempotency key needs a caller who is known again: log in, or open a session")
        shown = self.codecs.to_builtins({name: inputs[name] for name in sorted(inputs)})
        document = msgspec.json.encode(shown, order="sorted")
        if secrecy is None:
            return hashlib.sha256(document).hexdigest()
        return await anyio.to_thread.run_sync(slow_hash, document, f"{work.plan.signature.name}:{key}")

    async def answer(
        self,
        scope: Scope,
        principal: Principal,
        run_id: str,
        interaction: Interaction,
        *,
        question: str | None,
        answer: Any,
        detach: bool = False,
    ) -> RunRecord:
        """
        Answer a question of a waiting run, and return its record once it has ended or waits again; at once with *detach*.

        To another than who started it, whom the question is for, the run is shown at once, as far as it concerns that one.

        Raises:
            NotFoundError: There is no such run, or it has no such question.
            PermissionDeniedError: The question is for somebody else.
            InvalidArgumentError: The answer is wrong, or the run has several questions and none is named; it keeps waiting.
            ConflictError: The run has ended, or the question was answered differently.
        """
        is_new, is_own = await self.answering.take(scope, principal, run_id, question, answer)
        if is_new:
            await self.runtime.resume(run_id, interaction if is_own and not detach else DETACHED)
        if detach or not is_own:
            return await self.answering.look(scope, principal, run_id)
        return await (self._attend(run_id, interaction) if is_new else self.runtime.settled(run_id))

    async def cancel(self, scope: Scope, run_id: str) -> RunRecord:
        """
        Cancel a run, and return its record once its clean-up is done; nothing changes if it has ended.

        Raises:
            NotFoundError: There is no such run.
        """
        await self.find(scope, run_id)
        await self.runtime.cancel(run_id)
        return await self.runs.get(scope, run_id)

    async def retry(self, call: Call | None, scope: Scope, run_id: str, interaction: Interaction) -> RunRecord:
        """
        Run the workflow of a run that failed or was cancelled again, with its inputs, and return the new run's record.

        Steps that have succeeded are not called again, as long as the workflow is what it was and their results could be stored.
        The new run is its caller's; where the application itself retries the run of another, it is that one's.

        Args:
            call: Who retries it; None for the one who has started it.
            scope: In which it is looked for.
            run_id: The run's.
            interaction: How the new run talks to its caller.

        Raises:
            NotFoundError: There is no such run, or its workflow is not registered any more.
            ConflictError: It has not failed, or files came with it, which are gone.
            InvalidArgumentError: Its inputs don't fit the workflow any more.
        """
        record = await self.runs.get(scope, run_id)
        if record.status not in {"failed", "cancelled"}:
            raise ConflictError(
                f"run {run_id} is {record.status}; only one that failed or was cancelled can be retried", run_id=run_id
            )
        require_repeatable(record)
        found = self.planned(_reference(record))
        if found is None:
            raise WorkflowNotFoundError(f"workflow {_reference(record)} of run {run_id} is not registered any more")
        operation, plan = found
        if call is None or call.principal.id != record.principal:
            call = call_again(record, now=self.clock.now(), call=call)
        return await self.run(call, operation, plan, inputs_again(record, plan), interaction, retried=record)

    async def take_over(self, record: RunRecord) -> None:
        """
        Go on with a run whose owner has gone: resume it if it is durable, else end it as failed.

        Raises:
            UnavailableError: It can't be resumed now.
        """
        if record.cancelling:
            await self._give_up(record, CancelledError("the run was cancelled"))
            return
        found = self.planned(_reference(record))
        if found is None or not found[1].durable or record.plan_hash != found[1].hash:
            another = " and its workflow is not registered as it was; retry it" if record.plan_hash else ""
            await self._give_up(record, UnavailableError(f"the process that carried it has gone{another}"))
            return
        plan = found[1]
        try:
            inputs = inputs_again(record, plan)
            results = await self.results.resumed(record, plan)
        except (InvalidArgumentError, ValueError, KeyError) as error:
            reason = f"the process that carried it has gone, and what it left can't be read: {error}"
            await self._give_up(record, UnavailableError(reason))
            return
        now = self.clock.now()
        call = call_again(record, now=now)
        hooks = self.hooks.of(found[0], plan) if self.hooks.all else None
        left = None if plan.timeout is None else max(0.0, plan.timeout - (now - record.created_at).total_seconds())
        record = record.changed(as_json=False)  # as its output will not be
        await self.runtime.submit(record, Work(plan=plan, inputs=inputs, call=call, left=left, hooks=hooks, results=results))

    async def _give_up(self, record: RunRecord, reason: CancelledError | UnavailableError) -> None:
        ended = record.changed(
            status="cancelled" if isinstance(reason, CancelledError) else "failed",
            ended_at=self.clock.now(),
            questions={},
            error=RunError(code=reason.code, message=reason.message),
        )
        with suppress(ConflictError, NotFoundError):  # somebody else was faster
            await self.runs.save(ended, expected_version=record.version)

    async def find(self, scope: Scope, run_id: str) -> RunRecord:
        """
        Return the record of a run, whoever carries it.

        Raises:
            NotFoundError: There is no such run.
        """
        return await self.runs.get(scope, run_id)

    def restored(self, record: RunRecord) -> RunRecord:
        """Return the record with its output as the workflow returned it, where the store had it as JSON and that can be told."""
        if not record.as_json or record.status != "succeeded" or record.redacted or isinstance(record.output, Unstored):
            return record
        found = self.planned(_reference(record))
        field = None if found is None else found[1].result
        if field is None:
            return record
        check = Check()
        try:
            output = field.take(record.output, "", check)
        except Exception:  # noqa: BLE001 - a class that refuses what it was: JSON values then, as for a workflow that has gone
            return record
        return record if check.refused else record.changed(output=output, as_json=False)

    async def listing(self, scope: Scope, *, where: Mapping[str, str], after: str | None, limit: int) -> Page[RunRecord]:
        """Return a page of the scope's runs, see `RunStore.list`."""
        return await self.runs.list(scope, where=where, after=after, limit=limit)

    async def events(self, scope: Scope, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """
        Return what a run tells, from its beginning or after event number *after*, until it has ended.

        Of a run that ended long ago only the end is left.

        Raises:
            NotFoundError: There is no such run.
        """
        return self._events(await self.find(scope, run_id), after)

    async def _events(self, record: RunRecord, after: int) -> AsyncIterator[Event]:
        try:
            async for event in self.runtime.events(record.id, after=after):
                yield event
        except UnavailableError:
            if not record.ended:
                raise
            yield record.event(after + 1, f"run.{record.status}", {} if record.error is None else {"code": record.error.code})

    async def wait(self, scope: Scope, run_id: str, seconds: float, interaction: Interaction) -> RunRecord:
        """
        Wait until a run has ended or waits for an answer, that long at most, and return its record.

        Whoever waits hears what the run tells meanwhile, and is asked what it can answer at once; that takes its own time.

        Raises:
            NotFoundError: There is no such run.
        """
        await self.find(scope, run_id)
        attends = False
        if interaction.listens or interaction.answers is Answers.NOW:
            with suppress(UnavailableError):  # it has ended, or another process carries it
                await self.runtime.resume(run_id, interaction)
                attends = True
        await (self._attend(run_id, interaction, seconds) if attends else self._settled(run_id, seconds))
        return await self.find(scope, run_id)

    async def _settled(self, run_id: str, seconds: float | None) -> RunRecord:
        with nullcontext() if seconds is None else self.clock.timeout(seconds):
            return await self.runtime.settled(run_id)
        return await self.runs.get(Scope.ALL, run_id)

    async def _attend(self, run_id: str, interaction: Interaction, seconds: float | None = None) -> RunRecord:
        """
        Wait until the run has settled, while its caller hears what it tells, and is asked what it can answer at once.

        Args:
            run_id: The run's.
            interaction: Its caller's.
            seconds: How long to wait at most, each time anew when a question has been answered.
        """
        record = None
        try:
            record = await self._settled(run_id, seconds)
            while record.status == "waiting" and record.own_questions and interaction.answers is Answers.NOW:
                await self._ask(record, interaction)
                record = await self._settled(run_id, seconds)
            return record
        finally:
            if record is None or not record.ended:
                # This caller leaves, with the record or without: what the run tells from now on is not for it.
                with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(UnavailableError):
                    await self.runtime.resume(run_id, DETACHED)

    async def _ask(self, record: RunRecord, interaction: Interaction) -> None:
        question = record.own_questions[0]
        caller = Principal(id=record.principal)
        try:
            given = await interaction.ask(question)
            while True:
                try:
                    await self.answering.take(Scope.ALL, caller, record.id, question.name, given)
                    break
                except InvalidArgumentError as error:
                    given = await interaction.ask(attrs.evolve(question, problem="; ".join(p.message for p in error.problems)))
        except CancelledError:
            await self.runtime.cancel(record.id)
            return
        except (ConflictError, NotFoundError):
            # Somebody else was faster.
            return
        await self.runtime.resume(record.id, interaction)


def _reference(record: RunRecord) -> str:
    return f"{record.workflow}@{record.workflow_version}"


def error_of(record: RunRecord) -> NexusError | None:
    """Return why the run did not succeed, as what is told to its caller; None if it did, or has not ended."""
    failure = record.error
    if failure is None:
        return None
    if not failure.private and isinstance(failure.exception, NexusError):
        return failure.exception
    if failure.private:
        told = hidden(failure.exception, record.request_id)
        # By which it can be looked at, and retried.
        told.details["run_id"] = record.id
        return told
    kinds = {"cancelled": CancelledError, "deadline_exceeded": DeadlineExceededError, "unavailable": UnavailableError}
    if failure.code in kinds:
        return kinds[failure.code](failure.message, **failure.details)
    return Problem(failure.code, failure.message, **failure.details)
