"""Runs that outlive their call: submitted, waiting, answered, cancelled, stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any, Literal

import anyio
import attrs
import pytest

import nexus
from nexus import (
    CancelledError,
    ConflictError,
    InvalidArgumentError,
    Nexus,
    NotFoundError,
    Request,
    Response,
    Run,
    UnavailableError,
    Workflow,
    WorkflowFailedError,
)
from nexus.abc import Interaction
from nexus.models import Answers, Caller, Event, Principal, Question
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


class Later(Interaction):
    """A caller that answers by a later call."""

    answers = Answers.LATER

    def __init__(self) -> None:
        self.heard: list[Event] = []

    async def tell(self, event: Event) -> None:
        self.heard.append(event)

    async def ask(self, question: Question) -> Any:
        raise AssertionError(question)


class Now(Later):
    """A caller that answers while it listens."""

    answers = Answers.NOW

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.given = list(given)
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Any:
        self.asked.append(question)
        answer = self.given.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Seat(Enum):
    WINDOW = "window"
    AISLE = "aisle"


@attrs.frozen
class Passenger:
    name: str
    age: int


@nexus.workflow
async def book(*, run: Run) -> str:
    seat = await run.ask("Which seat?", Seat, name="seat")
    return f"you sit at the {seat.value}"


@nexus.workflow
async def keep(*, run: Run) -> bool:
    return await run.ask("Keep the outliers?", bool, default=True)


def app_of(*what: Workflow | Callable[..., Any], **options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(*what)
    return app


async def call(
    app: Nexus, operation: str, /, *, interaction: Interaction | None = None, channel: str = "api", **arguments: Any
) -> Response:
    request = Request(operation=operation, arguments=arguments, caller=Caller(channel=channel))
    return await app.dispatch(request, interaction)


async def start(app: Nexus, workflow: str, **arguments: Any) -> str:
    response = await call(app, workflow, interaction=Later(), **arguments)
    assert response.run is not None
    assert response.run.status == "waiting"
    return response.run.id


async def test_a_submitted_run_goes_on_without_its_caller() -> None:
    done = anyio.Event()

    @nexus.workflow
    async def work() -> int:
        done.set()
        return 7

    async with app_of(work) as app:
        handle = await app.submit_workflow("work")
        with anyio.fail_after(5):
            assert await handle.result() == 7
        record = await handle.status()
        assert (record.status, record.output) == ("succeeded", 7)


async def test_a_submitted_run_is_pending_in_the_reply() -> None:
    async with app_of(keep) as app:
        request = Request(operation="keep", arguments={}, caller=Caller(channel="api"), detach=True)
        response = await app.dispatch(request)
        assert response.run is not None
        assert response.run.status == "pending"


async def test_submitting_to_an_application_that_is_not_started_says_how() -> None:
    with pytest.raises(UnavailableError, match="async with app:"):
        await app_of(book).submit_workflow("book")


async def test_a_run_that_asks_where_answers_come_later_needs_a_started_application() -> None:
    response = await call(app_of(book), "book", interaction=Later())
    assert response.error is not None
    assert "async with app:" in response.error.message


async def test_nobody_can_answer_in_process() -> None:
    with pytest.raises(UnavailableError, match="nobody can answer here; give `default=`"):
        await app_of(book).execute_workflow("book")


async def test_where_nobody_can_answer_the_default_is_taken() -> None:
    assert (await app_of(keep).execute_workflow("keep")).results is True


async def test_a_caller_that_listens_is_asked() -> None:
    caller = Now("aisle")
    result = await app_of(book).execute_workflow("book", interaction=caller)
    assert result.results == "you sit at the aisle"
    assert [(q.name, q.text) for q in caller.asked] == [("seat", "Which seat?")]


async def test_a_wrong_answer_is_asked_for_again_with_what_was_wrong() -> None:
    caller = Now("floor", "window")
    assert (await app_of(book).execute_workflow("book", interaction=caller)).results == "you sit at the window"
    assert caller.asked[0].problem is None
    assert "window" in str(caller.asked[1].problem)


async def test_three_wrong_answers_are_enough() -> None:
    with pytest.raises(nexus.Problem) as caught:
        await app_of(book).execute_workflow("book", interaction=Now("floor", "roof", "door"))
    assert caught.value.code == "invalid_argument"


async def test_declining_to_answer_cancels_the_run() -> None:
    app = app_of(book)
    response = await call(app, "book", interaction=Now(CancelledError("no")))
    assert response.error is not None
    assert response.error.code == "cancelled"
    assert response.run is not None
    assert response.run.status == "cancelled"


async def test_a_waiting_run_shows_its_question_and_takes_the_answer() -> None:
    async with app_of(book) as app:
        run_id = await start(app, "book")
        waiting = await call(app, "runs.get", run_id=run_id)
        assert waiting.data["status"] == "waiting"
        assert waiting.data["questions"][0]["name"] == "seat"
        assert waiting.data["questions"][0]["schema"]["enum"] == ["window", "aisle"]
        answered = await call(app, "runs.answer", run_id=run_id, answer="window")
        assert answered.run is not None
        assert (answered.run.status, answered.run.output) == ("succeeded", "you sit at the window")


async def test_a_wrong_answer_keeps_the_run_waiting() -> None:
    async with app_of(book) as app:
        run_id = await start(app, "book")
        wrong = await call(app, "runs.answer", run_id=run_id, answer="floor")
        assert isinstance(wrong.error, InvalidArgumentError)
        assert wrong.error.problems[0].pointer == "/answer"
        still = await call(app, "runs.get", run_id=run_id)
        assert still.data["status"] == "waiting"


async def test_the_same_answer_again_gets_the_same_reply_and_another_is_a_conflict() -> None:
    async with app_of(book) as app:
        run_id = await start(app, "book")
        await call(app, "runs.answer", run_id=run_id, answer="window", question="seat")
        again = await call(app, "runs.answer", run_id=run_id, answer="window", question="seat")
        assert again.run is not None
        assert again.run.status == "succeeded"
        other = await call(app, "runs.answer", run_id=run_id, answer="aisle", question="seat")
        assert isinstance(other.error, ConflictError)


async def test_the_same_answer_in_other_words_is_the_same() -> None:
    @nexus.workflow
    async def clean(*, run: Run) -> tuple[bool, int]:
        return await run.ask("Keep?", bool), await run.ask("How many?", int)

    async with app_of(clean) as app:
        run_id = await start(app, "clean")
        await call(app, "runs.answer", run_id=run_id, answer="yes", question="clean.1")
        again = await call(app, "runs.answer", run_id=run_id, answer=True, question="clean.1")
        assert again.run is not None
        assert again.run.status == "waiting"
        await call(app, "runs.answer", run_id=run_id, answer=1)
        unnamed = await call(app, "runs.answer", run_id=run_id, answer="1")
        assert unnamed.run is not None
        assert unnamed.run.output == (True, 1)
        for other in (True, "one", 2):
            assert isinstance((await call(app, "runs.answer", run_id=run_id, answer=other)).error, ConflictError)


async def test_who_answers_waits_no_longer_than_its_deadline_and_the_run_goes_on() -> None:
    clock = FakeClock()
    done = anyio.Event()

    @nexus.workflow
    async def slow(*, run: Run) -> str:
        await run.ask("Go on?", bool)
        await done.wait()
        return "done"

    app = nexus.create_nexus(nexus.NexusConfig(request_timeout="20 s"), clock=clock)
    app.register(slow)
    async with app:
        run_id = await start(app, "slow")
        async with anyio.create_task_group() as group:
            responses: list[Response] = []

            async def answer() -> None:
                responses.append(await call(app, "runs.answer", run_id=run_id, answer=True))

            group.start_soon(answer)
            await clock.advance(21)
        assert isinstance(responses[0].error, nexus.DeadlineExceededError)
        done.set()
        again = await call(app, "runs.answer", run_id=run_id, answer=True)
        assert again.run is not None
        assert again.run.output == "done"


async def test_a_deadline_is_not_handed_on_by_a_run_for_which_nobody_waits() -> None:
    clock = FakeClock()
    app = nexus.create_nexus(nexus.NexusConfig(request_timeout="20 s"), clock=clock)

    @app.workflow
    async def inner() -> int:
        return 1

    @app.workflow
    async def asks(*, run: Run) -> int:
        await run.ask("Go on?", bool)
        return int((await app.execute_workflow("inner")).results)

    @app.workflow
    async def works() -> int:
        await clock.sleep(30)
        return int((await app.execute_workflow("inner")).results)

    async with app:
        run_id = await start(app, "asks")
        detached = Request(operation="works", arguments={}, caller=Caller(channel="api"), detach=True)
        submitted = (await app.dispatch(detached)).run
        await clock.advance(31)
        answered = await call(app, "runs.answer", run_id=run_id, answer=True)
        assert answered.run is not None
        assert answered.run.output == 1
        assert submitted is not None
        assert (await app.executor.runtime.settled(submitted.id)).output == 1


async def test_an_answer_to_a_question_that_was_not_asked_is_not_found() -> None:
    async with app_of(book) as app:
        run_id = await start(app, "book")
        response = await call(app, "runs.answer", run_id=run_id, answer="window", question="meal")
        assert isinstance(response.error, NotFoundError)
        assert "open: seat" in response.error.message


async def test_several_questions_are_open_at_once_and_answered_by_name() -> None:
    workflow = Workflow("trip")

    @workflow.step
    async def seat(run: Run) -> str:
        return str(await run.ask("Seat?", Literal["window", "aisle"]))

    @workflow.step
    async def meal(run: Run) -> str:
        return await run.ask("Meal?", str, name="meal")

    @workflow.step
    async def both(seat: str, meal: str) -> list[str]:
        return [seat, meal]

    async with app_of(workflow) as app:
        run_id = await start(app, "trip")
        handle_sees = await call(app, "runs.get", run_id=run_id)
        for _ in range(20):
            if len(handle_sees.data["questions"]) == 2:
                break
            await anyio.lowlevel.checkpoint()
            handle_sees = await call(app, "runs.get", run_id=run_id)
        assert sorted(q["name"] for q in handle_sees.data["questions"]) == ["meal", "seat.1"]
        unnamed = await call(app, "runs.answer", run_id=run_id, answer="soup")
        assert isinstance(unnamed.error, InvalidArgumentError)
        first = await call(app, "runs.answer", run_id=run_id, answer="soup", question="meal")
        assert first.run is not None
        assert first.run.status == "waiting"
        second = await call(app, "runs.answer", run_id=run_id, answer="aisle", question="seat.1")
        assert second.run is not None
        assert second.run.output == ["aisle", "soup"]


@nexus.workflow
async def hurries(*, run: Run) -> str:
    return await run.ask("Seat?", str, name="seat", timeout=60)


@nexus.workflow
async def settles(*, run: Run) -> str:
    return await run.ask("Seat?", str, default="any", timeout=timedelta(minutes=1))


async def test_a_question_that_nobody_answers_in_time_fails_the_run() -> None:
    clock = FakeClock()
    async with app_of(hurries, clock=clock) as app:
        run_id = await start(app, "hurries")
        waiting = await call(app, "runs.get", run_id=run_id)
        assert waiting.data["questions"][0]["expires_at"] == clock.now() + timedelta(minutes=1)
        await clock.advance(61)
        record = (await call(app, "runs.get", run_id=run_id)).data
        assert (record["status"], record["error"]["code"], record["questions"]) == ("failed", "deadline_exceeded", [])
        late = await call(app, "runs.answer", run_id=run_id, answer="window")
        assert isinstance(late.error, ConflictError)


async def test_a_question_that_is_answered_in_time_does_not_expire() -> None:
    clock = FakeClock()
    async with app_of(hurries, clock=clock) as app:
        run_id = await start(app, "hurries")
        await clock.advance(59)
        answered = await call(app, "runs.answer", run_id=run_id, answer="window")
        assert answered.run is not None
        assert answered.run.output == "window"


async def test_the_default_is_taken_where_nobody_answers_in_time() -> None:
    clock = FakeClock()
    async with app_of(settles, clock=clock) as app:
        run_id = await start(app, "settles")
        await clock.advance(61)
        record = await app.executor.find(nexus.models.Scope.ALL, run_id)
        assert (record.status, record.output) == ("succeeded", "any")


@pytest.mark.parametrize("workflow", [hurries, settles])
async def test_an_answer_that_was_taken_just_before_its_question_expires_counts(workflow: Any) -> None:
    clock = FakeClock()
    async with app_of(workflow, clock=clock) as app:
        run_id = await start(app, workflow.__name__)
        # Stored, so that its sender is told so; the run hears of it only once its time is over.
        await app.executor.answering.take(nexus.models.Scope.ALL, nexus.models.APPLICATION, run_id, None, "window")
        await clock.advance(61)
        record = await app.executor.find(nexus.models.Scope.ALL, run_id)
        assert (record.status, record.output, record.questions) == ("succeeded", "window", {})


async def test_a_caller_that_listens_and_does_not_answer_in_time_gets_the_default_too() -> None:
    class Slow(Now):
        async def ask(self, question: Question) -> Any:
            await anyio.sleep_forever()

    clock = FakeClock()
    async with app_of(settles, clock=clock) as app, anyio.create_task_group() as group:
        outputs: list[Any] = []

        async def run() -> None:
            outputs.append((await call(app, "settles", interaction=Slow())).data)

        group.start_soon(run)
        await clock.advance(61)
    assert outputs == ["any"]


async def test_an_answer_may_be_a_flat_class() -> None:
    @nexus.workflow
    async def check_in(*, run: Run) -> Passenger:
        return await run.ask("Who?", Passenger)

    async with app_of(check_in) as app:
        run_id = await start(app, "check_in")
        response = await call(app, "runs.answer", run_id=run_id, answer={"name": "Ada", "age": 36})
        assert response.run is not None
        assert response.run.output == Passenger("Ada", 36)


async def test_cancelling_a_waiting_run_runs_its_clean_up() -> None:
    cleaned = []

    @nexus.workflow
    async def careful(*, run: Run) -> str:
        try:
            return await run.ask("Go on?", str)
        finally:
            cleaned.append("yes")

    async with app_of(careful) as app:
        run_id = await start(app, "careful")
        response = await call(app, "runs.cancel", run_id=run_id)
        assert response.data["status"] == "cancelled"
        assert cleaned == ["yes"]
        late = await call(app, "runs.answer", run_id=run_id, answer="go")
        assert isinstance(late.error, ConflictError)


async def test_cancelling_reaches_a_run_that_its_caller_carries() -> None:
    started, ids = anyio.Event(), []

    @nexus.workflow
    async def endless(*, run: Run) -> int:
        ids.append(run.id)
        started.set()
        await anyio.sleep_forever()
        return 1

    app = app_of(endless)
    responses: list[Response] = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            responses.append(await call(app, "endless"))

        group.start_soon(run)
        await started.wait()
        await app.executor.runtime.cancel(ids[0])
    assert responses[0].error is not None
    assert responses[0].error.code == "cancelled"


async def test_cancelling_a_run_that_has_ended_changes_nothing() -> None:
    async with app_of(keep) as app:
        handle = await app.submit_workflow("keep")
        await handle.answer(answer=False)
        assert (await handle.cancel()).status == "succeeded"


async def test_a_caller_that_goes_away_cancels_the_run_before_it_has_waited() -> None:
    started, cleaned = anyio.Event(), anyio.Event()

    @nexus.workflow
    async def slow(*, run: Run) -> int:
        try:
            started.set()
            await anyio.sleep_forever()
        finally:
            cleaned.set()
        return 1

    async with app_of(slow) as app:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: call(app, "slow", interaction=Later()))
            await started.wait()
            group.cancel_scope.cancel()
        assert cleaned.is_set()


async def test_a_cancelled_caller_leaves_a_record_that_says_so() -> None:
    started = anyio.Event()
    seen: list[str] = []

    @nexus.workflow
    async def slow(*, run: Run) -> int:
        seen.append(run.id)
        started.set()
        await anyio.sleep_forever()
        return 1

    app = app_of(slow)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: call(app, "slow"))
        await started.wait()
        group.cancel_scope.cancel()
    record = await call(app, "runs.get", run_id=seen[0])
    assert record.data["status"] == "cancelled"


async def test_a_deadline_stops_a_run_that_the_runtime_carries() -> None:
    clock = FakeClock()

    @nexus.workflow
    async def slow(*, run: Run) -> int:
        await anyio.sleep_forever()
        return 1

    async with app_of(slow, clock=clock) as app:
        responses: list[Response] = []

        async def run() -> None:
            request = Request(
                operation="slow",
                arguments={},
                caller=Caller(channel="api"),
                deadline=clock.now() + timedelta(seconds=5),
            )
            responses.append(await app.dispatch(request, Later()))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await clock.advance(6)
        assert responses[0].error is not None
        assert responses[0].error.code == "deadline_exceeded"


async def test_the_run_of_another_principal_is_not_found() -> None:
    async with app_of(book) as app:
        ada = Caller(channel="api", principal=Principal(id="ada"))
        eve = Caller(channel="api", principal=Principal(id="eve"))
        response = await app.dispatch(Request(operation="book", arguments={}, caller=ada), Later())
        assert response.run is not None
        stolen = await app.dispatch(Request(operation="runs.get", arguments={"run_id": response.run.id}, caller=eve))
        assert isinstance(stolen.error, NotFoundError)
        own = await app.dispatch(Request(operation="runs.get", arguments={"run_id": response.run.id}, caller=ada))
        assert own.error is None


async def test_stopping_gives_runs_their_grace() -> None:
    clock_moved = anyio.Event()

    @nexus.workflow
    async def short() -> str:
        await clock_moved.wait()
        return "done"

    app = app_of(short)
    async with anyio.create_task_group() as group:
        async with app:
            handle = await app.submit_workflow("short")
            group.start_soon(_soon, clock_moved)
        assert (await handle.status()).status == "succeeded"


async def _soon(event: anyio.Event) -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    event.set()


async def test_what_does_not_end_within_the_grace_is_failed_and_unavailable() -> None:
    @nexus.workflow
    async def endless() -> int:
        await anyio.sleep_forever()
        return 1

    app = nexus.create_nexus(nexus.NexusConfig(shutdown_grace=0.05))
    app.register(endless)
    async with app:
        handle = await app.submit_workflow("endless")
    record = await handle.status()
    assert record.error is not None
    assert (record.status, record.error.code) == ("failed", "unavailable")


async def test_leaving_the_application_in_a_cancelled_scope_says_what_became_of_its_runs() -> None:
    left: list[str] = []

    @nexus.workflow
    async def endless() -> int:
        try:
            await anyio.sleep_forever()
        finally:
            left.append("cleaned up")
        return 1

    app = app_of(endless)
    with anyio.CancelScope() as scope:
        async with app:
            handle = await app.submit_workflow("endless")
            await anyio.sleep(0.01)
            scope.cancel()
            await anyio.sleep_forever()
    record = await handle.status()
    assert record.error is not None
    assert (record.status, record.error.code, left) == ("failed", "unavailable", ["cleaned up"])


async def test_a_waiting_run_does_not_hold_up_stopping() -> None:
    with anyio.fail_after(5):
        async with app_of(book) as app:
            run_id = await start(app, "book")
    record = await app.executor.find(nexus.models.Scope.ALL, run_id)
    assert record.error is not None
    assert record.error.code == "unavailable"


async def test_a_run_that_fails_after_it_has_waited_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @nexus.workflow
    async def fragile(*, run: Run) -> int:
        await run.ask("Go on?", bool)
        raise RuntimeError("out of fuel")

    async with app_of(fragile) as app:
        run_id = await start(app, "fragile")
        with caplog.at_level(logging.ERROR, "nexus.run"):
            response = await call(app, "runs.answer", run_id=run_id, answer=True)
        assert isinstance(response.error, WorkflowFailedError)
        assert "out of fuel" not in response.error.message
    assert "out of fuel" in caplog.text
    assert run_id in caplog.text


async def test_one_failing_run_does_not_take_the_others_with_it() -> None:
    @nexus.workflow
    async def bad() -> int:
        raise RuntimeError("no")

    @nexus.workflow
    async def good() -> int:
        return 1

    async with app_of(bad, good) as app:
        failing, fine = await app.submit_workflow("bad"), await app.submit_workflow("good")
        assert await fine.result() == 1
        with pytest.raises(WorkflowFailedError):
            await failing.result()


async def test_progress_and_log_reach_the_caller_in_order() -> None:
    @nexus.workflow
    async def chatty(*, run: Run) -> int:
        await run.progress(1, 2, "half")
        await run.log.info("read", rows=3)
        await run.progress(2, 2)
        return 1

    caller = Now()
    await app_of(chatty).execute_workflow("chatty", interaction=caller)
    assert [(event.type, event.data) for event in caller.heard] == [
        ("run.progress", {"done": 1, "total": 2, "message": "half", "step": "chatty"}),
        ("run.log", {"level": "info", "message": "read", "fields": {"rows": 3}, "step": "chatty"}),
        ("run.progress", {"done": 2, "total": 2, "message": "", "step": "chatty"}),
    ]


async def test_what_can_not_be_written_is_told_as_python_shows_it() -> None:
    class Thing:
        def __repr__(self) -> str:
            return "<a thing>"

    @nexus.workflow
    async def talk(*, run: Run) -> int:
        await run.log.info("read", thing=Thing(), rows=3)
        return 1

    later = Later()
    async with app_of(talk) as app:
        assert (await call(app, "talk", interaction=later)).data == 1
        assert [event.data["fields"] for event in later.heard] == [{"thing": "<a thing>", "rows": 3}]
        assert (await call(app, "talk")).data == 1


async def test_a_def_step_talks_too() -> None:
    @nexus.workflow
    def chatty(run: nexus.BlockingRun) -> bool:
        run.progress(1, 2)
        run.log.debug("a")
        run.log.info("b")
        run.log.warning("c")
        run.log.error("d")
        return run.ask("Go on?", bool)

    caller = Now("yes")
    assert (await app_of(chatty).execute_workflow("chatty", interaction=caller)).results is True
    assert [event.data.get("level") for event in caller.heard] == [None, "debug", "info", "warning", "error"]


async def test_the_result_of_a_waiting_run_says_what_it_waits_for() -> None:
    async with app_of(book) as app:
        handle = await app.submit_workflow("book")
        with pytest.raises(UnavailableError, match="Which seat"):
            await handle.result()
        assert (await handle.answer("aisle")).output == "you sit at the aisle"
        assert await handle.result() == "you sit at the aisle"
