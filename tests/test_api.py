"""The API channel, called as an ASGI application in this process."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import attrs
import httpx
import msgspec
import pytest

from nexus import Nexus, Problem, Run, create_nexus
from nexus.abc import Channel, Gateway, Guard
from nexus.config import NexusConfig
from nexus.exceptions import PermissionDeniedError
from nexus.models import Call, Operation, Principal
from nexus_starlette import asgi

pytestmark = pytest.mark.anyio

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@attrs.frozen
class Summary:
    rows: int
    wettest: str


def desk(**settings: Any) -> Nexus:
    app = create_nexus(NexusConfig(title="Desk", version="7.1", **settings))

    @app.workflow
    async def summarise(name: str, limit: Annotated[int, msgspec.Meta(ge=1)] = 10, *, fast: bool = False) -> Summary:
        """Summarise a thing."""
        return Summary(rows=limit, wettest=name)

    @app.workflow(name="travel.ask")
    async def ask(run: Run) -> str:
        return "kept" if await run.ask("Keep it?", bool, name="keep") else "thrown away"

    @app.workflow(name="old", version="1")
    async def old_one() -> int:
        return 1

    @app.workflow(name="old", version="2")
    async def old_two() -> int:
        return 2

    @app.workflow
    async def boom() -> None:
        raise RuntimeError("the secret reason")

    @app.workflow
    async def refuse(code: str) -> None:
        raise Problem(code, "because of that", seat="3A")

    @app.workflow
    def read(file: Path) -> str:
        return file.read_text()

    @app.workflow(channels={"cli"})
    async def hidden() -> int:
        return 1

    return app


JSON = {"content-type": "application/json"}


@asynccontextmanager
async def serving(app: Nexus, **extra: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application to a client in this process."""
    application = asgi(app)

    async def with_extra(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, **extra}, receive, send)

    transport = httpx.ASGITransport(with_extra)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def execute(
    client: httpx.AsyncClient, workflow: str, inputs: Mapping[str, Any] | None = None, **headers: str
) -> httpx.Response:
    return await client.post(f"/api/workflows/{workflow}/execute", json={"inputs": inputs or {}}, headers=headers)


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# ---- executing


async def test_a_workflow_is_executed_and_its_results_come_in_the_envelope() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "summarise", {"name": "Seattle", "limit": 3})
    body = response.json()
    assert response.status_code == 200
    assert set(body) == {"success", "data", "metadata"}
    assert set(body["data"]) == {"run_id", "results", "metadata"}
    assert (body["success"], body["data"]["results"]) == (True, {"rows": 3, "wettest": "Seattle"})
    assert body["data"]["metadata"]["workflow_version"] == "1"
    assert body["data"]["metadata"]["execution_time"] >= 0
    assert set(body["metadata"]) == {"timestamp", "version", "request_id"}
    assert body["metadata"]["version"] == "7.1"
    assert datetime.fromisoformat(body["metadata"]["timestamp"]).tzinfo == UTC


async def test_every_reply_names_its_request_and_the_version_of_nexus() -> None:
    async with serving(desk()) as client:
        ours = await execute(client, "summarise", {"name": "x"})
        theirs = await execute(client, "summarise", {"name": "x"}, **{"X-Request-ID": "mine-1"})
        neither = await execute(client, "summarise", {"name": "x"}, **{"X-Request-ID": "not mine"})
    assert ours.headers["x-request-id"] == ours.json()["metadata"]["request_id"]
    assert theirs.headers["x-request-id"] == theirs.json()["metadata"]["request_id"] == "mine-1"
    assert "not mine" not in neither.headers["x-request-id"]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", ours.headers["x-nexus-version"])
    assert "set-cookie" not in ours.headers


async def test_a_valid_trace_is_echoed_and_another_is_not() -> None:
    async with serving(desk()) as client:
        traced = await execute(client, "summarise", {"name": "x"}, traceparent=TRACE)
        untraced = await execute(client, "summarise", {"name": "x"}, traceparent="nonsense\u007f")
    assert traced.headers["traceparent"] == TRACE
    assert "traceparent" not in untraced.headers


async def test_an_older_version_is_executed_by_name_and_version() -> None:
    async with serving(desk()) as client:
        newest = await execute(client, "old")
        older = await execute(client, "old@1")
        missing = await execute(client, "old@3")
    assert (newest.json()["data"]["results"], older.json()["data"]["results"]) == (2, 1)
    assert error_of(missing) == (404, "not_found")


