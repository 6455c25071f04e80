"""Takes the answers to what runs have asked, from those who may give them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
import msgspec

from nexus.abc import RunStore, Runtime
from nexus.exceptions import ArgumentProblem, ConflictError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from nexus.models import ANONYMOUS, APPLICATION, Answer, Principal, Question, RunRecord, Scope
from nexus.workflows.answers import check_answer
from nexus.workflows.secrecy import digest_of, sealed

__all__ = ["Answering", "require_of"]

ATTEMPTS: Final = 20
OF: Final = re.compile(r"(role|principal):\S(.*\S)?")


def require_of(of: str) -> None:
    """
    Let pass what says whom a question is for.

    Raises:
        ValueError: It says nobody.
    """
    if not OF.fullmatch(of):
        raise ValueError(f"run.ask(…, of={of!r}): expected 'role:NAME' or 'principal:ID', as in of=\"role:finance\"")


def may_answer(question: Question, record: RunRecord, principal: Principal) -> bool:
    """Whether a question is for that principal: one that names who it is for never is for the one who started the run."""
    if not question.of:
        return principal.id == record.principal or principal is APPLICATION
    if principal.id in {record.principal, ANONYMOUS.id}:
        return False
    kind, _, name = question.of.partition(":")
    return principal is APPLICATION or (name in principal.roles if kind == "role" else name == principal.id)


@attrs.frozen(eq=False)
class Answering:
    """Shows waiting runs to those who may answer, and takes their answers."""

    runs: RunStore
    runtime: Runtime

    async def look(self, scope: Scope, principal: Principal, run_id: str) -> RunRecord:
        """
        Return the record of a run; to another than the one who started it what concerns that one, if anything does.

        Raises:
            NotFoundError: There is no such run.
        """
        record, is_own = await self._find(scope, principal, run_id)
        return record if is_own else _part_for(record, principal)

    async def take(self, scope: Scope, principal: Principal, run_id: str, name: str | None, answer: Any) -> tuple[bool, bool]:
        """
        Store an answer.

        Returns:
            Whether it is new; else it was there already. And whether the run is in the scope, as its own.

        Raises:
            NexusError: It is not taken, see `Executor.answer`.
        """
        for _ in range(ATTEMPTS):
            record, is_own = await self._find(scope, principal, run_id)
            shown = record if is_own else _part_for(record, principal)
            question = _question(shown, name, principal)
            if question is None:
                _require_same(shown, name, answer)
                return False, is_own
            if not may_answer(question, record, principal):
                whom = question.of.partition(":")[2]
                raise PermissionDeniedError(
                    f"question {question.name!r} of run {run_id} is for {whom!r}, and never for whoever started the run",
                    run_id=run_id,
                    question=question.name,
                )
            checked = check_answer(question.schema, answer)
            given = attrs.evolve(sealed(question, checked), by=principal.id)
            if given.digest is not None:
                self.runtime.hold(run_id, given.digest, checked)
            with suppress(ConflictError):
                await self.runs.save(_answered(record, question, given), expected_version=record.version)
                return True, is_own
        raise ConflictError(f"run {run_id} changes faster than it can be answered; try again")

    async def _find(self, scope: Scope, principal: Principal, run_id: str) -> tuple[RunRecord, bool]:
        try:
            return await self.runs.get(scope, run_id), True
        except NotFoundError:
            record = await self.runs.get(Scope.ALL, run_id)
            if record.tenant != scope.tenant or not _concerns(record, principal):
                raise
            return record, False


def _concerns(record: RunRecord, principal: Principal) -> bool:
    """Whether it asks, or has asked, one who did not start it."""
    return any(may_answer(question, record, principal) for question in record.questions.values()) or any(
        answer.by == principal.id for answer in record.answers.values()
    )


def _part_for(record: RunRecord, principal: Principal) -> RunRecord:
    """Return what of a run is shown to one who did not start it, and is or was asked."""
    return RunRecord(
        id=record.id,
        workflow=record.workflow,
        workflow_version=record.workflow_version,
        status=record.status,
        request_id=record.request_id,
        channel=record.channel,
        principal=record.principal,
        tenant=record.tenant,
        session=None,
        created_at=record.created_at,
        version=record.version,
        ended_at=record.ended_at,
        questions={name: each for name, each in record.questions.items() if may_answer(each, record, principal)},
        answers={name: each for name, each in record.answers.items() if each.by == principal.id},
    ).changed(partial=True)


def _require_same(record: RunRecord, name: str | None, answer: Any) -> None:
    """The same answer again gets the same reply."""
    if name is None:
        name = next(reversed(list(record.answers)), None)
    given = None if name is None else record.answers.get(name)
    if given is not None and _is_same(given, answer):
        return
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
    if given.digest is not None:
        return hmac.compare_digest(digest_of(checked), given.digest)
    # As JSON, where 1 is not true.
    return msgspec.json.encode(checked, order="sorted") == msgspec.json.encode(given.value, order="sorted")


def _question(record: RunRecord, name: str | None, principal: Principal) -> Question | None:
    if name is not None:
        return record.questions.get(name)
    questions = list(record.questions.values())
    candidates = [question for question in questions if may_answer(question, record, principal)] or questions
    if len(candidates) > 1:
        names = ", ".join(question.name for question in candidates)
        problem = ArgumentProblem("/question", f"missing; expected one of: {names}")
        raise InvalidArgumentError(f"run {record.id} has {len(candidates)} questions open; say which one this answers", [problem])
    return candidates[0] if candidates else None


def _answered(record: RunRecord, question: Question, answer: Answer) -> RunRecord:
    questions: Mapping[str, Question] = {name: other for name, other in record.questions.items() if name != question.name}
    return record.changed(
        questions=questions,
        answers={**record.answers, question.name: answer},
        status="waiting" if questions else "running",
    )
