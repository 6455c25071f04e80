"""Where a secret could be seen, and is not."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import httpx
import pytest
from mcp import Client as McpClient

import nexus
from nexus import ConflictError, InvalidArgumentError, Nexus, Principal, Request, Secret, UnavailableError
from nexus.abc import Interaction
from nexus.memory import MemoryRunStore
from nexus.models import APPLICATION, Answers, Caller, Event, Question, RunRecord, Scope
from nexus_click import invoke
from nexus_mcp import server
from nexus_starlette import ApiChannel
from tests.secret_desk import MARK, Key, Login, desk

pytestmark = pytest.mark.anyio

ADA = Principal(id="ada")


class Store(MemoryRunStore):
    """Remembers all that it was ever given."""

    seen: list[str]

    async def create(self, scope: Scope, run: RunRecord, *, key: str | None = None, inputs_hash: str = "") -> RunRecord:
        self._note(run, inputs_hash)
        return await super().create(scope, run, key=key, inputs_hash=inputs_hash)

    async def save(self, run: RunRecord, *, expected_version: int) -> RunRecord:
        self._note(run)
        return await super().save(run, expected_version=expected_version)

    def _note(self, run: RunRecord, *more: str) -> None:
        self.seen = [*getattr(self, "seen", []), repr(vars(run)), *more]


class Hearing(Interaction):
    """A caller that answers at once, and keeps what it was told."""

    answers = Answers.NOW
    follows = True

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.heard: list[Event] = []
        self.asked: list[Question] = []

    async def tell(self, event: Event) -> None:
        self.heard.append(event)

    async def ask(self, question: Question) -> Any:
        self.asked.append(question)
        return self.answer


async def http(app: Nexus, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(ApiChannel(app, app.config))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.request(method, path, json=body, headers=headers)


def executing(workflow: str, **inputs: Any) -> Callable[[Nexus], Awaitable[str]]:
    async def shown(app: Nexus) -> str:
        return (await http(app, "POST", f"/api/workflows/{workflow}/execute", {"inputs": inputs})).text

    return shown


def getting(path: str) -> Callable[[Nexus], Awaitable[str]]:
    async def shown(app: Nexus) -> str:
        return (await http(app, "GET", path)).text

    return shown


def commanding(*words: str) -> Callable[[Nexus], Awaitable[str]]:
    async def shown(app: Nexus) -> str:
        result = await invoke(app, words)
        return result.stdout + result.stderr

    return shown


def calling_tool(name: str, **arguments: Any) -> Callable[[Nexus], Awaitable[str]]:
    async def shown(app: Nexus) -> str:
        async with McpClient(server(app)) as client:
            return (await client.call_tool(name, arguments)).model_dump_json()

    return shown


async def listing_tools(app: Nexus) -> str:
    async with McpClient(server(app)) as client:
        return (await client.list_tools()).model_dump_json()


async def view_of_the_record(app: Nexus) -> str:
    run = await app.dispatch(request("log_in", token=MARK))
    assert run.run is not None
    return str(run.run.view()) + repr(run.run) + run.run._repr_html_() + repr(run)


async def record_by_its_id(app: Nexus) -> str:
    done = (await http(app, "POST", "/api/workflows/log_in/execute", {"inputs": {"token": MARK}})).json()
    return (await http(app, "GET", f"/api/runs/{done['data']['run_id']}")).text


async def record_of_a_result(app: Nexus) -> str:
    done = (await http(app, "POST", "/api/workflows/new_key/execute")).json()
    return (await http(app, "GET", f"/api/runs/{done['data']['run_id']}")).text


async def result_in_a_notebook(app: Nexus) -> str:
    result = await app.execute_workflow("new_key")
    return repr(result) + result._repr_html_()


async def record_of_a_wrong_result(app: Nexus) -> str:
    handle = await app.submit_workflow("untrue")
    await handle.result()
    return repr(await handle.status())


async def form_with_a_file(app: Nexus) -> str:
    transport = httpx.ASGITransport(ApiChannel(app, app.config))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        files = {"note": ("note.txt", b"hello")}
        done = await client.post("/api/workflows/send/execute", files=files, data={"token": MARK})
        assert done.json()["data"]["results"] == len(MARK) + 5
        wrong = await client.post("/api/workflows/send/execute", files=files, data={"token": [MARK, MARK]})
        record = await client.get(f"/api/runs/{done.json()['data']['run_id']}")
    assert record.json()["data"]["redacted"] == ["/inputs/token"]
    assert record.json()["data"]["inputs"]["note"]["filename"] == "note.txt"
    return done.text + wrong.text + record.text


async def last_event_of_a_stream(app: Nexus) -> str:
    failing = await http(app, "POST", "/api/workflows/ask_and_say/execute", None, accept="text/event-stream")
    assert "event: response" in failing.text
    return failing.text


async def other_inputs_under_the_same_key(app: Nexus) -> str:
    await app.execute_workflow("log_in", {"token": "another"}, idempotency_key="k")
    with pytest.raises(ConflictError) as caught:
        await app.execute_workflow("log_in", {"token": MARK}, idempotency_key="k")
    return repr(caught.value) + str(caught.value.details)


async def error_in_process(app: Nexus) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        await app.execute_workflow("with_class", {"login": {"user": 1, "password": [MARK]}, "others": MARK})
    return repr(caught.value) + str(caught.value.details) + repr(caught.value.__context__)


async def events_of_chunks(app: Nexus) -> str:
    async with app.stream("new_keys") as stream:
        events = [repr(event) async for event in stream]
    assert stream.result == [Key("1", MARK)]
    return "".join(events)


def request(workflow: str, **arguments: Any) -> Request:
    return Request(operation=workflow, arguments=arguments, caller=Caller(channel="test", principal=ADA), trusted_files=True)


async def requests_and_work(app: Nexus) -> str:
    return repr(request("log_in", token=MARK))


LEAKS: dict[str, Callable[[Nexus], Awaitable[str]]] = {
    "the record of a run": view_of_the_record,
    "a run by its id": record_by_its_id,
    "the record of a result": record_of_a_result,
    "the record of a result that is not what the hint says": record_of_a_wrong_result,
    "a result in a notebook": result_in_a_notebook,
    "a request's repr": requests_and_work,
    "the events of a workflow that yields": events_of_chunks,
    "the conflict of an idempotency key": other_inputs_under_the_same_key,
    "an error in-process": error_in_process,
    "a form with a file": form_with_a_file,
    "a stream over HTTP": last_event_of_a_stream,
    "a wrong type over HTTP": executing("log_in", token=[MARK]),
    "a wrong type inside of a class over HTTP": executing("with_class", login={"user": "ada", "password": [MARK]}),
    "a class given as text over HTTP": executing("with_class", login=MARK),
    "what a class says of its values": executing("with_class", login={"user": "ada", "password": MARK + "!"}),
    "inputs that are no object": executing("log_in", **{"": MARK}),
    "what a workflow raised over HTTP": executing("fail", token=MARK),
    "OpenAPI": getting("/openapi.json"),
    "the schema of a workflow": getting("/api/workflows/with_default/schema"),
    "a wrong type on the command line": commanding("with-class", f'{{"user": 1, "password": ["{MARK}"]}}'),
    "one word too many on the command line": commanding("maybe", MARK),
    "a secret that begins with @ on the command line": commanding("log-in", f"@{MARK}"),
    "what a workflow raised on the command line": commanding("--format", "json", "fail", MARK),
    "the help of a command": commanding("with-default", "--help"),
    "an unknown option": commanding("log-in", "--tokn", MARK),
    "a wrong type over MCP": calling_tool("log_in", token=[MARK]),
    "what a workflow raised over MCP": calling_tool("fail", token=MARK),
    "the listing of tools": listing_tools,
}


@pytest.mark.parametrize("place", LEAKS)
async def test_a_secret_is_not_seen_in(place: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    with caplog.at_level(logging.DEBUG):
        async with desk(run_store=store) as app:
            shown = await LEAKS[place](app)

    written = capfd.readouterr()
    assert shown
    assert MARK not in shown
    assert MARK not in caplog.text
    assert MARK not in written.out + written.err
    assert MARK not in "".join(getattr(store, "seen", []))


async def test_the_step_gets_it() -> None:
    async with desk() as app:
        assert (await app.execute_workflow("log_in", {"token": MARK})).results == f"ada: {len(MARK)}"
        assert (await app.execute_workflow("with_class", {"login": Login("ada", MARK)})).results == len(MARK)
        assert (await app.execute_workflow("with_default")).results == len(MARK)


async def test_the_record_has_stars_in_its_place_and_says_where() -> None:
    async with desk() as app:
        handle = await app.submit_workflow("with_class", {"login": {"user": "ada", "password": MARK}})
        await handle.result()
        record = await handle.status()

    assert record.inputs == {"login": {"user": "ada", "password": "***"}, "others": None}
    assert record.redacted == ("/inputs/login",)
    assert record.view()["inputs"] == record.inputs
    assert record.view()["redacted"] == ["/inputs/login"]


async def test_an_input_without_a_secret_stays_what_it_was() -> None:
    async with desk() as app:
        handle = await app.submit_workflow("maybe", {"note": "hello"})
        await handle.result()
        record = await handle.status()

    assert record.inputs == {"token": None, "note": "hello"}
    assert record.redacted == ()
    assert record.whole_inputs() == record.inputs


async def test_a_run_with_secrets_can_not_be_run_again_by_its_record() -> None:
    async with desk() as app:
        handle = await app.submit_workflow("log_in", {"token": MARK})
        await handle.result()
        record = await handle.status()

    with pytest.raises(ConflictError, match=r"its inputs had secrets \(token\), which are kept nowhere; call 'log_in' anew"):
        record.whole_inputs()


async def test_who_waits_for_a_run_gets_the_secret_in_its_result() -> None:
    async with desk() as app:
        assert (await app.execute_workflow("new_key")).results == Key("desk", MARK)
        reply = (await http(app, "POST", "/api/workflows/new_key/execute")).json()["data"]
        assert reply["results"] == {"id": "desk", "key": MARK}
        record = (await http(app, "GET", f"/api/runs/{reply['run_id']}")).json()["data"]
        assert record["results"] == {"id": "desk", "key": "***"}
        assert record["redacted"] == ["/results"]


async def test_who_comes_too_late_for_a_secret_result_is_told_so() -> None:
    async with desk() as app:
        handle = await app.submit_workflow("new_key")
        assert await handle.result() == Key("desk", MARK)
        with pytest.raises(ConflictError, match="had secrets, which are kept nowhere"):
            await handle.result()
        await app.execute_workflow("new_key", idempotency_key="k", principal=ADA)
        with pytest.raises(ConflictError, match="had secrets, which are kept nowhere"):
            await app.execute_workflow("new_key", idempotency_key="k", principal=ADA)


async def test_what_json_has_no_word_for_is_shown_as_python_writes_it() -> None:
    app = desk()

    @app.workflow
    async def takes(anything: Any) -> int:
        return 1

    async with app:
        result = await app.execute_workflow("takes", {"anything": complex(1, 2)}, principal=nexus.models.ANONYMOUS)
        shown = (await http(app, "GET", f"/api/runs/{result.run_id}")).json()["data"]

    assert shown["inputs"] == {"anything": "(1+2j)"}


async def test_the_same_key_and_the_same_secret_are_the_same_run() -> None:
    async with desk() as app:
        first = await app.execute_workflow("log_in", {"token": MARK}, idempotency_key="k")
        again = await app.execute_workflow("log_in", {"token": MARK}, idempotency_key="k")

    assert again.run_id == first.run_id


@pytest.mark.parametrize("workflow", ["fail", "refuse"])
async def test_what_a_workflow_says_of_its_secret_is_scrubbed_in_record_and_log(
    workflow: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk() as app:
        response = await app.dispatch(request(workflow, token=MARK))

    assert response.run is not None
    assert response.run.error is not None
    assert "'***'" in response.run.error.message
    assert "'***'" in (response.run.steps[0].error or "")
    assert MARK not in repr(response.run)
    assert MARK not in caplog.text


async def test_the_traceback_of_a_run_with_secrets_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as app:
        await app.dispatch(request("fail", token=MARK))

    assert "Traceback" in caplog.text
    assert "ValueError: invalid literal for int() with base 10: '***'" in caplog.text


async def test_the_error_of_an_item_that_is_skipped_is_scrubbed_too() -> None:
    async with desk() as app:
        response = await app.dispatch(request("many_tokens", token=[MARK, "7"]))

    assert response.data == [7]
    assert response.run is not None
    assert MARK not in repr(response.run)
    assert [step.status for step in response.run.steps] == ["failed", "succeeded"]


async def test_an_answer_is_in_the_step_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    async with desk(run_store=store) as app:
        waiting = (await http(app, "POST", "/api/workflows/ask/execute")).json()["data"]
        answers = f"/api/runs/{waiting['run_id']}/answer"
        wrong = await http(app, "POST", answers, {"answer": [MARK]})
        done = await http(app, "POST", answers, {"answer": MARK})
        again = await http(app, "POST", answers, {"answer": MARK, "question": "password"})
        other = await http(app, "POST", answers, {"answer": MARK + "2", "question": "password"})

    assert waiting["questions"][0]["schema"] == {"type": "string", "format": "password", "writeOnly": True}
    assert wrong.status_code == 422
    assert "got a secret value" in wrong.text
    assert done.json()["data"]["results"] == len(MARK)
    assert again.json()["data"]["results"] == len(MARK)
    assert other.status_code == 409
    assert MARK not in wrong.text + done.text + again.text + other.text + "".join(store.seen) + caplog.text


async def test_a_form_with_a_secret_is_answered_as_any_other() -> None:
    store = Store()
    async with desk(run_store=store) as app:
        handle = await app.submit_workflow("ask_form")
        record = await handle.answer({"user": "ada", "password": MARK})

    assert record.output == f"ada: {len(MARK)}"
    assert record.answers["login"].value == {"user": "ada", "password": "***"}
    assert MARK not in "".join(store.seen)


async def test_an_answer_is_scrubbed_from_what_a_step_raises(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as app:
        handle = await app.submit_workflow("ask_and_fail")
        record = await handle.answer(MARK)
        hearing = Hearing(MARK)
        response = await app.dispatch(request("ask_and_fail"), hearing)

    assert MARK not in repr(record) + repr(response.run) + repr(hearing.heard) + caplog.text


async def test_who_gives_the_last_answer_gets_the_whole_result() -> None:
    async with desk() as app:
        waiting = (await http(app, "POST", "/api/workflows/ask_for_key/execute")).json()["data"]
        done = await http(app, "POST", f"/api/runs/{waiting['run_id']}/answer", {"answer": "desk"})
        later = await http(app, "GET", f"/api/runs/{waiting['run_id']}")

    assert done.json()["data"]["results"] == {"id": "desk", "key": MARK}
    assert later.json()["data"]["results"] == {"id": "desk", "key": "***"}


async def test_an_answer_with_a_secret_has_no_default() -> None:
    app = desk()

    @app.workflow
    async def careless(*, run: nexus.Run) -> str:
        password: str = await run.ask("Password?", Annotated[str, Secret()], default="changeme")
        return password

    with pytest.raises(nexus.WorkflowFailedError) as caught:
        await app.execute_workflow("careless")
    assert "can't have a default" in str(caught.value.__cause__)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_an_mcp_client_is_not_asked_for_a_secret(mode: str) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("asked")

    async with desk() as app, McpClient(server(app), mode=mode, elicitation_callback=never) as client:  # type: ignore[arg-type]
        result = await client.call_tool("ask")

    assert result.is_error
    assert "an MCP client must not be asked for a secret" in result.model_dump_json()


async def test_a_secret_on_the_command_line_may_come_from_a_file_or_standard_input(tmp_path: Any) -> None:
    (tmp_path / "token").write_text(f"{MARK}\n")
    async with desk() as app:
        from_file = await invoke(app, ["log-in", "--token", f"@{tmp_path / 'token'}"])
        from_stdin = await invoke(app, ["log-in", "@-"], stdin=f"{MARK}\r\n")
        escaped = await invoke(app, ["log-in", "@@home"])
        help_text = await invoke(app, ["log-in", "--help"])

    assert json.loads(from_file.stdout) == json.loads(from_stdin.stdout) == f"ada: {len(MARK)}"
    assert json.loads(escaped.stdout) == "ada: 5"
    assert "@FILE" in help_text.stdout
    assert "SECRET" in help_text.stdout


async def test_a_secret_answer_is_for_the_process_that_carries_the_run() -> None:
    store = MemoryRunStore()
    async with desk(run_store=store) as app, desk(run_store=store) as other:
        handle = await app.submit_workflow("ask")
        await app.executor.runtime.settled(handle.id)
        with pytest.raises(UnavailableError, match="not carried by this process"):
            await other.executor.answer(Scope.ALL, APPLICATION, handle.id, Hearing(None), question=None, answer=MARK)
        assert (await handle.answer(MARK)).output == len(MARK)