async def test_no_body_is_no_inputs() -> None:
    async with serving(desk()) as client:
        response = await client.post("/api/workflows/old/execute")
    assert response.json()["data"]["results"] == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 415),
        ({"sec-fetch-site": "same-site"}, 415),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://elsewhere"}, 415),
        ({"origin": "http://api"}, 200),
        ({"origin": "http://elsewhere", "content-type": "application/json"}, 200),
    ],
)
async def test_a_page_of_another_site_starts_nothing_unasked(headers: dict[str, str], status: int) -> None:
    async with serving(desk()) as client:
        response = await client.post("/api/workflows/old/execute", headers=headers)
    assert response.status_code == status


async def test_a_rejected_message_keeps_the_id_of_its_caller() -> None:
    async with serving(desk()) as client:
        response = await client.post("/api/workflows/old/execute", content=b"{", headers={"x-request-id": "mine-2", **JSON})
    assert response.headers["x-request-id"] == response.json()["metadata"]["request_id"] == "mine-2"


async def test_a_channel_of_ones_own_may_answer_http_too() -> None:
    class Ping(Channel):
        name = "ping"

        def __init__(self, gateway: Gateway, config: NexusConfig) -> None:
            self.gateway = gateway

        def matches(self, scope: Mapping[str, Any]) -> bool:
            return bool(scope["path"] == "/ping")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"pong"})

    app = desk()
    app.add_channel(Ping)
    async with serving(app) as client:
        assert (await client.get("/ping")).text == "pong"
        assert (await execute(client, "old")).status_code == 200


async def test_all_that_is_wrong_with_the_arguments_is_said_at_once() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "summarise", {"limit": 0, "fast": "maybe", "colour": 1})
    problems = response.json()["error"]["details"]["errors"]
    assert error_of(response) == (422, "invalid_argument")
    assert {problem["pointer"] for problem in problems} == {"/name", "/limit", "/fast", "/colour"}


async def test_a_body_with_an_unknown_member_is_an_invalid_argument() -> None:
    async with serving(desk()) as client:
        response = await client.post("/api/workflows/old/execute", json={"input": {}})
    assert error_of(response) == (422, "invalid_argument")
    assert response.json()["error"]["details"]["errors"][0]["pointer"] == "/input"


async def test_text_is_not_taken_for_a_number() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "summarise", {"name": "x", "limit": "3"})
    assert error_of(response) == (422, "invalid_argument")


async def test_what_is_not_json_is_malformed() -> None:
    async with serving(desk()) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post("/api/workflows/old/execute", content=b"{", headers=headers)
    assert error_of(response) == (400, "malformed_request")
    assert response.json()["data"] is None


async def test_another_content_type_is_refused() -> None:
    async with serving(desk()) as client:
        response = await client.post("/api/workflows/old/execute", content=b"{}", headers={"Content-Type": "text/plain"})
        unnamed = await client.post("/api/workflows/old/execute", content=b"{}")
    assert error_of(response) == error_of(unnamed) == (415, "malformed_request")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/workflows", "GET, HEAD"),
        ("GET", "/api/workflows/old/execute", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("OPTIONS", "/api/runs/1", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    async with serving(desk()) as client:
        response = await client.request(method, path)
    assert (error_of(response), response.headers["allow"]) == ((405, "malformed_request"), allow)


async def test_an_unknown_path_is_not_found_in_the_envelope() -> None:
    async with serving(desk()) as client:
        response = await client.get("/nowhere")
    assert error_of(response) == (404, "not_found")
    assert response.json()["success"] is False


async def test_an_unknown_workflow_is_not_found_and_the_nearest_suggested() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "sumarise")
    assert error_of(response) == (404, "not_found")
    assert "summarise" in response.json()["error"]["message"]


async def test_a_workflow_that_shows_elsewhere_is_neither_found_nor_suggested() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "hidden")
        near = await execute(client, "hiden")
        listing = await client.get("/api/workflows")
        document = await client.get("/openapi.json")
    assert error_of(response) == (404, "not_found")
    assert "hidden" not in near.json()["error"]["message"]
    assert "hidden" not in listing.text
    assert "hidden" not in document.text


async def test_a_built_in_operation_is_no_workflow() -> None:
    async with serving(desk()) as client:
        response = await execute(client, "workflows.list")
    assert error_of(response) == (404, "not_found")


