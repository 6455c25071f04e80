"""One run on a server, carried through by its caller here: heard, answered, cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Final

import anyio
import attrs
import msgspec

from nexus.abc import Clock, Interaction
from nexus.exceptions import CancelledError, NexusError, UnavailableError, WorkflowFailedError, error_of
from nexus.models import MISSING, Answers, Event, Question
from nexus_client.addresses import path_of
from nexus_client.connection import EVENT_STREAM, Connection, Reply
from nexus_client.frames import Frame

__all__ = ["Execution", "has_ended"]

RUN: Final = "/api/runs/{run_id}"
EVENTS: Final = f"{RUN}/events"
ANSWER: Final = f"{RUN}/answer"
WAIT: Final = f"{RUN}/wait"
CANCEL: Final = f"{RUN}/cancel"

TOLD: Final = frozenset({"run.progress", "run.log", "run.chunk"})
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
ATTEMPTS: Final = 3
"""How often a question is asked again after a wrong answer, as the core does where it can ask at once."""
FIRST_WORDS_S: Final = 1.0
"""What is left for a run to tell its id before it is cancelled."""
LAST_WORDS_S: Final = 2.0
"""What is left for events that are on their way when the reply is here that came after them."""
PAUSE_S: Final = 0.5
"""Between two attempts to follow a run whose events have broken off."""
EXPIRY_S: Final = 0.2
"""What is left for a server to notice that a question has not been answered in time."""
CLEAN_UP_S: Final = 60.0

Json = Mapping[str, Any]


class _Shown(msgspec.Struct):
    """An event as a server sends it."""

    id: str
    type: str
    time: datetime
    data: Any


EVENT: Final = msgspec.json.Decoder(_Shown)


def has_ended(data: Json) -> bool:
    """Whether what a server shows of a run is its end: results alone, or a record that says so."""
    return data.get("status", "succeeded") in ENDED


@attrs.define(eq=False, repr=False)
class Execution:
    """
    A run, from the request that starts it to its end, whatever it asks meanwhile.

    Until it has waited, the server talks on the request that has started it; from then on its events are followed by another,
    so that they are heard while somebody thinks about an answer.

    Attributes:
        run_id: Empty until it is known.
    """

    connection: Connection
    interaction: Interaction
    clock: Clock
    run_id: str = ""
    _last: int = attrs.field(default=0, init=False)
    _asked: set[str] = attrs.field(factory=set, init=False)
    _silent: bool = attrs.field(default=False, init=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    async def carry_out(self, path: str, request: Json) -> Reply:
        """
        Start a run, and return the last reply about it; where the caller's task is cancelled, so is the run.

        Args:
            path: That executes a workflow.
            request: What httpx takes.

        Raises:
            NexusError: Why it did not come to an end here.
        """
        outcome: list[Reply | Exception] = []
        done = anyio.Event()

        async def work() -> None:
            # Goes on while the run is cancelled: its clean-up may have something to tell.
            with shield:
                try:
                    outcome.append(await self._carry_out(path, request))
                except UnavailableError as error:
                    outcome.append(self._named(error))
                except Exception as error:  # noqa: BLE001 - raised below: out of here it would be in an ExceptionGroup
                    outcome.append(error)
                finally:
                    done.set()

        shield = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            try:
                await done.wait()
            finally:
                if not done.is_set():
                    with anyio.move_on_after(CLEAN_UP_S, shield=True):
                        await self._cancel()
                shield.cancel()
        reply = outcome[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _carry_out(self, path: str, request: Json) -> Reply:
        reply = await self._start(path, request)
        if reply.error is None and not (isinstance(reply.data, dict) and "run_id" in reply.data):
            raise self.connection.not_ours("with no run")
        if reply.error is None and not has_ended(reply.data):
            self.run_id = reply.data["run_id"]
            reply = await self._attend(reply)
        if reply.error is None and "error" in reply.data:
            error = error_of(reply.data["error"])
            if error.code == WorkflowFailedError.default_code:
                error.details["run_id"] = self.run_id
            return attrs.evolve(reply, error=error)
        return reply

    async def _start(self, path: str, request: Json) -> Reply:
        headers = {**request.get("headers", {}), "accept": f"{EVENT_STREAM}, application/json;q=0.9"}
        reply: Reply | None = None
        try:
            async with self.connection.response("POST", path, waits=True, **{**request, "headers": headers}) as response:
                if not response.headers.get("content-type", "").startswith(EVENT_STREAM):
                    return await self.connection.reply(response)
                async with aclosing(self.connection.frames(response)) as frames:
                    async for frame in frames:
                        if frame.event == "response":
                            reply = self.connection.opened_reply(frame.data)
                        else:
                            await self._hear(frame)
        finally:
            self._note_silence()
        if reply is None:
            raise UnavailableError(f"the server at {self.connection.url} has left before the end")
        return reply

    async def _attend(self, reply: Reply) -> Reply:
        """Hear and answer a run that does not need this connection any more, until it has ended."""
        failure: NexusError | None = None
        self._silent = False

        async def follow() -> None:
            nonlocal failure
            try:
                await self._follow()
            except UnavailableError as error:
                failure = error
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            try:
                while reply.error is None and not has_ended(reply.data):
                    reply = await self._next(reply)
                with anyio.move_on_after(LAST_WORDS_S):
                    await self._until_silent()
            except NexusError as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None and reply.error is None and not has_ended(reply.data):
            raise failure
        return reply

    async def _next(self, reply: Reply) -> Reply:
        """Answer a question, or wait, and return what is known then."""
        if reply.data["status"] == "waiting" and reply.data["questions"]:
            own = [question for question in reply.data["questions"] if "of" not in question]
            if not own:
                raise self._for_others(reply.data["questions"])
            question = _question_of(own[0])
            await self._until_asked(question.name)
            return await self._settle(question, reply.time)
        waited = await self._post(WAIT)
        waited.required()
        return waited

    def _for_others(self, questions: Sequence[Json]) -> UnavailableError:
        """Return why a run goes on without this caller: what it asks is for others to answer."""
        asked = ", ".join(f"{question['name']!r} ({question['text']}) of {question['of']}" for question in questions)
        return UnavailableError(f"run {self.run_id} waits for an answer: {asked}; look for it by its id", run_id=self.run_id)

    async def _follow(self) -> None:
        """
        Hear what the run tells, beside what is going on; what is not kept any more is not missed.

        Raises:
            UnavailableError: The connection was lost, and could not be made again.
        """
        failures = 0
        while True:
            before = self._last
            try:
                await self._hear_all()
            except UnavailableError:
                failures = failures + 1 if self._last == before else 1
                if failures == ATTEMPTS:
                    raise
                await self.clock.sleep(PAUSE_S)
            else:
                self._note_silence()
                return

    async def _hear_all(self) -> None:
        headers = {"last-event-id": f"{self.run_id}-{self._last}", "accept": EVENT_STREAM}
        async with self.connection.response("GET", self._path(EVENTS), waits=True, headers=headers) as response:
            if response.headers.get("content-type", "").startswith(EVENT_STREAM):
                async with aclosing(self.connection.frames(response)) as frames:
                    async for frame in frames:
                        await self._hear(frame)

    async def _hear(self, frame: Frame) -> None:
        try:
            shown = EVENT.decode(frame.data)
            run_id, _, digits = shown.id.rpartition("-")
            number = int(digits)
        except ValueError:
            raise self.connection.not_ours("with odd events") from None
        if not self.run_id:
            self.run_id = run_id
            self._wake()
        if number <= self._last:
            return
        self._last = number
        if shown.type in TOLD:
            await self.interaction.tell(Event(id=shown.id, type=shown.type, data=shown.data, time=shown.time, run_id=run_id))
        elif shown.type == "run.waiting":
            self._asked |= {question["name"] for question in shown.data["questions"]}
            self._wake()

    # ---- questions

    async def _settle(self, question: Question, now: datetime | None) -> Reply:
        """
        Ask, send the answer, and return the reply; a wrong answer is asked for again.

        Raises:
            NexusError: Nobody can answer, wants to, or did so rightly; the run is cancelled.
        """
        refusal: NexusError | None = None
        for _ in range(ATTEMPTS):
            answer = await self._answer_to(question, now)
            if answer is MISSING:
                await self.clock.sleep(EXPIRY_S)
                return await self._record()
            reply = await self._post(ANSWER, {"question": question.name, "answer": answer})
            if reply.error is None:
                return reply
            refusal = reply.error
            record = await self._record()
            if has_ended(record.data):
                # Of this answer's consequences, or of something else meanwhile.
                return reply if record.data.get("error", {}).get("code") == refusal.code else record
            if question.name not in {each["name"] for each in record.data["questions"]}:
                return record
            question, now = attrs.evolve(question, problem=_problem_of(refusal)), record.time
        await self._cancel()
        assert refusal is not None  # noqa: S101 - for the type checker: the loop returns, or leaves one behind
        raise refusal

    async def _answer_to(self, question: Question, now: datetime | None) -> Any:
        """Return the answer, or `MISSING` where it would be too late; if there is none, the run is cancelled."""
        if self.interaction.answers is not Answers.NOW:
            if question.default is not MISSING:
                return question.default
            await self._cancel()
            text = f"nobody can answer here; give `default=` (asked: {question.text!r})"
            raise UnavailableError(text, question=question.name)
        try:
            if question.expires_at is None or now is None:
                return await self.interaction.ask(question)
            # By the server's clock, for this machine's may be another.
            with self.clock.timeout(max(0.0, (question.expires_at - now).total_seconds())):
                return await self.interaction.ask(question)
        except (CancelledError, UnavailableError):
            await self._cancel()
            raise
        return MISSING

    async def _cancel(self) -> None:
        """Cancel the run, and hear it out; one that the server can't find ends with the connection that has begun it."""
        with anyio.move_on_after(FIRST_WORDS_S):
            while not (self.run_id or self._silent):
                await self._changed.wait()
        if not self.run_id:
            return
        with suppress(UnavailableError):
            reply = await self._post(CANCEL)
            if reply.error is None:
                with anyio.move_on_after(LAST_WORDS_S):
                    await self._until_silent()

    async def _record(self) -> Reply:
        reply = await self.connection.get(self._path(RUN))
        reply.required()
        return reply

    async def _post(self, template: str, body: Json | None = None) -> Reply:
        return await self.connection.post(self._path(template), body)

    def _path(self, template: str) -> str:
        return path_of(template, run_id=self.run_id)

    def _named(self, error: UnavailableError) -> UnavailableError:
        """Return the error with the run of which more is to be known, where it is the way there that failed."""
        if not self.run_id or "question" in error.details:
            return error
        return UnavailableError(f"{error.message} (run {self.run_id})", run_id=self.run_id)

    # ---- what is on its way

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _note_silence(self) -> None:
        self._silent = True
        self._wake()

    async def _until_silent(self) -> None:
        while not self._silent:
            await self._changed.wait()

    async def _until_asked(self, name: str) -> None:
        """Wait for what the run has told before it asked."""
        with anyio.move_on_after(LAST_WORDS_S):
            while name not in self._asked and not self._silent:
                await self._changed.wait()


def _question_of(shown: Json) -> Question:
    expires_at = shown.get("expires_at")
    return Question(
        name=shown["name"],
        text=shown["text"],
        schema=shown["schema"],
        step=shown["step"],
        default=shown.get("default", MISSING),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )


def _problem_of(refusal: NexusError) -> str:
    errors = refusal.details.get("errors", ())
    return "; ".join(error["message"] for error in errors) or refusal.message
