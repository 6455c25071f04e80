"""Servers that are not there, are none of ours, or mean harm; and what they get to know of who asks."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import nexus
import nexus_client.connection
import nexus_client.execution
from nexus import NexusConfig, Run
from nexus.memory import MemorySessionStore
from nexus.models import Principal, Session
from nexus.sessions import token_hash
from nexus_click._program import run_program
from tests.remote_server import answering, served

Captured = pytest.CaptureFixture[str]
Reply = tuple[int, Mapping[str, str], bytes]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NEXUS_URL", raising=False)
    monkeypatch.delenv("NEXUS_TOKEN", raising=False)
    return folder


METADATA = {"timestamp": "2026-01-01T00:00:00Z", "version": "1", "request_id": "r1"}


def enveloped(data: Any) -> Reply:
    return 200, {"content-type": "application/json"}, json.dumps({"success": True, "data": data, "metadata": METADATA}).encode()


VIEW = {
    "name": "x",
    "version": "1",
    "newest": True,
    "summary": "",
    "description": "",
    "tags": [],
    "background": False,
    "read_only": False,
    "destructive": False,
    "idempotent": False,
    "deprecated": None,
}


def saying(replies: Mapping[str, Reply], seen: list[Any] | None = None) -> Callable[..., Any]:
    """Return an ASGI application that has a reply for each path, 404 for others, and notes what it was sent."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if seen is not None:
            seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        while (await receive()).get("more_body"):
            pass
        status, headers, body = replies.get(scope["path"], (404, {"content-type": "text/html"}, b"<h1>not here</h1>"))
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    return application


# ---- not there, or not ours