async def test_the_message_of_an_exception_stays_in_the_process(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(desk()) as client:
        response = await execute(client, "boom")
    request_id = response.json()["metadata"]["request_id"]
    logged = caplog.text + capfd.readouterr().err
    assert error_of(response) == (500, "failed")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert "the secret reason" in logged
    assert request_id in logged


@pytest.mark.parametrize(
    ("code", "status"), [("conflict", 409), ("resource_exhausted", 429), ("cancelled", 499), ("not_found", 404)]
)
async def test_a_workflow_chooses_its_own_answer(code: str, status: int) -> None:
    async with serving(desk()) as client:
        response = await execute(client, "refuse", {"code": code})
    assert error_of(response) == (status, code)
    assert response.json()["error"] == {"code": code, "message": "because of that", "details": {"seat": "3A"}}


async def test_a_body_over_the_limit_is_refused() -> None:
    async with serving(desk(max_body_bytes=100)) as client:
        announced = await execute(client, "summarise", {"name": "x" * 200})
        fitting = await execute(client, "summarise", {"name": "x" * 20})
    assert (error_of(announced), announced.headers["connection"]) == ((413, "payload_too_large"), "close")
    assert fitting.status_code == 200


async def test_a_body_that_does_not_say_how_long_it_is_is_read_no_further_than_the_limit() -> None:
    app = desk(max_body_bytes=100)
    served = asgi(app)
    sent: list[dict[str, Any]] = []
    read = 0
    read_before_reply: list[int] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 60, "more_body": read < 10}

    async def send(message: Any) -> None:
        if not sent:
            read_before_reply.append(read)
        sent.append(message)

    async with app:
        await served(scope_of("POST", "/api/workflows/old/execute"), receive, send)
    assert (sent[0]["status"], read_before_reply) == (413, [2])
    assert [len(message["body"]) > 0 for message in sent[1:]] == [True, False]


