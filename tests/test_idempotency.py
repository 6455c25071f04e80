"""The same caller, workflow and key get the same run."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

import nexus
from nexus import (
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    Nexus,
    Principal,
    Request,
    Response,
    Run,
    UnauthenticatedError,
    UnavailableError,
)
from nexus.abc import Interaction
from nexus.models import Answers, Caller, Event, Question
from nexus.testing import FakeClock
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

ADA, BOB = Principal(id="ada"), Principal(id="bob")


class Counting:
    """A workflow that notes how often it was carried out, and may be held."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = anyio.Event()
        self.go_on.set()

    def app(self, **options: Any) -> Nexus:
        app = nexus.create_nexus(nexus.NexusConfig(), **options)

        @app.workflow
        async def count(step: int = 1) -> int:
            self.calls += 1
            await self.go_on.wait()
            return self.calls * step

        @app.workflow
        async def fail() -> int:
            self.calls += 1
            raise nexus.Problem("conflict", "not today")

        @app.workflow
        async def asks(*, run: Run) -> list[str]:
            self.calls += 1
            return [await run.ask("Name?", str), str(await run.ask("Age?", int))]

        return app


async def test_the_same_key_gets_the_same_run() -> None:
    counting = Counting()
    async with counting.app() as app:
        first = await app.execute_workflow("count", {"step": 2}, idempotency_key="k")
        again = await app.execute_workflow("count", {"step": 2}, idempotency_key="k")
        assert (first.run_id, first.results) == (again.run_id, again.results)
        submitted = await app.submit_workflow("count", {"step": 2}, idempotency_key="k")
        assert submitted.id == first.run_id
        assert (await app.execute_workflow("count", {"step": 2}, idempotency_key="other")).results == 4
        assert (await app.execute_workflow("count", {"step": 2})).results == 6


async def test_a_failure_is_repeated_and_not_tried_again() -> None:
    counting = Counting()
    async with counting.app() as app:
        for _ in range(2):
            with pytest.raises(nexus.Problem, match="not today"):
                await app.execute_workflow("fail", idempotency_key="k")
    assert counting.calls == 1


async def test_two_at_once_share_one_run() -> None:
    counting = Counting()
    counting.go_on = anyio.Event()
    results: list[int] = []
    async with counting.app() as app, anyio.create_task_group() as group:

        async def call() -> None:
            results.append((await app.execute_workflow("count", idempotency_key="k")).results)

        group.start_soon(call)
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        counting.go_on.set()
    assert (results, counting.calls) == ([1, 1], 1)


async def test_the_key_of_another_principal_is_another_key() -> None:
    counting = Counting()
    async with counting.app() as app:
        results = [(await app.execute_workflow("count", principal=who, idempotency_key="k")).results for who in (ADA, BOB, ADA)]
    assert results == [1, 2, 1]


async def test_other_inputs_under_the_same_key_are_a_conflict() -> None:
    counting = Counting()
    async with counting.app() as app:
        await app.execute_workflow("count", {"step": 1}, idempotency_key="k")
        assert (await app.execute_workflow("count", idempotency_key="k")).results == 1
        with pytest.raises(ConflictError, match="other inputs"):
            await app.execute_workflow("count", {"step": 2}, idempotency_key="k")
    assert counting.calls == 1


async def test_who_goes_away_does_not_cancel_a_run_under_a_key() -> None:
    counting = Counting()
    counting.go_on = anyio.Event()
    async with counting.app() as app:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await app.execute_workflow("count", idempotency_key="k")

            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        counting.go_on.set()
        assert (await app.execute_workflow("count", idempotency_key="k")).results == 1


async def test_who_waits_no_longer_may_come_back_with_its_key() -> None:
    clock, counting = FakeClock(), Counting()
    counting.go_on = anyio.Event()
    async with counting.app(clock=clock) as app:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(DeadlineExceededError, match="goes on; call again with the same idempotency key"):
                    await app.execute_workflow("count", idempotency_key="k", timeout=5)

            group.start_soon(call)
            await clock.advance(6)
        counting.go_on.set()
        assert (await app.execute_workflow("count", idempotency_key="k")).results == 1


class Answering(Interaction):
    """A caller that answers while it listens."""

    answers = Answers.NOW

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked: list[tuple[str, str | None]] = []

    async def tell(self, event: Event) -> None:
        """Listen to nothing."""

    async def ask(self, question: Question) -> Any:
        self.asked.append((question.text, question.problem))
        given = self.given.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


async def test_a_caller_that_listens_is_asked_under_a_key_too() -> None:
    caller = Answering("Ada", "old", "36")
    async with Counting().app() as app:
        result = await app.execute_workflow("asks", idempotency_key="k", interaction=caller)
    assert result.results == ["Ada", "36"]
    assert [text for text, _ in caller.asked] == ["Name?", "Age?", "Age?"]
    assert "expected" in str(caller.asked[2][1])


async def test_declining_cancels_a_run_under_a_key_too() -> None:
    caller = Answering("Ada", nexus.CancelledError("no"))
    async with Counting().app() as app:
        with pytest.raises(nexus.CancelledError):
            await app.execute_workflow("asks", idempotency_key="k", interaction=caller)


async def test_the_anonymous_can_not_use_keys_without_a_session() -> None:
    request = Request(operation="count", arguments={}, caller=Caller(channel="api"), idempotency_key="k")
    async with Counting().app() as app:
        assert isinstance((await app.dispatch(request)).error, UnauthenticatedError)


@pytest.mark.parametrize("key", ["", "k" * 256, "a\nb"])
async def test_a_key_of_another_form_is_refused(key: str) -> None:
    async with Counting().app() as app:
        with pytest.raises(InvalidArgumentError, match="1 to 255 printable"):
            await app.execute_workflow("count", idempotency_key=key)


async def test_what_is_no_workflow_takes_no_key() -> None:
    request = Request(operation="workflows.list", arguments={}, caller=Caller(channel="api"), idempotency_key="k")
    async with Counting().app() as app:
        response: Response = await app.dispatch(request)
    assert isinstance(response.error, InvalidArgumentError)


async def test_a_key_is_not_used_up_by_a_run_that_never_started() -> None:
    app = Counting().app()
    with pytest.raises(UnavailableError, match="async with app"):
        await app.execute_workflow("count", idempotency_key="k")
    async with app:
        assert (await app.execute_workflow("count", idempotency_key="k")).results == 1


async def test_two_connections_with_one_key_get_one_run_and_equal_replies() -> None:
    counting = Counting()
    counting.go_on = anyio.Event()
    app = counting.app()
    application = asgi(app)

    async def as_user(scope: Any, receive: Any, send: Any) -> None:
        user = dict(scope["headers"]).get(b"x-user", b"ada").decode()
        await application({**scope, "nexus.principal": Principal(id=user)}, receive, send)

    replies: list[httpx.Response] = []
    transport = httpx.ASGITransport(as_user)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:

        async def post(key: str, step: int = 1, user: str = "ada") -> httpx.Response:
            return await client.post(
                "/api/workflows/count/execute",
                json={"inputs": {"step": step}},
                headers={"idempotency-key": key, "x-user": user},
            )

        async def keep(key: str) -> None:
            replies.append(await post(key))

        async with anyio.create_task_group() as group:
            group.start_soon(keep, "k")
            group.start_soon(keep, '"k"')
            await anyio.wait_all_tasks_blocked()
            counting.go_on.set()
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[0].json()["data"] == replies[1].json()["data"]
        assert counting.calls == 1
        assert (await post("k", user="bob")).json()["data"]["results"] == 2
        assert (await post("k", step=2)).status_code == 409