@pytest.mark.parametrize("words", [["list"], ["run", "x"], ["run"], ["run", "--help"], ["graph", "x"], ["run", "runs.list"]])
def test_where_no_server_is_one_is_told_what_to_check(capsys: Captured, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert run_program(["--url", f"http://127.0.0.1:{port}", *words]) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: there is no server at http://127.0.0.1:{port} (")
    assert line.endswith("; check the address, and that it runs: nexus serve TARGET")


@pytest.mark.parametrize("proxy", ["nonsense://x", "socks9://x"])
@pytest.mark.parametrize("words", [["list"], ["run", "x"]])
def test_a_proxy_that_can_not_be_used_is_told(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, proxy: str, words: list[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert run_program(["--url", "http://desk.example", *words]) == 6
    assert "Error: the proxy that the environment names can't be used: " in capsys.readouterr().err


def test_an_error_may_be_json(capsys: Captured) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert run_program(["--url", f"http://127.0.0.1:{port}", "run", "x", "--format", "json"]) == 6
    assert json.loads(capsys.readouterr().err)["code"] == "unavailable"


def test_a_server_that_does_not_answer_is_not_waited_for_forever(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_client.connection, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert run_program(["--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "list"]) == 6
    assert "takes too long to answer; try again later" in capsys.readouterr().err


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"content-type": "text/html"}, b"<h1>welcome</h1>"),
        (200, {"content-type": "application/json"}, b'{"hello": "world"}'),
        (500, {"content-type": "application/json"}, b'{"success": false, "error": {"oops": 1}, "metadata": {}}'),
        (200, {"content-type": "text/plain"}, b"\xff\xfe"),
    ],
)
def test_what_is_no_server_of_ours_is_called_so(capsys: Captured, reply: Reply) -> None:
    with answering(saying({"/api/workflows": reply, "/api/workflows/x": reply})) as url:
        assert run_program(["--url", url, "list"]) == 6
        assert run_program(["--url", url, "run", "x"]) == 6
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith(f"Error: what is at {url} answers (HTTP {reply[0]}), but not as a Nexus server does; check")


def test_what_says_nothing_of_a_workflow_or_a_run_is_no_server_of_ours(capsys: Captured) -> None:
    odd = {"/api/workflows": enveloped([{"name": "x"}]), "/api/workflows/x/execute": enveloped(3)}
    with answering(saying({**odd, "/api/workflows/x": enveloped(None)})) as url:
        assert run_program(["--url", url, "run", "--help"]) == 6
        assert run_program(["--url", url, "run", "x"]) == 6
    with answering(saying({**odd, "/api/workflows/x": enveloped(VIEW)})) as url:
        assert run_program(["--url", url, "run", "x"]) == 6
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("but not as a Nexus server does" in line for line in lines)


def test_help_has_nothing_in_it_that_a_terminal_would_obey(capsys: Captured) -> None:
    schema = {"properties": {"a\x1b[31m": {"enum": ["b\x1b[32m"]}}, "required": ["a\x1b[31m"]}
    view = {**VIEW, "summary": "red\x1b[33m", "input_schema": schema, "output_schema": {}}
    graph = {"mermaid": "flowchart\x1b[34m LR\n"}
    replies = {"/api/workflows": [view], "/api/workflows/x": view, "/api/workflows/x/graph": graph, "/openapi.json": {}}
    with answering(saying({path: enveloped(data) for path, data in replies.items()})) as url:
        assert run_program(["--url", url, "run", "--help"]) == 0
        assert run_program(["--url", url, "run", "x", "--help"]) == 0
        assert run_program(["--url", url, "graph", "x"]) == 0
    out = capsys.readouterr().out
    assert "flowchart[34m LR" in out
    assert "\x1b" not in out


def test_a_server_that_is_gone_in_the_midst_of_a_run_is_told_with_the_run(capsys: Captured) -> None:
    app = nexus.create_nexus(NexusConfig(title="Desk", shutdown_grace=0))

    @app.workflow
    async def wait(run: Run) -> None:
        await run.log.info("waiting")
        await anyio.sleep(60)

    def leaving(application: Any) -> Any:
        """Break off after the log line."""

        async def around(scope: Any, receive: Any, send: Any) -> None:
            async def broken(message: Any) -> None:
                await send(message)
                if b"event: run.log" in message.get("body", b""):
                    raise ConnectionError

            await application(scope, receive, broken)

        return around

    with served(app, around=leaving) as url:
        assert run_program(["--url", url, "run", "wait"]) == 6
    waiting, error = capsys.readouterr().err.splitlines()[:2]
    assert waiting == "info: waiting"
    assert error.startswith(f"Error: the connection to {url} was lost (")
    assert " (run " in error


def test_a_stream_that_ends_before_the_run_is_told_with_the_run(capsys: Captured) -> None:
    shown = {
        "id": "r1-1",
        "type": "run.log",
        "time": "2026-01-01T00:00:00Z",
        "data": {"level": "info", "message": "hi", "fields": {}},
    }
    stream = (200, {"content-type": "text/event-stream"}, f"event: run.log\ndata: {json.dumps(shown)}\n\n".encode())
    with answering(saying({"/api/workflows/x": enveloped(VIEW), "/api/workflows/x/execute": stream})) as url:
        assert run_program(["--url", url, "run", "x"]) == 6
    assert capsys.readouterr().err == f"info: hi\nError: the server at {url} has left before the end (run r1)\n"


@pytest.mark.parametrize(
    "event", [b"hello", b'{"id": 3}', b'{"id": "r1-x", "type": "t", "time": "2026-01-01T00:00:00Z", "data": 1}']
)
def test_a_stream_of_other_events_is_none_of_ours(capsys: Captured, event: bytes) -> None:
    stream = (200, {"content-type": "text/event-stream"}, b"data: %s\n\n" % event)
    with answering(saying({"/api/workflows/x": enveloped(VIEW), "/api/workflows/x/execute": stream})) as url:
        assert run_program(["--url", url, "run", "x"]) == 6
    assert "answers (with odd events), but not as a Nexus server does" in capsys.readouterr().err


def test_a_stream_that_falls_silent_is_given_up(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_client.connection, "SILENCE_S", 0.2)
    app = nexus.create_nexus(NexusConfig(title="Desk", shutdown_grace=0))

    @app.workflow
    async def wait(run: Run) -> None:
        await anyio.sleep(60)

    with served(app) as url:
        assert run_program(["--url", url, "run", "wait"]) == 6
    assert f"the server at {url} has fallen silent (run " in capsys.readouterr().err


def test_events_that_break_off_again_and_again_are_given_up(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_client.execution, "PAUSE_S", 0.01)
    app = nexus.create_nexus(NexusConfig(title="Desk", shutdown_grace=0))

    @app.workflow(background=True)
    async def slow() -> None:
        await anyio.sleep(60)

    def breaking(application: Any) -> Any:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            await (half if scope["path"].endswith("/events") else application)(scope, receive, send)

        return around

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})

    with served(app, around=breaking) as url:
        assert run_program(["--url", url, "run", "slow"]) == 6
    err = capsys.readouterr().err
    assert err.startswith(f"Error: the connection to {url} was lost (")
    assert " (run " in err