async def test_a_body_may_come_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"inputs": {"name": '
        yield b'"x"}}'

    async with serving(desk()) as client:
        response = await client.post(
            "/api/workflows/summarise/execute", content=pieces(), headers={"Content-Type": "application/json"}
        )
    assert response.json()["data"]["results"]["wettest"] == "x"


async def test_a_client_that_leaves_before_the_end_of_its_body_has_cancelled_its_request() -> None:
    app = desk()
    served = asgi(app)
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async with app:
        await served(scope_of("POST", "/api/workflows/old/execute"), receive, send)
    assert sent[0]["status"] == 499


async def test_a_client_that_leaves_while_its_workflow_runs_stops_it() -> None:
    app = desk()
    started, stopped = anyio.Event(), anyio.Event()

    @app.workflow
    async def nap() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    served = asgi(app)
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await started.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with app:
        with anyio.fail_after(5):
            await served(scope_of("POST", "/api/workflows/nap/execute"), receive, send)
    assert stopped.is_set()
    assert sent[0]["status"] == 499


def scope_of(method: str, path: str, kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "method": method, "path": path, "root_path": "", "headers": [], "client": None}


# ---- files


async def test_a_file_is_read_below_its_root_and_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.txt").write_text("inside")
    (tmp_path / "out.txt").write_text("outside")
    (root / "link.txt").symlink_to(tmp_path / "out.txt")
    async with serving(desk(files_root=root)) as client:
        inside = await execute(client, "read", {"file": "in.txt"})
        outside = [
            await execute(client, "read", {"file": path}) for path in ("../out.txt", str(tmp_path / "out.txt"), "link.txt")
        ]
    assert inside.json()["data"]["results"] == "inside"
    assert [error_of(response) for response in outside] == [(422, "invalid_argument")] * 3


# ---- runs that wait, and submitted ones


async def test_a_run_that_asks_is_answered_by_another_request() -> None:
    async with serving(desk()) as client:
        asked = await execute(client, "travel.ask")
        path = asked.headers["location"]
        wrong = await client.post(f"{path}/answer", json={"answer": "maybe"})
        waiting = await client.get(path)
        right = await client.post(f"{path}/answer", json={"question": "keep", "answer": True})
        ended = await client.get(path)
    run = asked.json()["data"]
    assert (asked.status_code, asked.json()["success"], run["status"]) == (202, True, "waiting")
    assert path == f"/api/runs/{run['run_id']}"
    assert [(question["name"], question["text"], question["schema"]) for question in run["questions"]] == [
        ("keep", "Keep it?", {"type": "boolean"})
    ]
    assert error_of(wrong) == (422, "invalid_argument")
    assert (waiting.status_code, waiting.json()["data"]["status"]) == (200, "waiting")
    assert (right.status_code, right.json()["data"]["status"], right.json()["data"]["results"]) == (200, "succeeded", "kept")
    assert ended.json()["data"]["results"] == "kept"


async def test_an_answer_has_to_be_given() -> None:
    async with serving(desk()) as client:
        asked = await execute(client, "travel.ask")
        path = f"{asked.headers['location']}/answer"
        missing = await client.post(path)
        unknown = await client.post(path, json={"answer": True, "colour": 1})
        smuggled = await client.post(path, json={"answer": True, "run_id": "1"})
    assert [error_of(response) for response in (missing, unknown, smuggled)] == [(422, "invalid_argument")] * 3


async def test_a_waiting_run_is_cancelled() -> None:
    async with serving(desk()) as client:
        asked = await execute(client, "travel.ask")
        path = asked.headers["location"]
        cancelled = await client.post(f"{path}/cancel")
        late = await client.post(f"{path}/answer", json={"answer": True})
    assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")
    assert error_of(late) == (409, "conflict")


async def test_a_caller_may_have_text_taken_for_a_number() -> None:
    async with serving(desk()) as client:
        strict = await execute(client, "summarise", {"name": "x", "limit": "3"})
        lenient = await execute(client, "summarise", {"name": "x", "limit": "3"}, Prefer="handling=lenient")
    assert error_of(strict) == (422, "invalid_argument")
    assert lenient.json()["data"]["results"]["rows"] == 3


async def test_a_caller_who_prefers_not_to_wait_gets_the_record_and_finds_the_result_later() -> None:
    async with serving(desk()) as client:
        accepted = await execute(client, "summarise", {"name": "x"}, Prefer="respond-async")
        with anyio.fail_after(5):
            while (found := await client.get(accepted.headers["location"])).json()["data"]["status"] != "succeeded":
                await anyio.lowlevel.checkpoint()
    assert (accepted.status_code, accepted.headers["preference-applied"]) == (202, "respond-async")
    assert accepted.json()["data"]["status"] == "pending"
    assert found.json()["data"]["results"] == {"rows": 10, "wettest": "x"}


async def test_an_unknown_run_is_not_found() -> None:
    async with serving(desk()) as client:
        responses = [await client.get("/api/runs/f00"), await client.post("/api/runs/f00/cancel")]
    assert [error_of(response) for response in responses] == [(404, "not_found")] * 2


async def test_a_run_of_somebody_is_nobody_elses() -> None:
    app = desk()
    async with serving(app, **{"nexus.principal": Principal(id="ada")}) as client:
        asked = await execute(client, "travel.ask")
        own = await client.get(asked.headers["location"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.channel("api")), base_url="http://api") as stranger:  # type: ignore[arg-type]
            foreign = await stranger.get(asked.headers["location"])
    assert (own.status_code, own.json()["data"]["principal"]) == (200, "ada")
    assert error_of(foreign) == (404, "not_found")


# ---- who is asking


@pytest.mark.parametrize("credential", ["Bearer unknown", "Bearer", "Basic dTpw"])
async def test_a_bad_credential_is_refused_and_never_anonymous(credential: str) -> None:
    async with serving(desk()) as client:
        response = await execute(client, "old", Authorization=credential)
    assert error_of(response) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@attrs.define(eq=False)
class Doorman(Guard):
    """Lets nobody in, and remembers who came."""

    seen: list[tuple[str | None, Operation | None]] = attrs.field(factory=list)

    async def check(self, call: Call) -> None:
        self.seen.append((call.request.caller.address, call.operation))
        raise PermissionDeniedError("closed today")


async def test_a_guard_sees_what_never_became_a_request_too() -> None:
    app = desk()
    doorman = Doorman()
    app.add_guard(doorman)
    async with serving(app) as client:
        responses = [
            await execute(client, "old"),
            await client.get("/nowhere"),
            await client.post("/api/workflows/old/execute", content=b"{", headers={"Content-Type": "application/json"}),
            await client.get("/openapi.json"),
        ]
    assert [error_of(response) for response in responses] == [(403, "permission_denied")] * 4
    assert [address for address, _ in doorman.seen] == ["127.0.0.1"] * 4
    assert [operation is None for _, operation in doorman.seen] == [False, True, True, False]


# ---- the catalogue


async def test_the_workflows_are_listed_and_described() -> None:
    async with serving(desk()) as client:
        listing = (await client.get("/api/workflows/")).json()["data"]
        described = (await client.get("/api/workflows/summarise")).json()["data"]
        older = (await client.get("/api/workflows/old@1")).json()["data"]
        schema = (await client.get("/api/workflows/summarise/schema")).json()["data"]
        unknown = await client.get("/api/workflows/unknown")
    assert [(entry["name"], entry["version"]) for entry in listing if entry["name"] == "old"] == [("old", "2"), ("old", "1")]
    assert (described["summary"], described["kind"]) == ("Summarise a thing.", "workflow")
    assert "limit" in str(described["input_schema"])
    assert (older["version"], older["newest"]) == ("1", False)
    assert schema == {"input": described["input_schema"], "output": described["output_schema"]}
    assert error_of(unknown) == (404, "not_found")


async def test_a_graph_comes_as_json_or_as_a_diagram() -> None:
    async with serving(desk()) as client:
        graph = await client.get("/api/workflows/summarise/graph")
        diagram = await client.get("/api/workflows/summarise/graph", headers={"Accept": "text/vnd.mermaid"})
        unknown = await client.get("/api/workflows/unknown/graph", headers={"Accept": "text/vnd.mermaid"})
    assert [step["name"] for step in graph.json()["data"]["steps"]] == ["summarise"]
    assert diagram.headers["content-type"] == "text/vnd.mermaid; charset=utf-8"
    assert diagram.text == graph.json()["data"]["mermaid"]
    assert error_of(unknown) == (404, "not_found")


@pytest.mark.parametrize(
    ("accept", "status", "media"),
    [
        ("text/vnd.mermaid;q=0.5, application/json;q=0.4", 200, "text/vnd.mermaid; charset=utf-8"),
        ("text/vnd.mermaid;q=0.4, application/json;q=0.5", 200, "application/json"),
        ("text/*, application/json;q=0.9", 200, "text/vnd.mermaid; charset=utf-8"),
        ("*/*", 200, "application/json"),
        ("text/html", 406, "application/json"),
        ("text/vnd.mermaid;q=0, text/html", 406, "application/json"),
    ],
)
async def test_a_graph_comes_as_what_its_caller_likes_best(accept: str, status: int, media: str) -> None:
    async with serving(desk()) as client:
        response = await client.get("/api/workflows/summarise/graph", headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (status, media)


async def test_a_graph_that_is_not_acceptable_is_a_malformed_request_that_says_what_there_is() -> None:
    async with serving(desk()) as client:
        response = await client.get("/api/workflows/summarise/graph", headers={"Accept": "text/html"})
    assert error_of(response) == (406, "malformed_request")
    assert "application/json or text/vnd.mermaid" in response.json()["error"]["message"]


async def test_caches_are_told_that_a_graph_has_several_forms() -> None:
    async with serving(desk()) as client:
        graph = await client.get("/api/workflows/summarise/graph")
        diagram = await client.get("/api/workflows/summarise/graph", headers={"Accept": "text/vnd.mermaid"})
        schema = await client.get("/api/workflows/summarise/schema")
    assert (graph.headers["vary"], diagram.headers["vary"]) == ("accept", "accept")
    assert "vary" not in schema.headers


async def test_head_is_get_without_the_body() -> None:
    async with serving(desk()) as client:
        got = await client.get("/api/workflows/old")
        head = await client.head("/api/workflows/old")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


# ---- health


async def test_a_started_application_is_live_and_ready() -> None:
    async with serving(desk()) as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
        head = await client.head("/health/live")
    assert (live.status_code, ready.status_code, head.status_code) == (200, 200, 200)
    assert (live.json()["success"], live.json()["data"]) == (True, {"status": "ok"})


async def test_an_application_that_is_stopping_is_live_and_not_ready() -> None:
    app = desk()
    async with serving(app) as client:
        app.stop_accepting()
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
        refused = await execute(client, "old")
    assert live.status_code == 200
    assert (error_of(ready), ready.headers["retry-after"]) == ((503, "unavailable"), "1")
    assert error_of(refused) == (503, "unavailable")


async def test_an_application_that_was_not_started_is_live_and_not_ready() -> None:
    transport = httpx.ASGITransport(asgi(desk()))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503


async def test_a_result_that_json_has_no_word_for_is_a_fault_and_not_shown() -> None:
    app = desk()

    @app.workflow
    async def odd() -> Any:
        return object()

    async with serving(app) as client:
        response = await execute(client, "odd")
    assert error_of(response) == (500, "internal")
    assert "object" not in response.text
