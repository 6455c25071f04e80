"""What becomes of a run, in its record and for those who wait for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any, Final, cast

import anyio
import attrs

from nexus.abc import Clock, RunStore
from nexus.exceptions import CancelledError, ConflictError, UnavailableError
from nexus.models import Question, RunError, RunRecord, RunStatus, Scope, StepRow, StepStatus
from nexus.workflows.durable import StepResults
from nexus.workflows.execution import TOLD
from nexus.workflows.feeds import Feed
from nexus.workflows.folders import Folders
from nexus.workflows.live import ExpiredError, LiveRun, OpenQuestion
from nexus.workflows.ownership import Ownership

__all__ = ["CLEAN_UP_S", "Bookkeeping", "given_to"]

MOST_FEEDS: Final = 1000
CLEAN_UP_S: Final = 5.0
ATTEMPTS: Final = 20


@attrs.define(eq=False, kw_only=True, repr=False)
class Bookkeeping:
    """
    Keeps the records of the runs that this process carries.

    Attributes:
        live: The runs that have not ended, by their ids.
        report: Told of each run that raised.
        settled: Called when a run has ended, or waits, while somebody waits for all of them.
        ownership: Whose the runs are, where several processes share the store.
        results: Keeps what steps return, for runs that outlive a process or are retried.
    """

    runs: RunStore
    clock: Clock
    folders: Folders
    report: Callable[[RunRecord, BaseException], None]
    settled: Callable[[], None] | None = attrs.field(default=None, init=False)
    live: dict[str, LiveRun] = attrs.field(factory=dict, init=False)
    ownership: Ownership | None = attrs.field(default=None, init=False)
    results: StepResults | None = attrs.field(default=None, init=False)
    _feeds: OrderedDict[str, Feed] = attrs.field(factory=OrderedDict, init=False)

    @property
    def owner(self) -> str | None:
        """Whose the runs of this process are."""
        return None if self.ownership is None else self.ownership.owner

    def feed(self, run_id: str) -> Feed | None:
        """Return what a run has told so far, if that is still kept."""
        live = self.live.get(run_id)
        return self._feeds.get(run_id) if live is None else live.feed

    def notify(self, live: LiveRun) -> None:
        """Wake up who waits for a run."""
        live.notify()
        if self.settled is not None:
            self.settled()

    async def end(self, live: LiveRun, output: Any, error: BaseException | None) -> RunRecord:
        """Write down how a run has ended, tell who follows it, and return its record."""
        record = live.record
        rows, cancelled = await self._put_files_away(live, output) if live.has_files else ((), None)
        status: RunStatus = "succeeded" if error is None else "cancelled" if isinstance(error, CancelledError) else "failed"
        failure = None if error is None else _failure(error)
        duration = self.clock.monotonic() - live.started
        # A record that no store has yet is nobody else's: it need not be copied.
        ended = (record.changed if live.stored else record.complete)(
            status=status,
            ended_at=self.clock.now(),
            duration=duration,
            questions={},
            output=output,
            file_rows=rows,
            error=failure,
            step_rows=live.steps or _only_step(live, status, duration, failure),
        )
        if live.secrets is not None:
            ended = live.secrets.concealed(ended)
            failure = ended.error
        try:
            if live.stored:
                await self.change(live, partial(_ended, record, ended))
            else:
                live.record = await self.runs.create(live.call.scope, ended)
        except BaseException as raised:
            await self._write_after_all(live, record, ended, raised)
            raise
        finally:
            del self.live[record.id]
            if failure is not None or live.feed is not None or live.folder is not None or ended.redacted:
                self._let_go(live, output, error, failure)
            if live.is_followed:
                await self._announce_end(live, {} if failure is None else {"code": failure.code})
            self.notify(live)
        if cancelled is not None:
            raise cancelled
        return live.record

    async def _put_files_away(self, live: LiveRun, output: Any) -> tuple[Sequence[tuple[str, str]], BaseException | None]:
        """Settle the files, and return their rows and what is to be raised once the record is written."""
        try:
            return await self.settle_files(live, output), None
        except anyio.get_cancelled_exc_class() as cancelled:
            # By asyncio itself, which no shield keeps out, and which does so once.
            return await self.settle_files(live, output), cancelled

    async def _write_after_all(self, live: LiveRun, record: RunRecord, ended: RunRecord, reason: BaseException) -> None:
        """Write down what a run has done though the task that was about to do so is cancelled."""
        if not isinstance(reason, Exception):
            with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(Exception):
                if live.stored:
                    await self.change(live, partial(_ended, record, ended))
                else:
                    live.record = await self.runs.create(live.call.scope, ended)
        if not live.record.ended:
            live.record = ended

    def _let_go(self, live: LiveRun, output: Any, error: BaseException | None, failure: RunError | None) -> None:
        """Keep what others may ask for of a run that is carried no more, and give its record what only who waited for it sees."""
        run_id = live.record.id
        if live.feed is not None:
            self._keep(live.feed, run_id)
        if live.folder is not None:
            self.folders.keep(run_id, live.folder)
        if failure is not None and error is not None:
            live.record = live.record.changed(error=attrs.evolve(failure, exception=error))
            if failure.code in {"failed", "internal"}:
                self.report(live.record, error if live.secrets is None else live.secrets.told(error))
        elif live.record.redacted:
            live.record = live.record.changed(returned=output)

    async def _announce_end(self, live: LiveRun, data: Mapping[str, Any]) -> None:
        """Tell who follows it, before its caller is woken, who may leave with the record; no listener holds it up for long."""
        if live.interaction.follows:
            with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(Exception):
                await live.announce(f"run.{live.record.status}", data)
        else:
            await live.announce(f"run.{live.record.status}", data)
        if live.feed is not None:
            live.feed.close()

    async def _suspend(self, live: LiveRun) -> RunRecord:
        """Leave a durable run to the next start."""
        assert live.results is not None  # noqa: S101 - that is what makes it durable
        withdrawn = live.results.withdrawn
        try:
            if withdrawn:
                with anyio.move_on_after(CLEAN_UP_S, shield=True):
                    await self.change(
                        live, lambda record: record.changed(status="waiting", questions={**record.questions, **withdrawn})
                    )
        finally:
            live.results.suspended = True
            del self.live[live.record.id]
            if live.feed is not None:
                live.feed.close()
            self.notify(live)
        return live.record

    async def fail(self, live: LiveRun, output: Any, error: BaseException | None) -> RunRecord:
        """End a run that has not succeeded, unless it goes on at the next start."""
        if live.goes_on:
            return await self._suspend(live)
        if live.unfinished is not None and self.results is not None:
            live.record = live.record.changed(plan_hash=await self.results.keep(live))
        return await self.end(live, output, error)

    def _keep(self, feed: Feed, run_id: str) -> None:
        """Keep what a run told for a while after its end: who submitted it may ask only then."""
        self._feeds[run_id] = feed
        if len(self._feeds) > MOST_FEEDS:
            self._feeds.popitem(last=False)

    async def settle_files(self, live: LiveRun, output: Any) -> Sequence[tuple[str, str]]:
        """Remove the files of a run that nobody needs any more, and return the rows of those that its output names."""
        form = live.call.request.form
        rows, stays = await self.folders.settle(output, uploads=None if form is None else form.folder, folder=live.folder)
        if not stays:
            live.folder = None
        return rows

    async def park(self, live: LiveRun, question: Question) -> Any:
        """Let a run wait for an answer that comes by a later call, and return it."""
        name = question.name
        if name in live.questions:
            raise ValueError(f"a question named {name!r} is open already; give each its own name=")
        # Before the store has the question, for its answer may come before the store has replied.
        waiting = live.questions[name] = OpenQuestion(question)
        try:
            if not await self._was_asked(live, name):
                await self.change(live, lambda record: _asking(record, question))
            elif name not in live.record.questions:
                live.questions.pop(name, None)
                return given_to(live, name)
            # Where it was asked before, it expires when it would have.
            question = live.record.questions.get(name, question)
            live.has_waited = True
            # Before its caller is woken, who may leave with the record.
            await live.announce("run.waiting", {"questions": [question.view()]})
            self.notify(live)
            live.give_slots_back()
            try:
                with live.until(question.expires_at):
                    await waiting.answered.wait()
            except ExpiredError:
                if not await self._was_answered(live, waiting):
                    raise
            if not live.questions and not live.holds_slots:
                await live.take_slots(again=True)
        except BaseException as reason:
            # Nobody waits for it any more. What the store says to that must not take the place of the reason.
            if live.questions.pop(name, None) is not None and not live.goes_on:
                if live.results is not None and not isinstance(reason, Exception):
                    live.results.withdrawn[name] = question
                with anyio.move_on_after(CLEAN_UP_S, shield=True), suppress(Exception):
                    await self.change(live, lambda record: _without(record, name))
            raise
        return waiting.answer

    async def _was_answered(self, live: LiveRun, waiting: OpenQuestion) -> bool:
        """Withdraw a question that has expired; whether an answer was taken before, of which this has not been told yet."""
        name = waiting.question.name
        if not waiting.answered.is_set():
            await self.change(live, lambda record: _without(record, name))
            live.questions.pop(name, None)
            if name not in live.record.answers:
                return False
            waiting.answer = given_to(live, name)
        return True

    async def _was_asked(self, live: LiveRun, name: str) -> bool:
        """Whether the question was asked before the run was resumed, and is open, or answered."""
        if live.results is None or name not in live.results.asked:
            return False
        live.results.asked.discard(name)
        live.catch_up(await self.runs.get(Scope.ALL, live.record.id))
        return name in live.record.questions or name in live.record.answers

    async def change(self, live: LiveRun, change: Callable[[RunRecord], RunRecord]) -> None:
        """Change the stored record; an answer may have come between, which must not be lost."""
        for _ in range(ATTEMPTS):
            try:
                saved = await self.runs.save(change(live.record), expected_version=live.record.version)
                # Somebody may have answered, and `resume` have read it, before this was told.
                live.record = max(saved, live.record, key=attrgetter("version"))
            except ConflictError:
                live.catch_up(await self.runs.get(Scope.ALL, live.record.id))
                if live.record.owner != self.owner:
                    raise UnavailableError(f"another process carries run {live.record.id} now") from None
            else:
                return
        raise ConflictError(f"the record of run {live.record.id} changes faster than this process can follow")


def given_to(live: LiveRun, name: str) -> Any:
    """Return what a question of the run was answered with."""
    given = live.record.answers[name]
    return given.value if live.secrets is None else live.secrets.answer(given)


def _ended(record: RunRecord, ended: RunRecord, latest: RunRecord) -> RunRecord:
    """Return the record that takes the place of the latest; where somebody has answered meanwhile, that stays."""
    return ended if latest is record else ended.changed(answers=latest.answers, version=latest.version)


def _asking(record: RunRecord, question: Question) -> RunRecord:
    return record.changed(
        status="waiting",
        questions={**record.questions, question.name: question},
        answers={name: answer for name, answer in record.answers.items() if name != question.name},
    )


def _without(record: RunRecord, name: str) -> RunRecord:
    questions = {other: question for other, question in record.questions.items() if other != name}
    return record.changed(questions=questions, status="waiting" if questions else "running")


def _only_step(live: LiveRun, status: RunStatus, duration: float, failure: RunError | None) -> list[StepRow]:
    """Return the row of the step of a plan that has no other, whose times are the run's."""
    step = live.single
    if step is None:
        return []
    return [(step, cast("StepStatus", status), 0.0, duration, None if failure is None else failure.message, 1)]


def _failure(error: BaseException) -> RunError:
    if isinstance(error, TOLD):
        return RunError(code=error.code, message=error.message, details=error.details)
    return RunError(code="failed", message=f"{type(error).__name__}: {error}", private=True)