def test_events_that_break_off_while_a_run_waits_are_followed_again(capsys: Captured) -> None:
    app = nexus.create_nexus(NexusConfig(title="Desk"))

    @app.workflow(background=True)
    async def slow(run: Run) -> str:
        for number in range(3):
            await run.log.info("at", number=number)
            await anyio.sleep(0.3)
        return "done"

    broken: list[bool] = []

    def breaking(application: Any) -> Any:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            async def once(message: Any) -> None:
                await send(message)
                if scope["path"].endswith("/events") and b"event: run.log" in message.get("body", b"") and not broken:
                    broken.append(True)
                    raise ConnectionError

            await application(scope, receive, once)

        return around

    with served(app, around=breaking) as url:
        assert run_program(["--url", url, "run", "slow"]) == 0
    out, err = capsys.readouterr()
    assert out == '"done"\n'
    assert [line for line in err.splitlines() if line.startswith("info:")] == [f"info: at  number={n}" for n in range(3)]


# ---- who asks


def test_a_token_says_who_asks_and_is_shown_nowhere(capsys: Captured, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = "t0k3n-of-ada", datetime.now(UTC)
    store = MemorySessionStore()
    session = Session(id="s1", principal=Principal(id="ada"), created_at=now, expires_at=now + timedelta(hours=1))
    anyio.run(partial(store.add, session, token_hash=token_hash(token)))
    app = nexus.create_nexus(NexusConfig(title="Desk"), session_store=store)

    @app.workflow
    async def who(run: Run) -> str:
        return run.principal.id

    with served(app) as url:
        (here / "token.txt").write_text(f"{token}\n")
        monkeypatch.setenv("NEXUS_TOKEN", token)
        assert run_program(["--url", url, "run", "who"]) == 0
        assert run_program(["--url", url, "--token", "@token.txt", "run", "who"]) == 0
        assert run_program(["--url", url, "run", "who", "--idempotency-key", "k 1", "--verbose"]) == 0
        assert run_program(["--url", url, "run", "who", "--idempotency-key", "k 1", "--verbose"]) == 0
        out, err = capsys.readouterr()
        assert out == '"ada"\n' * 4
        assert len(set(err.splitlines())) == 1
        assert run_program(["--url", url, "run", "runs.list", "--idempotency-key", "k"]) == 2
        assert run_program(["--url", url, "run", "who", "--idempotency-key", "größer"]) == 2
        monkeypatch.setenv("NEXUS_TOKEN", f"{token}x")
        assert run_program(["--url", url, "run", "who"]) == 4
        assert run_program(["--url", url, "list"]) == 4
        assert run_program(["--url", url, "run", "--help"]) == 4
        assert token not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("token", "said"),
    [("@hunter2", "can't read the file after the @"), ("hunter2 hunter2", "no token has"), ("@latin.txt", "not UTF-8")],
)
def test_what_is_no_token_is_told_without_being_shown(capsys: Captured, here: Path, token: str, said: str) -> None:
    (here / "latin.txt").write_bytes(b"\xff")
    assert run_program(["--url", "http://127.0.0.1:1", "--token", token, "list"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "hunter2" not in err


def test_no_other_server_is_told_anything(capsys: Captured) -> None:
    asked_there: list[Any] = []
    asked_here: list[Any] = []
    with answering(saying({}, asked_there)) as elsewhere:
        away = (307, {"location": f"{elsewhere}/api/workflows"}, b"")
        with answering(saying({"/api/workflows": away, "/api/workflows/x": away}, asked_here)) as url:
            assert run_program(["--url", url, "--token", "hunter2", "list"]) == 6
            assert run_program(["--url", url, "--token", "hunter2", "run", "x"]) == 6
    assert {headers["authorization"] for headers in asked_here} == {"Bearer hunter2"}
    assert asked_there == []
    assert f"redirects to {elsewhere}/api/workflows, which is not followed" in capsys.readouterr().err


# ---- files


def test_a_connection_that_is_lost_while_files_are_sent_may_mean_that_they_are_too_long(capsys: Captured, here: Path) -> None:
    (here / "long.bin").write_bytes(b"x" * 1000)
    view = {**VIEW, "input_schema": {"properties": {"file": {"type": "string", "format": "path"}}}, "output_schema": {}}

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await (half if scope["method"] == "POST" else saying({"/api/workflows/x": enveloped(view)}))(scope, receive, send)

    with answering(closing) as url:
        assert run_program(["--url", url, "run", "x", "--file", "long.bin"]) == 6
    err = capsys.readouterr().err
    assert f"the connection to {url} was lost" in err
    assert "and that it takes that much (max_upload_bytes)" in err


RUN = {"run_id": "r1", "results": "x.txt", "metadata": {"execution_time": 0.1, "workflow_version": "1"}}


def handing_out(name: str, file: Callable[..., Any]) -> Callable[..., Any]:
    """Return a server whose workflow `x` has made a file of that name."""
    data = {**RUN, "results": name, "files": [{"name": name, "media_type": "text/plain", "href": "http://elsewhere/"}]}
    replies = {"/api/workflows/x": enveloped(VIEW), "/api/workflows/x/execute": enveloped(data)}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (saying(replies) if scope["path"] in replies else file)(scope, receive, send)

    return application


async def evil(scope: Any, receive: Any, send: Any) -> None:
    await saying({scope["path"]: (200, {"content-type": "text/plain"}, b"evil")})(scope, receive, send)


async def half(scope: Any, receive: Any, send: Any) -> None:
    """Send less than was announced, as a server does that breaks off."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_a_file_does_not_leave_the_folder_whatever_its_name(capsys: Captured, here: Path, name: str) -> None:
    with answering(handing_out(name, evil)) as url:
        assert run_program(["--url", url, "run", "x"]) == 0
    assert json.loads(capsys.readouterr().out) == "evil.txt"
    assert [path.name for path in here.iterdir()] == ["evil.txt"]
    assert [path.name for path in here.parent.iterdir()] == ["here"]


def test_half_of_a_file_is_none(capsys: Captured, here: Path) -> None:
    with answering(handing_out("x.txt", half)) as url:
        assert run_program(["--url", url, "run", "x"]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert f"the connection to {url} was lost" in err
    assert list(here.iterdir()) == []


def test_a_file_that_is_refused_is_an_error(capsys: Captured, here: Path) -> None:
    gone = {"code": "not_found", "message": "it is not there any more", "details": {}}
    reply = json.dumps({"success": False, "error": gone, "metadata": METADATA}).encode()

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await saying({scope["path"]: (404, {"content-type": "application/json"}, reply)})(scope, receive, send)

    with answering(handing_out("x.txt", refusing)) as url:
        assert run_program(["--url", url, "run", "x"]) == 6
    assert capsys.readouterr().err == (
        "Error: run r1 has succeeded, but its files can't be had: it is not there any more; its record still has the result: "
        "runs.get r1\n"
    )
    assert list(here.iterdir()) == []
