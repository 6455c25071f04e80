"""Questions that somebody else has to answer, and never the one who started the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio
import httpx
import mcp
import pytest

import nexus
from nexus import (
    ConflictError,
    InvalidArgumentError,
    Nexus,
    NotFoundError,
    PermissionDeniedError,
    Run,
    RunHandle,
    UnavailableError,
    WorkflowFailedError,
)
from nexus.abc import Interaction
from nexus.models import Answers, Event, Principal, Question
from nexus.testing import Client, FakeClock
from nexus_click._inprocess import invoke
from nexus_mcp import server
from nexus_starlette import asgi
from tests.mcp_peer import connected

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada", roles=["finance"])
"""She asks for the money, and could approve that of others."""
BOB = Principal(id="bob")
CAROL = Principal(id="carol", roles=["finance", "audit"])
STRANGER = Principal(id="carol", roles=["finance"], tenant_id="elsewhere")


@nexus.workflow
async def pay(amount: int, run: Run, ask_of: str = "role:finance") -> str:
    """Pay, once somebody else has approved."""
    if not await run.ask(f"Pay {amount}?", bool, name="approve", of=ask_of):
        return "kept"
    return f"paid {amount}"


@nexus.workflow
async def order(run: Run) -> str:
    """Ask the caller and somebody else, at once."""
    answers: dict[str, Any] = {}

    async def ask(name: str, of: str) -> None:
        answers[name] = await run.ask(f"{name}?", Literal["red", "blue"], name=name, of=of)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "colour", "")
        group.start_soon(ask, "budget", "role:finance")
    return f"{answers['colour']}, {answers['budget']}"


class Now(Interaction):
    """A caller that answers at once."""

    answers = Answers.NOW

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def tell(self, event: Event) -> None:
        """Take no notice."""

    async def ask(self, question: Question) -> Any:
        self.asked.append(question.name)
        return "red"


def app_of(*what: Any, **options: Any) -> Nexus:
    app = nexus.create_nexus(nexus.NexusConfig(), **options)
    app.register(*what)
    return app


@pytest.fixture
async def app() -> AsyncIterator[Nexus]:
    async with app_of(pay, order) as app:
        yield app


async def waiting(app: Nexus, workflow: str = "pay", *, questions: int = 1, **inputs: Any) -> RunHandle:
    """Have ada start a run, and return it when it waits."""
    handle = await app.submit_workflow(workflow, inputs, principal=ADA)
    with anyio.fail_after(5):
        while len((await handle.status()).questions) < questions:
            await anyio.lowlevel.checkpoint()
    return handle


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_whoever_has_the_role_answers_and_is_shown_no_more_than_what_was_asked(app: Nexus, channel: Any) -> None:
    handle = await waiting(app, amount=12)
    async with Client(app, channel=channel, principal=CAROL) as carol:
        shown = await carol.call("runs.get", run_id=handle.id)
        asked = [(question["name"], question["text"], question["of"]) for question in shown["questions"]]
        assert (shown["status"], shown["principal"], shown["inputs"]) == ("waiting", "ada", {})
        assert asked == [("approve", "Pay 12?", "role:finance")]
        answered = await carol.call("runs.answer", run_id=handle.id, answer=True)
        assert (answered["inputs"], answered["steps"], "results" in answered) == ({}, [], False)
        assert await handle.result() == "paid 12"
        ended = await carol.call("runs.get", run_id=handle.id)
        assert (ended["status"], ended["inputs"], ended["steps"], "results" in ended) == ("succeeded", {}, [], False)
    assert (await handle.status()).answers["approve"].by == "carol"


@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_who_started_the_run_can_not_approve_it_even_with_the_role(app: Nexus, channel: Any) -> None:
    handle = await waiting(app, amount=12)
    async with Client(app, channel=channel, principal=ADA) as ada:
        with pytest.raises(PermissionDeniedError, match=r"'approve' .* is for 'finance', and never for whoever started the run"):
            await ada.call("runs.answer", run_id=handle.id, answer=True)
    with pytest.raises(PermissionDeniedError):
        await handle.answer(True)
    assert (await handle.status()).status == "waiting"


@pytest.mark.parametrize("who", [BOB, STRANGER, None])
@pytest.mark.parametrize("channel", ["inprocess", "api"])
async def test_to_anybody_else_there_is_no_such_run(app: Nexus, channel: Any, who: Principal | None) -> None:
    handle = await waiting(app, amount=12)
    async with Client(app, channel=channel, principal=who or Principal(id="anonymous")) as client:
        for operation, arguments in (("runs.get", {}), ("runs.answer", {"answer": True}), ("runs.cancel", {})):
            with pytest.raises(NotFoundError, match=f"there is no run {handle.id}"):
                await client.call(operation, run_id=handle.id, **arguments)
    assert (await handle.status()).status == "waiting"


@pytest.mark.parametrize("operation", ["runs.cancel", "runs.retry", "runs.wait"])
async def test_who_is_asked_can_do_no_more_than_look_and_answer(app: Nexus, operation: str) -> None:
    handle = await waiting(app, amount=12)
    async with Client(app, principal=CAROL) as carol:
        with pytest.raises(NotFoundError):
            await carol.call(operation, run_id=handle.id)
    assert (await handle.status()).status == "waiting"


async def test_who_is_not_asked_any_more_and_did_not_answer_sees_the_run_no_longer(app: Nexus) -> None:
    handle = await waiting(app, amount=12)
    await handle.answer(True, principal=CAROL)
    async with Client(app, principal=Principal(id="dan", roles=["finance"])) as dan:
        with pytest.raises(NotFoundError):
            await dan.call("runs.get", run_id=handle.id)


async def test_a_question_can_be_for_one_person(app: Nexus) -> None:
    handle = await waiting(app, amount=12, ask_of="principal:bob")
    with pytest.raises(NotFoundError):
        await handle.answer(True, principal=CAROL)
    await handle.answer(False, principal=BOB)
    assert await handle.result() == "kept"


async def test_nobody_in_particular_approves_nothing(app: Nexus) -> None:
    handle = await waiting(app, amount=12, ask_of="principal:anonymous")
    with pytest.raises(NotFoundError):
        await handle.answer(True, principal=Principal(id="anonymous"))


async def test_the_same_answer_again_is_taken_and_another_is_a_conflict(app: Nexus) -> None:
    handle = await waiting(app, amount=12)
    await handle.answer(True, principal=CAROL)
    assert await handle.result() == "paid 12"
    again = await handle.answer(True, "approve", principal=CAROL)
    assert (again.status, again.output) == ("succeeded", None)
    with pytest.raises(ConflictError):
        await handle.answer(False, "approve", principal=CAROL)


async def test_a_wrong_answer_keeps_the_run_waiting(app: Nexus) -> None:
    handle = await waiting(app, amount=12)
    with pytest.raises(InvalidArgumentError):
        await handle.answer("perhaps", principal=CAROL)
    await handle.answer(True, principal=CAROL)
    assert await handle.result() == "paid 12"


async def test_each_answers_what_is_theirs_without_naming_it(app: Nexus) -> None:
    handle = await waiting(app, "order", questions=2)
    shown = await handle.answer("red")
    assert (shown.status, list(shown.questions)) == ("waiting", ["budget"])
    part = await handle.answer("blue", principal=CAROL)
    assert dict(part.questions) == {}
    assert await handle.result() == "red, blue"


async def test_one_who_is_asked_does_not_see_the_questions_of_others(app: Nexus) -> None:
    handle = await waiting(app, "order", questions=2)
    async with Client(app, principal=CAROL) as carol:
        shown = await carol.call("runs.get", run_id=handle.id)
        assert [question["name"] for question in shown["questions"]] == ["budget"]
        with pytest.raises(NotFoundError, match="no question 'colour' open"):
            await carol.call("runs.answer", run_id=handle.id, answer="red", question="colour")


async def test_a_caller_that_answers_at_once_is_asked_what_is_for_it_alone(app: Nexus) -> None:
    now = Now()
    with pytest.raises(UnavailableError, match=r"waits for an answer: 'budget' .* of role:finance"):
        await app.execute_workflow(order, principal=ADA, idempotency_key="1", interaction=now)
    assert now.asked == ["colour"]


async def test_where_the_run_ends_with_its_call_nobody_else_can_be_asked(app: Nexus) -> None:
    with pytest.raises(UnavailableError, match="'finance' can't be asked here, where the run ends with its call; submit it"):
        await app.execute_workflow(pay, {"amount": 12}, principal=ADA, interaction=Now())


async def test_the_default_is_taken_where_nobody_else_can_be_asked_or_answers_in_time() -> None:
    clock = FakeClock()

    @nexus.workflow
    async def hold(run: Run) -> bool:
        return await run.ask("Go?", bool, default=False, timeout=60, of="role:finance")

    async with app_of(hold, clock=clock) as app:
        assert (await app.execute_workflow(hold, principal=ADA, interaction=Now())).results is False
        handle = await waiting(app, "hold")
        await clock.advance(61)
        assert await handle.result() is False


@pytest.mark.parametrize("of", ["finance", "role:", "role: finance ", "group:finance", "principal:"])
async def test_whom_a_question_is_for_has_to_be_said_right(app: Nexus, of: str) -> None:
    handle = await app.submit_workflow(pay, {"amount": 1, "ask_of": of}, principal=ADA)
    with pytest.raises(WorkflowFailedError):
        await handle.result()
    error = (await handle.status()).error
    assert error is not None
    assert (
        error.message == f"ValueError: run.ask(…, of={of!r}): expected 'role:NAME' or 'principal:ID', as in of=\"role:finance\""
    )


async def test_a_run_that_another_waits_for_asks_somebody_else_by_way_of_that() -> None:
    @nexus.workflow
    async def outer(run: Run) -> str:
        paid: str = await run.execute(pay, amount=7)
        return f"outer {paid}"

    async with app_of(pay, outer) as app:
        handle = await waiting(app, "outer")
        (question,) = (await handle.status()).questions.values()
        assert (question.of, question.name) == ("role:finance", "outer.approve")
        await handle.answer(True, principal=CAROL)
        assert await handle.result() == "outer paid 7"
        with pytest.raises(UnavailableError, match="'finance' can't be asked here"):
            await app.execute_workflow(outer, principal=ADA, interaction=Now())


async def test_a_secret_for_somebody_else_reaches_the_step_and_no_record() -> None:
    @nexus.workflow
    async def unlock(run: Run) -> int:
        return len(await run.ask("PIN?", Annotated[str, nexus.Secret()], name="pin", of="role:finance"))

    async with app_of(unlock) as app:
        handle = await waiting(app, "unlock")
        await handle.answer("hush-hush", principal=CAROL)
        assert await handle.result() == 9
        assert "hush-hush" not in repr(await handle.status())


async def test_a_rest_caller_is_told_who_is_asked(app: Nexus) -> None:
    async with Client(app, channel="api", principal=ADA) as ada:
        with pytest.raises(UnavailableError, match="'approve' of role:finance"):
            await ada.execute("pay", amount=3)
        (listed,) = (await ada.call("runs.list"))["items"]
    assert (listed["status"], listed["questions"][0]["of"]) == ("waiting", "role:finance")


async def test_a_tool_whose_run_waits_for_somebody_else_says_so_and_the_run_goes_on(app: Nexus) -> None:
    async def never(context: Any, params: Any) -> Any:
        raise AssertionError("the client is asked what is not for it to answer")

    async with mcp.Client(server(app), mode="2026-07-28", elicitation_callback=never) as client:
        result = await client.call_tool("pay", {"amount": 3})
    assert result.is_error
    told: Any = result.structured_content
    assert told["code"] == "unavailable"
    assert told["message"].startswith("the run is waiting (asks 'Pay 3?' of 'finance'), and this call can't wait for it")
    run_id = told["details"]["run_id"]
    async with Client(app, principal=CAROL) as carol:
        await carol.call("runs.answer", run_id=run_id, answer=True)
        with anyio.fail_after(5):
            while (await carol.call("runs.get", run_id=run_id))["status"] != "succeeded":
                await anyio.lowlevel.checkpoint()


@nexus.workflow(background=True)
async def pay_later(amount: int, run: Run) -> str:
    """Pay, once somebody else has approved."""
    return "paid" if await run.ask(f"Pay {amount}?", bool, name="approve", of="role:finance") else "kept"


async def test_a_task_that_waits_for_somebody_else_goes_on_and_its_result_is_waited_for() -> None:
    clock = FakeClock()
    async with app_of(pay_later, clock=clock) as app, connected(server(app)) as peer, anyio.create_task_group() as tasks:
        task = await peer.begin("pay_later", amount=3)
        await anyio.wait_all_tasks_blocked()
        shown = await peer.task(task["taskId"])
        assert (shown["status"], shown["statusMessage"]) == ("working", "Pay 3?")
        results: list[Any] = []

        async def wait() -> None:
            results.append(await peer.result(task["taskId"]))

        tasks.start_soon(wait)
        await clock.advance(10)
        assert results == []
        async with Client(app, principal=CAROL) as carol:
            await carol.call("runs.answer", run_id=task["taskId"], answer=True)
        await clock.advance(1)
        with anyio.fail_after(5):
            while not results:
                await anyio.wait_all_tasks_blocked()
        assert results[0]["structuredContent"] == {"result": "paid"}


async def test_a_task_of_the_extension_that_waits_for_somebody_else_asks_its_client_for_nothing() -> None:
    app = app_of(pay_later)
    face = asgi(app)
    async with app:
        capabilities: Any = {"elicitation": {"form": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        }
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}

        async def post(method: str, name: str, /, **params: Any) -> Any:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://localhost") as client:
                sent = {**headers, "mcp-method": method, "mcp-name": name}
                return (await client.post("/mcp", json=body, headers=sent)).json()["result"]

        begun = await post("tools/call", "pay_later", name="pay_later", arguments={"amount": 3})
        await anyio.wait_all_tasks_blocked()
        task = await post("tasks/get", begun["taskId"], taskId=begun["taskId"])
        assert (task["status"], task["statusMessage"], "inputRequests" in task) == ("working", "Pay 3?", False)


async def test_a_local_command_line_says_that_nobody_else_can_be_asked(app: Nexus) -> None:
    async with Client(app, channel="cli", principal=ADA, answers={"approve": True}) as ada:
        with pytest.raises(UnavailableError, match="'finance' can't be asked here"):
            await ada.execute("pay", amount=3)


async def test_a_command_whose_run_still_waits_has_not_succeeded(app: Nexus) -> None:
    result = await invoke(app, ["--idempotency-key", "1", "pay", "3"], principal=ADA)
    assert (result.exit_code, result.stdout) == (6, "")
    assert "waits for an answer: 'approve' (Pay 3?) of role:finance" in result.stderr
