"""Workflows that run workflows: whose caller, time, cancellation and questions they have."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import nexus
from nexus import CancelledError, Nexus, NexusConfig, Principal, Problem, Request, Response, Run, WorkflowFailedError
from nexus.abc import Interaction
from nexus.models import Answers, Caller, Event, Question, Scope
from nexus.testing import FakeClock

pytestmark = pytest.mark.anyio


class Hearing(Interaction):
    """A caller that hears, and answers when it says so."""

    def __init__(self, answers: Answers = Answers.NEVER, *given: Any) -> None:
        self.answers = answers
        self.given = list(given)
        self.heard: list[tuple[str, Any]] = []

    async def tell(self, event: Event) -> None:
        self.heard.append((event.type, event.data.get("done")))

    async def ask(self, question: Question) -> Any:
        self.heard.append(("asked", question.name))
        return self.given.pop(0)


def app_of(**options: Any) -> Nexus:
    app = nexus.create_nexus(NexusConfig(), **options)

    @app.workflow
    async def double(number: int, *, run: Run) -> int:
        await run.progress(number)
        return 2 * number

    @app.workflow
    async def twice(number: int, *, run: Run) -> int:
        return int(await run.execute(double, number=await run.execute("double", number=number)))

    @app.workflow
    async def who(*, run: Run) -> str:
        return f"{run.principal.id} {run.session.id}"

    @app.workflow
    async def asks(*, run: Run) -> bool:
        return await run.ask("Sure?", bool, name="sure")

    @app.workflow
    async def asks_inside(*, run: Run) -> bool:
        return bool(await run.execute("asks"))

    @app.workflow
    async def deeper(depth: int, *, run: Run) -> int:
        return int(await run.execute("deeper", depth=depth + 1))

    return app


async def call(app: Nexus, operation: str, interaction: Interaction | None = None, **arguments: Any) -> Response:
    return await app.dispatch(Request(operation=operation, arguments=arguments, caller=Caller(channel="api")), interaction)


async def test_a_workflow_runs_another_and_gets_its_output() -> None:
    caller = Hearing()
    app = app_of()
    assert (await app.execute_workflow("twice", {"number": 5}, interaction=caller)).results == 20
    assert caller.heard == [("run.progress", 5), ("run.progress", 10)]


async def test_each_has_a_record_that_names_the_other() -> None:
    app = app_of()
    outer = await app.execute_workflow("twice", {"number": 5})
    page = await app.executor.runs.list(Scope.ALL, where={"workflow": "double"}, after=None, limit=10)
    assert {record.parent for record in page.items} == {outer.run_id}
    assert (await app.executor.find(Scope.ALL, outer.run_id)).parent is None


async def test_the_caller_and_its_session_are_those_of_the_outer_run() -> None:
    app = app_of()

    @app.workflow
    async def same(*, run: Run) -> bool:
        return bool(await run.execute("who") == f"{run.principal.id} {run.session.id}")

    assert (await call(app, "same")).data is True
    assert (await app.execute_workflow("same", principal=Principal(id="ada"))).results is True


async def test_a_question_inside_is_a_question_of_the_outer_run() -> None:
    async with app_of() as app:
        waiting = (await call(app, "asks_inside", Hearing(Answers.LATER))).run
        assert waiting is not None
        assert (waiting.status, list(waiting.questions)) == ("waiting", ["asks_inside.sure"])
        answered = await call(app, "runs.answer", run_id=waiting.id, answer="yes")
        assert answered.run is not None
        assert answered.run.output is True


async def test_a_caller_that_listens_is_asked_what_an_inner_run_asks() -> None:
    caller = Hearing(Answers.NOW, "maybe", "yes")
    async with app_of() as app:
        assert (await call(app, "asks_inside", caller)).data is True
    assert caller.heard == [("asked", "asks_inside.sure")] * 2


async def test_where_nobody_can_answer_an_inner_run_can_not_ask_either() -> None:
    async with app_of() as app:
        response = await call(app, "asks_inside", Hearing())
    assert response.error is not None
    assert "nobody can answer here" in response.error.message


async def test_several_inner_runs_ask_at_once_each_by_a_name_of_its_own() -> None:
    app = app_of()

    @app.workflow
    async def both(*, run: Run) -> list[bool]:
        answers: list[bool] = []

        async def one() -> None:
            answers.append(await run.execute("asks"))

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            group.start_soon(one)
        return sorted(answers)

    async with app:
        handle = await app.submit_workflow("both")
        await anyio.wait_all_tasks_blocked()
        assert sorted((await handle.status()).questions) == ["both.sure", "both.sure.2"]
        await handle.answer(True, "both.sure")
        assert (await handle.answer(False, "both.sure.2")).output == [False, True]


async def test_cancelling_the_outer_run_cancels_the_inner_one() -> None:
    app = app_of()
    cleaned_up: list[str] = []

    @app.workflow
    async def slow() -> int:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned_up.append("slow")
        return 1

    @app.workflow
    async def outer(*, run: Run) -> int:
        return int(await run.execute("slow"))

    async with app:
        handle = await app.submit_workflow("outer")
        await anyio.wait_all_tasks_blocked()
        assert (await handle.cancel()).status == "cancelled"
        assert cleaned_up == ["slow"]
        page = await app.executor.runs.list(Scope.ALL, where={}, after=None, limit=10)
        assert {record.status for record in page.items} == {"cancelled"}


async def test_the_outer_deadline_ends_the_inner_run() -> None:
    clock = FakeClock()
    app = app_of(clock=clock)

    @app.workflow
    async def slow() -> int:
        await anyio.sleep_forever()
        return 1

    @app.workflow
    async def outer(*, run: Run) -> int:
        return int(await run.execute("slow"))

    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(nexus.DeadlineExceededError):
                await app.execute_workflow("outer", timeout=5)

        group.start_soon(run)
        await clock.advance(6)


async def test_what_an_inner_run_raises_is_the_outer_ones_to_handle() -> None:
    app = app_of()

    @app.workflow
    async def refuses() -> int:
        raise Problem("conflict", "taken")

    @app.workflow
    async def handles(*, run: Run) -> str:
        try:
            await run.execute("refuses")
        except Problem as problem:
            return problem.message
        return ""

    assert (await app.execute_workflow("handles")).results == "taken"


async def test_workflows_that_call_themselves_without_end_are_stopped() -> None:
    with pytest.raises(nexus.NexusError) as caught:
        await app_of().execute_workflow("deeper", {"depth": 0})
    cause: BaseException | None = caught.value
    while isinstance(cause, WorkflowFailedError):
        cause = cause.__cause__
    assert isinstance(cause, nexus.ResourceExhaustedError)
    assert "workflows call each other 32 deep" in cause.message


async def test_declining_an_inner_question_cancels_the_outer_run() -> None:
    class Declining(Hearing):
        async def ask(self, question: Question) -> Any:
            raise CancelledError("no")

    async with app_of() as app:
        response = await call(app, "asks_inside", Declining(Answers.NOW))
    assert response.error is not None
    assert response.error.code == "cancelled"
