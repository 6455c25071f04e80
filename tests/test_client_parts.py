"""The parts of the client that need no server: what it sends, what it reads, and how it calls files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

import nexus
from nexus.abc import Interaction
from nexus.exceptions import ConfigurationError, UnavailableError
from nexus.models import Answers, Caller, Event, Question, Request
from nexus_client import HttpGateway
from nexus_client.addresses import checked_token, checked_url, path_of
from nexus_client.downloads import named_here, safe_name
from nexus_client.frames import Frame, FrameReader
from nexus_client.gateway import Nobody
from nexus_client.operations import BUILT_IN
from nexus_client.uploads import files_among
from nexus_starlette.routes import find
from tests.remote_server import served
from tests.talking_desk import app as talking

# ---- addresses


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "https://[::1]/nexus/", "HTTP://Desk.example"])
def test_an_address_has_no_slash_at_its_end(url: str) -> None:
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://x y", "http://x\n", "desk:app", ""])
def test_an_address_is_one_of_a_server(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a server"):
        checked_url(url)


def test_a_token_has_no_white_space_around_it() -> None:
    assert [checked_token(each) for each in (None, "", " \n", "abc\n")] == [None, None, None, "abc"]


def test_what_goes_into_a_path_stays_one_part_of_it() -> None:
    assert path_of("/api/workflows/{workflow}", workflow="a/../b?c#d@2") == "/api/workflows/a%2F..%2Fb%3Fc%23d@2"


# ---- streams of events


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_whole_however_their_pieces_come(size: int) -> None:
    text = (
        'id: a-1\nevent: run.log\ndata: {"x": "\u2028"}\n\n:\n\nevent: response\r\ndata: 1\r\ndata:2\r\n\r\ndata: 3\n\ndata: 4\n'
    )
    sent = text.encode()
    reader = FrameReader()

    frames = [frame for at in range(0, len(sent), size) for frame in reader.feed(sent[at : at + size])]

    assert frames == [
        Frame("run.log", '{"x": "\u2028"}'.encode()),
        Frame("response", b"1\n2"),
        Frame("message", b"3"),
    ]


# ---- names of files


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("größe 1.csv", "größe 1.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.txt", "evil.txt"),
        ("/etc/cron.d/evil", "evil"),
        ("..", "file"),
        ("", "file"),
        ("a/", "file"),
        (".ssh", "ssh"),
        ("...", "file"),
        ("x\x00\x1b[31m\u202etxt", "x[31mtxt"),
        ("COM1.txt", "_COM1.txt"),
        ("nul", "_nul"),
        ("console.log", "console.log"),
        ("a:b*c.txt. ", "a_b_c.txt"),
        ("x" * 300 + ".csv", "x" * 146 + ".csv"),
        ("ä" * 300, "ä" * 75),
        ("x." + "y" * 300, ("x." + "y" * 300)[:150]),
    ],
)
def test_a_name_is_safe_whatever_was_sent(sent: str, name: str) -> None:
    assert safe_name(sent) == name


SECRET = "hunter2"  # noqa: S105 - what is shown nowhere
PATH = {"type": "string", "format": "path"}
TEXT = {"type": "string"}
NESTED = {
    "$ref": "#/$defs/R",
    "$defs": {"R": {"properties": {"a": {"$ref": "#/$defs/S"}, "c": TEXT}}, "S": {"properties": {"b": PATH}}},
}


@pytest.mark.parametrize(
    ("results", "schema", "files", "here"),
    [
        ("a.txt", PATH, {"a.txt": "here/a.txt"}, "here/a.txt"),
        ("a.txt", TEXT, {"a.txt": "here/a.txt"}, "a.txt"),
        ("a.txt", {}, {"a.txt": "here/a.txt"}, "here/a.txt"),
        (None, {"anyOf": [PATH, {"type": "null"}]}, {}, None),
        ("a.txt", {"anyOf": [PATH, {"type": "null"}]}, {"a.txt": "b"}, "b"),
        ("gone.txt", PATH, {"a.txt": "b"}, "gone.txt"),
        (["a.txt", "a.txt"], {"items": PATH}, {"a.txt": "x", "a-2.txt": "y"}, ["x", "y"]),
        (["a.txt", "a.txt"], {"items": PATH}, {"a.txt": "x"}, ["x", "x"]),
        (["gone", "a.txt"], {"items": PATH}, {"a.txt": "x"}, ["gone", "x"]),
        (["a.txt", "a.txt", 3], {"prefixItems": [TEXT, PATH, {"type": "integer"}]}, {"a.txt": "x"}, ["a.txt", "x", 3]),
        ({"k": ["a.txt"]}, {"additionalProperties": {"type": "array", "items": PATH}}, {"a.txt": "x"}, {"k": ["x"]}),
        ({"a": {"b": "a.txt"}, "c": "a.txt"}, NESTED, {"a.txt": "x"}, {"a": {"b": "x"}, "c": "a.txt"}),
    ],
)
def test_results_name_files_as_they_are_called_here(results: Any, schema: Any, files: Any, here: Any) -> None:
    assert named_here(results, schema, files) == here


def test_only_what_is_said_to_be_a_path_and_is_a_file_is_sent_along(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x")
    path = str(file)
    schema = {
        "properties": {
            "one": PATH,
            "maybe": {"anyOf": [PATH, {"type": "null"}]},
            "many": {"type": "array", "items": PATH},
            "texts": {"type": "array", "items": TEXT},
            "text": TEXT,
            "folder": PATH,
            "missing": PATH,
            "odd": PATH,
        }
    }
    arguments = {
        "one": path,
        "maybe": None,
        "many": [path, "there.txt"],
        "texts": [path],
        "text": path,
        "folder": str(tmp_path),
        "missing": "x\0y",
        "odd": 3,
        "unknown": path,
    }

    assert files_among(arguments, schema) == {"one": file, "many": [file, "there.txt"]}


# ---- a gateway that is not connected


@pytest.mark.parametrize("built_in", BUILT_IN.values(), ids=BUILT_IN.keys())
def test_what_is_built_in_is_where_the_api_has_it_with_the_same_arguments(built_in: Any) -> None:
    app = nexus.create_nexus(nexus.NexusConfig())
    operation = app.operation(built_in.name)
    assert operation is not None
    assert built_in.summary == operation.summary or built_in.name == "runs.file"
    assert set(built_in.properties) == set(operation.input_schema.get("properties", {}))
    assert set(built_in.required) == set(operation.input_schema.get("required", ()))
    endpoint, _ = find(built_in.path.format_map(dict.fromkeys(built_in.required, "x")), built_in.method)
    assert (endpoint.operation, endpoint.method) == (built_in.name, built_in.method)


def test_every_operation_that_a_command_line_has_is_known() -> None:
    app = nexus.create_nexus(nexus.NexusConfig())
    assert set(BUILT_IN) == {operation.name for operation in app.operations(channel="cli")}


@pytest.mark.anyio
async def test_without_a_connection_nothing_is_carried_out() -> None:
    gateway = HttpGateway("http://127.0.0.1:1")
    response = await gateway.dispatch(Request(operation="x", arguments={}, caller=Caller(channel="cli")))
    assert response.error is not None
    assert (response.error.code, "async with gateway" in response.error.message) == ("unavailable", True)


@pytest.mark.anyio
async def test_who_has_no_interaction_hears_and_answers_nothing() -> None:
    nobody = Nobody()
    assert nobody.answers is Answers.NEVER
    with pytest.raises(UnavailableError):
        await nobody.ask(Question(name="q", text="?", schema={}, step="s"))


@pytest.mark.anyio
async def test_what_a_gateway_is_asked_that_only_its_server_knows() -> None:
    gateway = HttpGateway("http://127.0.0.1:1", token=SECRET)
    rejected = await gateway.reject(Caller(channel="cli"), UnavailableError("no"), request_id="r1")
    assert (gateway.ready, await gateway.health(), gateway.max_value_bytes) == (True, {}, 2**63 - 1)
    assert (rejected.request_id, str(rejected.error)) == ("r1", "no")
    assert gateway.to_builtins((1, "a")) == [1, "a"]
    assert SECRET not in repr(gateway)


# ---- a run


class Ada(Interaction):
    """Answers with her name, and notes what she hears."""

    answers = Answers.NOW

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def tell(self, event: Event) -> None:
        self.heard.append(event.type)

    async def ask(self, question: Question) -> Any:
        return "Ada"


@pytest.mark.anyio
async def test_a_run_is_heard_and_answered_on_either_event_loop() -> None:
    ada = Ada()
    with served(talking) as url:
        async with HttpGateway(url) as gateway:
            await gateway.learn("talk")
            response = await gateway.dispatch(Request(operation="talk", arguments={}, caller=Caller(channel="cli")), ada)
    assert response.data == ["before", "hello Ada"]
    assert ada.heard == ["run.progress", "run.log", "run.chunk", "run.chunk", "run.progress"]


@pytest.mark.anyio
async def test_a_run_whose_caller_is_cancelled_is_cancelled_too() -> None:
    app = nexus.create_nexus(nexus.NexusConfig(title="Desk"))
    ended = threading.Event()

    @app.workflow
    async def wait(run: nexus.Run) -> None:
        try:
            await run.progress(1)
            await anyio.sleep(60)
        finally:
            ended.set()

    class Leaving(Ada):
        async def tell(self, event: Event) -> None:
            scope.cancel()

    with served(app) as url:
        async with HttpGateway(url) as gateway:
            with anyio.CancelScope() as scope:
                await gateway.dispatch(Request(operation="wait", arguments={}, caller=Caller(channel="cli")), Leaving())
        assert scope.cancelled_caught
        assert ended.is_set()
